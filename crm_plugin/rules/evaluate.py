"""A rule asked of one member in plain Python: what explains an answer, and the second opinion on the SQL.

It counts from the orders and refunds themselves, never from the kept facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from crm_plugin.birthdays import Birthday, birthday_of, years_old
from crm_plugin.money import portion, to_major
from crm_plugin.rules.catalogue.common import BETWEEN
from crm_plugin.rules.nearness import days_of, program_of, steps_of
from crm_plugin.rules.nodes import (
    And,
    Compare,
    Everyone,
    Field,
    Holds,
    Known,
    Matches,
    Membership,
    Node,
    Not,
    Number,
    Or,
    Relation,
    Step,
    Term,
    Value,
    Within,
)
from crm_plugin.rules.operators import MATCHES, OPERATORS, fold
from crm_plugin.rules.rows import CLICKED, MACHINE_OPENED, MARKETING, OPENED, RECEIVED
from crm_plugin.rules.windows import FIRST_ORDER, JOINED, PROGRAM, Window, window_of

# True, False, or None for unknown.
Truth = bool | None
# A number is exact, but for what others keep in floating point; None is unknown.
Found = Fraction | float | str | bool | None


@dataclass(frozen=True, slots=True)
class BoughtLine:
    """A line of an order with a quantity above zero; its amount in the shop's currency, 0 without a rate."""

    sku: str = ""
    title: str = ""
    product: str = ""
    categories: frozenset[str] = frozenset()
    quantity: Fraction = Fraction(1)
    base_minor: int = 0


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order that counts. Amounts are in the shop's currency; without a rate `base_minor` is None and the others are 0."""

    placed_on: date
    base_minor: int | None
    lines: tuple[BoughtLine, ...] = ()
    items_milli: int = 0
    discount_minor: int = 0
    cost_minor: int = 0
    coupon: bool = False
    shipping_minor: int = 0
    tax_minor: int = 0


@dataclass(frozen=True, slots=True)
class GivenRefund:
    """A refund that counts, with its order where that is known and counts."""

    refunded_on: date
    base_minor: int | None
    order: PlacedOrder | None = None


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that was sent and did not come back, with the local days on which what happened to it, by the field's name."""

    channel: str
    journey: str
    days: Mapping[str, tuple[date, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeldTerm:
    """How long a level is held: its last day with grace or by hand, None without one."""

    ends_on: date | None = None
    in_grace: bool = False
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a rule can ask about one member.

    `events` are what was raised, by kind and the day it is about; `tiers` is by programme the level held and since when; `consents` by
    channel and topic what was said last; `segments` the lists that hold the member and since when.
    """

    currency: str
    texts: Mapping[str, str] = field(default_factory=dict)
    birth_year: int | None = None
    birth_md: int | None = None
    joined_on: date | None = None
    guest: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tiers: Mapping[str, tuple[str, date]] = field(default_factory=dict)
    terms: Mapping[str, HeldTerm] = field(default_factory=dict)
    orders: tuple[PlacedOrder, ...] = ()
    refunds: tuple[GivenRefund, ...] = ()
    messages: tuple[SentMessage, ...] = ()
    events: tuple[tuple[str, date], ...] = ()
    tags: frozenset[str] = frozenset()
    consents: Mapping[tuple[str, str], str] = field(default_factory=dict)
    suppressed: frozenset[str] = frozenset()
    segments: Mapping[str, date] = field(default_factory=dict)


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
    if isinstance(node, Relation):
        left, right = term_of(node.left, snapshot, as_of), term_of(node.right, snapshot, as_of)
        return None if left is None or right is None else bool(OPERATORS[node.op].call(left, right))
    if isinstance(node, Membership):
        found = value_of(node.field, snapshot, as_of)
        within = _any([_compare(found, "==", value) for value in node.values])
        return _opposite(within) if node.negated else within
    if isinstance(node, Matches):
        text = value_of(node.field, snapshot, as_of)
        return None if text is None else MATCHES[node.how].call(fold(str(text)), fold(node.text))
    if isinstance(node, Known):
        return value_of(node.field, snapshot, as_of) is not None
    if isinstance(node, Holds):
        return value_of(node.field, snapshot, as_of) is True
    if isinstance(node, Within):
        if node.rule is None:
            return str(node.field.arg("segment")) in snapshot.segments
        return evaluate(node.rule, snapshot, as_of) is True
    if isinstance(node, Everyone):
        return True
    raise TypeError(f"{type(node).__name__} cannot be evaluated")


def value_of(asked: Field, snapshot: Snapshot, as_of: date) -> Found:
    """What a field is for this member: money in major units, None when unknown."""
    return FIELDS[asked.key](_Asked(snapshot, asked, as_of))


def term_of(term: Term, snapshot: Snapshot, as_of: date) -> Fraction | None:
    """What a calculation comes to; None when a part is unknown or something is divided by zero."""
    if isinstance(term, Number):
        return Fraction(term.value)
    if isinstance(term, Field):
        found = value_of(term, snapshot, as_of)
        assert found is None or isinstance(found, Fraction)
        return found
    left, right = term_of(term.left, snapshot, as_of), term_of(term.right, snapshot, as_of)
    if left is None or right is None:
        return None
    return _CALCULATE[term.op](left, right)


_CALCULATE: dict[str, Callable[[Fraction, Fraction], Fraction | None]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right if right else None,
}


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
    wanted = value if isinstance(value, str) else float(value) if isinstance(found, float) else Fraction(value)
    return bool(OPERATORS[op].call(found, wanted))


class _Asked:
    """One field asked of one member on one day."""

    def __init__(self, snapshot: Snapshot, asked: Field, as_of: date) -> None:
        self.of = snapshot
        self.field = asked
        self.as_of = as_of
        self.window: Window | None = window_of(asked)
        self.placed = [order for order in snapshot.orders if order.placed_on <= as_of]

    def arg(self, name: str, default: str = "") -> str:
        value = self.field.arg(name)
        return default if value is None else str(value)

    @property
    def spanned(self) -> bool:
        """Whether the window begins on a known day; whoever never ordered has ordered nothing since the first time."""
        return self.window is None or self.window.anchor in ("", FIRST_ORDER) or self._anchor() is not None

    def _anchor(self) -> date | None:
        assert self.window is not None
        if self.window.anchor == FIRST_ORDER:
            return min((order.placed_on for order in self.placed), default=None)
        if self.window.anchor == JOINED:
            return self.of.joined_on
        return self.of.tiers[PROGRAM][1] if PROGRAM in self.of.tiers else None

    def counts(self, day: date) -> bool:
        """Whether a day lies in the window."""
        if self.window is None:
            return day <= self.as_of
        if self.window.anchor:
            anchor = self._anchor()
            if anchor is None:
                return False
            low, high = self.window.from_anchor(anchor, self.as_of)
            return low <= day <= high
        first, last = self.window.bounds(self.as_of)
        return (first is None or first <= day) and day <= last

    @property
    def orders(self) -> list[PlacedOrder]:
        return [order for order in self.placed if self.counts(order.placed_on)]

    @property
    def refunds(self) -> list[GivenRefund]:
        return [refund for refund in self.of.refunds if self.counts(refund.refunded_on)]

    @property
    def lines(self) -> list[tuple[int, BoughtLine]]:
        """The lines of the products named, with the place of their order."""
        named = [(name, self.arg(name)) for name in ("sku", "title", "product") if self.field.arg(name) is not None]
        category = self.field.arg("category")
        return [
            (place, line)
            for place, order in enumerate(self.orders)
            for line in order.lines
            if all(getattr(line, name) == value for name, value in named)
            and (category is None or category in line.categories)
        ]

    @property
    def among(self) -> list[BoughtLine]:
        """The lines with one of the codes or in one of the categories listed."""
        return [line for order in self.orders for line in self.among_of(order)]

    def among_of(self, order: PlacedOrder) -> list[BoughtLine]:
        """Those of one order."""
        skus, categories = ({*self.arg(name).split(BETWEEN)} - {""} for name in ("skus", "categories"))
        return [line for line in order.lines if line.sku in skus or line.categories & categories]

    def money(self, minor: Iterable[int | None]) -> Fraction:
        return Fraction(to_major(sum(one or 0 for one in minor), self.of.currency))

    def since(self, day: date | None) -> Found:
        return None if day is None else Fraction((self.as_of - day).days)


def _windowed(count: Callable[[_Asked], Found]) -> Callable[[_Asked], Found]:
    return lambda asked: count(asked) if asked.spanned else None


def _gross(asked: _Asked) -> Fraction:
    return asked.money(order.base_minor for order in asked.orders)


def _refunded(asked: _Asked) -> Fraction:
    return asked.money(refund.base_minor for refund in asked.refunds)


def _refunded_among(asked: _Asked) -> Fraction:
    return asked.money(
        portion(one.base_minor, sum(line.base_minor for line in asked.among_of(one.order)), one.order.base_minor)
        for one in asked.refunds
        if one.order is not None
    )


def _over(top: Fraction, bottom: Fraction | int) -> Found:
    return top / bottom if bottom > 0 else None


def _pace(asked: _Asked) -> tuple[int, int]:
    """Days from the first to the last order, and the gaps between."""
    days = sorted(order.placed_on for order in asked.placed)
    span = (days[-1] - days[0]).days if days else 0
    return span, len(days) - 1 if span else 0


def _mean_gap(asked: _Asked) -> Found:
    span, gaps = _pace(asked)
    return _over(Fraction(span), gaps)


def _late_by(asked: _Asked) -> Found:
    span, gaps = _pace(asked)
    if not gaps:
        return None
    last = max(order.placed_on for order in asked.placed)
    return Fraction((asked.as_of - last).days * gaps, span)


def _named(line: BoughtLine) -> str:
    return f"i{line.product}" if line.product else f"s{line.sku}" if line.sku else f"t{line.title}"


def _age(asked: _Asked) -> Found:
    if asked.of.birth_year is None:
        return None
    years = years_old(asked.as_of, asked.of.birth_year, asked.of.birth_md)
    return None if years is None else Fraction(years)


def _attribute(asked: _Asked) -> Found:
    value = asked.of.attributes.get(asked.arg("name"))
    if isinstance(value, bool):
        return "true" if value else "false"
    return (str(value) if isinstance(value, int | str) else None) or None


def _attribute_number(asked: _Asked) -> Found:
    value = asked.of.attributes.get(asked.arg("name"))
    return float(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else None


def _consent(asked: _Asked) -> str:
    return asked.of.consents.get((asked.arg("channel"), asked.arg("topic", MARKETING)), "")


def _tier(asked: _Asked) -> tuple[str, date | None]:
    return asked.of.tiers.get(asked.arg("program", PROGRAM), ("", None))


def _term(asked: _Asked) -> HeldTerm:
    return asked.of.terms.get(program_of(asked.field), HeldTerm())


def _step(asked: _Asked) -> Step | None:
    held = _tier(asked)[0]
    return next((one for one in steps_of(asked.field) if one.level == held), None)


def _next_tier(asked: _Asked) -> str:
    step = _step(asked)
    return "" if step is None else step.above


def _to_next(asked: _Asked) -> Found:
    step = _step(asked)
    found = None if step is None or step.missing is None else term_of(step.missing, asked.of, asked.as_of)
    return None if found is None else max(found, Fraction(0))


def _ends_in(asked: _Asked) -> Found:
    ends = _term(asked).ends_on
    return None if ends is None else Fraction((ends - asked.as_of).days)


def _at_risk(asked: _Asked) -> bool:
    term, step, left = _term(asked), _step(asked), _ends_in(asked)
    if term.in_grace:
        return True
    if step is None or step.keep is None or (term.fixed and left is None):
        return False
    near = left is None or (isinstance(left, Fraction) and left < days_of(asked.field))
    return near and evaluate(step.keep, asked.of, asked.as_of) is not True


def _messages(what: str) -> Callable[[_Asked], Found]:
    def count(asked: _Asked) -> Found:
        channel, journey = asked.field.arg("channel"), asked.field.arg("journey")
        return Fraction(
            sum(
                any(asked.counts(day) for day in message.days.get(what, ()))
                for message in asked.of.messages
                if channel in (None, message.channel) and journey in (None, message.journey)
            )
        )

    return count


def _text(name: str) -> Callable[[_Asked], Found]:
    return lambda asked: asked.of.texts.get(name) or None


def _part(of: Callable[[Birthday], int], lunar: bool) -> Callable[[_Asked], Found]:
    def part(asked: _Asked) -> Found:
        born = birthday_of(asked.of.birth_md) if asked.of.birth_md else None
        return Fraction(of(born)) if born is not None and born.lunar == lunar and of(born) else None

    return part


FIELDS: dict[str, Callable[[_Asked], Found]] = {
    "orders": _windowed(lambda asked: Fraction(len(asked.orders))),
    "gross": _windowed(_gross),
    "spent": _windowed(lambda asked: _gross(asked) - _refunded(asked)),
    "profit": _windowed(
        lambda asked: _gross(asked) - _refunded(asked) - asked.money(order.cost_minor for order in asked.orders)
    ),
    "refunds": _windowed(lambda asked: Fraction(len(asked.refunds))),
    "refunded": _windowed(_refunded),
    "return_rate": _windowed(lambda asked: _over(_refunded(asked), _gross(asked))),
    "average_order": _windowed(
        lambda asked: _over(_gross(asked), sum(order.base_minor is not None for order in asked.orders))
    ),
    "items": _windowed(lambda asked: Fraction(sum(order.items_milli for order in asked.orders), 1000)),
    "products": _windowed(lambda asked: Fraction(len({_named(line) for _, line in asked.lines}))),
    "discounts": _windowed(lambda asked: asked.money(order.discount_minor for order in asked.orders)),
    "shipping": _windowed(lambda asked: asked.money(order.shipping_minor for order in asked.orders)),
    "tax": _windowed(lambda asked: asked.money(order.tax_minor for order in asked.orders)),
    "coupon_share": _windowed(
        lambda asked: _over(Fraction(sum(order.coupon for order in asked.orders)), len(asked.orders))
    ),
    "days_since_order": lambda asked: asked.since(max((order.placed_on for order in asked.placed), default=None)),
    "days_since_first_order": lambda asked: asked.since(min((order.placed_on for order in asked.placed), default=None)),
    "mean_gap": _mean_gap,
    "late_by": _late_by,
    "bought": lambda asked: bool(asked.lines),
    "bought_times": _windowed(lambda asked: Fraction(len({place for place, _ in asked.lines}))),
    "bought_items": _windowed(lambda asked: sum((line.quantity for _, line in asked.lines), Fraction(0))),
    "bought_amount": _windowed(lambda asked: asked.money(line.base_minor for _, line in asked.lines)),
    "bought_among": _windowed(lambda asked: asked.money(line.base_minor for line in asked.among)),
    "refunded_among": _windowed(_refunded_among),
    "days_since_joined": lambda asked: asked.since(asked.of.joined_on),
    "country": _text("country"),
    "locale": _text("locale"),
    "timezone": _text("timezone"),
    "email": _text("email"),
    "phone": _text("phone"),
    "first_name": _text("first_name"),
    "last_name": _text("last_name"),
    "birthday_month": _part(lambda born: born.month, lunar=False),
    "birthday_day": _part(lambda born: born.day, lunar=False),
    "lunar_birthday_month": _part(lambda born: born.month, lunar=True),
    "lunar_birthday_day": _part(lambda born: born.day, lunar=True),
    "age": _age,
    "guest": lambda asked: asked.of.guest,
    "tag": lambda asked: asked.arg("tag") in asked.of.tags,
    "happened": lambda asked: Fraction(
        sum(kind == asked.arg("event") and asked.counts(day) for kind, day in asked.of.events)
    ),
    "attribute": _attribute,
    "attribute_number": _attribute_number,
    "consents": lambda asked: _consent(asked) == "granted",
    "consent": _consent,
    "suppressed": lambda asked: asked.arg("channel") in asked.of.suppressed,
    "tier": lambda asked: _tier(asked)[0],
    "days_in_tier": lambda asked: asked.since(_tier(asked)[1]),
    "tier_next": _next_tier,
    "to_next_tier": _to_next,
    "tier_ends_in": _ends_in,
    "tier_in_grace": lambda asked: _term(asked).in_grace,
    "tier_at_risk": _at_risk,
    "segment": lambda asked: asked.arg("segment") in asked.of.segments,
    "days_in_segment": lambda asked: asked.since(asked.of.segments.get(asked.arg("segment"))),
    RECEIVED: _messages(RECEIVED),
    OPENED: _messages(OPENED),
    CLICKED: _messages(CLICKED),
    MACHINE_OPENED: _messages(MACHINE_OPENED),
}
