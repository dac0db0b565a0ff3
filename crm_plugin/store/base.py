"""What every table shares: metadata with naming rules, column types that mean the same on both databases, key helpers.

`shop_id` is the first column of every primary, unique and foreign key (tests/store/test_schema.py walks the metadata).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, ColumnElement, ForeignKeyConstraint, Integer, MetaData, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from crm_plugin.clock import day_number, from_day_number, require_aware
from crm_plugin.phrases import packed, unpacked

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as integer microseconds since 1970: sorts, subtracts and indexes alike on both databases."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_micros(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[int | None], datetime | None]:
        """In place of `process_result_value`, around which SQLAlchemy puts two calls: rows are read by the thousand."""
        return _read_instant


class LocalDay(TypeDecorator[date]):
    """A calendar day in a named zone, stored as days since 1970-01-01, so that SQL can subtract two of them.

    Expressions that do arithmetic use `type_coerce(column, Integer)`.
    """

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: date | None, dialect: Dialect) -> int | None:
        return None if value is None else day_number(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> date | None:
        return None if value is None else from_day_number(value)


class Json(TypeDecorator[Any]):
    """A JSON document kept as text, keys in the order given, the same bytes on both databases."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else to_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class PhraseText(TypeDecorator[str]):
    """A text for people that keeps the message and the values it was made of (`phrases.py`), so that pages can translate it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else packed(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else unpacked(value)


def to_json(value: Any) -> str:
    """Compact JSON text, as the `Json` type stores it."""
    return _encode(value).decode()


def _plain_text(value: Any) -> str:
    if isinstance(value, str):
        return "".join(value)
    raise NotImplementedError(f"a {type(value).__name__} has no form in JSON")


_encode = msgspec.json.Encoder(enc_hook=_plain_text).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_micros(value: datetime) -> int:
    """An aware datetime as stored. Raises: ValueError for a naive one."""
    delta = require_aware(value) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


@lru_cache(maxsize=4096)
def from_micros(value: int) -> datetime:
    """The aware UTC datetime of a stored instant. Rows that are read together mostly share theirs, so those made last are kept."""
    return _EPOCH + timedelta(microseconds=value)


def _read_instant(value: int | None) -> datetime | None:
    return None if value is None else from_micros(value)


def shop_key() -> Column[int]:
    """The tenant column, first in every table's primary key."""
    return Column("shop_id", BigInteger, primary_key=True, autoincrement=False)


def id_key(name: str) -> Column[int]:
    """An id made by `ids.py`, second in the primary key."""
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


def belongs_to(table: str, *columns: str, ondelete: str = "CASCADE") -> ForeignKeyConstraint:
    """A foreign key of (shop_id, columns) to the same columns of another table."""
    names = ("shop_id", *columns)
    return ForeignKeyConstraint(names, [f"{table}.{name}" for name in names], ondelete=ondelete)


@cache
def unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column by which SQLite must not choose an index.

    It has no figures about the rows, so five states look fewer to it than ten members. PostgreSQL has figures, and sees the column alone.
    The same for each statement: one that is made anew refers to itself, and lies about with all that is compared to it until the collector
    comes.
    """
    return _Unindexed(column)


class _Unindexed(FunctionElement[Any]):
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(_Unindexed)
def _plainly(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Unindexed, "sqlite")
def _hidden(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"
