"""What the two databases spell differently, as functions that mean the same on both."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Float, Integer, Numeric, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class folded(FunctionElement[str]):
    """A text with A to Z in small letters; nothing else is folded, whatever the database's locale."""

    type = Text()
    inherit_cache = True


@compiles(folded)
def _folded(element: folded, compiler: SQLCompiler, **kw: Any) -> str:
    return f"lower({compiler.process(element.clauses, **kw)})"


@compiles(folded, "postgresql")
def _folded_postgres(element: folded, compiler: SQLCompiler, **kw: Any) -> str:
    return f'lower(({compiler.process(element.clauses, **kw)}) COLLATE "C")'


class position(FunctionElement[int]):
    """Where a piece begins in a text, from 1; 0 when it is not there."""

    type = Integer()
    inherit_cache = True


@compiles(position)
def _position(element: position, compiler: SQLCompiler, **kw: Any) -> str:
    return f"instr({compiler.process(element.clauses, **kw)})"


@compiles(position, "postgresql")
def _position_postgres(element: position, compiler: SQLCompiler, **kw: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **kw)})"


class exact(FunctionElement[Any]):
    """A whole number that others are multiplied with: NUMERIC, which does not overflow, on PostgreSQL; SQLite keeps it as it is."""

    type = Numeric()
    inherit_cache = True


@compiles(exact)
def _exact(element: exact, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.clauses, **kw)})"


@compiles(exact, "postgresql")
def _exact_postgres(element: exact, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS NUMERIC)"


class portion(FunctionElement[int]):
    """What of an amount given back falls on a part of the whole, as `money.portion` has it; the amounts given and whole are columns."""

    type = BigInteger()
    inherit_cache = True


@compiles(portion)
def _portion(element: portion, compiler: SQLCompiler, **kw: Any) -> str:
    return f"crm_portion({compiler.process(element.clauses, **kw)})"


@compiles(portion, "postgresql")
def _portion_postgres(element: portion, compiler: SQLCompiler, **kw: Any) -> str:
    given, part, whole = (compiler.process(clause, **kw) for clause in element.clauses)
    # `div` is exact where `/` would round; only columns are written twice, see `_parts`.
    within = f"least(greatest(coalesce({part}, 0), 0), {whole})"
    exactly = f"CAST(div(CAST({given} AS NUMERIC) * {within}, {whole}) AS BIGINT)"
    return f"CASE WHEN {given} > 0 AND {whole} > 0 THEN {exactly} ELSE 0 END"


class off_index(FunctionElement[int]):
    """A number that is compared where the row stands: SQLite would look half a table's rows up one by one for an index's sake."""

    type = Integer()
    inherit_cache = True


@compiles(off_index)
def _off_index(element: off_index, compiler: SQLCompiler, **kw: Any) -> str:
    return f"+{compiler.process(element.clauses, **kw)}"


@compiles(off_index, "postgresql")
def _off_index_postgres(element: off_index, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


class attribute_text(FunctionElement[str]):
    """A member's attribute as a text: texts as they are, whole numbers by their digits, true and false; NULL for all else."""

    type = Text()
    inherit_cache = True


class attribute_number(FunctionElement[float]):
    """A member's attribute where it is a number, in double precision; NULL for all else."""

    type = Float()
    inherit_cache = True


def attribute(column: ColumnElement[Any], name: str, *, number: bool) -> ColumnElement[Any]:
    """One key of a JSON document kept as text. The name holds no quotation mark or backslash, see `check`."""
    of = attribute_number if number else attribute_text
    return of(column, literal(name, Text), literal(f'$."{name}"', Text))


def _parts(element: FunctionElement[Any], compiler: SQLCompiler, kw: Any) -> tuple[str, str, str]:
    column, name, path = (compiler.process(clause, **kw) for clause in element.clauses)
    return column, name, path


@compiles(attribute_text)
def _attribute_text(element: attribute_text, compiler: SQLCompiler, **kw: Any) -> str:
    # Each mark is bound once: a parameter that stands twice would be two.
    column, _name, path = _parts(element, compiler, kw)
    return (
        f"(SELECT CASE type WHEN 'text' THEN nullif(atom, '') WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' "  # noqa: S608
        f"WHEN 'integer' THEN CAST(atom AS TEXT) END FROM json_tree({column}, {path}))"
    )


@compiles(attribute_number)
def _attribute_number(element: attribute_number, compiler: SQLCompiler, **kw: Any) -> str:
    column, _name, path = _parts(element, compiler, kw)
    return (
        f"(SELECT CASE WHEN type IN ('integer', 'real') THEN CAST(atom AS REAL) END FROM json_tree({column}, {path}))"  # noqa: S608
    )


@compiles(attribute_text, "postgresql")
def _attribute_text_postgres(element: attribute_text, compiler: SQLCompiler, **kw: Any) -> str:
    column, name, _path = _parts(element, compiler, kw)
    return (
        "(SELECT CASE json_typeof(x.value) WHEN 'string' THEN nullif(x.value #>> '{}', '') WHEN 'boolean' THEN x.value #>> '{}' "  # noqa: S608
        "WHEN 'number' THEN substring(x.value #>> '{}' from '^-?[0-9]+$') END "
        f"FROM (SELECT ({column})::json -> {name} AS value) AS x)"
    )


@compiles(attribute_number, "postgresql")
def _attribute_number_postgres(element: attribute_number, compiler: SQLCompiler, **kw: Any) -> str:
    column, name, _path = _parts(element, compiler, kw)
    # A number of very many digits does not fit and would be an error for all.
    return (
        "(SELECT CASE WHEN json_typeof(x.value) = 'number' AND length(x.value #>> '{}') <= 30 "  # noqa: S608
        "THEN (x.value #>> '{}')::double precision END "
        f"FROM (SELECT ({column})::json -> {name} AS value) AS x)"
    )
