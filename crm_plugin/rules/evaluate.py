"""A rule asked of one member in plain Python: what explains an answer, and the second opinion on the SQL.

It counts from the orders and refunds themselves, never from the kept facts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from crm_plugin.money import to_major
from crm_plugin.rules.nodes import And, Compare, Everyone, Field, Holds, Membership, Node, Not, Or, Value
from crm_plugin.rules.operators import OPERATORS

# True, False, or None for unknown.
Truth = bool | None
# A number is exact; None is unknown.
Found = Fraction | str | bool | None


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order that counts; `products` are (code, title) of its lines with a quantity above zero."""

    placed_on: date
    base_minor: int | None
    products: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GivenRefund:
    """A refund that counts."""

    refunded_on: date
    base_minor: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a rule can ask about one member. `consents` are the channels with a yes that stands."""

    currency: str
    country: str = ""
    locale: str = ""
    birth_md: int | None = None
    joined_on: date | None = None
    tier: str = ""
    orders: tuple[PlacedOrder, ...] = ()
    refunds: tuple[GivenRefund, ...] = ()
    tags: frozenset[str] = frozenset()
    consents: frozenset[str] = frozenset()


def evaluate(node: Node, snapshot: Snapshot, as_of: date) -> Truth:
    """Whether the rule holds; None is unknown. Only True is a match."""
    if isinstance(node, And):
        return _all([evaluate(item, snapshot, as_of) for item in node.items]) if node.items else False
    if isinstance(node, Or):
        return _any([evaluate(item, snapshot, as_of) for item in node.items])
    if isinstance(node, Not):
        return _opposite(evaluate(node.item, snapshot, as_of))
    if isinstance(node, Compare):
        return _compare(value_of(node.field, snapshot, as_of), node.op, node.value)
    if isinstance(node, Membership):
        found = value_of(node.field, snapshot, as_of)
        within = _any([_compare(found, "==", value) for value in node.values])
        return _opposite(within) if node.negated else within
    if isinstance(node, Holds):
        return value_of(node.field, snapshot, as_of) is True
    if isinstance(node, Everyone):
        return True
    raise TypeError(f"{type(node).__name__} cannot be evaluated")


def value_of(field: Field, snapshot: Snapshot, as_of: date) -> Found:
    """What a field is for this member: money in major units, None when unknown."""
    return FIELDS[field.key](snapshot, field, as_of)


def _all(truths: list[Truth]) -> Truth:
    if False in truths:
        return False
    return None if None in truths else True


def _any(truths: list[Truth]) -> Truth:
    if True in truths:
        return True
    return None if None in truths else False


def _opposite(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _compare(found: Found, op: str, value: Value) -> Truth:
    if found is None:
        return None
    wanted = value if isinstance(value, str) else Fraction(value)
    return bool(OPERATORS[op].call(found, wanted))


def _within(day: date, field: Field, as_of: date) -> bool:
    days = field.arg("days")
    return days is None or as_of - timedelta(days=int(days)) < day <= as_of


def _orders(snapshot: Snapshot, field: Field, as_of: date) -> list[PlacedOrder]:
    return [order for order in snapshot.orders if _within(order.placed_on, field, as_of)]


def _refunds(snapshot: Snapshot, field: Field, as_of: date) -> list[GivenRefund]:
    return [refund for refund in snapshot.refunds if _within(refund.refunded_on, field, as_of)]


def _spent(snapshot: Snapshot, field: Field, as_of: date) -> Found:
    gross = sum(order.base_minor or 0 for order in _orders(snapshot, field, as_of))
    back = sum(refund.base_minor or 0 for refund in _refunds(snapshot, field, as_of))
    return Fraction(to_major(gross - back, snapshot.currency))


def _since(days: list[date], chosen: Callable[[list[date]], date], as_of: date) -> Found:
    return Fraction((as_of - chosen(days)).days) if days else None


def _average(snapshot: Snapshot) -> Found:
    amounts = [order.base_minor for order in snapshot.orders if order.base_minor is not None]
    return Fraction(to_major(sum(amounts), snapshot.currency)) / len(amounts) if amounts else None


def _bought(snapshot: Snapshot, field: Field, as_of: date) -> Found:
    sku, title = field.arg("sku"), field.arg("title")
    return any(
        (sku is None or sku == code) and (title is None or title == name)
        for order in _orders(snapshot, field, as_of)
        for code, name in order.products
    )


FIELDS: dict[str, Callable[[Snapshot, Field, date], Found]] = {
    "orders": lambda s, field, as_of: Fraction(len(_orders(s, field, as_of))),
    "spent": _spent,
    "refunds": lambda s, field, as_of: Fraction(len(_refunds(s, field, as_of))),
    "days_since_order": lambda s, _, as_of: _since([order.placed_on for order in s.orders], max, as_of),
    "days_since_first_order": lambda s, _, as_of: _since([order.placed_on for order in s.orders], min, as_of),
    "days_since_joined": lambda s, _, as_of: Fraction((as_of - s.joined_on).days) if s.joined_on else None,
    "average_order": lambda s, _, __: _average(s),
    "tier": lambda s, _, __: s.tier,
    "country": lambda s, _, __: s.country or None,
    "locale": lambda s, _, __: s.locale or None,
    "birthday_month": lambda s, _, __: Fraction(s.birth_md // 100) if s.birth_md else None,
    "tag": lambda s, field, _: field.arg("tag") in s.tags,
    "bought": _bought,
    "consents": lambda s, field, _: field.arg("channel") in s.consents,
}
