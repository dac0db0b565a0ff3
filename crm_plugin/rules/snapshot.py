"""Everything rules can ask about one member, read by key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, select

from crm_plugin.clock import local_day
from crm_plugin.errors import NotFound
from crm_plugin.money import share
from crm_plugin.phrases import phrase
from crm_plugin.rules.evaluate import BoughtLine, GivenRefund, HeldTerm, PlacedOrder, SentMessage, Snapshot
from crm_plugin.rules.rows import ARRIVED, CLICKED, MACHINE_OPENED, OPENED, RECEIVED
from crm_plugin.store import (
    delivery_events,
    member_consents,
    member_events,
    member_tags,
    member_tiers,
    members,
    order_lines,
    orders,
    products,
    refunds,
    segment_members,
    suppressions,
    tier_changes,
    touchpoints,
)
from crm_plugin.store.tenants import Shop

_TEXTS = ("country", "locale", "email", "phone", "first_name", "last_name")


def snapshot_of(connection: Connection, shop: Shop, member_id: int, as_of: date) -> Snapshot:
    """The member as rules see them; levels are those of that day. Raises: NotFound."""
    query = select(members).where(members.c.shop_id == shop.shop_id, members.c.member_id == member_id)
    member = connection.execute(query).first()
    if member is None:
        raise NotFound(phrase("There is no such member in this shop."))
    read = _Reader(connection, shop, member_id)
    placed = read.orders()
    return Snapshot(
        currency=shop.currency,
        texts={**{name: getattr(member, name) for name in _TEXTS}, "timezone": member.zone},
        birth_year=member.birth_year,
        birth_md=member.birth_md,
        joined_on=member.joined_on,
        guest=member.external_id is None,
        attributes=member.attributes,
        tiers=read.tiers(as_of),
        terms=read.terms(),
        orders=tuple(placed.values()),
        refunds=read.refunds(placed),
        messages=read.messages(),
        events=tuple((one.kind, one.on_day) for one in read.all(member_events) if one.withdrawn_at is None),
        tags=frozenset(one.tag for one in read.all(member_tags)),
        consents={(one.channel, one.topic): one.state for one in read.all(member_consents)},
        suppressed=read.suppressed(member),
        segments={one.segment_key: one.since_on for one in read.all(segment_members)},
    )


class _Reader:
    """The rows of one member."""

    def __init__(self, connection: Connection, shop: Shop, member_id: int) -> None:
        self._connection = connection
        self._shop = shop
        self._member_id = member_id

    def all(self, table: Table) -> list[Row[Any]]:
        """Every row of the member in a table."""
        mine = (table.c.shop_id == self._shop.shop_id, table.c.member_id == self._member_id)
        return list(self._connection.execute(select(table).where(*mine)))

    def tiers(self, as_of: date) -> dict[str, tuple[str, date]]:
        """The levels held; on a day that changes came after, those of that day."""
        changes = self.all(tier_changes)
        if not any(one.as_of > as_of for one in changes):
            return {one.program_key: (one.level_key, one.since_on) for one in self.all(member_tiers)}
        past = sorted((one for one in changes if one.as_of <= as_of), key=lambda one: (one.as_of, one.change_id))
        newest = {one.program_key: (one.to_level, one.as_of) for one in past}
        return {program: held for program, held in newest.items() if held[0]}

    def terms(self) -> dict[str, HeldTerm]:
        """How long each level is held, as it stands now."""
        return {
            one.program_key: HeldTerm(one.fixed_until if one.fixed else one.grace_until, one.in_grace, one.fixed)
            for one in self.all(member_tiers)
        }

    def orders(self) -> dict[int, PlacedOrder]:
        """Those that count, by their id."""
        lines = self._lines()
        return {one.order_id: self._order(one, lines[one.order_id]) for one in self.all(orders) if one.counts}

    def _order(self, one: Row[Any], lines: list[tuple[Row[Any], frozenset[str]]]) -> PlacedOrder:
        home, base = one.currency == self._shop.currency, one.base_minor

        def own(minor: int | None) -> int:
            if base is None:
                return 0
            return (minor or 0) if home else share(minor or 0, base, one.total_minor)

        return PlacedOrder(
            placed_on=one.placed_on,
            base_minor=base,
            lines=tuple(
                BoughtLine(
                    line.sku,
                    line.title,
                    line.product_external_id,
                    categories,
                    Fraction(round(line.quantity * 1000), 1000),
                    own(line.total_minor),
                )
                for line, categories in lines
            ),
            items_milli=one.items_milli,
            discount_minor=own(one.discount_minor),
            cost_minor=own(one.cost_minor),
            coupon=bool(one.coupon_codes),
            shipping_minor=own(one.shipping_minor),
            tax_minor=own(one.tax_minor),
        )

    def _lines(self) -> defaultdict[int, list[tuple[Row[Any], frozenset[str]]]]:
        """The lines of the member's orders with a quantity above zero, each with the categories of its product."""
        o, line = orders.c, order_lines.c
        query = (
            select(order_lines)
            .select_from(order_lines.join(orders, and_(o.shop_id == line.shop_id, o.order_id == line.order_id)))
            .where(o.shop_id == self._shop.shop_id, o.member_id == self._member_id, o.counts, line.quantity > 0)
        )
        found: defaultdict[int, list[tuple[Row[Any], frozenset[str]]]] = defaultdict(list)
        rows = list(self._connection.execute(query))
        by_id = self._categories("external_id", {row.product_external_id for row in rows})
        by_sku = self._categories("sku", {row.sku for row in rows if not row.product_external_id})
        for row in rows:
            known = by_id[row.product_external_id] if row.product_external_id else by_sku[row.sku]
            found[row.order_id].append((row, frozenset(known)))
        return found

    def _categories(self, column: str, names: set[str]) -> defaultdict[str, set[str]]:
        found: defaultdict[str, set[str]] = defaultdict(set)
        c = products.c
        wanted = select(c[column], c.category).where(c.shop_id == self._shop.shop_id, c[column].in_(names - {""}))
        for name, category in self._connection.execute(wanted):
            found[name].add(category)
        return found

    def refunds(self, placed: Mapping[int, PlacedOrder]) -> tuple[GivenRefund, ...]:
        return tuple(
            GivenRefund(one.refunded_on, one.base_minor, placed.get(one.order_id))
            for one in self.all(refunds)
            if one.counts
        )

    def messages(self) -> tuple[SentMessage, ...]:
        t, event = touchpoints.c, delivery_events.c
        sent = [one for one in self.all(touchpoints) if one.state in ARRIVED]
        mine = (t.shop_id == self._shop.shop_id, t.member_id == self._member_id)
        joined = delivery_events.join(
            touchpoints, and_(t.shop_id == event.shop_id, t.touchpoint_id == event.touchpoint_id)
        )
        told: defaultdict[int, defaultdict[str, list[date]]] = defaultdict(lambda: defaultdict(list))
        query = select(event.touchpoint_id, event.kind, event.machine, event.at).select_from(joined).where(*mine)
        for touchpoint_id, kind, machine, at in self._connection.execute(query):
            what = {OPENED: MACHINE_OPENED if machine else OPENED, CLICKED: "" if machine else CLICKED}.get(kind, "")
            told[touchpoint_id][what].append(self._day(at))
        for one in sent:
            if one.accepted_at is not None:
                told[one.touchpoint_id][RECEIVED].append(self._day(one.accepted_at))
        return tuple(
            SentMessage(
                one.channel,
                one.journey_key,
                {what: tuple(days) for what, days in told[one.touchpoint_id].items() if what},
            )
            for one in sent
        )

    def suppressed(self, member: Row[Any]) -> frozenset[str]:
        c = suppressions.c
        own = {"email": member.email, "sms": member.phone}
        query = select(c.channel, c.address).where(c.shop_id == self._shop.shop_id, c.address.in_(own.values()))
        rows = self._connection.execute(query)
        return frozenset(channel for channel, address in rows if address and own.get(channel) == address)

    def _day(self, at: datetime) -> date:
        return local_day(at, self._shop.timezone)
