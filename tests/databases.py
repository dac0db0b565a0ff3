"""PostgreSQL databases for tests: one with all tables that is kept and emptied after each test, and others without tables.

To make and drop a database for each test, and to connect to it, cost 0.14 s a test; to empty the kept one costs 0.003 s. Connections are
kept with it: a server process that is new reads anew what the tables are.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text

from crm_plugin.store import metadata
from crm_plugin.store.session import Database, make_engine
from tests.postgres import PostgresServer

_KEPT = "crm_kept"
# Deleted rows go on filling their pages. Above so many bytes in one table all are cut off instead, which takes ten times as long.
_LARGE = 512 * 1024
# Each connection that is kept is cleaned after each test; most tests need one, many two.
_FEW = 3

# Kept beside the tables: a test that changes them, or makes any of its own, gets the next one a new database.
_WATCH = """
CREATE SCHEMA watch;
CREATE TABLE watch.changes (tag text);
CREATE FUNCTION watch.note() RETURNS event_trigger LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO watch.changes VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watch.note();
"""

# Whoever is still connected may hold locks. Foreign keys are not looked at while all rows go.
_EMPTY = """
DO $$
DECLARE name text; size bigint; largest bigint := 0; filled text[] := '{{}}';
BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> ALL (ARRAY{kept}) AND backend_type = 'client backend';
    FOR name, size IN SELECT oid::regclass, pg_relation_size(oid) FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    LOOP
        IF size > 0 THEN filled := filled || name; END IF;
        largest := greatest(largest, size);
    END LOOP;
    IF largest > {large} THEN
        EXECUTE 'TRUNCATE ' || array_to_string(filled, ', ') || ' CASCADE';
    ELSE
        SET LOCAL session_replication_role = replica;
        FOREACH name IN ARRAY filled LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
    END IF;
END $$
"""
_CLEAN = "DO $$ BEGIN PERFORM pg_advisory_unlock_all(); RESET ALL; END $$"
_IS_CHANGED = """
SELECT EXISTS (SELECT FROM watch.changes)
    OR EXISTS (SELECT FROM pg_statistic JOIN pg_class ON oid = starelid WHERE relnamespace = 'public'::regnamespace)
"""


class Compiled(dict[tuple[Hashable, ...], Any]):
    """Statements once compiled, for all databases of one kind: an engine of its own, which a test has, would compile all of them again."""

    def get(self, key: tuple[Hashable, ...], default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: tuple[Hashable, ...], value: Any) -> None:
        # The first of a key is the engine's own dialect object.
        super().__setitem__(key[1:], value)


class PostgresDatabases:
    """What a running server holds for one test process."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._admin = create_engine(server.admin_url, isolation_level="AUTOCOMMIT")
        self._kept: Engine | None = None

    @contextmanager
    def kept(self) -> Iterator[Database]:
        """A database with all tables and no rows, on connections that are kept; one test at a time."""
        if self._kept is None:
            self._kept = self._make()
        try:
            # An engine of its own over the same connections: what listens to it goes with the test.
            yield Database(self._kept.execution_options())
        finally:
            self._empty(self._kept)

    @contextmanager
    def bare(self) -> Iterator[str]:
        """URL of a database of its own without tables, dropped at the end with whatever connection was left open."""
        name = f"crm_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY FILE_COPY")
        try:
            yield self._server.url(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Give back the connections; the server goes on."""
        if self._kept is not None:
            self._kept.dispose()
        self._admin.dispose()

    def _make(self) -> Engine:
        self._run(f"CREATE DATABASE {_KEPT} TEMPLATE template0 STRATEGY FILE_COPY")
        engine = make_engine(self._server.url(_KEPT))
        metadata.create_all(engine)
        with engine.begin() as connection:
            for statement in _WATCH.strip().split(";\n"):
                connection.exec_driver_sql(statement.rstrip(";"))
        return engine

    def _empty(self, engine: Engine) -> None:
        pool = engine.pool
        # What a test still holds is not kept, nor are more than a few.
        if pool.checkedout() or pool.checkedin() > _FEW:  # type: ignore[attr-defined]
            engine.dispose()
        with ExitStack() as held:
            kept = [held.enter_context(engine.begin()) for _ in range(max(1, engine.pool.checkedin()))]  # type: ignore[attr-defined]
            for connection in kept:
                connection.exec_driver_sql(_CLEAN)
            first = kept[0]
            first.exec_driver_sql(_EMPTY.format(kept=[_process_of(one) for one in kept], large=_LARGE))
            changed = first.exec_driver_sql(_IS_CHANGED).scalar_one()
        if changed:
            engine.dispose()
            self._kept = None
            self._run(f"DROP DATABASE {_KEPT} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))


def _process_of(connection: Connection) -> int:
    """The server's process at the other end; asked once and kept with the connection."""
    if "process" not in connection.info:
        connection.info["process"] = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    number: int = connection.info["process"]
    return number
