"""Everything a batch of claimed touchpoints needs, read in a handful of statements however large the batch is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Row, select

from crm_plugin.clock import local_day
from crm_plugin.errors import RuleError
from crm_plugin.rules.trigger_kinds import MEMBER
from crm_plugin.rules.triggers import kind_of
from crm_plugin.store import (
    member_consents,
    member_facts,
    members,
    order_lines,
    orders,
    products,
    suppressions,
    templates,
)
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import caps, in_step, level, once
from crm_plugin.touchpoints.audience import meant
from crm_plugin.touchpoints.caps import Ledger
from crm_plugin.touchpoints.due import holding
from crm_plugin.touchpoints.in_step import InStep
from crm_plugin.touchpoints.journeys import Journey, all_journeys
from crm_plugin.touchpoints.level import Levels
from crm_plugin.touchpoints.render import Text, names_in
from crm_plugin.touchpoints.texts import text_of


class Subject(Protocol):
    """Whom and what a message is about: a claimed touchpoint, or a made-up one of a preview."""

    @property
    def journey_key(self) -> str: ...

    @property
    def member_id(self) -> int: ...

    @property
    def address(self) -> str: ...

    @property
    def occasion_on(self) -> date: ...

    @property
    def subject_order_id(self) -> int | None: ...


@dataclass(slots=True)
class Batch:
    """What is known of the members, orders, journeys and texts of the touchpoints in hand, on the shop's day `today`."""

    today: date
    members: dict[int, Row[Any]] = field(default_factory=dict)
    facts: dict[int, Row[Any]] = field(default_factory=dict)
    consents: dict[int, dict[tuple[str, str], str]] = field(default_factory=lambda: defaultdict(dict))
    suppressed: dict[tuple[str, str], str] = field(default_factory=dict)
    levels: Levels = field(default_factory=Levels)
    orders: dict[int, Row[Any]] = field(default_factory=dict)
    lines: dict[int, list[Row[Any]]] = field(default_factory=lambda: defaultdict(list))
    # Where the store shows each product, by its id there.
    pages: dict[str, str] = field(default_factory=dict)
    journeys: dict[str, Journey] = field(default_factory=dict)
    texts: dict[tuple[str, str], dict[str, Text]] = field(default_factory=lambda: defaultdict(dict))
    in_audience: dict[str, set[int]] = field(default_factory=dict)
    # Why the audience of a journey cannot be asked; nobody is in it then.
    unasked: dict[str, str] = field(default_factory=dict)
    # What has left already: (journey, member) → the lapses, (journey, order) → to whom.
    lapses: dict[tuple[str, int], dict[str, datetime]] = field(default_factory=dict)
    told: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    # (journey, member) → the occasions of which something has left, of journeys that speak to a member once ever.
    spoken: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    # Of a journey whose occasions are looked for again: the members and occasions that are still found.
    holding: dict[str, set[tuple[int, str]]] = field(default_factory=dict)
    in_step: InStep = field(default_factory=InStep)
    # What counts towards the limits of the members, and what they chose themselves.
    ledger: Ledger = field(default_factory=Ledger)


def load(
    connection: Connection, shop: Shop, rows: Sequence[Subject], now: datetime, also: Collection[Text] = ()
) -> Batch:
    """Read it all; `also` are texts that are not saved and will be filled in."""
    today = local_day(now, shop.timezone)
    batch = Batch(today)
    shop_id = shop.shop_id
    ids = sorted({row.member_id for row in rows})
    for table, into in ((members, batch.members), (member_facts, batch.facts)):
        for row in connection.execute(select(table).where(table.c.shop_id == shop_id, table.c.member_id.in_(ids))):
            into[row.member_id] = row
    said = member_consents.c
    for row in connection.execute(select(member_consents).where(said.shop_id == shop_id, said.member_id.in_(ids))):
        batch.consents[row.member_id][row.channel, row.topic] = row.state
    addresses = sorted({row.address for row in rows if row.address})
    blocked = suppressions.c
    for row in connection.execute(
        select(suppressions).where(blocked.shop_id == shop_id, blocked.address.in_(addresses))
    ):
        batch.suppressed[row.channel, row.address] = row.reason
    _load_orders(connection, shop_id, (row.subject_order_id for row in rows if row.subject_order_id), batch)
    batch.in_step = in_step.orders_of(connection, shop)
    batch.ledger = caps.load(connection, shop_id, ids, now)
    batch.lapses = once.lapses(connection, shop_id, ids)
    batch.journeys = {journey.key: journey for journey in all_journeys(connection, shop_id)}
    wanted = {batch.journeys[row.journey_key].template_key for row in rows if row.journey_key in batch.journeys}
    for row in connection.execute(
        select(templates).where(templates.c.shop_id == shop_id, templates.c.template_key.in_(sorted(wanted)))
    ):
        batch.texts[row.template_key, row.channel][row.locale] = text_of(row)
    _load_audiences(connection, shop, rows, today, batch)
    _load_holding(connection, shop, rows, batch)
    batch.levels = level.held(connection, shop_id, ids)
    texts = [*also, *(text for found in batch.texts.values() for text in found.values())]
    names = {name for text in texts for name in names_in(text)}
    if "tier" in names:
        level.standing(connection, shop, ids, today, batch.levels)
    if names & {"product", "order"}:
        _load_pages(connection, shop_id, batch)
    return batch


def _load_holding(connection: Connection, shop: Shop, rows: Sequence[Subject], batch: Batch) -> None:
    """What the journeys in hand were planned for and is still so, asked by the SQL that planned it."""
    concerned: dict[str, list[Subject]] = defaultdict(list)
    for row in rows:
        # A preview has no occasion.
        if row.journey_key in batch.journeys and _occasion_of(row):
            concerned[row.journey_key].append(row)
    once_ever = []
    for key, mine in concerned.items():
        kind = kind_of(batch.journeys[key].trigger)
        if kind.rechecked:
            ids, occasions = [row.member_id for row in mine], [_occasion_of(row) for row in mine]
            found = connection.execute(holding(shop, batch.journeys[key], ids, occasions))
            batch.holding[key] = {(row.member_id, row.occasion) for row in found}
        if MEMBER in kind.once:
            once_ever.append(key)
    batch.spoken = once.members(connection, shop.shop_id, {row.member_id for row in rows}, once_ever)


def _occasion_of(row: Any) -> str:
    return str(getattr(row, "occasion", ""))


def _load_audiences(connection: Connection, shop: Shop, rows: Sequence[Subject], today: date, batch: Batch) -> None:
    for journey in batch.journeys.values():
        concerned = sorted({row.member_id for row in rows if row.journey_key == journey.key})
        if journey.audience is None or not concerned:
            continue
        m = members.c
        try:
            holds = meant(connection, shop, journey, today, m.member_id)
        except RuleError as error:
            batch.unasked[journey.key] = error.message
            batch.in_audience[journey.key] = set()
            continue
        query = select(m.member_id).where(m.shop_id == shop.shop_id, m.member_id.in_(concerned), holds)
        batch.in_audience[journey.key] = set(connection.execute(query).scalars())


def _load_orders(connection: Connection, shop_id: int, order_ids: Iterable[int], batch: Batch) -> None:
    wanted = sorted(set(order_ids))
    if not wanted:
        return
    for row in connection.execute(select(orders).where(orders.c.shop_id == shop_id, orders.c.order_id.in_(wanted))):
        batch.orders[row.order_id] = row
    query = select(order_lines).where(order_lines.c.shop_id == shop_id, order_lines.c.order_id.in_(wanted))
    for row in connection.execute(query.order_by(order_lines.c.order_id, order_lines.c.line_no)):
        batch.lines[row.order_id].append(row)
    batch.told = once.orders(connection, shop_id, wanted)


def _load_pages(connection: Connection, shop_id: int, batch: Batch) -> None:
    ids = sorted({line.product_external_id for lines in batch.lines.values() for line in lines} - {""})
    if ids:
        p = products.c
        query = select(p.external_id, p.url).where(p.shop_id == shop_id, p.external_id.in_(ids), p.url != "")
        batch.pages = {row.external_id: row.url for row in connection.execute(query)}
