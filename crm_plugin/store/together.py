"""Rows of several queries, asked in one statement: a round trip costs more than a few rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, ScalarSelect, Text, cast, func, select
from sqlalchemy.sql.selectable import SelectBase

from crm_plugin.store.bulk import row_of


def together(
    connection: Connection, queries: Sequence[SelectBase], values: Mapping[str, Any] | None = None
) -> list[list[Any]]:
    """The rows of each query, with their values under the same names; `values` are what they leave open.

    They cross as one JSON document a query, in which days and instants are the numbers that are stored.
    """
    dialect = connection.dialect
    columns = [_document(dialect, query).label(f"query{place}") for place, query in enumerate(queries)]
    told = connection.execute(select(*columns), dict(values or {})).one()
    return [_rows(dialect, query, json.loads(document)) for query, document in zip(queries, told, strict=True)]


def _document(dialect: Dialect, query: SelectBase) -> ScalarSelect[str]:
    rows = query.subquery()
    if dialect.name == "sqlite":
        return select(func.json_group_array(func.json_array(*rows.c))).scalar_subquery()
    listed = cast(func.json_agg(func.json_build_array(*rows.c)), Text)
    return select(func.coalesce(listed, "[]")).scalar_subquery()


def _rows(dialect: Dialect, query: SelectBase, found: Sequence[Sequence[Any]]) -> list[Any]:
    columns = list(query.selected_columns)
    make = row_of(tuple(column.key for column in columns))._make
    reads = [_reader(dialect, column.type) for column in columns]
    return [
        make([value if read is None else read(value) for read, value in zip(reads, row, strict=True)]) for row in found
    ]


def _reader(dialect: Dialect, declared: Any) -> Callable[[Any], Any] | None:
    read: Callable[[Any], Any] | None = declared.dialect_impl(dialect).result_processor(dialect, None)
    return read
