"""What values a field may have: spans of numbers, texts, and whether it may be unknown. Only what is sure of every member is said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction

from crm_plugin.rules.fields import FIELDS, Kind, Unit
from crm_plugin.rules.nodes import Field, Matches
from crm_plugin.rules.operators import MATCHES, fold
from crm_plugin.rules.windows import FIRST_ORDER, MONTH, OWN_ANCHORS, YEAR, Window, window_of

_WHOLE = ("birthday_day", "lunar_birthday_month", "lunar_birthday_day")
_COUNTS = (
    "orders",
    "refunds",
    "products",
    "bought_times",
    "received",
    "opened",
    "clicked",
    "machine_opened",
    "happened",
)
# Never below zero, and no more in a shorter span than in a longer one. Amounts are not: a store may send any.
GROWING = (*_COUNTS, "bought_items")
_SUMS = ("spent", "gross", "profit", "refunded", "items", "discounts", "bought_amount")
SINCE_ORDERS = ("days_since_order", "days_since_first_order")


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers from `low` to `high`, None where there is no limit; a limit belongs to it unless it is open."""

    low: Fraction | None = None
    high: Fraction | None = None
    low_open: bool = False
    high_open: bool = False

    @property
    def empty(self) -> bool:
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    def meet(self, other: Span) -> Span:
        """Whatever lies in both."""
        low, low_open = self.low, self.low_open
        if other.low is not None and (low is None or (other.low, other.low_open) > (low, low_open)):
            low, low_open = other.low, other.low_open
        high, high_open = self.high, self.high_open
        if other.high is not None and (
            high is None or other.high < high or (other.high == high and other.high_open > high_open)
        ):
            high, high_open = other.high, other.high_open
        return Span(low, high, low_open, high_open)

    def whole(self) -> Span:
        """The same of whole numbers, which reach their limits."""
        low, high = self.low, self.high
        if low is not None:
            low = Fraction(math.floor(low) + 1 if self.low_open else math.ceil(low))
        if high is not None:
            high = Fraction(math.ceil(high) - 1 if self.high_open else math.floor(high))
        return Span(low, high)


ANY = (Span(),)


def compared(op: str, value: Fraction) -> tuple[Span, ...]:
    """The numbers that compare so with a value."""
    return {
        "==": (Span(value, value),),
        "!=": (Span(None, value, high_open=True), Span(value, None, low_open=True)),
        ">=": (Span(value),),
        ">": (Span(value, low_open=True),),
        "<=": (Span(None, value),),
        "<": (Span(None, value, high_open=True),),
    }[op]


@dataclass(frozen=True, slots=True)
class Domain:
    """The values that are left. `texts` None is any text but those `barred`; `found` is False where no value is left at all.

    `matches` are looks into the text with what they must come to.
    """

    spans: tuple[Span, ...] = ANY
    texts: frozenset[str] | None = None
    barred: frozenset[str] = frozenset()
    matches: tuple[tuple[Matches, bool], ...] = ()
    found: bool = True
    unknown: bool = True
    whole: bool = False

    @property
    def empty(self) -> bool:
        return not (self.unknown or (self.found and bool(self.spans) and self._has_text))

    @property
    def _has_text(self) -> bool:
        if self.texts is not None:
            return any(self._fits(text) for text in self.texts - self.barred)
        # Of two looks with the same piece that must come to different things, none can be met.
        return not any((one, not holds) in self.matches for one, holds in self.matches)

    def _fits(self, text: str) -> bool:
        return all(MATCHES[one.how].call(fold(text), fold(one.text)) is holds for one, holds in self.matches)

    @property
    def low(self) -> Fraction | None:
        """No value is below; only of a domain that has values."""
        lows = [span.low for span in self.spans]
        return None if None in lows else min((one for one in lows if one is not None), default=None)

    @property
    def high(self) -> Fraction | None:
        highs = [span.high for span in self.spans]
        return None if None in highs else max((one for one in highs if one is not None), default=None)

    def within(self, spans: Iterable[Span]) -> Domain:
        """The numbers left that lie in one of these."""
        met = (one.meet(other) for one in self.spans for other in spans)
        left = (one.whole() for one in met) if self.whole else met
        return replace(self, spans=tuple(dict.fromkeys(one for one in left if not one.empty)))

    def among(self, texts: frozenset[str]) -> Domain:
        return replace(self, texts=texts if self.texts is None else self.texts & texts)

    def but(self, texts: frozenset[str]) -> Domain:
        return replace(self, barred=self.barred | texts)


def domain_of(field: Field) -> Domain:
    """The values a field can have in any shop on any day."""
    spec = FIELDS[field.key]
    whole = field.key in _COUNTS or spec.unit in (Unit.DAYS, Unit.MONTH, Unit.YEAR) or field.key in _WHOLE
    found = Domain(unknown=_may_be_unknown(field), whole=whole and field.key != "mean_gap")
    if spec.kind is not Kind.NUMBER:
        return found if spec.empty_is_known else found.but(frozenset({""}))
    if spec.between is not None:
        return found.within([Span(Fraction(spec.between[0]), Fraction(spec.between[1]))])
    if field.key == "coupon_share":
        return found.within([Span(Fraction(0), Fraction(1))])
    if field.key == "mean_gap":
        return found.within([Span(Fraction(0), low_open=True)])
    if field.key in (*GROWING, *SINCE_ORDERS, "late_by"):
        return found.within([Span(Fraction(0))])
    return found


def _may_be_unknown(field: Field) -> bool:
    spec = FIELDS[field.key]
    if spec.kind is Kind.FLAG or spec.empty_is_known:
        return False
    if field.key not in (*GROWING, *_SUMS):
        return True
    # Counted in a span that begins on a day of the member's own, it is unknown for whoever has no such day.
    return field.arg("since") in OWN_ANCHORS and field.arg("since") != FIRST_ORDER


def consistent(found: Mapping[Field, Domain]) -> bool:
    """Whether fields may have these values together: a shorter span holds no more, and days are counted from orders that are there."""
    sure = {field: domain for field, domain in found.items() if not domain.unknown and field.key in GROWING}
    for one, few in sure.items():
        for other, many in sure.items():
            if few.low is not None and many.high is not None and few.low > many.high and inside(one, other):
                return False
    ordered = [window_of(field) for field, domain in sure.items() if _some(field, domain)]
    none = [window_of(field) for field, domain in sure.items() if _none(field, domain)]
    days = {key: found.get(Field(key)) for key in SINCE_ORDERS}
    for key, domain in days.items():
        if domain is not None and _of_orders(key, domain, ordered, none).empty:
            return False
    last, first = (days[key] for key in SINCE_ORDERS)
    if last is None or first is None or last.unknown or first.unknown:
        return True
    return not (last.low is not None and first.high is not None and first.high < last.low)


def _some(field: Field, domain: Domain) -> bool:
    """Whether there is an order in the field's span."""
    return field.key in ("orders", "bought_times") and domain.low is not None and domain.low >= 1


def _none(field: Field, domain: Domain) -> bool:
    """Whether there is no order at all in the field's span."""
    return field.key == "orders" and domain.high == 0 and all(name in _SPAN for name, _ in field.args)


def _of_orders(key: str, domain: Domain, ordered: list[Window | None], none: list[Window | None]) -> Domain:
    """The days since an order, given spans with orders and spans without any."""
    if ordered:
        domain = replace(domain, unknown=False)
    for window in none:
        if window is None:
            domain = replace(domain, found=False)
        elif key == "days_since_order" and _last_days(window):
            domain = domain.within([Span(Fraction(window.days or 0))])
    for window in ordered if key == "days_since_order" else ():
        if window is not None and _last_days(window):
            domain = domain.within([Span(None, Fraction((window.days or 1) - 1))])
    return domain


def _last_days(window: Window) -> bool:
    return window.days is not None and not window.since


def inside(one: Field, other: Field) -> bool:
    """Whether whatever the first counts the second counts too, on any day."""
    if one.key not in GROWING or other.key not in (one.key, "orders" if one.key == "bought_times" else one.key):
        return False
    named = {name: value for name, value in one.args if name not in _SPAN}
    theirs = {name: value for name, value in other.args if name not in _SPAN}
    # What is asked of fewer names counts more.
    return all(named.get(name) == value for name, value in theirs.items()) and _narrower(
        window_of(one), window_of(other)
    )


_SPAN = ("days", "from_date", "to_date", "since")


def _narrower(one: Window | None, other: Window | None) -> bool:
    if other is None or one == other:
        return True
    if one is None:
        return False
    if other.since:
        same = one.since == other.since or (one.since == MONTH and other.since == YEAR and other.days is None)
        shorter = other.days is None or (one.days is not None and one.days <= other.days)
        return same and shorter
    if one.since:
        return False
    if other.days is not None:
        return one.days is not None and one.days <= other.days
    if one.days is not None:
        return False
    begins, ends = other.from_day or date.min, other.to_day or date.max
    return begins <= (one.from_day or date.min) and (one.to_day or date.max) <= ends
