"""Writing and reading many rows at the speed of the database.

SQLite takes tuples by `executemany`; PostgreSQL takes new rows by COPY and everything else as one JSON document a statement, for a
round trip a row costs more than all the rest (executemany 29 k rows/s, COPY 183 k, JSON 102 k).
Values are as stored: instants in microseconds, days as numbers, JSON as text.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, Float, Integer, Table
from sqlalchemy.types import TypeDecorator

from crm_plugin.store.base import to_json

Row = tuple[Any, ...]
_CHUNK = 500


def insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert new rows. Raises: IntegrityError (or the driver's own) when a key is there already."""
    if not rows:
        return
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(rows))  # noqa: S608
        return
    cursor = connection.connection.cursor()
    cursor.execute(f"COPY {table.name} ({names}) FROM STDIN", stream=_copy_stream(rows))  # type: ignore[call-arg]


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
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks}){tail}"  # noqa: S608
        connection.exec_driver_sql(statement, list(rows))
        return
    source = f"jsonb_to_recordset(%s::jsonb) AS x({_record_type(table, tuple(columns))})"
    statement = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {source}{tail}"  # noqa: S608
    connection.exec_driver_sql(statement, (_document(columns, rows),))


def update_rows(
    connection: Connection, table: Table, columns: Sequence[str], key: Sequence[str], rows: Sequence[Row]
) -> None:
    """Set the other columns of the rows that `key` names; each row holds all of `columns`, the key's last."""
    if not rows:
        return
    values = [name for name in columns if name not in key]
    if connection.dialect.name == "sqlite":
        sets = ", ".join(f"{name} = ?" for name in values)
        where = " AND ".join(f"{name} = ?" for name in key)
        connection.exec_driver_sql(f"UPDATE {table.name} SET {sets} WHERE {where}", list(rows))  # noqa: S608
        return
    sets = ", ".join(f"{name} = x.{name}" for name in values)
    where = " AND ".join(f"{table.name}.{name} = x.{name}" for name in key)
    source = f"jsonb_to_recordset(%s::jsonb) AS x({_record_type(table, tuple(columns))})"
    statement = f"UPDATE {table.name} SET {sets} FROM {source} WHERE {where}"  # noqa: S608
    connection.exec_driver_sql(statement, (_document(columns, rows),))


def select_in(connection: Connection, sql: str, fixed: Sequence[Any], values: Iterable[Any]) -> Iterator[Row]:
    """Rows of a SELECT whose text holds one `{marks}` for an IN list; the list is asked in chunks.

    `?` in `sql` stands for a bound value on both databases.
    """
    wanted = list(values)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        yield from execute(connection, sql.replace("{marks}", ", ".join("?" * len(chunk))), (*fixed, *chunk))


def execute_in(connection: Connection, sql: str, fixed: Sequence[Any], values: Iterable[Any]) -> None:
    """The same for a statement that returns nothing."""
    wanted = list(values)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        execute(connection, sql.replace("{marks}", ", ".join("?" * len(chunk))), (*fixed, *chunk))


def execute(connection: Connection, sql: str, parameters: Sequence[Any] = ()) -> Any:
    """Driver SQL with `?` marks on both databases; our own statements hold no other question mark or percent sign."""
    if connection.dialect.name != "sqlite":
        sql = sql.replace("?", "%s")
    return connection.exec_driver_sql(sql, tuple(parameters))


def _document(columns: Sequence[str], rows: Sequence[Row]) -> str:
    # PostgreSQL's jsonb refuses the NUL character; no platform means anything by it.
    text = to_json([dict(zip(columns, row, strict=True)) for row in rows])
    return text.replace("\\u0000", "")


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": ""})


def _copy_stream(rows: Iterable[Row]) -> io.BytesIO:
    lines = []
    for row in rows:
        cells = []
        for value in row:
            if value is None:
                cells.append("\\N")
            elif value.__class__ is str:
                cells.append(value.translate(_ESCAPES))
            else:
                cells.append(str(value))
        lines.append("\t".join(cells))
    lines.append("")
    return io.BytesIO("\n".join(lines).encode())


@lru_cache(maxsize=64)
def _record_type(table: Table, columns: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {_postgres_type(table.columns[name].type)}" for name in columns)


def _postgres_type(declared: Any) -> str:
    plain = declared.impl if isinstance(declared, TypeDecorator) else declared
    for kind, name in ((Boolean, "boolean"), (BigInteger, "bigint"), (Integer, "integer"), (Float, "double precision")):
        if isinstance(plain, kind):
            return name
    return "text"
