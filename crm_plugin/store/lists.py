"""A list of values as one parameter: the statement is the same, and as short, for one value and for a thousand.

SQLAlchemy writes a mark a value into its IN at each run, which for a few hundred costs more than to read the rows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Integer, Text, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean, TypeDecorator

from crm_plugin.store.base import to_json


class Listed(TypeDecorator[Collection[Any]]):
    """Numbers or texts as one value: JSON for SQLite, an array for PostgreSQL, whose driver's own arrays are slow."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Collection[Any] | None, dialect: Dialect) -> str:
        values = list(value or ())
        return to_json(values) if dialect.name == "sqlite" else array(values)


def among(column: ColumnElement[Any], values: str | Collection[Any]) -> ColumnElement[bool]:
    """Whether the column holds one of these values, or of those that are given under this name when the statement is run."""
    return _Among(
        column, bindparam(values, type_=Listed) if isinstance(values, str) else bindparam(None, values, Listed)
    )


def among_sql(column: str, name: str, *, is_sqlite: bool) -> str:
    """The same of a column of numbers as text, for a statement that is text; the name is bound as `Listed`."""
    return _written(column, f":{name}", "BIGINT", is_sqlite=is_sqlite)


def array(values: Collection[Any]) -> str:
    """A PostgreSQL array of numbers or of texts as its literal."""
    if not any(isinstance(value, str) for value in values):
        return f"{{{','.join(map(str, values))}}}"
    text = '","'.join(value.replace("\\", "\\\\").replace('"', '\\"').replace("\0", "") for value in values)
    return f'{{"{text}"}}'


class _Among(FunctionElement[bool]):
    inherit_cache = True
    type = Boolean()

    def self_group(self, against: Any = None) -> _Among:
        """As it is: SQLAlchemy would hold the answer against 1, and then no index is used."""
        return self


@compiles(_Among)
def _among(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    kind = "BIGINT" if isinstance(element.clauses.clauses[0].type, Integer) else "TEXT"
    return _written(column, values, kind, is_sqlite=compiler.dialect.name == "sqlite")


def _written(column: str, values: str, kind: str, *, is_sqlite: bool) -> str:
    if is_sqlite:
        return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608
    return f"{column} = ANY(CAST({values} AS {kind}[]))"
