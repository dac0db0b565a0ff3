"""Which members' answers may differ between two instants: those to whom something happened, and those whom the calendar moved.

What happens leaves a mark where it is written (`FieldSpec.sources`); marks are only ever moved on, so everything marked since the first
instant counts. As days go by (`FieldSpec.moves`) an answer changes when a count of days passes a number that the rule compares with, or
when a row crosses the edge of a span. Each part is a range of an index, never a walk over all members; together they hold everyone whose
answer differs, and some whose does not.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from fractions import Fraction

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    and_,
    case,
    or_,
    select,
    type_coerce,
    union,
)

from crm_plugin.birthdays import LUNAR, kept_on, passed
from crm_plugin.clock import at_local, day_number
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nearness import days_of, program_of
from crm_plugin.rules.nodes import (
    Compare,
    Field,
    Known,
    Leaf,
    Membership,
    Node,
    Number,
    Relation,
    Value,
    Within,
    leaf_fields,
    leaves,
)
from crm_plugin.rules.pace import late_between
from crm_plugin.rules.spec import FieldSpec, Moves, Source
from crm_plugin.rules.windows import PROGRAM, TIER, Window, window_of
from crm_plugin.store import (
    delivery_events,
    identities,
    member_consents,
    member_events,
    member_facts,
    member_tiers,
    members,
    orders,
    refunds,
    segment_events,
    segment_members,
    suppressions,
    tier_changes,
    tier_terms,
    touchpoints,
)
from crm_plugin.store.tenants import Shop

# A day that no count of days reaches, on either side.
_FEW_DAYS = 31
_FAR = 10_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """Marks count from `since` on, whatever their end; the calendar moved between the local days `before` and `after`, either way."""

    since: datetime
    before: date
    after: date

    @property
    def days(self) -> tuple[date, date]:
        """The two days, the earlier first."""
        return min(self.before, self.after), max(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Part:
    """Members of one index range, one column `member_id`; `why` is what may have moved them."""

    why: str
    select: Select[int]


def parts(shop: Shop, nodes: Iterable[Node], span: Span) -> list[Part]:
    """Everyone of whom one of these resolved rules may say something else at the end of the span than at its beginning."""
    found = _Parts(shop, span)
    for node in nodes:
        found.take(node)
    return found.parts


def moved(shop: Shop, nodes: Iterable[Node], span: Span) -> CompoundSelect[int]:
    """The same as one select, each member once."""
    return union(*(part.select for part in parts(shop, nodes, span)))


class _Parts:
    """Collects the parts of all rules; what several of them ask for is there once."""

    def __init__(self, shop: Shop, span: Span) -> None:
        self._shop = shop
        self._span = span
        self._low, self._high = span.days
        self._found: dict[Hashable, Part] = {}
        # New members too, and those who became one with another: whatever the rule asks for may have come with them.
        m = members.c
        self._add("member", "touched", select(m.member_id).where(m.shop_id == shop.shop_id, m.touched_at >= span.since))

    @property
    def parts(self) -> list[Part]:
        return list(self._found.values())

    def _add(self, why: str, key: Hashable, query: Select[int]) -> None:
        self._found.setdefault((why, key), Part(why, query))

    def take(self, node: Node) -> None:
        """Everything that moves this tree."""
        for leaf in leaves(node):
            if isinstance(leaf, Within) and leaf.rule is not None:
                self.take(leaf.rule)
                continue
            for asked in leaf_fields(leaf):
                self._take_steps(asked)
                spec = FIELDS[asked.key]
                for source in spec.sources:
                    self._marked(source, asked, spec)
                if self._low < self._high:
                    self._passed(asked, spec, _compared(leaf))

    def _take_steps(self, asked: Field) -> None:
        """What moves the numbers and rules that a policy asks."""
        for step in asked.steps or ():
            if step.keep is not None:
                self.take(step.keep)
            if step.missing is not None:
                self.take(Relation(step.missing, ">=", Number(0)))

    # What happened.

    def _marked(self, source: Source, asked: Field, spec: FieldSpec) -> None:
        since, shop_id = self._span.since, self._shop.shop_id
        if source is Source.PURCHASES:
            f = member_facts.c
            self._add("purchases", "marked", select(f.member_id).where(f.shop_id == shop_id, f.changed_at >= since))
        elif source is Source.CONSENTS:
            c = member_consents.c
            self._add("consents", "marked", select(c.member_id).where(c.shop_id == shop_id, c.changed_at >= since))
            if asked.key == "suppressed":
                self._add("consents", "suppressed", self._suppressed())
        elif source is Source.TIERS and _asks_for_tier(asked, spec):
            t = tier_changes.c
            self._add("tiers", "marked", select(t.member_id).where(t.shop_id == shop_id, t.changed_at >= since))
            if spec.moves is Moves.OWN_PACE or asked.key == "tier_in_grace":
                e = tier_terms.c
                self._add("tiers", "terms", select(e.member_id).where(e.shop_id == shop_id, e.at >= since))
        elif source is Source.SEGMENTS and asked.arg("segment") is not None:
            e, key = segment_events.c, str(asked.arg("segment"))
            own = (e.shop_id == shop_id, e.segment_key == key, e.at >= since)
            self._add("segments", key, select(e.member_id).where(*own))
        elif source is Source.MESSAGES:
            t = touchpoints.c
            settled = (t.shop_id == shop_id, t.accepted_at.is_not(None), t.settled_at >= since)
            self._add("messages", "settled", select(t.member_id).where(*settled))
            self._add("messages", "told", self._told(delivery_events.c.received_at >= since))
        elif source is Source.EVENTS:
            self._of_events(asked, "raised", member_events.c.recorded_at >= since)

    def _of_events(self, asked: Field, key: Hashable, *when: ColumnElement[bool]) -> None:
        e, kind = member_events.c, str(asked.arg("event"))
        own = (e.shop_id == self._shop.shop_id, e.kind == kind, *when)
        self._add("events", (kind, key), select(e.member_id).where(*own))

    def _suppressed(self) -> Select[int]:
        s, i = suppressions.c, identities.c
        kind = case((s.channel == "sms", "phone"), else_="email")
        own = and_(i.shop_id == s.shop_id, i.kind == kind, i.value == s.address)
        return (
            select(i.member_id)
            .select_from(suppressions.join(identities, own))
            .where(s.shop_id == self._shop.shop_id, s.recorded_at >= self._span.since)
        )

    def _told(self, *when: ColumnElement[bool]) -> Select[int]:
        e, t = delivery_events.c, touchpoints.c
        own = and_(t.shop_id == e.shop_id, t.touchpoint_id == e.touchpoint_id)
        return (
            select(t.member_id)
            .select_from(delivery_events.join(touchpoints, own))
            .where(e.shop_id == self._shop.shop_id, *when)
        )

    # What the days moved.

    def _passed(self, asked: Field, spec: FieldSpec, values: Sequence[Value] | None) -> None:
        self._come_to_be(asked, spec)
        if spec.moves is Moves.DAILY:
            self._counted(asked, spec, values)
        elif spec.moves is Moves.WINDOW:
            self._edges(asked, spec)
        elif asked.key == "age":
            self._birthdays()
        elif asked.key == "late_by":
            if values is None:
                self._counted_from("last_order_on", -_FAR, _FAR)
            for value in values or ():
                query = late_between(self._shop.shop_id, Fraction(value), day_number(self._low), day_number(self._high))
                self._add("days", ("late", value), query)
        elif asked.key in ("tier_ends_in", "tier_at_risk"):
            self._ending(asked, (days_of(asked),) if asked.key == "tier_at_risk" else values)
        elif spec.moves is Moves.OWN_PACE:
            raise TypeError(f"nothing is known of the pace of {asked.key}")

    def _come_to_be(self, asked: Field, spec: FieldSpec) -> None:
        """Rows of days that were still to come on the earlier one: a rule does not see them before their day."""
        shop_id = self._shop.shop_id
        if Source.PURCHASES in spec.sources:
            self._of_orders(day_number(self._low) + 1, _FAR)
            self._of_refunds(day_number(self._low) + 1, _FAR)
        if Source.EVENTS in spec.sources:
            self._of_events(asked, "to come", member_events.c.on_day > self._low)
        if Source.TIERS in spec.sources and _asks_for_tier(asked, spec):
            t = tier_changes.c
            query = select(t.member_id).where(t.shop_id == shop_id, t.as_of > self._low)
            self._add("days", "tier changes", query)

    def _counted(self, asked: Field, spec: FieldSpec, values: Sequence[Value] | None) -> None:
        """Days since a stored day: whoever's count has passed a number it is compared with. In a calculation that may be any number."""
        table, column = spec.counts_from
        ranges = [(-_FAR, _FAR)]
        if values is not None:
            low, high = day_number(self._low), day_number(self._high)
            ranges = [
                (_near(low - math.ceil(Fraction(one))), _near(high - math.floor(Fraction(one)))) for one in values
            ]
        for first, last in ranges:
            if table == "member_facts":
                self._counted_from(column, first, last)
                continue
            held = {"members": members, "member_tiers": member_tiers, "segment_members": segment_members}[table]
            day = type_coerce(held.c[column], Integer)
            own = [held.c.shop_id == self._shop.shop_id, day.between(first, last)]
            if held is member_tiers:
                own.append(held.c.program_key == str(asked.arg("program") or PROGRAM))
            if held is segment_members:
                own.append(held.c.segment_key == str(asked.arg("segment")))
            self._add("days", (asked, first, last), select(held.c.member_id).where(*own))

    def _ending(self, asked: Field, values: Sequence[Value] | None) -> None:
        """Whose level ends so many days ahead that a number is passed."""
        t = member_tiers.c
        program = program_of(asked)
        low, high = day_number(self._low), day_number(self._high)
        ranges = [(-_FAR, _FAR)]
        if values is not None:
            ranges = [
                (_near(low + math.floor(Fraction(one))), _near(high + math.ceil(Fraction(one)))) for one in values
            ]
        for first, last in ranges:
            own = (t.shop_id == self._shop.shop_id, t.program_key == program)
            grace, fixed = (type_coerce(one, Integer).between(first, last) for one in (t.grace_until, t.fixed_until))
            ends = (or_(t.grace_until.is_not(None), t.fixed), or_(grace, and_(t.fixed, fixed)))
            self._add("days", (asked.key, program, first, last), select(t.member_id).where(*own, *ends))

    def _counted_from(self, column: str, first: int, last: int) -> None:
        if column == "first_order_on" and first > -_FAR:
            # A first order is an order of that day, and by its day an order is found.
            self._of_orders(first, last)
            return
        f = member_facts.c
        day = type_coerce(f.last_order_on, Integer)
        own = (f.shop_id == self._shop.shop_id, day.between(first, last))
        self._add("days", (column, first, last), select(f.member_id).where(*own))

    def _edges(self, asked: Field, spec: FieldSpec) -> None:
        """Rows between the two beginnings of a span, and between its two ends."""
        window = window_of(asked) or Window()
        if window.anchor:
            # Where a row stands in a span of the member's own does not change with the day of asking.
            return
        (begins, ends), (begins_too, ends_too) = window.bounds(self._low), window.bounds(self._high)
        day = timedelta(days=1)
        if begins is not None and begins_too is not None and begins != begins_too:
            self._rows_between(asked, spec, min(begins, begins_too), max(begins, begins_too) - day)
        if ends != ends_too:
            self._rows_between(asked, spec, min(ends, ends_too) + day, max(ends, ends_too))

    def _rows_between(self, asked: Field, spec: FieldSpec, first: date, last: date) -> None:
        if Source.MESSAGES in spec.sources:
            zone, t = self._shop.timezone, touchpoints.c
            low, high = at_local(first, time(), zone), at_local(last + timedelta(days=1), time(), zone)
            sent = (t.shop_id == self._shop.shop_id, t.accepted_at >= low, t.accepted_at < high)
            self._add("days", ("sent", low, high), select(t.member_id).where(*sent))
            at = delivery_events.c.at
            self._add("days", ("told", low, high), self._told(at >= low, at < high))
            return
        if Source.EVENTS in spec.sources:
            self._of_events(asked, (first, last), member_events.c.on_day.between(first, last))
            return
        self._of_orders(day_number(first), day_number(last))
        if spec.group == "purchases" or spec.key == "refunded_among":
            self._of_refunds(day_number(first), day_number(last))

    def _of_orders(self, first: int, last: int) -> None:
        o = orders.c
        own = (o.shop_id == self._shop.shop_id, type_coerce(o.placed_on, Integer).between(first, last))
        self._add("days", ("orders", first, last), select(o.member_id).where(*own, o.member_id.is_not(None)))

    def _of_refunds(self, first: int, last: int) -> None:
        r = refunds.c
        own = (r.shop_id == self._shop.shop_id, type_coerce(r.refunded_on, Integer).between(first, last))
        self._add("days", ("refunds", first, last), select(r.member_id).where(*own, r.member_id.is_not(None)))

    def _birthdays(self) -> None:
        """Who grew older: by month and day, as they are stored; at New Year also those without a birthday, and years to come."""
        m, low, high = members.c, self._low, self._high
        first, last = _month_day(low) + 1, _month_day(high)
        born = select(m.member_id).where(m.shop_id == self._shop.shop_id)
        if (high - low).days >= 365:
            first, last = 0, 1231
        if low.year == high.year or first == 0:
            self._add("days", ("born", first, last), born.where(m.birth_md.between(first, last)))
        else:
            self._add("days", ("born", first, 1231), born.where(m.birth_md.between(first, 1231)))
            self._add("days", ("born", 0, last), born.where(m.birth_md.between(0, last)))
        if low.year != high.year:
            # Once a year.
            self._add("days", "years", born.where(m.birth_year >= 0))
        # Lunar birthdays are numbers of their own, a few a day; over many days all that there are, which are fewer than the members.
        if (high - low).days > _FEW_DAYS:
            self._add("days", "lunar", born.where(m.birth_md >= LUNAR))
            return
        days = [low + timedelta(days=number + 1) for number in range((high - low).days)]
        numbers = sorted({number for day in days for number, _year in kept_on(day) if number >= LUNAR})
        self._add("days", ("lunar", low, high), born.where(m.birth_md.in_(numbers)))
        if passed(low).lunar_year != passed(high).lunar_year:
            # Who is to be born in the year that begins.
            self._add("days", "lunar years", born.where(m.birth_md >= LUNAR, m.birth_year == passed(high).lunar_year))


def _asks_for_tier(asked: Field, spec: FieldSpec) -> bool:
    """A span knows the level only when it begins with it."""
    return not spec.windowed or asked.arg("since") == TIER


def _compared(leaf: Leaf) -> Sequence[Value] | None:
    """The numbers that decide; none where only being known does, and None where they depend on the member."""
    if isinstance(leaf, Compare):
        return (leaf.value,)
    if isinstance(leaf, Membership):
        return leaf.values
    return () if isinstance(leaf, Known) else None


def _near(day: int) -> int:
    return max(-_FAR, min(_FAR, day))


def _month_day(day: date) -> int:
    return day.month * 100 + day.day
