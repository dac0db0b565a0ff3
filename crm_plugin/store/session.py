"""Engines and transactions. `Database.write()` is the only place that commits."""

from __future__ import annotations

import os
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from crm_plugin.money import portion

_WRITE, _WAITS = "crm_write", "crm_waits"
_IMMEDIATE = "BEGIN IMMEDIATE"
# A writer waits this long for another writer before SQLite says "database is locked".
_BUSY_MS = 30_000
# How often it looks whether the other has done. SQLite itself looks ever more seldom, after half a second ten times a second: whoever
# writes for a few milliseconds at a time keeps all others waiting for a tenth of a second. Of a long wait a little more does not matter.
_OFTEN, _SELDOM, _LONG = 0.001, 0.01, 0.5
# PostgreSQL undid one of two transactions that stood against one another (deadlock, serialization): it may be run again.
_CONFLICTS = frozenset({"40001", "40P01"})
# Classes of its codes that say that the server is not there or has no room: connection, resources, an operator's intervention, system.
_AWAY = ("08", "53", "57P", "58")
_Answer = TypeVar("_Answer")


def make_engine(url: str | URL, **options: Any) -> Engine:
    """An engine for SQLite (WAL, foreign keys on, transactions begun by us) or PostgreSQL.

    A PostgreSQL URL may name no driver; pg8000 is used, for its licence.
    """
    parsed = make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+pg8000")
    dialect: Any = parsed.get_dialect()
    if issubclass(options.get("poolclass") or dialect.get_pool_class(parsed), QueuePool):
        # The connection that was used last is used next: it has the pages and statements at hand; those that are seldom needed hold few.
        options = {"pool_use_lifo": True, **options}
    if parsed.get_backend_name() != "sqlite":
        engine = create_engine(parsed, pool_pre_ping=True, **options)
        if parsed.get_driver_name() == "pg8000":
            event.listen(engine, "do_connect", _connect_postgres)
        event.listen(engine, "connect", _prepare_postgres)
        return engine
    engine = create_engine(parsed, connect_args={"timeout": _BUSY_MS / 1000, "check_same_thread": False}, **options)
    event.listen(engine, "do_connect", _make_private)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _connect_postgres(dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    # Encrypted where the server offers it, as the driver does by itself; the question and a refusal cost a thirtieth of what it takes.
    if "ssl_context" in options:
        return None
    try:
        return dialect.connect(*arguments, ssl_context=_encryption(), **options)
    except dialect.loaded_dbapi.InterfaceError as error:
        if "refuses SSL" not in str(error):
            raise
    return dialect.connect(*arguments, ssl_context=False, **options)


@cache
def _encryption() -> ssl.SSLContext:
    # The driver would read all certificates of the system for each connection (0.04 s of a core), to verify none.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _prepare_postgres(connection: Any, _record: Any) -> None:
    # COPY goes out in several small packets; with Nagle's algorithm each waits 40 ms for the server's acknowledgement of the one before.
    sock = getattr(connection, "_usock", None)
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if getattr(connection, "_sock", None) is not None:
        connection._sock = _Line(connection._sock)


class _Line:
    """The driver's file over its socket: a connection that was reset reads as one that has ended.

    pg8000 lets the system's error of its first read through as it is. Then nobody takes it for an error of the database: the pool
    would not replace the connection, and nobody would wait for the server.
    """

    __slots__ = ("_file", "close", "flush", "write")

    def __init__(self, file: Any) -> None:
        self._file = file
        self.write, self.flush, self.close = file.write, file.flush, file.close

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)  # type: ignore[no-any-return]
        except OSError:
            return b""


def _make_private(_dialect: Any, _record: Any, arguments: list[Any], _options: Any) -> None:
    # It holds names and addresses of customers. SQLite gives its log beside it the same mode. What cannot be made SQLite tells better.
    file = str(arguments[0])
    if file != ":memory:" and not file.startswith("file:"):
        with suppress(OSError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling begins late and commits early; we say BEGIN ourselves (see _begin_sqlite).
    connection.isolation_level = None
    # SQLite has no whole numbers beyond 64 bits, which the product of two amounts may need.
    connection.create_function("crm_portion", 3, portion, deterministic=True)
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        # A commit is on the disk when it is answered: an attempt that a power cut forgets would leave a second time.
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_MS}",
        # Every connection fills its own, and the system keeps the file's pages as well: more of it makes hardly anything faster.
        "cache_size=-4096",
        # A checkpoint waits for the disk: once for so many pages (64 MB), not for every page of orders.
        "wal_autocheckpoint=16384",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once: a deferred transaction that reads first and writes later fails instead of waiting.
    if not connection.get_execution_options().get(_WRITE):
        _let_wait(connection, _BUSY_MS)
        connection.exec_driver_sql("BEGIN")
        return
    # Whoever has the lock waits for nobody any more.
    _let_wait(connection, 0)
    try:
        connection.exec_driver_sql(_IMMEDIATE)
    except OperationalError as error:
        if not _is_busy(error.orig):
            raise
        if not _have_turn(connection):
            # With SQLAlchemy's errors.
            connection.exec_driver_sql(_IMMEDIATE)


def _let_wait(connection: Connection, milliseconds: int) -> None:
    """How long SQLite itself waits for others on this connection."""
    held = connection.connection
    if held.info.get(_WAITS) != milliseconds:
        # The driver keeps statements, and this one takes effect while it is read: as a script it is read each time.
        held.executescript(f"PRAGMA busy_timeout={milliseconds}")
        held.info[_WAITS] = milliseconds


def _have_turn(connection: Connection) -> bool:
    """Begin to write as soon as the others let; False when they did not for as long as one waits."""
    cursor, began = connection.connection.cursor(), time.monotonic()
    while (waited := time.monotonic() - began) < _BUSY_MS / 1000:
        time.sleep(_OFTEN if waited < _LONG else _SELDOM)
        try:
            cursor.execute(_IMMEDIATE)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                return False
        else:
            return True
    return False


def _is_busy(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


class Database:
    """An engine with the two ways to use it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._writer = engine.execution_options(**{_WRITE: True})

    @classmethod
    def at(cls, url: str | URL) -> Database:
        """The database at that URL."""
        return cls(make_engine(url))

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end of the block, rolled back whole on any exception."""
        with self._writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; nothing is kept."""
        with self.engine.connect() as connection:
            yield connection

    def forgetful(self) -> list[str]:
        """Settings of a PostgreSQL server by which a power cut may undo what was committed; SQLite has none such here."""
        if self.is_sqlite:
            return []
        with self.read() as connection:
            query = text(
                "SELECT name FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'off'"
            )
            return sorted(connection.execute(query).scalars())

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's code of what went wrong; empty where the database is SQLite or said nothing. pg8000 has one class for nearly all."""
    told = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return str(told.get("C", "")) if isinstance(told, dict) else ""


def is_conflict(error: DBAPIError) -> bool:
    """Whether the transaction was undone only because of another that ran at the same time."""
    return sqlstate(error) in _CONFLICTS


def is_away(error: DBAPIError) -> bool:
    """Whether no other transaction can be expected to do better: the database is out of reach, busy beyond patience, or full."""
    if is_conflict(error):
        return False
    known = isinstance(error, OperationalError | InterfaceError)
    return known or error.connection_invalidated or sqlstate(error).startswith(_AWAY)


def again(work: Callable[[], _Answer], times: int = 3) -> _Answer:
    """Run a whole transaction, and once more, at most `times` in all, when another stood against it. Raises: what the last one raised."""
    for _ in range(times - 1):
        try:
            return work()
        except DBAPIError as error:
            if not is_conflict(error):
                raise
    return work()
