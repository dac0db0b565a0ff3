"""What the SQL of fields stands on: members, facts and held levels joined by key, and sums over orders, refunds, lines and messages.

`JoinedScope` is for all members of a shop: everything a rule reads is joined once, already aggregated by member, and windows come from
the index range of their days; `FactsScope` is for those of them who have facts. `SingleScope` is for the members at hand: each thing is
looked up by that member's key.

Facts are of now. `history` asks for a day that orders or refunds have come after: what came later is taken off again, and the level held
is the one of that day.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import date, time, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Subquery,
    and_,
    case,
    exists,
    func,
    literal,
    select,
    type_coerce,
)

from crm_plugin.clock import at_local, day_number
from crm_plugin.rules.dialects import attribute, off_index
from crm_plugin.rules.operands import Truth
from crm_plugin.rules.rows import Rows, listed_in, orders_of, refunds_given
from crm_plugin.rules.windows import FIRST_ORDER, JOINED, PROGRAM, Window
from crm_plugin.store import member_facts, member_tiers, members, orders, tier_changes
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop

# What each kept sum is summed from again, to take off what came after the day asked for: orders, then refunds.
_FROM_ORDERS = {
    "orders_count": "count",
    "items_milli": "items",
    "gross_minor": "gross",
    "spent_minor": "gross",
    "discount_minor": "discount",
    "cost_minor": "cost",
    "unconverted_orders": "unconverted",
}
_FROM_REFUNDS = {"refunds_count": ("count", -1), "refunded_minor": ("minor", -1), "spent_minor": ("minor", 1)}


class _ByKey:
    """What both scopes share: the member, the facts and the level, joined by key when they are asked for."""

    def __init__(self, shop: Shop, as_of: date, members_from: FromClause, *, history: bool = False) -> None:
        self.shop = shop
        self.as_of = as_of
        self.history = history
        self._members = members_from
        self._source: FromClause = members_from
        self._joined: dict[Hashable, Any] = {}

    @property
    def source(self) -> FromClause:
        """Everything that was asked for, joined; complete once all conditions are built."""
        return self._source

    def member(self, name: str) -> ColumnElement[Any]:
        column: ColumnElement[Any] = self._members.c[name]
        return column

    def attribute(self, name: str, *, number: bool) -> ColumnElement[Any]:
        return attribute(self.member("attributes"), name, number=number)

    def fact(self, name: str) -> ColumnElement[int]:
        now: ColumnElement[int] = func.coalesce(self._facts().c[name], 0)
        if not self.history:
            return now
        if name in _FROM_ORDERS:
            now = now - self._later(orders_of(self.shop.currency), _FROM_ORDERS[name])
        if name in _FROM_REFUNDS:
            column, sign = _FROM_REFUNDS[name]
            now = now + sign * self._later(refunds_given(), column)
        return now

    def fact_day(self, name: str) -> ColumnElement[int]:
        day: ColumnElement[int] = type_coerce(self._facts().c[name], Integer)
        if not self.history:
            return day
        today, o = day_number(self.as_of), orders.c
        if name.startswith("first"):
            return case((day <= today, day))
        placed = type_coerce(o.placed_on, Integer)
        own = and_(o.shop_id == self.shop.shop_id, o.member_id == self._members.c.member_id, o.counts, placed <= today)
        last = select(func.max(placed)).where(own).correlate(self._members)
        return case((day <= today, day), else_=last.scalar_subquery())

    def tier(self, program: str) -> ColumnElement[str]:
        return func.coalesce(self._tiers(program).c.level_key, "")

    def tier_day(self, program: str) -> ColumnElement[int]:
        return type_coerce(self._tiers(program).c.since_on, Integer)

    def held(self, program: str, name: str) -> ColumnElement[Any]:
        if not self.history:
            column: ColumnElement[Any] = self._tiers(program).c[name]
            return column
        key = ("standing", program)
        if key not in self._joined:
            standing = member_tiers.alias(f"rule_standing_{len(self._joined)}")
            self._joined[key] = standing
            self._join(standing, standing.c.program_key == program)
        now: ColumnElement[Any] = self._joined[key].c[name]
        return now

    def within(self, segment: str) -> Truth:
        return self.among(listed_in(segment))

    def total(self, rows: Rows, name: str, window: Window | None) -> ColumnElement[Any]:
        value = self._sum(rows, name, window, later=False)
        value = value if name in rows.none else func.coalesce(value, 0)
        if window is None or window.anchor in ("", FIRST_ORDER):
            return value
        # Who has no such day has no such span; whoever never ordered has ordered nothing since the first time.
        day = self.member("joined_on") if window.anchor == JOINED else self._tiers(PROGRAM).c.since_on
        return case((day.is_not(None), value))

    def among(self, rows: Rows, window: Window | None = None) -> Truth:
        raise NotImplementedError

    def _sum(self, rows: Rows, name: str, window: Window | None, *, later: bool) -> ColumnElement[Any]:
        raise NotImplementedError

    def _later(self, rows: Rows, name: str) -> ColumnElement[Any]:
        return func.coalesce(self._sum(rows, name, None, later=True), 0)

    def _facts(self) -> FromClause:
        facts: FromClause | None = self._joined.get("facts")
        if facts is None:
            facts = self._joined["facts"] = member_facts.alias("rule_facts")
            self._join(facts)
        return facts

    def _tiers(self, program: str) -> FromClause:
        key = ("tier", program)
        held: FromClause | None = self._joined.get(key)
        if held is None:
            name = f"rule_tiers_{len(self._joined)}"
            if self.history:
                held = self._held_then(program).subquery(name)
                self._join(held)
            else:
                held = member_tiers.alias(name)
                self._join(held, held.c.program_key == program)
            self._joined[key] = held
        return held

    def _held_then(self, program: str) -> Select[Any]:
        """One row: a member with the level held on the day asked for, and since when."""
        c = tier_changes.c
        newest = func.row_number().over(partition_by=c.member_id, order_by=(c.as_of.desc(), c.change_id.desc()))
        changes = (
            select(c.member_id, c.to_level, c.as_of, newest.label("place"))
            .where(c.shop_id == self.shop.shop_id, c.program_key == program, c.as_of <= self.as_of)
            .subquery()
        )
        columns = (changes.c.member_id, changes.c.to_level.label("level_key"), changes.c.as_of.label("since_on"))
        return select(*columns).where(changes.c.place == 1, changes.c.to_level != "")

    def _join(self, other: FromClause, *more: Truth) -> None:
        """Outer join by the member's key; tables name the shop themselves, aggregates are the shop's already."""
        same = [other.c.member_id == self._members.c.member_id, *more]
        if "shop_id" in other.c:
            same.insert(0, other.c.shop_id == self.shop.shop_id)
        self._source = self._source.outerjoin(other, and_(*same))

    def _span(
        self, rows: Rows, window: Window | None, anchor: ColumnElement[int] | None, *, later: bool
    ) -> list[Truth]:
        """The rows' days that count. Without a window all do; those after the day asked for never."""
        today = self.as_of
        if later:
            assert rows.day is not None
            return [rows.day > day_number(today)]
        if anchor is not None:
            assert rows.day is not None
            assert window is not None
            first = [rows.day >= anchor, rows.day <= day_number(today)]
            return first if window.days is None else [*first, rows.day < anchor + window.days]
        low, high = (None, today) if window is None else window.bounds(today)
        bounded = window is not None or self.history
        if rows.day is not None:
            found = [] if low is None else [rows.day >= day_number(low)]
            return [*found, rows.day <= day_number(high)] if bounded else found
        if rows.instant is not None:
            found = [] if low is None else [rows.instant >= self._begins(low)]
            return [*found, rows.instant < self._begins(high + timedelta(days=1))] if bounded else found
        return []

    def _begins(self, day: date) -> int:
        return to_micros(at_local(day, time(), self.shop.timezone))


class JoinedScope(_ByKey):
    """For all members of a shop: each thing read is one outer join of rows already aggregated by member."""

    def __init__(self, shop: Shop, as_of: date, members_from: FromClause = members, *, history: bool = False) -> None:
        super().__init__(shop, as_of, members_from, history=history)

    def among(self, rows: Rows, window: Window | None = None) -> Truth:
        key = ("among", rows.key, window)
        found: Subquery | None = self._joined.get(key)
        if found is None:
            query = self._rows(rows, window, [rows.member_id.label("member_id")], later=False).distinct()
            found = self._joined[key] = query.subquery(f"among_{len(self._joined)}")
            self._join(found)
        return found.c.member_id.is_not(None)

    def _sum(self, rows: Rows, name: str, window: Window | None, *, later: bool) -> ColumnElement[Any]:
        key = ("sums", rows.key, window, later)
        sums: Subquery | None = self._joined.get(key)
        if sums is None:
            # One row: a member with something in the window.
            columns = [rows.member_id.label("member_id"), *(value.label(one) for one, value in rows.sums.items())]
            query = self._rows(rows, window, columns, later=later).group_by(rows.member_id)
            sums = self._joined[key] = query.subquery(f"sums_{len(self._joined)}")
            self._join(sums)
        return sums.c[name]

    def _rows(
        self, rows: Rows, window: Window | None, columns: Iterable[ColumnElement[Any]], *, later: bool
    ) -> Select[Any]:
        source, day = rows.source, None
        if window is not None and window.anchor:
            other, day, same = self._anchored(window.anchor, rows)
            source = source.join(other, same)
        own = (rows.shop_id == self.shop.shop_id, rows.member_id.is_not(None), *rows.where)
        return select(*columns).select_from(source).where(*own, *self._span(rows, window, day, later=later))

    def _anchored(self, anchor: str, rows: Rows) -> tuple[FromClause, ColumnElement[int], Truth]:
        """What has the member's own day, that day, and how it joins the rows."""
        if anchor == FIRST_ORDER:
            other: FromClause = member_facts.alias("anchor")
            day = other.c.first_order_on
        elif anchor == JOINED:
            other = members.alias("anchor")
            day = other.c.joined_on
        elif self.history:
            other = self._held_then(PROGRAM).subquery("anchor")
            day = other.c.since_on
        else:
            other = member_tiers.alias("anchor")
            day = other.c.since_on
        same = [other.c.member_id == rows.member_id]
        if "shop_id" in other.c:
            same.append(other.c.shop_id == rows.shop_id)
        if "program_key" in other.c:
            same.append(other.c.program_key == PROGRAM)
        return other, type_coerce(day, Integer), and_(*same)


class FactsScope(JoinedScope):
    """The same for those who have facts, whatever their state: one table in place of three. It knows no column of members.

    With `in_one_stretch` the table is read from end to end, also where an index has some of what is asked for.
    """

    def __init__(self, shop: Shop, as_of: date, *, in_one_stretch: bool = False) -> None:
        super().__init__(shop, as_of, member_facts)
        self._in_one_stretch = in_one_stretch

    def tier(self, program: str) -> ColumnElement[str]:
        return self.member("level_key") if program == PROGRAM else super().tier(program)

    def fact(self, name: str) -> ColumnElement[int]:
        column: ColumnElement[int] = member_facts.c[name]
        return column

    def fact_day(self, name: str) -> ColumnElement[int]:
        day = super().fact_day(name)
        return off_index(day) if self._in_one_stretch else day

    def _facts(self) -> FromClause:
        return member_facts


class SingleScope(_ByKey):
    """For the member at hand: each thing read is looked up by that member's key."""

    def __init__(self, shop: Shop, as_of: date, *, history: bool = False) -> None:
        super().__init__(shop, as_of, members.alias("rule_members"), history=history)

    def among(self, rows: Rows, window: Window | None = None) -> Truth:
        found = self._rows(rows, window, literal(1), later=False)
        return exists(found.correlate(*self._outer()))

    def _sum(self, rows: Rows, name: str, window: Window | None, *, later: bool) -> ColumnElement[Any]:
        query = self._rows(rows, window, rows.sums[name], later=later)
        return query.correlate(*self._outer()).scalar_subquery()

    def _outer(self) -> list[FromClause]:
        """What a looked-up row may speak of: the member, and whatever holds the member's own days."""
        return [self._members, *(one for one in self._joined.values())]

    def _rows(self, rows: Rows, window: Window | None, column: ColumnElement[Any], *, later: bool) -> Select[Any]:
        day: ColumnElement[int] | None = None
        if window is not None and window.anchor:
            if window.anchor == FIRST_ORDER:
                day = type_coerce(self._facts().c.first_order_on, Integer)
            elif window.anchor == JOINED:
                day = type_coerce(self.member("joined_on"), Integer)
            else:
                day = self.tier_day(PROGRAM)
        own = (rows.shop_id == self.shop.shop_id, rows.member_id == self._members.c.member_id, *rows.where)
        return select(column).select_from(rows.source).where(*own, *self._span(rows, window, day, later=later))
