"""The days on which a rule's answer may turn by itself: nothing happens, but the calendar moves on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction

from crm_plugin import lunar
from crm_plugin.birthdays import LUNAR, kept_in
from crm_plugin.rules.evaluate import Snapshot, Truth, evaluate, value_of
from crm_plugin.rules.fields import FIELDS, Moves, Source
from crm_plugin.rules.nodes import (
    Compare,
    Field,
    Leaf,
    Membership,
    Node,
    Relation,
    Value,
    Within,
    leaf_fields,
    leaves,
)
from crm_plugin.rules.windows import FIRST_ORDER, JOINED, MONTH, PROGRAM, YEAR, window_of

# Nobody plans further ahead; and where each day may differ, each is asked.
HORIZON, EACH_DAY = 1100, 400


@dataclass(frozen=True, slots=True)
class Turn:
    """A condition that turns, and to what. `left` are the orders, refunds, messages and events that leave its span, each by its day."""

    leaf: Leaf
    truth: Truth
    left: tuple[tuple[str, date], ...] = ()


def settled(snapshot: Snapshot, as_of: date) -> Snapshot:
    """The member as far as that day knows: what came later is left out."""
    return replace(
        snapshot,
        orders=tuple(one for one in snapshot.orders if one.placed_on <= as_of),
        refunds=tuple(one for one in snapshot.refunds if one.refunded_on <= as_of),
        events=tuple(one for one in snapshot.events if one[1] <= as_of),
        messages=tuple(
            replace(one, days={what: tuple(day for day in days if day <= as_of) for what, days in one.days.items()})
            for one in snapshot.messages
        ),
    )


def turning_days(node: Node, snapshot: Snapshot, as_of: date) -> list[date]:
    """Every day after `as_of`, within the horizon, on which some condition may be another than the day before, in order.

    Also days on which what happens then would count otherwise than the day before.
    """
    # What came today counts from today on, and what comes tomorrow comes after it.
    found = {as_of + timedelta(days=1)}
    for leaf in _deep_leaves(node):
        found.update(_days(leaf, snapshot, as_of))
    # Past the days that were all taken nothing is known of what may differ on each.
    each = any(_each_day(leaf) for leaf in _deep_leaves(node))
    last = as_of + timedelta(days=EACH_DAY if each else HORIZON)
    return sorted(day for day in found if as_of < day <= last)


def turns(node: Node, snapshot: Snapshot, day: date) -> list[Turn]:
    """The conditions that are another on that day than the day before, and what left their spans."""
    before = day - timedelta(days=1)
    found = []
    for leaf in dict.fromkeys(_deep_leaves(node)):
        truth = evaluate(leaf, snapshot, day)
        if truth is not evaluate(leaf, snapshot, before):
            left = dict.fromkeys(one for asked in leaf_fields(leaf) for one in _left(asked, snapshot, day))
            found.append(Turn(leaf, truth, tuple(left)))
    return found


def _deep_leaves(node: Node) -> Iterator[Leaf]:
    for leaf in leaves(node):
        if isinstance(leaf, Within) and leaf.rule is not None:
            yield from _deep_leaves(leaf.rule)
        else:
            yield leaf


def _days(leaf: Leaf, snapshot: Snapshot, as_of: date) -> Iterator[date]:
    asked = list(leaf_fields(leaf))
    for one in asked:
        yield from _edges(one, snapshot, as_of)
    if isinstance(leaf, Compare | Membership):
        values: tuple[Value, ...] = (leaf.value,) if isinstance(leaf, Compare) else leaf.values
        for value in values:
            if not isinstance(value, str):
                yield from _reached(leaf.field, Fraction(value), snapshot, as_of)
    if _each_day(leaf):
        yield from (as_of + timedelta(days=number) for number in range(1, EACH_DAY + 1))


def _each_day(leaf: Leaf) -> bool:
    """Whether any day may be another than the one before, for all that is easily told."""
    asked = [one.key for one in leaf_fields(leaf)]
    if isinstance(leaf, Relation) and any(FIELDS[key].moves is not Moves.NEVER for key in asked):
        return True
    # An order placed tomorrow makes another rhythm than one placed today; what a level still asks for has spans of its own.
    return any(key in ("mean_gap", "late_by") or _of_levels(key) for key in asked)


def _of_levels(key: str) -> bool:
    spec = FIELDS[key]
    plain = key in ("tier", "days_in_tier", "segment") or spec.windowed
    return Source.TIERS in spec.sources and not plain


def _edges(asked: Field, snapshot: Snapshot, as_of: date) -> Iterator[date]:
    """Days on which something leaves the field's span, or the span begins or ends."""
    window = window_of(asked)
    if window is None:
        return
    if window.since in (YEAR, MONTH):
        begins = [_next(as_of, window.since), window.bounds(as_of)[0]]
        begins.append(_next(begins[0] or as_of, window.since))
        for begin in begins:
            assert begin is not None
            yield begin
            if window.days is not None:
                yield begin + timedelta(days=window.days)
    elif window.anchor:
        anchor = _anchor(window.anchor, snapshot)
        if anchor is not None:
            yield anchor
            if window.days is not None:
                yield anchor + timedelta(days=window.days)
    elif window.days is not None:
        for _, day in _rows(asked, snapshot):
            if (as_of - day).days < window.days:
                yield day + timedelta(days=window.days)
    else:
        if window.from_day is not None:
            yield window.from_day
        if window.to_day is not None:
            yield window.to_day + timedelta(days=1)


def _left(asked: Field, snapshot: Snapshot, day: date) -> Iterator[tuple[str, date]]:
    window = window_of(asked)
    if window is None or window.anchor:
        return
    first, before = window.bounds(day)[0], window.bounds(day - timedelta(days=1))[0]
    if first is not None and before is not None and first != before:
        yield from (one for one in sorted(_rows(asked, snapshot)) if before <= one[1] < first)


def _rows(asked: Field, snapshot: Snapshot) -> set[tuple[str, date]]:
    """What the field may count: order, refund, message or event, with its day."""
    if asked.key == "happened":
        return {("event", day) for kind, day in snapshot.events if kind == asked.arg("event")}
    if FIELDS[asked.key].group == "engagement":
        return {("message", day) for one in snapshot.messages for day in one.days.get(asked.key, ())}
    found = set()
    if asked.key not in ("refunds", "refunded"):
        found |= {("order", one.placed_on) for one in snapshot.orders}
    if asked.key in ("refunds", "refunded", "refunded_among", "spent", "profit", "return_rate"):
        found |= {("refund", one.refunded_on) for one in snapshot.refunds}
    return found


def _anchor(since: str, snapshot: Snapshot) -> date | None:
    if since == FIRST_ORDER:
        return min((one.placed_on for one in snapshot.orders), default=None)
    if since == JOINED:
        return snapshot.joined_on
    return snapshot.tiers[PROGRAM][1] if PROGRAM in snapshot.tiers else None


def _next(day: date, since: str) -> date:
    """The next first of January or of a month."""
    if since == YEAR:
        return date(day.year + 1, 1, 1)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _reached(asked: Field, value: Fraction, snapshot: Snapshot, as_of: date) -> Iterable[date]:
    """The days on which what is counted in days or years reaches a value, and passes it."""
    spec = FIELDS[asked.key]
    if spec.moves is Moves.DAILY:
        now = value_of(asked, snapshot, as_of)
        if now is None:
            return ()
        assert isinstance(now, Fraction)
        return _around(as_of, value - now)
    if asked.key == "late_by":
        days = sorted(one.placed_on for one in snapshot.orders)
        span = (days[-1] - days[0]).days if days else 0
        return _around(days[-1], value * span / (len(days) - 1)) if span else ()
    if asked.key == "age" and snapshot.birth_year is not None:
        years = {math.floor(value), math.ceil(value), math.floor(value) + 1}
        born = [(snapshot.birth_year + one, snapshot.birth_md or 0) for one in years]
        return [_birthday(year, number) for year, number in born if _is_known(year, number)]
    return ()


def _around(base: date, days: Fraction) -> list[date]:
    if abs(days) > HORIZON * 40:
        return []
    return [base + timedelta(days=number) for number in {math.floor(days), math.ceil(days), math.floor(days) + 1}]


def _is_known(year: int, number: int) -> bool:
    if number >= LUNAR:
        return lunar.FIRST_YEAR <= year <= lunar.LAST_YEAR
    return 1 <= year < date.max.year


def _birthday(year: int, number: int) -> date:
    """The first day of the year that is not before the birthday, as years are counted."""
    if number >= LUNAR:
        return kept_in(year, number)
    month, day = divmod(max(number, 101), 100)
    try:
        return date(year, month, max(day, 1))
    except ValueError:
        return date(year, month + 1, 1)
