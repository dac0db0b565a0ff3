"""What the database says went wrong: another transaction stood against ours, it is away, or the statement is wrong."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from crm_plugin.store import session
from crm_plugin.store.session import Database, again, is_away, is_conflict, make_engine

_RAISES = "DO $$ BEGIN RAISE EXCEPTION 'told' USING ERRCODE = '{code}'; END $$"


@pytest.mark.parametrize(
    ("code", "conflict", "away"),
    [
        ("40P01", True, False),
        ("40001", True, False),
        ("57P01", False, True),
        ("53300", False, True),
        ("42P01", False, False),
    ],
)
@pytest.mark.postgres
def test_postgres_code_tells_what_went_wrong(
    request: pytest.FixtureRequest, code: str, conflict: bool, away: bool
) -> None:
    runs = 0

    def work() -> None:
        nonlocal runs
        runs += 1
        with database.write() as connection:
            connection.execute(text(_RAISES.format(code=code)))

    with request.getfixturevalue("postgres").kept() as database, pytest.raises(DBAPIError) as caught:
        again(work)
    assert (is_conflict(caught.value), is_away(caught.value), runs) == (conflict, away, 3 if conflict else 1)


def test_locked_file_is_away(sqlite_db: Database) -> None:
    error = OperationalError("UPDATE", {}, sqlite3.OperationalError("database is locked"))
    assert (is_conflict(error), is_away(error)) == (False, True)


def test_commit_on_sqlite_waits_for_the_disk(tmp_path: Path) -> None:
    # The suite's own engines do not wait; this one is the product's.
    database = Database(make_engine(f"sqlite:///{tmp_path / 'crm.sqlite3'}"))
    for transaction in (database.write, database.read):
        with transaction() as connection:
            told = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "synchronous")
            ]
            # FULL: with NORMAL a log is written to the disk no earlier than at a checkpoint.
            assert told == ["wal", 2]
    assert database.forgetful() == []
    database.dispose()


@pytest.mark.postgres
def test_server_that_waits_for_no_disk_is_told_of(request: pytest.FixtureRequest) -> None:
    # So the tests' own server runs.
    with request.getfixturevalue("postgres").kept() as database:
        assert database.forgetful() == ["fsync", "synchronous_commit"]


def test_writer_that_waits_looks_often(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself would look ever more seldom, up to ten times a second."""
    other, pauses = sqlite3.connect(str(sqlite_db.engine.url.database), isolation_level=None), []
    other.execute("BEGIN IMMEDIATE")

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 9:
            other.rollback()

    monkeypatch.setattr(session.time, "sleep", sleep)
    with sqlite_db.write() as connection:
        connection.execute(text("CREATE TABLE written (number INTEGER)"))
    assert pauses == [0.001] * 9
    other.close()


def test_writer_whose_patience_ends_is_told_that_it_is_locked(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, pauses = sqlite3.connect(str(sqlite_db.engine.url.database), isolation_level=None), []
    monkeypatch.setattr(session.time, "sleep", pauses.append)
    monkeypatch.setattr(session.time, "monotonic", lambda: len(pauses))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked") as caught, sqlite_db.write():
        pass
    assert is_away(caught.value)
    # By that clock a second goes by at each look.
    assert pauses == [0.001, *[0.01] * 29]
    other.rollback()
    with sqlite_db.write() as connection:
        connection.execute(text("CREATE TABLE written (number INTEGER)"))
    other.close()


def test_readers_wait_as_long_as_before(sqlite_db: Database) -> None:
    waits = text("PRAGMA busy_timeout")
    for _ in range(2):
        with sqlite_db.write() as connection:
            assert connection.execute(waits).scalar_one() == 0
        with sqlite_db.read() as connection:
            assert connection.execute(waits).scalar_one() == 30_000


def test_connection_used_last_is_used_next(db: Database) -> None:
    with db.read() as first, db.read() as second:
        there = [first.connection.dbapi_connection, second.connection.dbapi_connection]
    used = []
    for _ in range(3):
        with db.read() as connection:
            used.append(connection.connection.dbapi_connection)
    # The first block to be opened is the last to give its connection back.
    assert used == [there[0]] * 3


def test_database_without_a_row_of_connections_opens(tmp_path: Path) -> None:
    for url, options in (("sqlite://", {}), (f"sqlite:///{tmp_path / 'crm.sqlite3'}", {"poolclass": NullPool})):
        database = Database(make_engine(url, **options))
        with database.write() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        database.dispose()
