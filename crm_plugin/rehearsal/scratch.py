"""The copy that a rehearsal plays with: one shop's rows in a SQLite file of its own, gone when the rehearsal is over.

Tables are copied as the metadata names them, so that a new one comes along by itself. No secret is copied, and neither is what only the
inbox, the logs and the Outbox need.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, LargeBinary, Table, event
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.types import TypeDecorator

from crm_plugin.store import metadata
from crm_plugin.store.bulk import execute, insert_rows
from crm_plugin.store.session import Database

# Raw texts, logs, what was sent to the letter, and what is written into the store.
LEFT_OUT = frozenset(
    {
        "attempts",
        "audit_log",
        "inapp_messages",
        "inbox",
        "installs",
        "privacy_requests",
        "problems",
        "store_writes",
        "tier_writebacks",
        "touchpoint_contents",
        "writeback_switches",
    }
)
PAGE = 10_000
_PREFIX, _LOCK = "crm-rehearsal-", "lock"
# Seconds from when a folder is made until it is surely held.
_BEGINS = 60


@contextmanager
def copied(db: Database, shop_id: int, note: Callable[[str, int], None]) -> Iterator[Database]:
    """The shop's rows in a database of their own, removed whatever happens. `note` hears of each table how many rows are copied."""
    _forget_left()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, _held(Path(folder)):
        scratch = Database.at(f"sqlite:///{Path(folder) / 'scratch.sqlite3'}")
        event.listen(scratch.engine, "connect", _hasty)
        try:
            copy(db, scratch, shop_id, note)
            yield scratch
        finally:
            scratch.dispose()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Whoever finds the folder sees that somebody is at work in it: the lock goes with the process, however that ends."""
    with (folder / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _forget_left() -> None:
    """Remove the copies of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # Another's, just begun or gone meanwhile: not ours to remove.
        with suppress(OSError), (folder / _LOCK).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - folder.stat().st_ctime > _BEGINS:
                shutil.rmtree(folder, ignore_errors=True)


def _hasty(connection: Any, _record: Any) -> None:
    # Nothing in it has to outlive the process.
    connection.execute("PRAGMA synchronous=OFF")


def copy(db: Database, scratch: Database, shop_id: int, note: Callable[[str, int], None]) -> None:
    """Copy all rows of a shop, as they are at one instant. Indexes are made at the end: that takes a third of keeping them on the way."""
    with _still(db) as source, scratch.write() as target:
        target.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        for table in metadata.sorted_tables:
            target.execute(CreateTable(table))
            if table.name not in LEFT_OUT:
                _copy_table(source, target, table, shop_id, note)
        for table in metadata.sorted_tables:
            for index in sorted(table.indexes, key=lambda one: str(one.name)):
                target.execute(CreateIndex(index))
    with scratch.write() as target:
        target.exec_driver_sql("ANALYZE")


@contextmanager
def _still(db: Database) -> Iterator[Connection]:
    """One consistent view of the source over all statements."""
    with db.read() as connection:
        if not db.is_sqlite:
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _copy_table(
    source: Connection, target: Connection, table: Table, shop_id: int, note: Callable[[str, int], None]
) -> None:
    """Page by page along the primary key, so that no more than a page is held."""
    names = [column.name for column in table.columns]
    keys = [column.name for column in table.primary_key.columns if column.name != "shop_id"]
    order = f" ORDER BY {', '.join(keys)} LIMIT {PAGE}" if keys else ""
    is_sqlite = source.dialect.name == "sqlite"
    picked = ", ".join(_picked(column, is_sqlite) for column in table.columns)
    places = [names.index(key) for key in keys]
    sql = f"SELECT {picked} FROM {table.name} WHERE shop_id = ?"  # noqa: S608
    further = f" AND ({', '.join(keys)}) > ({', '.join('?' * len(keys))})" if keys else ""
    rows = execute(source, sql + order, (shop_id,)).all()
    done = 0
    while rows:
        insert_rows(target, table, names, [tuple(row) for row in rows])
        done += len(rows)
        note(table.name, done)
        if not keys or len(rows) < PAGE:
            return
        last = rows[-1]
        rows = execute(source, sql + further + order, (shop_id, *(last[place] for place in places))).all()


def _picked(column: Any, is_sqlite: bool) -> str:
    """What is sealed stays where it is."""
    declared = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
    if isinstance(declared, LargeBinary):
        nothing = "NULL" if column.nullable else "x''" if is_sqlite else "''::bytea"
        return f"{nothing} AS {column.name}"
    return str(column.name)
