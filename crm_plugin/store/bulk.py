"""Writing and reading many rows at the speed of the database.

SQLite takes tuples by `executemany`; PostgreSQL takes new rows by COPY and everything else as one JSON document a statement, for a
round trip a row costs more than all the rest (executemany 29 k rows/s, COPY 183 k, JSON 102 k).
Values are as stored: instants in microseconds, days as numbers, JSON as text.
"""

from __future__ import annotations

import io
import re
from collections import namedtuple
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, Float, Integer, Result, Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeDecorator

from crm_plugin.store.base import to_json
from crm_plugin.store.lists import array

Row = tuple[Any, ...]
# SQLite sorts a list and walks the index once for it, so few long lists are cheaper; it takes 32,766 values a statement.
_CHUNK = 5000


def insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert new rows. Raises: IntegrityError when a key is there already."""
    if not rows:
        return
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        _run_many(connection, f"INSERT INTO {table.name} ({names}) VALUES ({_marks(columns)})", rows)  # noqa: S608
        return
    statement = f"COPY {table.name} ({names}) FROM STDIN"
    with _cursor(connection, statement) as cursor:
        cursor.execute(statement, stream=_copy_stream(rows))


def upsert_rows(
    connection: Connection, table: Table, columns: Sequence[str], key: Sequence[str], sets: str, rows: Sequence[Row]
) -> None:
    """INSERT … ON CONFLICT (key) DO UPDATE SET `sets`; an empty `sets` leaves a row that is there as it is.

    `sets` is SQL of ours that speaks of `excluded.<column>`, never of values.
    """
    if not rows:
        return
    names = ", ".join(columns)
    action = f"DO UPDATE SET {sets}" if sets else "DO NOTHING"
    tail = f" ON CONFLICT ({', '.join(key)}) {action}"
    if connection.dialect.name == "sqlite":
        _run_many(connection, f"INSERT INTO {table.name} ({names}) VALUES ({_marks(columns)}){tail}", rows)  # noqa: S608
        return
    statement = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {_records(table, columns)}{tail}"  # noqa: S608
    connection.exec_driver_sql(statement, (_document(columns, rows),))


def update_rows(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    key: Sequence[str],
    rows: Sequence[Row],
    only: str = "TRUE",
) -> int:
    """Set the other columns of the rows that `key` names and of which `only` holds, SQL of ours; answers how many there were.

    Each row holds all of `columns`, the key's last.
    """
    if not rows:
        return 0
    values = [name for name in columns if name not in key]
    if connection.dialect.name == "sqlite":
        sets = ", ".join(f"{name} = ?" for name in values)
        where = " AND ".join(f"{name} = ?" for name in key)
        return _run_many(connection, f"UPDATE {table.name} SET {sets} WHERE {where} AND {only}", rows)  # noqa: S608
    sets = ", ".join(f"{name} = x.{name}" for name in values)
    where = " AND ".join(f"{table.name}.{name} = x.{name}" for name in key)
    statement = f"UPDATE {table.name} SET {sets} FROM {_records(table, columns)} WHERE {where} AND {only}"  # noqa: S608
    return connection.exec_driver_sql(statement, (_document(columns, rows),)).rowcount


def select_in(connection: Connection, sql: str, fixed: Sequence[Any], values: Iterable[Any]) -> Iterator[Row]:
    """Rows of a SELECT whose text ends with `IN ({marks})`; the list is asked in chunks.

    `?` in `sql` stands for a bound value on both databases.
    """
    for statement, parameters in _chunks(connection, sql, fixed, values):
        with _cursor(connection, statement) as cursor:
            cursor.execute(statement, parameters)
            rows = cursor.fetchall()
        yield from rows


def named(found: Result[Any]) -> list[Any]:
    """The rows with their values under the same names, for what reads each dozens of times: a name costs a tenth of SQLAlchemy's."""
    return [*map(row_of(tuple(found.keys()))._make, found.all())]


@lru_cache(maxsize=64)
def row_of(names: tuple[str, ...]) -> Any:
    """The tuple whose values have these names, the same for all rows of one shape."""
    return namedtuple("_Row", names)


def execute_in(connection: Connection, sql: str, fixed: Sequence[Any], values: Iterable[Any]) -> None:
    """The same for a statement that returns nothing."""
    for statement, parameters in _chunks(connection, sql, fixed, values):
        with _cursor(connection, statement) as cursor:
            cursor.execute(statement, parameters)


def execute(connection: Connection, sql: str, parameters: Sequence[Any] = ()) -> Any:
    """Driver SQL with `?` marks on both databases; our own statements hold no other question mark or percent sign."""
    if connection.dialect.name != "sqlite":
        sql = sql.replace("?", "%s")
    return connection.exec_driver_sql(sql, tuple(parameters))


@contextmanager
def _cursor(connection: Connection, statement: str) -> Iterator[Any]:
    """The driver's own cursor, with SQLAlchemy's errors: its rows and results cost as much as reading a page from the database."""
    if not connection.in_transaction():
        connection.begin()
    driver: Any = connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        yield cursor
    except driver.Error as error:
        raise DBAPIError.instance(statement, None, error, driver.Error, dialect=connection.dialect) from error
    finally:
        cursor.close()


def _run_many(connection: Connection, statement: str, rows: Sequence[Row]) -> int:
    """Answers how many rows were written."""
    with _cursor(connection, statement) as cursor:
        cursor.executemany(statement, rows)
        return int(cursor.rowcount)


def _chunks(
    connection: Connection, sql: str, fixed: Sequence[Any], values: Iterable[Any]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    wanted = list(values)
    if connection.dialect.name != "sqlite":
        # One array in place of a mark a value: the driver reads every statement letter by letter, and its own arrays are as slow.
        if wanted:
            yield sql.replace("IN ({marks})", "= ANY(?)").replace("?", "%s"), (*fixed, array(wanted))
        return
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        yield sql.replace("{marks}", _marks(chunk)), (*fixed, *chunk)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _document(columns: Sequence[str], rows: Sequence[Row]) -> str:
    text = to_json([dict(zip(columns, row, strict=True)) for row in rows])
    if "\\u0000" in text:
        # PostgreSQL's jsonb refuses the NUL character; no platform means anything by it.
        bare = [[value.replace("\0", "") if isinstance(value, str) else value for value in row] for row in rows]
        text = to_json([dict(zip(columns, row, strict=True)) for row in bare])
    return text


_SPECIAL = re.compile(r"[\\\t\n\r\0]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": ""})


def _copy_stream(rows: Sequence[Row]) -> io.BytesIO:
    columns = [_copy_cells(column) for column in zip(*rows, strict=True)]
    lines = map("\t".join, zip(*columns, strict=True))
    return io.BytesIO("\n".join([*lines, ""]).encode())


def _copy_cells(column: Sequence[Any]) -> Sequence[str]:
    """One column's cells in COPY's text form; most columns are of one type, and then no cell is looked at by itself."""
    types = set(map(type, column))
    if types == {str}:
        return [text.translate(_ESCAPES) for text in column] if _SPECIAL.search("".join(column)) else column
    if types <= {int, float, bool}:
        return list(map(str, column))
    return [
        "\\N" if value is None else value.translate(_ESCAPES) if isinstance(value, str) else str(value)
        for value in column
    ]


def _records(table: Table, columns: Sequence[str]) -> str:
    """Rows out of one JSON document, the only parameter."""
    return f"jsonb_to_recordset(%s::jsonb) AS x({_record_type(table, tuple(columns))})"


@lru_cache(maxsize=64)
def _record_type(table: Table, columns: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {_postgres_type(table.columns[name].type)}" for name in columns)


def _postgres_type(declared: Any) -> str:
    plain = declared.impl if isinstance(declared, TypeDecorator) else declared
    for kind, name in ((Boolean, "boolean"), (BigInteger, "bigint"), (Integer, "integer"), (Float, "double precision")):
        if isinstance(plain, kind):
            return name
    return "text"
