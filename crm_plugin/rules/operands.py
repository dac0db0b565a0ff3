"""What a field becomes in SQL: something that can be compared with a value, and that can be shown for one member.

Comparisons stay on bare columns and whole numbers, so that an index can serve them and no rounding decides who is in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol

from sqlalchemy import BigInteger, ColumnElement, Integer, Numeric, case, cast, literal, type_coerce

from crm_plugin.money import to_major
from crm_plugin.rules.nodes import Value
from crm_plugin.rules.operators import OPERATORS

Truth = ColumnElement[bool]


class Operand(Protocol):
    """One field for one member, in SQL. `columns` are what `shown` needs to say its value."""

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]: ...

    def compare(self, op: str, value: Value) -> Truth: ...

    def shown(self, raw: tuple[Any, ...]) -> Value | bool | None: ...


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number: a count, or money in minor units when `currency` is given. NULL is unknown."""

    expression: ColumnElement[Any]
    currency: str = ""

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.expression,)

    def compare(self, op: str, value: Value) -> Truth:
        return _compare_whole(self.expression, op, _minor(value, self.currency))

    def shown(self, raw: tuple[Any, ...]) -> Value | None:
        if raw[0] is None:
            return None
        return to_major(int(raw[0]), self.currency) if self.currency else int(raw[0])


@dataclass(frozen=True, slots=True)
class DaysSince:
    """Days from a local day to `as_of` (a day number). The day's column stands alone, so that its index can be used."""

    column: ColumnElement[Any]
    as_of: int

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (type_coerce(self.column, Integer),)

    def compare(self, op: str, value: Value) -> Truth:
        day = type_coerce(self.column, Integer)
        return _compare_whole(day, OPERATORS[op].mirrored, self.as_of - Fraction(value))

    def shown(self, raw: tuple[Any, ...]) -> Value | None:
        return None if raw[0] is None else self.as_of - int(raw[0])


@dataclass(frozen=True, slots=True)
class Average:
    """A sum in minor units over a count; unknown when the count is zero. Compared by multiplying, for a quotient would be rounded."""

    total: ColumnElement[Any]
    count: ColumnElement[Any]
    currency: str

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.total, self.count)

    def compare(self, op: str, value: Value) -> Truth:
        limit = _minor(value, self.currency)
        # NUMERIC is exact and does not overflow on PostgreSQL; SQLite keeps whole numbers as they are.
        left = cast(self.total, Numeric) * _bound(limit.denominator)
        right = cast(self.count, Numeric) * _bound(limit.numerator)
        return case((self.count > 0, OPERATORS[op].call(left, right)))

    def shown(self, raw: tuple[Any, ...]) -> Value | None:
        total, count = raw
        return average(int(total), int(count), self.currency) if total is not None and count else None


@dataclass(frozen=True, slots=True)
class Words:
    """A text; NULL is unknown."""

    expression: ColumnElement[Any]

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.expression,)

    def compare(self, op: str, value: Value) -> Truth:
        found: Truth = OPERATORS[op].call(self.expression, value)
        return found

    def shown(self, raw: tuple[Any, ...]) -> Value | None:
        return None if raw[0] is None else str(raw[0])


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false by itself, never unknown."""

    expression: Truth

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.expression,)

    def compare(self, op: str, value: Value) -> Truth:
        raise TypeError("a flag is not compared")

    def shown(self, raw: tuple[Any, ...]) -> bool:
        return bool(raw[0])


def average(total_minor: int, count: int, currency: str) -> Decimal:
    """The mean as it is shown: major units, rounded half up to the minor unit."""
    return to_major(math.floor(Fraction(2 * total_minor + count, 2 * count)), currency)


def _minor(value: Value, currency: str) -> Fraction:
    exact = Fraction(value)
    return exact / Fraction(to_major(1, currency)) if currency else exact


def _compare_whole(expression: ColumnElement[Any], op: str, value: Fraction) -> Truth:
    """Compare a whole number with one that may lie between two: `x >= 2.5` is `x >= 3`."""
    found: Truth
    if value.denominator == 1:
        found = OPERATORS[op].call(expression, _bound(int(value)))
    elif op in ("==", "!="):
        # A whole number is never 2.5, but what is unknown stays unknown.
        found = expression != expression if op == "==" else expression == expression
    else:
        found = OPERATORS[op].call(expression, _bound(math.ceil(value) if op in (">=", "<") else math.floor(value)))
    return found


def _bound(value: int) -> ColumnElement[int]:
    # Bound as a bigint whatever the column is: a number too large for the column is an answer, not an error.
    return literal(value, BigInteger)
