"""Fixtures for the whole suite: both databases, a fixed clock, no network beyond this machine."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from crm_plugin.clock import FixedClock
from crm_plugin.store import metadata
from crm_plugin.store.session import Database, make_engine
from tests.postgres import PostgresServer

_numbers = itertools.count(1)
_TEMPLATE = "crm_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for each test process, holding a template database with all tables."""
    try:
        server = PostgresServer()
    except (RuntimeError, OSError) as error:
        message = f"no PostgreSQL for the tests: {error}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    try:
        _admin(server, f"CREATE DATABASE {_TEMPLATE}")
        engine = make_engine(server.url(_TEMPLATE))
        metadata.create_all(engine)
        engine.dispose()
        yield server
    finally:
        server.stop()


def _admin(server: PostgresServer, statement: str) -> None:
    engine = create_engine(server.admin_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database with all tables, once on each kind."""
    yield from _database(request, tmp_path, with_tables=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables, once on each kind."""
    yield from _database(request, tmp_path, with_tables=False)


def _database(request: pytest.FixtureRequest, tmp_path: Path, *, with_tables: bool) -> Iterator[str]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'crm.sqlite3'}"
        if with_tables:
            engine = make_engine(url)
            metadata.create_all(engine)
            engine.dispose()
        yield url
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"crm_{os.getpid()}_{next(_numbers)}"
    _admin(server, f"CREATE DATABASE {name}" + (f" TEMPLATE {_TEMPLATE}" if with_tables else ""))
    yield server.url(name)
    _admin(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A database with all tables, on SQLite and on PostgreSQL."""
    database = Database.at(database_url)
    yield database
    database.dispose()


@pytest.fixture
def engine(db: Database) -> Engine:
    """The engine of `db`."""
    return db.engine


@pytest.fixture
def sqlite_db(tmp_path: Path) -> Iterator[Database]:
    """A SQLite database with all tables, for what does not depend on the kind."""
    database = Database.at(f"sqlite:///{tmp_path / 'crm.sqlite3'}")
    metadata.create_all(database.engine)
    yield database
    database.dispose()


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands at noon UTC on 1 June 2026."""
    return FixedClock(datetime(2026, 6, 1, 12, tzinfo=UTC))
