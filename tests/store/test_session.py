"""What the database says went wrong: another transaction stood against ours, it is away, or the statement is wrong."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

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
