"""Tests do not see one another: whatever one leaves in the kept PostgreSQL database, the next one finds all tables and no rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, text

from crm_plugin.store import member_tags, members, metadata, shops
from crm_plugin.store.session import Database, make_engine
from tests.databases import PostgresDatabases
from tests.factories import make_shop, member, order, write

pytestmark = pytest.mark.postgres

_SHAPE = """
SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT tablename, indexname, indexdef, '' FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '' FROM pg_constraint WHERE conrelid <> 0
    AND connamespace = 'public'::regnamespace
UNION ALL SELECT event_object_table, trigger_name, action_statement, '' FROM information_schema.triggers
ORDER BY 1, 2, 3
"""


def _few_rows(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member()])
    write(db, shop, [order()])


def _many_rows(db: Database) -> None:
    _few_rows(db)
    with db.write() as connection:
        member_id = connection.execute(select(members.c.member_id)).scalar_one()
        tags = [{"shop_id": 1, "member_id": member_id, "tag": f"{number:0200}"} for number in range(5_000)]
        connection.execute(insert(member_tags), tags)


def _rows_taken_back(db: Database) -> None:
    with db.engine.connect() as connection:
        make_shop(connection)
        connection.rollback()


def _ddl(statement: str) -> Callable[[Database], None]:
    def spoil(db: Database) -> None:
        with db.write() as connection:
            connection.exec_driver_sql(statement)

    spoil.__name__ = " ".join(statement.split()[:2]).lower()
    return spoil


def _open_transaction(db: Database) -> None:
    # Kept open on purpose: the name must outlive the test, or the connection is given back.
    connection = db.engine.connect()
    make_shop(connection)
    _LEFT_OPEN.append(connection)


def _connections_of_others(db: Database) -> None:
    other = make_engine(db.engine.url)
    connection = other.connect()
    connection.exec_driver_sql("LOCK TABLE shops IN ACCESS EXCLUSIVE MODE")
    _LEFT_OPEN.append(connection)


def _several_connections(db: Database) -> None:
    with db.read() as one, db.read() as other:
        assert one.execute(select(shops)).all() == other.execute(select(shops)).all() == []


def _settings(db: Database) -> None:
    with db.write() as connection:
        connection.exec_driver_sql("SET enable_seqscan = off")
        connection.exec_driver_sql("SELECT pg_advisory_lock(1)")


def _settings_of_several_connections(db: Database) -> None:
    with db.read() as one, db.read() as other:
        for connection in (one, other):
            connection.exec_driver_sql("SET enable_seqscan = off")
            connection.exec_driver_sql("SELECT pg_advisory_lock_shared(1)")
            connection.commit()


def _more_connections_than_are_kept(db: Database) -> None:
    with ExitStack() as held:
        for _ in range(5):
            held.enter_context(db.read()).exec_driver_sql("SET enable_seqscan = off")


def _listener(db: Database) -> None:
    event.listen(db.engine, "before_cursor_execute", _fail)


def _fail(*_told: object) -> None:
    raise AssertionError("heard in the next test")


_LEFT_OPEN: list[Connection] = []
_SPOILS = [
    _few_rows,
    _many_rows,
    _rows_taken_back,
    _open_transaction,
    _connections_of_others,
    _several_connections,
    _settings,
    _settings_of_several_connections,
    _more_connections_than_are_kept,
    _listener,
    _ddl("CREATE TABLE mine (a int)"),
    _ddl("DROP INDEX ix_members_zone"),
    _ddl("ALTER TABLE shops DROP COLUMN title"),
    _ddl("CREATE TEMPORARY TABLE passing (a int)"),
    _ddl("ANALYZE"),
]


@pytest.mark.parametrize("spoil", _SPOILS, ids=lambda one: one.__name__.strip("_").replace("_", " "))
def test_nothing_is_left(postgres: PostgresDatabases, spoil: Callable[[Database], None]) -> None:
    with postgres.kept() as db, db.read() as connection:
        shape = connection.exec_driver_sql(_SHAPE).all()
    with postgres.kept() as db:
        spoil(db)
    with postgres.kept() as db, db.read() as connection:
        for table in metadata.sorted_tables:
            assert connection.execute(select(table)).all() == []
        assert connection.exec_driver_sql(_SHAPE).all() == shape
        assert connection.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar_one() == 0
        assert connection.execute(text("SELECT count(*) FROM pg_statistic WHERE starelid >= 16384")).scalar_one() == 0
        # What is connected are the kept connections, and nobody else.
        pool: Any = db.engine.pool
        clients = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND client_port > 0"
        kept = pool.checkedin() + pool.checkedout()
        assert 1 <= connection.execute(text(clients)).scalar_one() == kept <= 3
        assert len(shape) > 500
    with postgres.kept() as db, ExitStack() as held:
        every = [held.enter_context(db.read()) for _ in range(kept)]
        assert [one.execute(text("SHOW enable_seqscan")).scalar_one() for one in every] == ["on"] * kept
