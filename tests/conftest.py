"""Fixtures for the whole suite: both databases, a fixed clock, no network beyond this machine."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pg8000.legacy
import pytest
from hypothesis import Phase, settings
from sqlalchemy import URL, Engine, event

from crm_plugin.clock import FixedClock
from crm_plugin.runtime import calm_collector
from crm_plugin.store import metadata, session
from crm_plugin.store.session import Database, make_engine
from tests import brokers
from tests.brokers import Broker
from tests.databases import Compiled, PostgresDatabases
from tests.postgres import PostgresServer

# The same examples in each run, so that one change is to blame for what fails, told as found: making the long ones smaller takes up to ten
# minutes. No example is held against a clock. `--hypothesis-profile explore` looks at others each time, and makes them smaller.
settings.register_profile(
    "steady", derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate, Phase.target]
)
settings.register_profile("explore", derandomize=False, deadline=None)
settings.load_profile("steady")


# What contracts assert is explained as what tests assert is.
pytest.register_assert_rewrite("tests.contracts")


def pytest_collection_finish() -> None:
    """What is there before the first test stays: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    calm_collector()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--fast`."""
    parser.addoption("--fast", action="store_true", help="first cases alone, on SQLite, without what is slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--fast` keep of each test its first case that is neither slow nor needs a server or a browser."""
    if not config.getoption("--fast"):
        return
    kept: dict[str, pytest.Item] = {}
    for item in items:
        if not any(item.get_closest_marker(mark) for mark in ("slow", "postgres", "browser")):
            kept.setdefault(item.nodeid.partition("[")[0], item)
    chosen = set(kept.values())
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept.values()


_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _cannot_be_had(what: str) -> NoReturn:
    """Fail in CI, where nothing may be left out; skip on a developer's machine."""
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresDatabases]:
    """A server for each test process; it starts in a second or two."""
    try:
        server = PostgresServer()
    except (RuntimeError, OSError) as error:
        _cannot_be_had(f"no PostgreSQL for the tests: {error}")
    try:
        databases = PostgresDatabases(server)
        yield databases
        databases.close()
    finally:
        server.stop()


def _broker(kind: type[Broker]) -> Iterator[Broker]:
    try:
        made = brokers.start(kind)
    except (RuntimeError, OSError) as error:
        _cannot_be_had(f"no broker for the tests: {error}")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def redis() -> Iterator[Broker]:
    """A Redis of each test process, as Celery's broker."""
    yield from _broker(brokers.Redis)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Broker]:
    """A RabbitMQ of each test process, as Celery's broker; it takes some seconds to start."""
    yield from _broker(brokers.RabbitMQ)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite3"
    engine = make_engine(f"sqlite:///{path}")
    metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def sqlite_compiled() -> Compiled:
    """What one SQLite database has compiled serves the next."""
    return Compiled()


@pytest.fixture(scope="session", autouse=True)
def _compile_once(sqlite_compiled: Compiled) -> Iterator[None]:
    """So it does what a command or a rehearsal opens by itself."""
    make = session.make_engine

    def sharing(url: str | URL, **options: Any) -> Engine:
        engine = make(url, **options)
        return _hasty(engine, sqlite_compiled) if engine.dialect.name == "sqlite" else engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "make_engine", sharing)
        yield


@pytest.fixture(scope="session", autouse=True)
def _number_once() -> Iterator[None]:
    """The driver goes through each statement letter by letter to number its values: here once, and not for each test anew."""
    convert = pg8000.legacy.convert_paramstyle

    @cache
    def numbered(statement: str) -> str:
        text: str = convert("format", statement, ())[0]
        return text

    def converted(style: str, statement: str, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        return (numbered(statement), values) if style == "format" else convert(style, statement, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pg8000.legacy, "convert_paramstyle", converted)
        yield


def _hasty(engine: Engine, compiled: Compiled) -> Engine:
    """An engine for SQLite that waits for no disk: nothing has to outlive the tests."""
    event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous=OFF"))
    return engine.execution_options(compiled_cache=compiled)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """URL of a SQLite database with all tables, for what does not depend on the kind."""
    path = tmp_path / "crm.sqlite3"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


_BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=_BOTH)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables, once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    with request.getfixturevalue("postgres").bare() as url:
        yield url


@pytest.fixture(params=_BOTH)
def db(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database with all tables and no rows, once on each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_db")
        return
    with request.getfixturevalue("postgres").kept() as database:
        yield database


@pytest.fixture
def engine(db: Database) -> Engine:
    """The engine of `db`."""
    return db.engine


@pytest.fixture
def sqlite_db(sqlite_url: str, sqlite_compiled: Compiled) -> Iterator[Database]:
    """A SQLite database with all tables, for what does not depend on the kind."""
    database = Database(_hasty(make_engine(sqlite_url), sqlite_compiled))
    yield database
    database.dispose()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser on this machine, for tests marked `browser`; `./dev test` installs it where it may."""
    for name in _BROWSERS:
        if path := shutil.which(name):
            return path
    _cannot_be_had("no Chromium for the browser tests: install the package chromium")


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands at noon UTC on 1 June 2026."""
    return FixedClock(datetime(2026, 6, 1, 12, tzinfo=UTC))
