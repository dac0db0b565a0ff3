"""Rows of several queries, asked in one statement: a round trip costs more than a few rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, ScalarSelect, Text, cast, func, select
from sqlalchemy.sql.selectable import SelectBase

from crm_plugin.store.bulk import row_of

# A function takes a hundred arguments on PostgreSQL, and a few more on SQLite: longer rows cross as rows of pieces.
_MOST = 100


@dataclass(frozen=True, slots=True)
class Part:
    """A query that is asked with others, what it leaves open, and what takes its rows."""

    query: SelectBase
    take: Callable[[list[Any]], None]
    values: Mapping[str, Any] = field(default_factory=dict)


def ask(connection: Connection, parts: Sequence[Part], values: Mapping[str, Any]) -> None:
    """Ask these in one statement; `values` are what several of them leave open."""
    told: dict[str, Any] = dict(values)
    for part in parts:
        told |= part.values
    together = Together(connection.dialect, [part.query for part in parts])
    for part, rows in zip(parts, together.ask(connection, told), strict=True):
        part.take(rows)


class Together:
    """Queries as one statement. Their rows cross as one JSON document a query, in which days and instants are the numbers that are stored.

    Made once it may be asked often: to build it costs more than to ask it of few rows.
    """

    def __init__(self, dialect: Dialect, queries: Sequence[SelectBase]) -> None:
        documents = [_document(dialect, query).label(f"query{place}") for place, query in enumerate(queries)]
        self._statement = select(*documents)
        self._rows = [_reading(dialect, query) for query in queries]

    def ask(self, connection: Connection, values: Mapping[str, Any]) -> list[list[Any]]:
        """The rows of each query, with their values under the same names; `values` are what they leave open."""
        told = connection.execute(self._statement, dict(values)).one()
        return [read(json.loads(document)) for read, document in zip(self._rows, told, strict=True)]


def _document(dialect: Dialect, query: SelectBase) -> ScalarSelect[str]:
    columns: list[ColumnElement[Any]] = list(query.subquery().c)
    array = func.json_array if dialect.name == "sqlite" else func.json_build_array
    if len(columns) > _MOST:
        columns = [array(*columns[start : start + _MOST]) for start in range(0, len(columns), _MOST)]
    if dialect.name == "sqlite":
        return select(func.json_group_array(array(*columns))).scalar_subquery()
    listed = cast(func.json_agg(array(*columns)), Text)
    return select(func.coalesce(listed, "[]")).scalar_subquery()


def _reading(dialect: Dialect, query: SelectBase) -> Callable[[Sequence[Sequence[Any]]], list[Any]]:
    columns = list(query.selected_columns)
    make = row_of(tuple(column.key for column in columns))._make
    reads = [_reader(dialect, column.type) for column in columns]

    def rows(found: Sequence[Sequence[Any]]) -> list[Any]:
        if len(columns) > _MOST:
            found = [[*chain.from_iterable(pieces)] for pieces in found]
        return [
            make([value if read is None else read(value) for read, value in zip(reads, row, strict=True)])
            for row in found
        ]

    return rows


def _reader(dialect: Dialect, declared: Any) -> Callable[[Any], Any] | None:
    read: Callable[[Any], Any] | None = declared.dialect_impl(dialect).result_processor(dialect, None)
    return read
