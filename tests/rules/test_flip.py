"""The smallest change that turns a rule's answer: what is proposed does turn it, and less does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_plugin.rules import alter
from crm_plugin.rules.alter import Change, apply, counts
from crm_plugin.rules.book import resolve
from crm_plugin.rules.check import check
from crm_plugin.rules.evaluate import BoughtLine, GivenRefund, PlacedOrder, SentMessage, Snapshot, evaluate
from crm_plugin.rules.flip import Flip, flip
from crm_plugin.rules.flip_words import as_dict, manner, way_words
from crm_plugin.rules.nodes import And, Everyone, Node, Not, Or
from crm_plugin.rules.parse import parse
from crm_plugin.rules.turning import EACH_DAY, settled, turning_days, turns
from tests.rules.shops import AS_OF, BOOK, rules

_AGO = st.sampled_from([-1, 0, 1, 28, 29, 30, 31, 200, 363, 364, 365, 400])
_DAYS = _AGO.map(lambda ago: AS_OF - timedelta(days=ago))
_MINOR = st.sampled_from([None, 0, 1, 999, 1000, 1001, 5000])
_LINES = st.builds(
    BoughtLine,
    sku=st.sampled_from(["A", "B"]),
    title=st.sampled_from(["Mug", "Hat"]),
    categories=st.sampled_from([frozenset(), frozenset({"Mugs"})]),
)
snapshots = st.builds(
    Snapshot,
    currency=st.just("EUR"),
    texts=st.fixed_dictionaries({"country": st.sampled_from(["", "GB", "DE"]), "locale": st.sampled_from(["", "en"])}),
    birth_year=st.sampled_from([None, 1990, 2008]),
    birth_md=st.sampled_from([None, 100, 229, 602, 10417, 30630]),
    joined_on=st.none() | _DAYS,
    guest=st.booleans(),
    attributes=st.dictionaries(st.sampled_from(["size"]), st.sampled_from(["XL", 3, -1]), max_size=1),
    tiers=st.dictionaries(st.just("main"), st.tuples(st.sampled_from(["silver", "gold"]), _DAYS), max_size=1),
    orders=st.lists(
        st.builds(
            PlacedOrder,
            _DAYS,
            _MINOR,
            st.lists(_LINES, max_size=2).map(tuple),
            items_milli=st.sampled_from([0, 1000, 2500]),
            coupon=st.booleans(),
        ),
        max_size=4,
    ).map(tuple),
    refunds=st.lists(st.builds(GivenRefund, _DAYS, _MINOR), max_size=2).map(tuple),
    messages=st.lists(
        st.builds(
            SentMessage,
            st.sampled_from(["email", "sms"]),
            st.sampled_from(["birthday", "lapse"]),
            st.fixed_dictionaries({"received": _DAYS.map(lambda day: (day,))}),
        ),
        max_size=2,
    ).map(tuple),
    tags=st.frozensets(st.sampled_from(["vip", "staff"])),
    consents=st.dictionaries(st.just(("email", "marketing")), st.sampled_from(["granted", "withdrawn"])),
    segments=st.dictionaries(st.just("vips"), _DAYS, max_size=1),
)
_MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _turned(node: Node, member: Snapshot, change: Change, day: date, before: object) -> bool:
    now = evaluate(node, apply(change, member, day), day)
    return (now is True) != (before is True)


@pytest.mark.slow
@_MANY
@given(node=rules, snapshot=snapshots)
def test_every_way_turns_the_answer_and_no_part_of_it_does(node: Node, snapshot: Snapshot) -> None:
    asked = resolve(check(node), BOOK)
    found = flip(asked, snapshot, AS_OF)
    member = settled(snapshot, AS_OF)
    assert found.truth is evaluate(asked, snapshot, AS_OF)
    assert len(found.ways) <= 3
    for way in found.ways:
        assert _turned(asked, member, way.change, way.begins, found.truth), way
        for key, value in way.change.settings.items():
            assert not _turned(asked, member, way.change.without(key), way.begins, found.truth), (way, key)
            if counts(value) and int(value) > 1:
                less = way.change.having(key, int(value) - 1)
                assert not _turned(asked, member, less, way.begins, found.truth), (way, key)
        if way.ends is not None:
            assert way.begins <= way.ends
            for number in range((way.ends - way.begins).days + 1):
                day = way.begins + timedelta(days=number)
                assert _turned(asked, member, way.change, day, found.truth), (way, day)
            late = way.ends + timedelta(days=1)
            assert not _turned(asked, member, way.change, late, found.truth), (way, late)
        assert way_words(way, AS_OF, manner("en", "EUR"))
        assert way_words(way, AS_OF, manner("zh", "EUR"))
        assert as_dict(way, AS_OF, "EUR")["by_itself"] is (not way.change.settings)


@pytest.mark.slow
@_MANY
@given(node=rules, snapshot=snapshots)
def test_answer_turns_by_itself_on_no_other_day(node: Node, snapshot: Snapshot) -> None:
    asked, member = resolve(check(node), BOOK), settled(snapshot, AS_OF)
    turning = {AS_OF, *turning_days(asked, member, AS_OF)}
    before = evaluate(asked, member, AS_OF)
    for number in range(1, EACH_DAY + 1):
        day = AS_OF + timedelta(days=number)
        now = evaluate(asked, member, day)
        assert now is before or day in turning, day
        before = now
    waits = [way for way in flip(asked, snapshot, AS_OF).ways if not way.change.settings]
    for way in waits:
        start = evaluate(asked, member, AS_OF) is True
        for number in range(min(EACH_DAY, (way.begins - AS_OF).days)):
            assert (evaluate(asked, member, AS_OF + timedelta(days=number)) is True) is start
        assert way.turned


def _order(days_ago: int, minor: int) -> PlacedOrder:
    return PlacedOrder(AS_OF - timedelta(days=days_ago), minor)


_MEMBER = Snapshot(
    "EUR",
    orders=(_order(356, 10_000), _order(20, 6_180)),
    joined_on=AS_OF - timedelta(days=20),
    consents={("email", "marketing"): "withdrawn"},
    guest=True,
)


def _told(text: str, lang: str = "en", member: Snapshot = _MEMBER) -> list[str]:
    found = flip(check(parse(text)), member, AS_OF)
    assert not found.gave_up
    return [way_words(way, AS_OF, manner(lang, "EUR")) for way in found.ways]


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        ("spent(days=365) >= 200", ["38.20 EUR more in orders, by 9 June 2026"]),
        ("orders() >= 5 or spent(days=365) >= 200", ["38.20 EUR more in orders, by 9 June 2026", "3 more orders"]),
        # Any order will do, so that the amount is no smaller change.
        ("orders() >= 3 or spent(days=365) >= 200", ["one more order"]),
        (
            "spent(days=365) >= 100",
            ["by itself on 10 June 2026: the order of 10 June 2025 leaves the span", "61.81 EUR given back"],
        ),
        (
            "not days_since_order < 90",
            ["by itself on 10 August 2026: number of days since the last order is at least 90"],
        ),
        ("days_since_joined >= 30 and orders() >= 3", ["one more order, from 11 June 2026 on"]),
        ('orders() >= 3 and consents("email")', ["one more order and consent to marketing by e-mail"]),
        ("average_order >= 90 and orders() >= 4", ["2 more orders, 198.20 EUR in all"]),
        ("spent() / orders() >= 90", ["108.20 EUR more in orders"]),
        ("not guest", ["an account in the store"]),
        ('tag("vip") or opened(channel="email") >= 2', ["2 more messages opened by e-mail", "the tag “vip”"]),
        ('bought(sku="A") and not suppressed("sms")', ["an order with the product (code A)"]),
        ('country == "GB"', ["country “GB”"]),
        ("coupon_share() > 0.5", ["3 orders with a coupon"]),
        ("return_rate() < 0.1", ["16.18 EUR given back"]),
        ('tier == "gold"', ["the tier “gold”"]),
        ("birthday_month == 3", []),
        ("orders() < 2", []),
        ("not everyone", []),
    ],
)
def test_ways_are_told(text: str, ways: list[str]) -> None:
    assert _told(text) == ways
    assert len(_told(text, "zh")) == len(ways)


def test_ways_are_told_in_chinese() -> None:
    assert _told("spent(days=365) >= 200", "zh") == ["在 2026 年 6 月 9 日当天或之前再消费 38.20 EUR"]
    assert _told("spent(days=365) >= 100", "zh")[0] == "2026 年 6 月 10 日自动改变：2025 年 6 月 10 日的订单移出统计期"


def test_unknown_is_turned_too() -> None:
    never = Snapshot("EUR")
    assert _told("days_since_order < 30", member=never) == ["one more order"]
    assert _told("not days_since_order < 30", member=never) == []
    assert _told("average_order >= 20", member=never) == ["20.00 EUR more in orders"]


def test_nothing_that_came_later_is_counted_on() -> None:
    later = replace(_MEMBER, orders=(*_MEMBER.orders, _order(-5, 99_999)))
    assert _told("spent(days=365) >= 200", member=later) == _told("spent(days=365) >= 200")


def test_no_more_is_given_back_than_was_paid() -> None:
    assert _told("refunded() > 100") == ["100.01 EUR given back"]
    assert _told("refunded() > 161.80") == []


@pytest.mark.slow
def test_search_says_when_it_gave_up() -> None:
    parts = [Or(tuple(parse(f'bought(sku="{a}{b}")') for b in range(10))) for a in range(19)]
    found: Flip = flip(check(And((*parts, Not(Everyone())))), _MEMBER, AS_OF)
    assert (found.gave_up, found.ways) == (True, ())


def test_one_change_holds_all_its_parts() -> None:
    change = Change({(alter.TIMES, ("sku", "A")): 2, (alter.BOUGHT_MINOR, ("sku", "A")): 500, (alter.REFUNDED,): 100})
    member = apply(change, Snapshot("EUR"), AS_OF)
    assert [(one.base_minor, one.items_milli) for one in member.orders] == [(500, 1000), (0, 1000)]
    assert [one.base_minor for one in member.refunds] == [100]
    assert Change({(alter.ORDERS,): 2}).within(change)
    assert not change.within(Change({(alter.ORDERS,): 2}))


def test_refund_of_named_products_leaves_its_span() -> None:
    order = PlacedOrder(
        AS_OF - timedelta(days=50), 1000, (BoughtLine(categories=frozenset({"Cards"}), base_minor=1000),)
    )
    given = GivenRefund(AS_OF - timedelta(days=20), 1000, order)
    node = check(parse('refunded_among(categories="Cards", days=30) > 5'))
    snapshot = Snapshot("EUR", orders=(order,), refunds=(given,))
    assert evaluate(node, snapshot, AS_OF) is True
    turned = [day for day in turning_days(node, snapshot, AS_OF) if evaluate(node, snapshot, day) is not True]
    assert turned[0] == AS_OF + timedelta(days=10)
    assert [one.left for one in turns(node, snapshot, turned[0])] == [(("refund", given.refunded_on),)]
