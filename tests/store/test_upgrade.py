"""Databases of every earlier version come to the present schema with what is in them, also where two processes begin at once."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table, func, insert, select

from crm_plugin.store import metadata, migrate
from crm_plugin.store.base import Json
from crm_plugin.store.session import Database, make_engine

pytestmark = [
    pytest.mark.slow,
    # SQLAlchemy cannot read an index on an expression back from SQLite; no row hangs on it.
    pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index"),
]
PROJECT = Path(__file__).parent.parent.parent
# What a migration reads of a row, where any text would not do.
_MEANT = {"state": "active", "trigger": "birthday", "channels": '["email"]', "timezone": "UTC", "zone": "UTC"}


def _value(column: Column[Any], number: int) -> Any:
    """Something for a column. Every key of one revision's rows is its number, so rows belong together by themselves."""
    plain = {bool: False, bytes: b"x", int: number, float: number, Decimal: number}
    if column.type.python_type in plain:
        return plain[column.type.python_type]
    known = metadata.tables.get(column.table.name)
    if known is not None and column.name in known.c and isinstance(known.c[column.name].type, Json):
        return _MEANT.get(column.name, "{}")
    return _MEANT.get(column.name, f"x{number}")


def _fill(database: Database, number: int) -> set[str]:
    """Write one row into every table there is; answers the tables."""
    there = MetaData()
    there.reflect(database.engine)
    tables = [table for table in there.sorted_tables if table.name != "alembic_version"]
    with database.write() as connection:
        for table in tables:
            connection.execute(insert(table).values({column.name: _value(column, number) for column in table.c}))
    return {table.name for table in tables}


def _rows(database: Database, table: Table) -> set[int]:
    with database.read() as connection:
        return set(connection.execute(select(table.c.shop_id)).scalars())


def test_rows_of_every_version_come_to_the_present_one(empty_database_url: str) -> None:
    """A shop is written at each revision, with a row in every table there was then; all later steps pass over it."""
    database = Database.at(empty_database_url)
    walked, written = sorted(migrate.revisions()), dict[str, set[int]]()
    assert walked[-1] == migrate.head()
    for revision in walked[:-1]:
        migrate.upgrade(database.engine, revision)
        for name in _fill(database, int(revision)):
            written.setdefault(name, set()).add(int(revision))
    migrate.upgrade(database.engine)
    assert not migrate.pending(database.engine)
    assert written.keys() <= metadata.tables.keys()
    lost = {
        name: sorted(numbers - _rows(database, metadata.tables[name]))
        for name, numbers in written.items()
        if not numbers <= _rows(database, metadata.tables[name])
    }
    assert lost == {}
    if database.is_sqlite:
        with database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    database.dispose()


_START = """
import sys
from crm_plugin.cli.common import opened
from crm_plugin.store import migrate
print("ready", flush=True)
sys.stdin.readline()
with opened() as runtime:
    print(migrate.current(runtime.db.engine), runtime.box.signing_keys)
"""


@pytest.mark.parametrize("rows", [0, 1], ids=["empty", "of an earlier version"])
def test_two_programs_that_start_at_once_wait_for_one_another(
    rows: int, empty_database_url: str, tmp_path: Path
) -> None:
    if rows:
        first = Database.at(empty_database_url)
        migrate.upgrade(first.engine, "0005")
        _fill(first, 5)
        first.dispose()
    settings = {"CRM_DATA_DIR": str(tmp_path / "data"), "CRM_DATABASE_URL": empty_database_url}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _START],
            cwd=PROJECT,
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    # The same revision, and the same key for what is secret.
    assert told[0][0] == told[1][0]
    assert told[0][0].startswith(f"{migrate.head()} (b'")
    engine = make_engine(empty_database_url)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(metadata.tables["members"])).scalar_one() == rows
    engine.dispose()
