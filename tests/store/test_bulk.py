"""Bulk reads and writes say the same on both databases, whatever stands in the values."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from crm_plugin.store import bulk, member_tags, members
from crm_plugin.store.session import Database
from tests.factories import make_shop, member, write

ODD = (
    "tab\there",
    "new\nline",
    "return\rhere",
    "back\\slash",
    "\\N",
    '"quoted"',
    "comma,{brace}",
    "\\u0000",
    "",
    "名前 🎁",
)


@pytest.fixture
def member_id(db: Database) -> int:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1")])
    with db.read() as connection:
        return connection.execute(select(members.c.member_id)).scalar_one()


def _tags(db: Database) -> set[str]:
    with db.read() as connection:
        return set(connection.execute(select(member_tags.c.tag)).scalars())


@pytest.mark.parametrize("how", ["insert", "upsert"])
def test_odd_texts_come_back_as_they_went(db: Database, member_id: int, how: str) -> None:
    columns = ("shop_id", "member_id", "tag")
    rows = [(1, member_id, tag) for tag in ODD]
    with db.write() as connection:
        if how == "insert":
            bulk.insert_rows(connection, member_tags, columns, rows)
        else:
            bulk.upsert_rows(connection, member_tags, columns, columns, "", [*rows, (1, member_id, "once more")])
            bulk.upsert_rows(connection, member_tags, columns, columns, "", rows)
    assert _tags(db) >= set(ODD)
    with db.read() as connection:
        sql = "SELECT tag FROM member_tags WHERE shop_id = ? AND tag IN ({marks})"
        assert {row[0] for row in bulk.select_in(connection, sql, (1,), ODD)} == set(ODD)
    with db.write() as connection:
        sql = "DELETE FROM member_tags WHERE shop_id = ? AND tag IN ({marks})"
        bulk.execute_in(connection, sql, (1,), ODD[:-1])
    assert ODD[-1] in _tags(db)
    assert not _tags(db) & set(ODD[:-1])


@pytest.mark.postgres
def test_nul_is_left_out_where_it_cannot_be_kept(db: Database, member_id: int) -> None:
    if db.is_sqlite:
        return
    with db.write() as connection:
        bulk.insert_rows(connection, member_tags, ("shop_id", "member_id", "tag"), [(1, member_id, "a\0b")])
        columns = ("shop_id", "member_id", "tag")
        bulk.upsert_rows(
            connection, member_tags, columns, columns, "", [(1, member_id, "c\0d"), (1, member_id, "\\u0000")]
        )
        sql = "SELECT tag FROM member_tags WHERE shop_id = ? AND tag IN ({marks})"
        assert len(list(bulk.select_in(connection, sql, (1,), ("a\0b", "cd")))) == 2
    assert _tags(db) == {"ab", "cd", "\\u0000"}


def test_update_sets_every_kind_of_value(db: Database, member_id: int) -> None:
    with db.write() as connection:
        columns = ("birth_md", "first_name", "updated_at", "shop_id", "member_id")
        bulk.update_rows(connection, members, columns, columns[3:], [(229, "O'\\Hara\n", None, 1, member_id)])
        row = connection.execute(select(members)).one()
    assert (row.birth_md, row.first_name, row.updated_at) == (229, "O'\\Hara\n", None)


def test_long_lists_are_asked_whole(db: Database, member_id: int) -> None:
    sql = "SELECT member_id FROM members WHERE shop_id = ? AND member_id IN ({marks})"
    with db.read() as connection:
        assert list(bulk.select_in(connection, sql, (1,), ())) == []
        found = list(bulk.select_in(connection, sql, (1,), [*range(1, 12_001), member_id]))
    assert [tuple(row) for row in found] == [(member_id,)]


def test_taken_key_is_an_integrity_error(db: Database, member_id: int) -> None:
    row, columns = (1, member_id, "vip"), ("shop_id", "member_id", "tag")
    with db.write() as connection:
        bulk.insert_rows(connection, member_tags, columns, [row])
    with pytest.raises(IntegrityError), db.write() as connection:
        bulk.insert_rows(connection, member_tags, columns, [(1, member_id, "new"), row])
    assert _tags(db) == {"vip"}


def test_rows_keep_their_names_and_values(db: Database, member_id: int) -> None:
    query = select(members.c.member_id, members.c.first_name, members.c.joined_at).where(members.c.shop_id == 1)
    with db.read() as connection:
        told, found = connection.execute(query).all(), bulk.named(connection.execute(query))
    assert found == [tuple(row) for row in told]
    assert [(row.member_id, row.first_name, row.joined_at) for row in found] == [tuple(row) for row in told]
    # Of SQLAlchemy's own each name is looked for anew.
    assert {type(row).__mro__[1] for row in found} == {tuple}
