"""Indexes that the two databases are told of in different words.

A keyword of PostgreSQL's at an index would load all of its drivers into each process, also where SQLite is used: some 3 MB. So it is told
when it makes one of ours. What else in this process makes indexes says itself what it wants.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Index, Label, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.sql.elements import TextClause

_OURS = "crm_partial"


def partial_index(
    name: str, *columns: str | ColumnElement[Any] | TextClause, where: TextClause, **options: Any
) -> Index:
    """An index of those rows alone for which `where` holds, on either database."""
    return Index(name, *columns, sqlite_where=where, info={_OURS: True}, **options)


def beginning(column: Column[str]) -> Label[str]:
    """In an index: by this a text is found by how it begins, whatever the case."""
    return func.lower(column).label(f"{column.name}_key")


@compiles(CreateIndex, "postgresql")
def _as_postgres_has_it(element: CreateIndex, compiler: DDLCompiler, **options: Any) -> str:
    index = element.element
    if _OURS in index.info:
        told = index.dialect_options["postgresql"]
        told["where"] = index.dialect_options["sqlite"]["where"]
        # It needs the operator class to look for a beginning in any language.
        told["ops"] = {one.key: "text_pattern_ops" for one in index.expressions if isinstance(one, Label)}
    return compiler.visit_create_index(element, **options)  # type: ignore[no-any-return, no-untyped-call]
