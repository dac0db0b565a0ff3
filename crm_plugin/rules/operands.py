"""What a field becomes in SQL: something that can be compared with a value, calculated with, and shown for one member.

Comparisons stay on bare columns and whole numbers, so that an index can serve them and no rounding decides who is in. A number that is
calculated is a fraction of two whole numbers, compared by multiplying: products of two amounts stay exact on PostgreSQL, and on SQLite
up to 63 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol

from sqlalchemy import BigInteger, ColumnElement, case, func, literal

from crm_plugin.money import to_major
from crm_plugin.rules.dialects import exact
from crm_plugin.rules.nodes import Value
from crm_plugin.rules.operators import OPERATORS

Truth = ColumnElement[bool]


class Operand(Protocol):
    """One field for one member, in SQL. `columns` are what `shown` needs to say its value; `known` is true when there is one."""

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]: ...

    @property
    def known(self) -> Truth: ...

    def compare(self, op: str, value: Value) -> Truth: ...

    def shown(self, raw: tuple[Any, ...]) -> Value | bool | None: ...


@dataclass(frozen=True, slots=True)
class Quotient:
    """A calculated number: `top` over `bottom`, whole numbers. Where `bottom` is not above zero the number is unknown."""

    top: ColumnElement[Any]
    bottom: ColumnElement[Any]

    def compare(self, op: str, other: Quotient) -> Truth:
        """Unknown when either is."""
        left, right = exact(self.top) * other.bottom, exact(other.top) * self.bottom
        found: Truth = case(((self.bottom > 0) & (other.bottom > 0), OPERATORS[op].call(left, right)))
        return found

    def combine(self, op: str, other: Quotient) -> Quotient:
        """The two added, subtracted, multiplied or divided."""
        a, b, c, d = exact(self.top), self.bottom, exact(other.top), other.bottom
        if op == "/":
            # The sign goes to the top; divided by zero the bottom is zero, which is unknown. So is what is divided by something unknown.
            return Quotient(a * d * func.sign(c), exact(b) * func.abs(c) * case((d > 0, 1)))
        # Two bottoms below zero must not become one above it.
        bottom = exact(b) * case((d > 0, d))
        return Quotient(a * c if op == "*" else a * d + (c if op == "+" else -c) * b, bottom)


def constant(value: Value) -> Quotient:
    """A written number."""
    exact = Fraction(value)
    return Quotient(_bound(exact.numerator), _bound(exact.denominator))


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number: a count, or money in minor units when `currency` is given. NULL is unknown.

    With `scale` the column holds so many for one: items are kept in thousandths.
    """

    expression: ColumnElement[Any]
    currency: str = ""
    scale: int = 1

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.expression,)

    @property
    def known(self) -> Truth:
        return self.expression.is_not(None)

    @property
    def _units(self) -> int:
        return int(1 / to_major(1, self.currency)) if self.currency else self.scale

    def compare(self, op: str, value: Value) -> Truth:
        return _compare_whole(self.expression, op, Fraction(value) * self._units)

    def quotient(self) -> Quotient:
        """For calculating; in major units."""
        return Quotient(self.expression, case((self.expression.is_not(None), _bound(self._units))))

    def shown(self, raw: tuple[Any, ...]) -> Value | None:
        if raw[0] is None:
            return None
        if self.currency:
            return to_major(int(raw[0]), self.currency)
        return int(raw[0]) if self.scale == 1 else plain(Decimal(int(raw[0])) / self.scale)


@dataclass(frozen=True, slots=True)
class DaysSince:
    """Days from a stored day (a number) to `as_of`. The day's column stands alone, so that its index can be used."""

    column: ColumnElement[Any]
    as_of: int

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.column,)

    @property
    def known(self) -> Truth:
        return self.column.is_not(None)

    def compare(self, op: str, value: Value) -> Truth:
        return _compare_whole(self.column, OPERATORS[op].mirrored, self.as_of - Fraction(value))

    def quotient(self) -> Quotient:
        return Quotient(_bound(self.as_of) - self.column, case((self.column.is_not(None), _bound(1))))

    def shown(self, raw: tuple[Any, ...]) -> Value | None:
        return None if raw[0] is None else self.as_of - int(raw[0])


@dataclass(frozen=True, slots=True)
class Ratio:
    """A sum over a count; unknown when the count is not above zero. Compared by multiplying, for a quotient would be rounded.

    The sum is in minor units of `currency` when that is given; `places` is how many decimals are shown of any other.
    """

    top: ColumnElement[Any]
    bottom: ColumnElement[Any]
    currency: str = ""
    places: int = 2

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.top, self.bottom)

    @property
    def known(self) -> Truth:
        return func.coalesce(self.bottom > 0, _bound(1) == 0)

    def compare(self, op: str, value: Value) -> Truth:
        limit = _minor(value, self.currency)
        left = exact(self.top) if limit.denominator == 1 else exact(self.top) * _bound(limit.denominator)
        right = exact(self.bottom) if limit.numerator == 1 else exact(self.bottom) * _bound(limit.numerator)
        found: Truth = case((self.bottom > 0, OPERATORS[op].call(left, right)))
        return found

    def quotient(self) -> Quotient:
        units = int(1 / to_major(1, self.currency)) if self.currency else 1
        return Quotient(self.top, exact(self.bottom) * _bound(units) if units > 1 else self.bottom)

    def shown(self, raw: tuple[Any, ...]) -> Value | None:
        top, bottom = raw
        if top is None or not bottom or bottom < 0:
            return None
        if self.currency:
            return average(int(top), int(bottom), self.currency)
        return plain(half_up(Fraction(int(top), int(bottom)), self.places))


@dataclass(frozen=True, slots=True)
class Counted:
    """A number that others calculated; an amount of `currency` where that is given. Unknown where its bottom is not above zero."""

    of: Quotient
    currency: str = ""

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.of.top, self.of.bottom)

    @property
    def known(self) -> Truth:
        return func.coalesce(self.of.bottom > 0, _bound(1) == 0)

    def compare(self, op: str, value: Value) -> Truth:
        return self.of.compare(op, constant(value))

    def quotient(self) -> Quotient:
        return self.of

    def shown(self, raw: tuple[Any, ...]) -> Value | None:
        top, bottom = raw
        if top is None or not bottom or bottom < 0:
            return None
        return plain(half_up(Fraction(int(top), int(bottom)), 2))


@dataclass(frozen=True, slots=True)
class Words:
    """A text; NULL is unknown."""

    expression: ColumnElement[Any]

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.expression,)

    @property
    def known(self) -> Truth:
        return self.expression.is_not(None)

    def compare(self, op: str, value: Value) -> Truth:
        found: Truth = OPERATORS[op].call(self.expression, value)
        return found

    def shown(self, raw: tuple[Any, ...]) -> Value | None:
        return None if raw[0] is None else str(raw[0])


@dataclass(frozen=True, slots=True)
class Loose:
    """A number that others keep in floating point; compared as one."""

    expression: ColumnElement[Any]

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.expression,)

    @property
    def known(self) -> Truth:
        return self.expression.is_not(None)

    def compare(self, op: str, value: Value) -> Truth:
        found: Truth = OPERATORS[op].call(self.expression, float(value))
        return found

    def shown(self, raw: tuple[Any, ...]) -> Value | None:
        return None if raw[0] is None else plain(Decimal(repr(float(raw[0]))))


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false by itself, never unknown."""

    expression: Truth

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.expression,)

    @property
    def known(self) -> Truth:
        return self.expression.is_not(None)

    def compare(self, op: str, value: Value) -> Truth:
        raise TypeError("a flag is not compared")

    def shown(self, raw: tuple[Any, ...]) -> bool:
        return bool(raw[0])


def average(total_minor: int, count: int, currency: str) -> Decimal:
    """The mean as it is shown: major units, rounded half up to the minor unit."""
    return to_major(math.floor(Fraction(2 * total_minor + count, 2 * count)), currency)


def half_up(value: Fraction, places: int) -> Decimal:
    """A fraction as a decimal with so many places, the half going up."""
    return Decimal(math.floor(value * 10**places + Fraction(1, 2))).scaleb(-places)


def plain(value: Decimal) -> int | Decimal:
    """A number without a fraction as int, one with as few places as it needs."""
    return int(value) if value == value.to_integral_value() else value.normalize()


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
