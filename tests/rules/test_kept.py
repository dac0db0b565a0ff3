"""Segments kept by who has changed hold just those whom their rules hold, whatever happens and however the clock goes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, func, insert, select, update

from crm_plugin.clock import local_day
from crm_plugin.ids import new_id
from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord, OrderLineRecord, OrderStatus, ProductRecord
from crm_plugin.rules import Rule, changes, kept, segments
from crm_plugin.rules import tiers as tier_rules
from crm_plugin.rules.book import read_book, resolve
from crm_plugin.rules.check import check
from crm_plugin.rules.document import to_json
from crm_plugin.rules.evaluate import evaluate
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.snapshot import snapshot_of
from crm_plugin.rules.spec import Source
from crm_plugin.rules.sql import is_history, select_members
from crm_plugin.rules.tiers import Level
from crm_plugin.store import (
    consent,
    delivery_events,
    journeys,
    members,
    segment_events,
    segment_members,
    tier_levels,
    touchpoints,
)
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.factories import make_shop, member, order, refund, write
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
        with world.db.write() as connection:
            known = _newest(connection, shop_id, member_id)
            if what == "sent" or known is None:
                _send(connection, shop_id, member_id, channel, journey, now)
            else:
                _tell(connection, shop_id, member_id, what, now, machine=machine, ago=ago)

    return happen


def _newest(connection: Connection, shop_id: int, member_id: int) -> int | None:
    t = touchpoints.c
    query = select(func.max(t.touchpoint_id)).where(t.shop_id == shop_id, t.member_id == member_id)
    return connection.execute(query).scalar()


def _tell(
    connection: Connection,
    shop_id: int,
    member_id: int,
    what: str,
    now: datetime,
    *,
    machine: bool = False,
    ago: int = 0,
) -> None:
    """What a provider tells of the newest message."""
    known, t = _newest(connection, shop_id, member_id), touchpoints.c
    if what == "bounced":
        own = (t.shop_id == shop_id, t.touchpoint_id == known)
        connection.execute(update(touchpoints).where(*own).values(state="bounced", settled_at=now))
        return
    event_id = new_id()
    connection.execute(
        insert(delivery_events).values(
            shop_id=shop_id,
            event_id=event_id,
            adapter="smtp",
            provider_event_id=str(event_id),
            touchpoint_id=known,
            kind=what,
            machine=machine,
            at=now - timedelta(days=ago),
            received_at=now,
        )
    )


def _send(connection: Connection, shop_id: int, member_id: int, channel: str, journey: str, now: datetime) -> None:
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


def _evaluated(world: World) -> dict[str, set[int]]:
    """The same by asking each active member in plain Python."""
    with world.db.read() as connection:
        book, m = read_book(connection, world.shop.shop_id), members.c
        active = select(m.member_id).where(m.shop_id == world.shop.shop_id, m.state == "active")
        people = {
            one: snapshot_of(connection, world.shop, one, world.today) for one in connection.execute(active).scalars()
        }
        found = {}
        for key, rule in book.segments.items():
            if rule is not None:
                node = resolve(rule, book)
                found[key] = {one for one, told in people.items() if evaluate(node, told, world.today) is True}
        return found


@st.composite
def _lives(draw: st.DrawFn) -> tuple[datetime, str, list[Node], list[list[Event]]]:
    """When and where a shop begins, its rules, and what happens between one keeping and the next."""
    return (
        draw(st.sampled_from(_STARTS)),
        draw(st.sampled_from(["Europe/Berlin", "Asia/Shanghai", "UTC"])),
        draw(st.lists(rules, min_size=1, max_size=8)),
        draw(st.lists(st.lists(events, min_size=1, max_size=6), min_size=2, max_size=5)),
    )


Life = tuple[datetime, str, list[Node], list[list[Event]]]


def _agree(db: Database, life: Life) -> None:
    """After all that happens, the lists kept are what SQL says of everybody, and what plain Python says of each."""
    start, zone, asked, happens = life
    with db.write() as connection:
        world = World(db, make_shop(connection, next(_SHOPS), timezone=zone), start)
    _save(world, asked)
    for number, some in enumerate(happens):
        for event in some:
            event(world)
        before, after = _listed(world), _hold(world)
        assert after == _evaluated(world)
        with db.write() as connection:
            report = kept.keep(connection, world.shop, world.now)
        listed = _listed(world)
        for key, expected in after.items():
            assert listed.get(key, set()) == expected, (key, number)
        if number:
            assert report.filled == []
            pairs = {key: (before.get(key, set()), after[key]) for key in after}
            told = {
                key: kept.Turnover(len(now - was), len(was - now)) for key, (was, now) in pairs.items() if was != now
            }
            assert report.turnover == told
        with db.write() as connection:
            assert kept.keep(connection, world.shop, world.now).turnover == {}


_CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=_CHECKS)
@given(life=_lives())
def test_kept_is_what_the_rules_hold(db: Database, life: Life) -> None:
    _agree(db, life)


def _deaf_to_purchases(patch: pytest.MonkeyPatch) -> None:
    hears = changes._Parts._marked

    def marked(self: Any, heard: Source, *rest: Any) -> None:
        if heard is not Source.PURCHASES:
            hears(self, heard, *rest)

    patch.setattr(changes._Parts, "_marked", marked)


def _buy(world: World, ago: timedelta = timedelta(0)) -> None:
    """An order whose mark is that old when it is kept."""
    write(world.db, world.shop, [order("o1", 100, member_external_id="1", placed_at=world.now)], world.now - ago)


def _fall_silent(world: World) -> None:
    _buy(world)
    # The second time nothing is looked at once more.
    _settle(world)
    _settle(world)
    world.now += timedelta(days=31)


@pytest.mark.parametrize(
    ("rule", "happens", "mutate"),
    [
        ("orders() >= 1", _buy, _deaf_to_purchases),
        (
            "days_since_order >= 30",
            _fall_silent,
            lambda patch: patch.setattr(changes._Parts, "_counted", lambda *_: None),
        ),
        (
            "orders() >= 1",
            # The last keeping was an hour ago, and this was marked five minutes before it.
            lambda world: _buy(world, timedelta(minutes=65)),
            lambda patch: patch.setattr(kept, "OVERLAP", timedelta(0)),
        ),
    ],
    ids=["purchases", "days", "overlap"],
)
def test_what_is_overlooked_shows(
    db: Database, rule: str, happens: Event, mutate: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """What the list is held to has teeth: without any one of these it differs."""
    for is_mutated in (False, True):
        world = _made(db, rule, next(_SHOPS))
        happens(world)
        with pytest.MonkeyPatch.context() as patch:
            if is_mutated:
                mutate(patch)
            _settle(world)
        assert (_listed(world).get("s0", set()) == _hold(world)["s0"]) is not is_mutated


def _settle(world: World) -> None:
    with world.db.write() as connection:
        kept.keep(connection, world.shop, world.now)
    world.now += timedelta(hours=1)


@pytest.mark.parametrize(
    ("rule", "member_of"),
    [("received() >= 1", True), ("received() == 0", False), ("opened() >= 1", False)],
)
def test_message_that_left_is_seen(db: Database, rule: str, member_of: bool) -> None:
    world = _made(db, rule)
    ada = world.ids()[0]
    with db.write() as connection:
        _send(connection, world.shop.shop_id, ada, "email", "lapse", world.now)
    _settle(world)
    assert (ada in _listed(world).get("s0", set())) is member_of


@pytest.mark.parametrize("what", ["opened", "bounced"])
def test_what_is_told_of_a_message_is_seen(db: Database, what: str) -> None:
    world = _made(db, "opened() >= 1" if what == "opened" else "received() >= 1")
    ada = world.ids()[0]
    with db.write() as connection:
        _send(connection, world.shop.shop_id, ada, "email", "lapse", world.now)
    _settle(world)
    assert _listed(world).get("s0", set()) == (set() if what == "opened" else {ada})
    with db.write() as connection:
        _tell(connection, world.shop.shop_id, ada, what, world.now)
    _settle(world)
    assert _listed(world).get("s0", set()) == ({ada} if what == "opened" else set())


def test_blocked_address_is_seen(db: Database) -> None:
    world = _made(db, 'suppressed("email")')
    write(db, world.shop, [member("1", email="ada@example.com")], world.now)
    _settle(world)
    assert _listed(world).get("s0", set()) == set()
    _suppress(world)
    _settle(world)
    assert _listed(world).get("s0", set()) == set(world.ids())


def test_order_of_tomorrow_is_seen_on_its_day(db: Database) -> None:
    world = _made(db, "orders() >= 1")
    placed = world.now + timedelta(days=1)
    write(db, world.shop, [order("o1", 100, member_external_id="1", placed_at=placed)], world.now)
    _settle(world)
    assert _listed(world).get("s0", set()) == set()
    world.now += timedelta(days=1)
    _settle(world)
    assert _listed(world).get("s0", set()) == set(world.ids())


def test_category_of_what_was_bought_is_seen(db: Database) -> None:
    world = _made(db, 'bought(category="Mugs")')
    line = OrderLineRecord(sku="A", product_external_id="7", title="Mug", total_minor=500)
    write(db, world.shop, [order("o1", 500, member_external_id="1", lines=(line,))], world.now)
    _settle(world)
    assert _listed(world).get("s0", set()) == set()
    for category, held in (("Mugs", set(world.ids())), ("Hats", set())):
        write(db, world.shop, [ProductRecord(external_id="7", sku="A", title="Mug", category=category)], world.now)
        _settle(world)
        assert _listed(world).get("s0", set()) == held


def _line(sku: str, minor: int) -> OrderLineRecord:
    return OrderLineRecord(sku=sku, title=sku, product_external_id={"A": "7"}.get(sku, ""), total_minor=minor)


def _sell(world: World, a: int = 600, b: int = 400, **values: Any) -> None:
    """An order of 10.00, so much of it for A and so much for B."""
    values = {"placed_at": world.now, "member_external_id": "1", **values}
    write(world.db, world.shop, [order("o1", 1000, lines=(_line("A", a), _line("B", b)), **values)], world.now)


def _give_back(world: World, ago: int = 0, of: str = "o1", **values: Any) -> None:
    at = world.now - timedelta(days=ago)
    record = refund("r1", 500, order_external_id=of, refunded_at=at, **values)
    write(world.db, world.shop, [record], world.now)


def _product_is(category: str, sku: str = "A") -> Event:
    def happen(world: World) -> None:
        record = ProductRecord(external_id="7", sku=sku, title="A", category=category)
        write(world.db, world.shop, [record], world.now)

    return happen


def _days(number: int) -> Event:
    def happen(world: World) -> None:
        world.now += timedelta(days=number)

    return happen


# Half of the order was given back, of which 3.00 falls on A: what makes that come to be, and what makes it go.
_A = 'refunded_among(skus="A") >= 3'
_MUGS = 'refunded_among(categories="Mugs") >= 3'
_RECENT = 'refunded_among(skus="A", days=30) >= 3'
_BY_PART: dict[str, tuple[str, list[Event], list[Event]]] = {
    "refund taken back": (_A, [_sell, _give_back], [lambda world: _give_back(world, deleted=True)]),
    "order cancelled": (_A, [_sell, _give_back], [lambda world: _sell(world, status=OrderStatus.CANCELLED)]),
    "order deleted": (_A, [_sell, _give_back], [lambda world: _sell(world, deleted=True)]),
    "lines alone change": (_A, [_sell, _give_back], [lambda world: _sell(world, 200, 800)]),
    "lines alone change to it": (_A, [lambda world: _sell(world, 200, 800), _give_back, _sell], []),
    "line of another code": (_A, [_sell, _give_back], [lambda world: _sell(world, 0, 1000)]),
    "refund came first": (_A, [_give_back, _sell], [lambda world: _sell(world, 200, 800)]),
    "refund linked later": (
        _A,
        [lambda world: _give_back(world, of="o9"), _sell, _give_back],
        [lambda world: _give_back(world, of="o9")],
    ),
    "refund told by its order": (
        _A,
        [_sell, lambda world: _sell(world, refunds=(refund("r1", 500, refunded_at=world.now),))],
        [lambda world: _sell(world, refunds=())],
    ),
    "product comes into the category": (
        _MUGS,
        [_sell, _give_back, _product_is(""), _product_is("Mugs")],
        [_product_is("Hats")],
    ),
    "product is told after the refund": (_MUGS, [_sell, _give_back, _product_is("Mugs")], [_product_is("")]),
    "refund leaves the span": (_RECENT, [_sell, _give_back], [_days(30)]),
    # Each step takes some hours, so a day may have begun by its end.
    "refund stays while its order leaves": (_RECENT, [_sell, _days(29), _give_back, _days(2), _days(25)], [_days(4)]),
    "refund of a day to come": (_RECENT, [_sell, lambda world: _give_back(world, ago=-2), _days(2)], [_days(30)]),
}


@pytest.mark.parametrize("case", _BY_PART)
def test_part_of_a_refund_is_seen(db: Database, case: str) -> None:
    """What was given back of some products, kept by who has changed, is at every step what asking everybody says."""
    rule, comes, goes = _BY_PART[case]
    world = _made(db, rule)
    ada = set(world.ids())
    for events, expected in ((comes, ada), (goes, set())):
        for happen in events:
            happen(world)
            # An hour between keepings: a mark of the one before is looked at no more.
            _settle(world)
            _settle(world)
            assert _listed(world).get("s0", set()) == _hold(world)["s0"] == _evaluated(world)["s0"]
        if events:
            assert _hold(world)["s0"] == expected


def test_first_filling_is_no_coming(db: Database) -> None:
    world = _made(db, "everyone")
    assert _listed(world)["s0"] == set(world.ids())
    assert _events(world) == []


def test_changed_rule_asks_everybody_once(db: Database) -> None:
    world = _made(db, "everyone")
    with db.write() as connection:
        segments.save(connection, world.shop, "s0", "orders() >= 1", world.now)
        report = kept.keep(connection, world.shop, world.now)
    assert (report.filled, report.turnover["s0"]) == (["s0"], kept.Turnover(0, 1))
    assert _events(world) == [("s0", False, kept.RULE_CHANGED)]
    with db.write() as connection:
        assert kept.keep(connection, world.shop, world.now).filled == []


def test_rule_that_cannot_be_asked_leaves_its_list(db: Database) -> None:
    world = _made(db, 'tier == "gold" or not known(country)')
    before = _listed(world)["s0"]
    assert before
    with db.write() as connection:
        levels = tier_levels.c
        connection.execute(delete(tier_levels).where(levels.shop_id == world.shop.shop_id))
        report = kept.keep(connection, world.shop, world.now)
    assert report.problems == {"s0": "There is no tier 'gold'."}
    assert _listed(world)["s0"] == before


def test_many_to_ask_are_asked_in_one_stretch(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    world = _made(db, "orders() >= 1")
    monkeypatch.setattr(kept, "MOST", 2)
    for number in range(5):
        write(db, world.shop, [member(f"m{number}")], world.now)
        record = order(f"o{number}", 100, member_external_id=f"m{number}", placed_at=world.now)
        write(db, world.shop, [record], world.now)
    with db.write() as connection:
        report = kept.keep(connection, world.shop, world.now)
    assert (report.asked, report.filled, report.turnover) == (0, ["s0"], {"s0": kept.Turnover(5, 0)})
    assert {cause for _, _, cause in _events(world)} == {kept.MOVED}


def test_list_counted_in_comes_first(db: Database) -> None:
    """A segment that counts the days in another is kept after it, whatever their names."""
    world = _made(db, "orders() >= 1")
    with db.write() as connection:
        segments.save(connection, world.shop, "a", 'days_in_segment("s0") >= 0', world.now)
        kept.keep(connection, world.shop, world.now)
    write(db, world.shop, [order("o1", 100, member_external_id="1", placed_at=world.now)], world.now)
    _settle(world)
    assert _listed(world) == {"a": set(world.ids()), "s0": set(world.ids())}


def _made(db: Database, rule: str, shop_id: int = 1) -> World:
    """A shop with one member, and one segment that was kept an hour ago."""
    with db.write() as connection:
        world = World(db, make_shop(connection, shop_id), _STARTS[2])
        tier_rules.save_levels(connection, world.shop, [Level("gold", "orders() >= 9")], world.now)
        segments.save(connection, world.shop, "s0", rule, world.now)
    write(db, world.shop, [member("1")], world.now - timedelta(days=1))
    _settle(world)
    return world


def _events(world: World) -> list[tuple[str, bool, str]]:
    c = segment_events.c
    with world.db.read() as connection:
        query = select(c.segment_key, c.entered, c.cause).where(c.shop_id == world.shop.shop_id)
        return [tuple(row) for row in connection.execute(query.order_by(c.event_id))]  # type: ignore[misc]
