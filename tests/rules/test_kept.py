"""Segments kept by who has changed hold just those whom their rules hold, whatever happens and however the clock goes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update

from crm_plugin.clock import local_day
from crm_plugin.ids import new_id
from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord, OrderLineRecord, OrderStatus, ProductRecord
from crm_plugin.rules import Rule, kept, segments
from crm_plugin.rules import tiers as tier_rules
from crm_plugin.rules.book import read_book, resolve
from crm_plugin.rules.check import check
from crm_plugin.rules.document import to_json
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.sql import is_history, select_members
from crm_plugin.rules.tiers import Level
from crm_plugin.store import consent, delivery_events, journeys, members, segment_members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.factories import make_shop, order, refund, write
from tests.rules.shops import BOOK, rules

_SHOPS = itertools.count(1)
_PEOPLE = ("1", "2", "3")
_AGO = st.sampled_from([-1, 0, 0, 1, 29, 30, 31, 364, 365, 400])
# A change of the clocks in either direction, a leap day, a year's end.
_STARTS = [
    datetime(2026, 3, 28, 22, 30, tzinfo=UTC),
    datetime(2026, 10, 24, 21, 30, tzinfo=UTC),
    datetime(2028, 2, 27, 12, tzinfo=UTC),
    datetime(2026, 12, 30, 23, 30, tzinfo=UTC),
]


@dataclass
class World:
    """One shop as time goes by. `happened` tells of what did, for a failure's sake."""

    db: Database
    shop: Shop
    now: datetime
    happened: list[str] = field(default_factory=list)

    @property
    def today(self) -> date:
        return local_day(self.now, self.shop.timezone)

    def ids(self) -> list[int]:
        with self.db.read() as connection:
            m = members.c
            return list(connection.execute(select(m.member_id).where(m.shop_id == self.shop.shop_id)).scalars())


Event = Callable[[World], None]


@st.composite
def _order(draw: st.DrawFn) -> Event:
    ago = draw(_AGO)
    values = {
        "member_external_id": draw(st.sampled_from([*_PEOPLE, ""])),
        "status": draw(st.sampled_from([OrderStatus.COMPLETED, OrderStatus.COMPLETED, OrderStatus.CANCELLED])),
        "currency": draw(st.sampled_from(["EUR", "EUR", "XXX"])),
        "discount_minor": draw(st.sampled_from([0, 100])),
        "coupon_codes": draw(st.sampled_from([(), ("TEN",)])),
        "deleted": draw(st.sampled_from([False, False, False, True])),
        "contact": draw(st.none() | st.just(MemberRecord(external_id="", email="guest@x.test"))),
    }
    lines = draw(st.lists(st.sampled_from(["A", "B"]), max_size=2))
    key, total = f"o{draw(st.integers(0, 5))}", draw(st.sampled_from([0, 999, 1000, 5000]))

    def happen(world: World) -> None:
        sold = tuple(
            OrderLineRecord(sku=sku, title={"A": "Mug", "B": "Hat"}[sku], quantity=1, total_minor=total)
            for sku in lines
        )
        record = order(key, total, placed_at=world.now - timedelta(days=ago), lines=sold, **values)
        write(world.db, world.shop, [record], world.now)

    return happen


@st.composite
def _refund(draw: st.DrawFn) -> Event:
    key, amount, ago = f"r{draw(st.integers(0, 2))}", draw(st.sampled_from([1, 999, 1000])), draw(_AGO)
    of, deleted = f"o{draw(st.integers(0, 5))}", draw(st.booleans())

    def happen(world: World) -> None:
        at = world.now - timedelta(days=ago)
        record = refund(key, amount, order_external_id=of, refunded_at=at, deleted=deleted)
        write(world.db, world.shop, [record], world.now)

    return happen


@st.composite
def _member(draw: st.DrawFn) -> Event:
    key, ago = draw(st.sampled_from(_PEOPLE)), draw(st.none() | _AGO)
    values = {
        "email": draw(st.sampled_from(["", "ada@example.com", "guest@x.test"])),
        "country": draw(st.sampled_from(["", "GB", "DE"])),
        "locale": draw(st.sampled_from(["en", "zh-CN"])),
        "birth_year": draw(st.sampled_from([None, 1990, 2027])),
        "birth_month": draw(st.sampled_from([None, 2, 3, 12])),
        "birth_day": draw(st.sampled_from([None, 1, 29, 30])),
        "tags": draw(st.sampled_from([None, (), ("vip",), ("vip", "staff")])),
        "attributes": draw(st.sampled_from([{}, {"size": "XL"}, {"size": 3}])),
        "deleted": draw(st.sampled_from([False, False, False, True])),
    }
    if values["birth_month"] is None:
        values["birth_day"] = values["birth_year"] = None
    if values["birth_month"] == 2 and values["birth_day"] == 30:
        values["birth_day"] = 29
    said = draw(st.sampled_from([None, ConsentState.GRANTED, ConsentState.WITHDRAWN]))

    def happen(world: World) -> None:
        joined = None if ago is None else world.now - timedelta(days=ago)
        consents = () if said is None else (ConsentRecord(channel="email", state=said, at=world.now, source="store"),)
        record = MemberRecord(external_id=key, joined_at=joined, consents=consents, **values)
        write(world.db, world.shop, [record], world.now)

    return happen


@st.composite
def _product(draw: st.DrawFn) -> Event:
    (key, sku), category = draw(st.sampled_from([("7", "A"), ("8", "B")])), draw(st.sampled_from(["", "Mugs", "Hats"]))
    deleted = draw(st.sampled_from([False, False, True]))

    def happen(world: World) -> None:
        record = ProductRecord(external_id=key, sku=sku, title="x", category=category, deleted=deleted)
        write(world.db, world.shop, [record], world.now)

    return happen


@st.composite
def _message(draw: st.DrawFn) -> Event:
    """A message that was taken by the provider, or something that was told of one."""
    whom, what = draw(st.integers(0, 2)), draw(st.sampled_from(["sent", "opened", "clicked", "bounced"]))
    channel, journey = draw(st.sampled_from(["email", "sms"])), draw(st.sampled_from(["birthday", "lapse"]))
    machine, ago = draw(st.booleans()), draw(st.sampled_from([0, 0, 1]))

    def happen(world: World) -> None:
        ids = world.ids()
        if not ids:
            return
        member_id, now, shop_id = ids[whom % len(ids)], world.now, world.shop.shop_id
        t = touchpoints.c
        with world.db.write() as connection:
            newest = select(func.max(t.touchpoint_id)).where(t.shop_id == shop_id, t.member_id == member_id)
            known = connection.execute(newest).scalar()
            if what == "sent" or known is None:
                _send(connection, shop_id, member_id, channel, journey, now)
            elif what == "bounced":
                own = (t.shop_id == shop_id, t.touchpoint_id == known)
                connection.execute(update(touchpoints).where(*own).values(state="bounced", settled_at=now))
            else:
                told = {"kind": what, "machine": machine, "at": now - timedelta(days=ago), "received_at": now}
                event_id = new_id()
                connection.execute(
                    insert(delivery_events).values(
                        shop_id=shop_id,
                        event_id=event_id,
                        adapter="smtp",
                        provider_event_id=str(event_id),
                        touchpoint_id=known,
                        **told,
                    )
                )

    return happen


def _send(connection: Any, shop_id: int, member_id: int, channel: str, journey: str, now: datetime) -> None:
    touchpoint_id = new_id()
    times = dict.fromkeys(
        ("due_at", "next_try_at", "valid_until", "planned_at", "accepted_at", "settled_at", "updated_at"), now
    )
    connection.execute(
        insert(touchpoints).values(
            shop_id=shop_id,
            touchpoint_id=touchpoint_id,
            journey_key=journey,
            member_id=member_id,
            occasion=str(touchpoint_id),
            state="accepted",
            channel=channel,
            occasion_on=now.date(),
            **times,
        )
    )


def _suppress(world: World) -> None:
    with world.db.write() as connection:
        consent.suppress(
            connection,
            world.shop.shop_id,
            "email",
            "ada@example.com",
            reason="bounce",
            at=world.now - timedelta(days=2),
            source="smtp",
            recorded_at=world.now,
        )


def _withdraw(world: World) -> None:
    for member_id in world.ids()[:1]:
        with world.db.write() as connection:
            consent.record(
                connection,
                world.shop.shop_id,
                member_id,
                channel="sms",
                topic="marketing",
                state=ConsentState.WITHDRAWN,
                at=world.now - timedelta(days=1),
                source="page",
                recorded_at=world.now,
            )


def _apply_tiers(world: World) -> None:
    tier_rules.apply(world.db, world.shop, as_of=world.today, now=world.now)


@st.composite
def _list(draw: st.DrawFn) -> Event:
    whom = draw(st.integers(0, 2))

    def happen(world: World) -> None:
        ids = world.ids()
        if not ids:
            return
        member_id, c = ids[whom % len(ids)], segment_members.c
        with world.db.write() as connection:
            own = (c.shop_id == world.shop.shop_id, c.segment_key == "vips", c.member_id == member_id)
            is_in = connection.execute(select(c.member_id).where(*own)).first() is not None
            came, gone = ([], [member_id]) if is_in else ([member_id], [])
            kept.record(connection, world.shop, "vips", world.now, entered=came, left=gone, cause=kept.WRITTEN)

    return happen


@st.composite
def _time(draw: st.DrawFn) -> Event:
    step = draw(
        st.sampled_from(
            [
                timedelta(seconds=1),
                timedelta(hours=1),
                timedelta(hours=5),
                timedelta(days=1),
                timedelta(days=1),
                timedelta(days=29),
                timedelta(days=30),
                timedelta(days=365),
                -timedelta(minutes=5),
            ]
        )
    )

    def happen(world: World) -> None:
        world.now += step

    return happen


events = st.one_of(
    _order(),
    _order(),
    _member(),
    _member(),
    _refund(),
    _product(),
    _message(),
    _list(),
    _time(),
    _time(),
    st.sampled_from([_suppress, _withdraw, _apply_tiers]),
)


def _save(world: World, asked: Sequence[Node]) -> None:
    with world.db.write() as connection:
        levels = [Level("silver", "orders() >= 1"), Level("gold", "spent(days=30) >= 10")]
        tier_rules.save_levels(connection, world.shop, levels, world.now)
        segments.save_list(connection, world.shop, "vips", world.now)
        for key in ("birthday", "lapse"):
            row = {"journey_key": key, "trigger": key, "template_key": key, "updated_at": world.now}
            connection.execute(insert(journeys).values(shop_id=world.shop.shop_id, **row))
        named = {key: node for key, node in BOOK.segments.items() if node is not None}
        for key, node in [*named.items(), *((f"s{n}", check(one)) for n, one in enumerate(asked))]:
            segments.put(connection, world.shop, key, Rule("", node, to_json(node), node), world.now)


def _hold(world: World) -> dict[str, set[int]]:
    """Whom each rule holds, asked of everybody."""
    with world.db.read() as connection:
        history = is_history(connection, world.shop, world.today)
        book = read_book(connection, world.shop.shop_id)
        found = {}
        for key, rule in book.segments.items():
            if rule is not None:
                query = select_members(world.shop, resolve(rule, book), world.today, history=history)
                found[key] = set(connection.execute(query).scalars())
        return found


def _listed(world: World) -> dict[str, set[int]]:
    c = segment_members.c
    with world.db.read() as connection:
        found: dict[str, set[int]] = {}
        for key, member_id in connection.execute(
            select(c.segment_key, c.member_id).where(c.shop_id == world.shop.shop_id)
        ):
            found.setdefault(key, set()).add(member_id)
        return found


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    start=st.sampled_from(_STARTS),
    zone=st.sampled_from(["Europe/Berlin", "Asia/Shanghai", "UTC"]),
    asked=st.lists(rules, min_size=1, max_size=8),
    happens=st.lists(st.lists(events, min_size=1, max_size=6), min_size=2, max_size=5),
)
def test_kept_is_what_the_rules_hold(
    db: Database, start: datetime, zone: str, asked: list[Node], happens: list[list[Event]]
) -> None:
    with db.write() as connection:
        world = World(db, make_shop(connection, next(_SHOPS), timezone=zone), start)
    _save(world, asked)
    before: dict[str, set[int]] = {}
    for number, some in enumerate(happens):
        for event in some:
            event(world)
        after = _hold(world)
        with db.write() as connection:
            report = kept.keep(connection, world.shop, world.now)
        listed = _listed(world)
        for key, expected in after.items():
            assert listed.get(key, set()) == expected, (key, number)
        if number:
            assert report.filled == []
            came = {key: after[key] - before[key] for key in after}
            gone = {key: before[key] - after[key] for key in after}
            told = {key: kept.Turnover(len(came[key]), len(gone[key])) for key in after if came[key] or gone[key]}
            alive = set(world.ids())
            told = {
                key: kept.Turnover(len(came[key]), len(gone[key] & alive))
                for key in told
                if came[key] or gone[key] & alive
            }
            assert report.turnover == told
        with db.write() as connection:
            assert kept.keep(connection, world.shop, world.now).turnover == {}
        before = after
