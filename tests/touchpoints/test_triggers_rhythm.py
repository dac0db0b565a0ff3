"""Journeys that go by a rhythm: late by one's own pause, a product that runs out; reminders of days, and checkouts that were left."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from crm_plugin.clock import day_number
from crm_plugin.errors import InvalidInput
from crm_plugin.records import OrderLineRecord, OrderStatus, ProductRecord
from crm_plugin.rules import cadences
from crm_plugin.store import cadences as cadence_rows
from crm_plugin.store import checkouts, refills
from crm_plugin.store.events import forget_date, remember_date
from crm_plugin.store.session import Database
from tests.factories import order, write
from tests.touchpoints.trigger_world import DAY, HOUR, MINUTE, NOW, World, person


@pytest.fixture
def world(db: Database) -> World:
    made = World(db, NOW)
    write(db, made.shop, [person(name) for name in ("ada", "bob", "cat", "dan", "eve")], NOW - 400 * DAY)
    return made


def _buys(world: World, who: str, *days_ago: int, sku: str = "TEA", quantity: float = 1, **values: Any) -> None:
    line = OrderLineRecord(sku=sku, title=sku, quantity=quantity, total_minor=1000)
    told = [
        order(f"{who}-{sku}-{ago}", member_external_id=who, placed_at=NOW - ago * DAY, lines=(line,), **values)
        for ago in days_ago
    ]
    write(world.db, world.shop, told, NOW - min(days_ago) * DAY)


def _count(world: World, at: datetime = NOW) -> dict[str, int]:
    return cadences.count(world.db, world.shop, at).as_dict()


def _cadences(world: World) -> dict[tuple[str, str], tuple[int, int]]:
    with world.db.read() as connection:
        return {(row.kind, row.name): (row.milli_days, row.pairs) for row in connection.execute(select(cadence_rows))}


def _refills(world: World) -> dict[tuple[str, str], int]:
    """(member, product) → days from today until it runs out."""
    names = {world.id_of(name): name for name in ("ada", "bob", "cat", "dan", "eve")}
    with world.db.read() as connection:
        rows = list(connection.execute(select(refills)))
    return {(names[row.member_id], row.sku): day_number(row.expected_on) - day_number(NOW.date()) for row in rows}


def test_member_who_is_late_by_their_own_rhythm(world: World) -> None:
    world.journey("late_by", times=1.5)
    # A pause of ten days: late on the fifteenth. One of forty days: late on the sixtieth.
    _buys(world, "ada", 25, 15, 5)
    _buys(world, "bob", 85, 45, 5)
    for later in (10, 11):
        world.plan(NOW + later * DAY)
        assert world.told() == [("ada", "planned", "", "06-11 08:00")]
    assert world.verdicts(NOW + 10 * DAY) == [("ada", None, "")]
    _buys(world, "ada", -10)
    assert world.verdicts(NOW + 10 * DAY) == [("ada", "skipped", "no_longer_matches")]
    world.plan(NOW + 55 * DAY)
    assert [row for row in world.told() if row[0] == "bob"] == [("bob", "planned", "", "07-26 08:00")]


@pytest.mark.parametrize(("times", "after"), [(1, 10), (1.5, 15), (2, 20), (1.01, 11)])
def test_lateness_is_rounded_up_to_days(world: World, times: float, after: int) -> None:
    world.journey("late_by", times=times)
    _buys(world, "ada", 20, 10, 0)
    world.plan(NOW + (after - 1) * DAY)
    assert world.told() == []
    world.plan(NOW + after * DAY)
    assert [row[:2] for row in world.told()] == [("ada", "planned")]


def test_orders_within_two_weeks_are_no_rhythm(world: World) -> None:
    world.journey("late_by", times=1.5)
    # Three orders on two days, and ten within two weeks and a bit: a pause of none, and one of two days.
    _buys(world, "ada", 1, 0)
    _buys(world, "ada", 0, sku="CUP")
    _buys(world, "bob", *range(0, 20, 2))
    world.plan(NOW + 10 * DAY)
    assert world.told() == []
    world.plan(NOW + 11 * DAY)
    assert world.told() == [("bob", "planned", "", "06-12 08:00")]


def test_newcomer_is_held_against_the_pooled_rhythm(world: World) -> None:
    for name, pause in zip(("ada", "bob", "cat", "dan", "eve"), (10, 20, 20, 30, 90), strict=True):
        _buys(world, name, 3 * pause, 2 * pause, pause)
    write(world.db, world.shop, [person("new"), person("two")], NOW)
    world.journey("late_by", times=1.5)
    _buys(world, "new", 0)
    _buys(world, "two", 1, 0)
    world.plan(NOW + 29 * DAY)
    assert {row[0] for row in world.told()} & {"new", "two"} == set()
    _count(world)
    assert _cadences(world)["orders", ""] == (20_000, 5)
    world.plan(NOW + 30 * DAY)
    assert {row[0] for row in world.told() if row[3] == "07-01 08:00"} == {"new", "two"}


def test_nobody_is_missed_twice_for_one_pause(world: World) -> None:
    world.journey("late_by", times=1)
    _buys(world, "ada", 20, 10, 0)
    world.plan(NOW + 10 * DAY)
    world.sent()
    _buys(world, "ada", 0, status=OrderStatus.CANCELLED)
    world.plan(NOW + 11 * DAY)
    assert len(world.rows()) == 1


def test_median_pause_of_a_product_by_the_piece(world: World) -> None:
    # Pauses for a piece: 10, 10, 20, 30 (60 for two), 40.
    _buys(world, "ada", 120, 110, 100)
    _buys(world, "bob", 120, 100)
    _buys(world, "cat", 160, quantity=2)
    _buys(world, "cat", 100)
    _buys(world, "dan", 140, 100)
    assert _count(world) == {"products": 1, "changed": 1, "refills": 4}
    assert _cadences(world)["sku", "TEA"] == (20_000, 5)
    assert _refills(world) == {(name, "TEA"): -80 for name in ("ada", "bob", "cat", "dan")}


def test_quantities_out_of_all_measure_stop_no_count(world: World) -> None:
    # A slip of the hand in either direction; half a piece is a quantity like any other.
    _buys(world, "ada", 60, quantity=0.000001)
    _buys(world, "ada", 30)
    for name in ("bob", "cat", "dan"):
        _buys(world, name, 60, 40, 20)
    _buys(world, "eve", 20, quantity=1e12)
    _count(world)
    assert _cadences(world)["sku", "TEA"] == (20_000, 6)
    assert _refills(world)["eve", "TEA"] == 36_500 - 20


def test_product_with_few_pauses_borrows_from_its_category(world: World) -> None:
    products = [ProductRecord(external_id=sku, sku=sku, title=sku, category="Teas") for sku in ("TEA", "RARE")]
    write(world.db, world.shop, products, NOW)
    for name in ("ada", "bob", "cat", "dan", "eve"):
        _buys(world, name, 60, 30)
    _buys(world, "ada", 110, 10, sku="RARE")
    _buys(world, "bob", 20, 10, sku="CUP")
    _buys(world, "cat", 10, sku="VASE")
    _count(world)
    found = _cadences(world)
    assert (found["sku", "RARE"], found["sku", "CUP"]) == ((30_000, 6), (30_000, 7))
    assert ("sku", "VASE") not in found
    assert _refills(world)["ada", "RARE"] == 20


def _pairs(world: World) -> None:
    """Five pauses of thirty days; all ran out but Ada's and Bob's."""
    for name in ("ada", "bob", "cat", "dan", "eve"):
        _buys(world, name, 130, 100)
    _count(world, NOW - 50 * DAY)


def test_counting_again_writes_only_what_changed(world: World) -> None:
    _pairs(world)
    assert _count(world, NOW - 49 * DAY) == {"products": 1, "changed": 0, "refills": 0}
    _buys(world, "ada", 40)
    assert _count(world, NOW - 40 * DAY) == {"products": 1, "changed": 0, "refills": 1}
    assert _refills(world)["ada", "TEA"] == -10
    _buys(world, "ada", 40, status=OrderStatus.CANCELLED)
    _count(world, NOW - 39 * DAY)
    assert _refills(world)["ada", "TEA"] == -70


def test_reminder_before_it_runs_out(world: World) -> None:
    _pairs(world)
    world.journey("replenishment", lead_days=3)
    _buys(world, "ada", 0)
    _buys(world, "bob", 0, quantity=2)
    _count(world, NOW + HOUR)
    at = NOW + 27 * DAY
    for later in (0 * DAY, HOUR):
        world.plan(at + later)
        assert world.told() == [("ada", "planned", "", "06-28 08:00")]
    assert world.verdicts(at) == [("ada", None, "")]
    [row] = world.rows()
    assert row.occasion == f"refill:{row.subject_order_id}:TEA"
    _buys(world, "ada", -27)
    assert world.verdicts(at) == [("ada", "skipped", "no_longer_matches")]
    world.plan(NOW + 57 * DAY)
    assert [row[0] for row in world.told()] == ["ada", "bob"]


def test_product_that_hardly_lasts_is_not_running_low(world: World) -> None:
    for name in ("ada", "bob", "cat"):
        _buys(world, name, 46, 44, 42, 40)
    _count(world, NOW - 39 * DAY)
    world.journey("replenishment", lead_days=3)
    # Two days a piece: one is gone before the three days are over, three last long enough.
    _buys(world, "dan", 0)
    _buys(world, "eve", 0, quantity=3)
    _count(world, NOW + HOUR)
    for later in range(5):
        world.plan(NOW + 2 * HOUR + later * DAY)
    assert world.told() == [("eve", "planned", "", "06-04 08:00")]


def test_member_who_bought_again_is_not_reminded(world: World) -> None:
    _pairs(world)
    world.journey("replenishment", sku="TEA")
    _buys(world, "ada", 0)
    _count(world, NOW + HOUR)
    _buys(world, "ada", -20)
    world.plan(NOW + 28 * DAY)
    assert world.told() == []


@pytest.mark.parametrize(("at", "due"), [(datetime(2026, 6, 5, 12), "06-05 08:00"), (datetime(2026, 6, 4, 7), "")])
def test_day_of_a_person_that_a_member_named(world: World, at: datetime, due: str) -> None:
    at = at.replace(tzinfo=NOW.tzinfo)
    world.journey("gift_reminder", days=-14)
    ada = world.id_of("ada")
    with world.db.write() as connection:
        for again in (True, False):
            assert remember_date(connection, world.shop, ada, "Grace", 619, NOW) is again
    for later in (0 * DAY, HOUR):
        world.plan(at + later)
        assert world.told() == ([("ada", "planned", "", due)] if due else [])
    if not due:
        return
    assert world.verdicts(at) == [("ada", None, "")]
    [row] = world.rows()
    assert (row.occasion.split(":")[2], row.occasion_on) == ("2026", date(2026, 6, 19))
    with world.db.write() as connection:
        assert forget_date(connection, world.shop, ada, "Grace", 619)
    assert world.verdicts(at) == [("ada", "skipped", "no_longer_matches")]


def test_person_who_is_named_anew_is_reminded_of_once(world: World) -> None:
    world.journey("gift_reminder", days=-14)
    ada = world.id_of("ada")
    with world.db.write() as connection:
        for who in ("mum", "Grace"):
            assert remember_date(connection, world.shop, ada, who, 619, NOW)
    world.plan(NOW + 4 * DAY)
    with world.db.write() as connection:
        assert forget_date(connection, world.shop, ada, "mum", 619)
        assert not remember_date(connection, world.shop, ada, "Grace", 619, NOW + 4 * DAY)
        assert remember_date(connection, world.shop, ada, "Mum", 619, NOW + 4 * DAY)
    world.plan(NOW + 4 * DAY + HOUR)
    assert len(world.rows()) == 2


def test_day_that_is_none_is_refused(world: World) -> None:
    ada = world.id_of("ada")
    for person_, number, field in (("Grace", 231, "month_day"), ("Grace", 600, "month_day"), (" ", 619, "person")):
        with pytest.raises(InvalidInput) as refused, world.db.write() as connection:
            remember_date(connection, world.shop, ada, person_, number, NOW)
        assert refused.value.field == field


def _checkout(world: World, who: str, at: datetime, number: int = 1, **values: Any) -> None:
    row = {"started_at": at, "touched_at": at, "touched_on": at.date(), "seen_at": at + MINUTE, **values}
    ids = {"shop_id": 1, "checkout_id": number, "external_id": str(number), "member_id": world.id_of(who)}
    with world.db.write() as connection:
        connection.execute(insert(checkouts).values(**ids, **row))


@pytest.mark.parametrize(
    ("params", "due"), [({}, "06-01 12:00"), ({"minutes": 5}, "06-01 11:05"), ({"days": 1}, "06-02 08:00")]
)
def test_checkout_that_was_left(world: World, params: dict[str, int], due: str) -> None:
    world.journey("abandoned_checkout", **params)
    at = NOW + HOUR
    _checkout(world, "ada", at)
    _checkout(world, "bob", at, 2, completed_at=at + MINUTE)
    _checkout(world, "cat", at, 3)
    _buys(world, "cat", -1)
    for later in (DAY, DAY + HOUR):
        world.plan(NOW + later)
        assert world.told() == [("ada", "planned", "", due)]
    assert world.verdicts(NOW + DAY) == [("ada", None, "")]
    with world.db.write() as connection:
        connection.execute(update(checkouts).where(checkouts.c.checkout_id == 1).values(completed_at=NOW + DAY))
    assert world.verdicts(NOW + DAY) == [("ada", "skipped", "no_longer_matches")]


def test_order_after_the_checkout_makes_it_quiet(world: World) -> None:
    world.journey("abandoned_checkout")
    _checkout(world, "ada", NOW + HOUR)
    world.plan(NOW + 2 * HOUR)
    _buys(world, "ada", -1, status=OrderStatus.PENDING)
    assert world.verdicts(NOW + DAY) == [("ada", "skipped", "no_longer_matches")]


def test_draft_of_a_store_that_was_left(world: World) -> None:
    world.journey("abandoned_checkout")
    told: dict[str, Any] = {"member_external_id": "ada", "placed_at": NOW + HOUR}
    draft = order("7", status=OrderStatus.DRAFT, updated_at=NOW + HOUR, **told)
    write(world.db, world.shop, [draft], NOW + HOUR)
    world.plan(NOW + 2 * HOUR)
    assert world.told() == [("ada", "planned", "", "06-01 12:00")]
    assert world.verdicts(NOW + 2 * HOUR) == [("ada", None, "")]
    write(
        world.db, world.shop, [order("7", status=OrderStatus.PAID, updated_at=NOW + 2 * HOUR, **told)], NOW + 2 * HOUR
    )
    assert world.verdicts(NOW + 2 * HOUR) == [("ada", "skipped", "no_longer_matches")]
