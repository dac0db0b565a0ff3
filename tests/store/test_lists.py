"""A list of values as one parameter of a statement finds the same on both databases, whatever stands in the values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, not_, select, text

from crm_plugin.store import bulk, member_tags, members
from crm_plugin.store.lists import Listed, among, among_sql
from crm_plugin.store.session import Database
from tests.factories import make_shop, member, write
from tests.store.test_bulk import ODD
from tests.touchpoints.plans import counted

_TAGS = select(member_tags.c.tag).where(among(member_tags.c.tag, "tags"))


@pytest.fixture
def ids(db: Database) -> list[int]:
    """Three members; the first has the odd tags."""
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member(str(number)) for number in range(3)])
    with db.write() as connection:
        found = sorted(connection.execute(select(members.c.member_id)).scalars())
        bulk.insert_rows(
            connection, member_tags, ("shop_id", "member_id", "tag"), [(1, found[0], tag) for tag in (*ODD, "other")]
        )
    return found


def _found(connection: Connection, values: Collection[Any]) -> list[str]:
    return sorted(connection.execute(_TAGS, {"tags": values}).scalars())


def test_texts_are_found_as_they_are(db: Database, ids: list[int]) -> None:
    with db.read() as connection:
        assert _found(connection, ODD) == sorted(ODD)
        assert _found(connection, {"tab\there": None, "vip": None}) == ["tab\there"]
        assert _found(connection, ()) == []


def test_numbers_are_found_in_any_order(db: Database, ids: list[int]) -> None:
    m = members.c
    with db.read() as connection:
        for values in ([ids[2], ids[0]], {ids[0], ids[2]}, [*range(20_000), ids[0], ids[2]]):
            found = connection.execute(select(m.member_id).where(among(m.member_id, values))).scalars()
            assert sorted(found) == [ids[0], ids[2]]
        others = connection.execute(select(m.member_id).where(not_(among(m.member_id, ids[:1])))).scalars()
        assert sorted(others) == ids[1:]
        everybody = connection.execute(select(m.member_id).where(not_(among(m.member_id, [])))).scalars()
        assert sorted(everybody) == ids


def test_statement_is_the_same_for_one_and_for_many(db: Database, ids: list[int]) -> None:
    with db.read() as connection, counted(db) as asked:
        for values in ((), ("a",), ODD):
            _found(connection, values)
    assert len(set(asked)) == 1


def test_text_asks_the_same(db: Database, ids: list[int]) -> None:
    sql = f"SELECT m.member_id FROM members AS m WHERE {among_sql('m.member_id', 'ids', is_sqlite=db.is_sqlite)}"
    with db.read() as connection:
        query = text(sql).bindparams(bindparam("ids", type_=Listed))
        assert sorted(connection.execute(query, {"ids": ids[1:]}).scalars()) == ids[1:]


def test_index_of_the_column_is_used(sqlite_db: Database) -> None:
    m = members.c
    query = str(select(m.email).where(m.shop_id == 1, among(m.member_id, "ids")).compile(sqlite_db.engine))
    with sqlite_db.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", (1, "[]")).all()
    assert "(shop_id=? AND member_id=?)" in plan[0][3]
