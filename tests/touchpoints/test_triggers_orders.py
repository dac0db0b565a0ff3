"""Journeys that follow an order: at once or days later, once for each, and silent when the order is no longer so."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.records import OrderLineRecord, OrderStatus, ProductRecord
from crm_plugin.store import order_events
from crm_plugin.store.session import Database
from tests.factories import member, order, refund, write
from tests.touchpoints.trigger_world import DAY, HOUR, MINUTE, NOW, World, person

STEPS = {
    "order_placed": "placed_at",
    "order_paid": "paid_at",
    "order_shipped": "shipped_at",
    "order_delivered": "delivered_at",
}


@pytest.fixture
def world(db: Database) -> World:
    made = World(db, NOW)
    write(db, made.shop, [person("ada"), person("bob")], NOW - DAY)
    return made


def _order(world: World, at: datetime, name: str = "o1", who: str = "ada", **values: Any) -> None:
    told = {"placed_at": NOW - HOUR, "member_external_id": who, "status": OrderStatus.PAID, **values}
    write(world.db, world.shop, [order(name, **told)], at)


@pytest.mark.parametrize(("kind", "field"), STEPS.items())
def test_step_is_spoken_of_at_once_and_once(world: World, kind: str, field: str) -> None:
    world.journey(kind, days=0, _kind="transactional")
    at = NOW + HOUR
    _order(world, at + MINUTE, **{field: at})
    world.plan(at + 2 * MINUTE)
    assert world.told() == [("ada", "planned", "", "06-01 11:00")]
    _order(world, at + 3 * MINUTE, **{field: at, "number": "7"})
    world.plan(at + 4 * MINUTE)
    world.plan(at + DAY)
    assert len(world.told()) == 1
    [row] = world.rows()
    assert row.occasion == f"order:{row.subject_order_id}"


@pytest.mark.parametrize(("kind", "field"), STEPS.items())
def test_step_is_spoken_of_days_later(world: World, kind: str, field: str) -> None:
    world.journey(kind, days=2, _send_at="09:30")
    at = NOW + HOUR
    _order(world, at + MINUTE, **{field: at})
    world.plan(NOW + 2 * DAY - 3 * HOUR)
    assert world.told() == []
    world.plan(NOW + 2 * DAY)
    assert world.told() == [("ada", "planned", "", "06-03 07:30")]


@pytest.mark.parametrize(("kind", "field"), STEPS.items())
def test_step_that_is_told_late_or_long_ago(world: World, kind: str, field: str) -> None:
    world.journey(kind, days=0, minutes=30)
    world.plan(NOW + 9 * DAY)
    at = NOW + 10 * DAY
    _order(world, at, "late", **{field: at - 2 * DAY})
    _order(world, at, "stale", "bob", **{field: at - 4 * DAY})
    _order(world, at, "before", "bob", **{field: NOW - HOUR})
    world.plan(at + MINUTE)
    assert world.told() == [("ada", "planned", "", "06-09 10:30")]


@pytest.mark.parametrize(("kind", "field"), STEPS.items())
@pytest.mark.parametrize("days", [0, 1])
def test_outage_is_missed_once(world: World, kind: str, field: str, days: int) -> None:
    world.journey(kind, days=days)
    _order(world, NOW + HOUR, **{field: NOW + HOUR})
    _order(world, NOW + 8 * DAY, "o2", "bob", **{field: NOW + 8 * DAY})
    for later in (9 * DAY, 10 * DAY):
        world.plan(NOW + later + HOUR)
        assert [row[:3] for row in world.told()] == [("ada", "missed", "window_over"), ("bob", "planned", "")]


@pytest.mark.parametrize(("kind", "field"), STEPS.items())
@pytest.mark.parametrize("status", [OrderStatus.CANCELLED, OrderStatus.REFUNDED])
def test_order_that_ends_is_not_spoken_of(world: World, kind: str, field: str, status: OrderStatus) -> None:
    world.journey(kind, days=0)
    at = NOW + HOUR
    _order(world, at, **{field: at})
    world.plan(at + MINUTE)
    assert world.verdicts(at + MINUTE) == [("ada", None, "")]
    _order(world, at + MINUTE, **{field: at}, status=status)
    assert world.verdicts(at + MINUTE) == [("ada", "skipped", "no_longer_matches")]


@pytest.mark.parametrize(("kind", "field"), STEPS.items())
@pytest.mark.parametrize("sent", [True, False])
def test_order_that_changes_hands_is_spoken_of_once(world: World, kind: str, field: str, sent: bool) -> None:
    world.journey(kind, days=0, _kind="transactional")
    at, guest = NOW + HOUR, member("", email="guest@x.test")
    values = {field: at, "contact": guest, "member_external_id": ""}
    _order(world, at, **values, updated_at=at)
    world.plan(at + MINUTE)
    if sent:
        world.sent()
    _order(world, at + HOUR, **{field: at}, contact=guest, updated_at=at + HOUR)
    world.plan(at + HOUR + MINUTE)
    if sent:
        assert [row[:2] for row in world.told()] == [("guest", "accepted")]
    else:
        assert world.verdicts(at + HOUR + MINUTE) == [("guest", "skipped", "no_longer_matches"), ("ada", None, "")]


def test_shipping_that_was_taken_back(world: World) -> None:
    world.journey("order_shipped", days=0)
    at = NOW + HOUR
    _order(world, at, shipped_at=at, delivered_at=None)
    world.plan(at + MINUTE)
    _order(world, at + MINUTE, shipped_at=None)
    assert world.verdicts(at + MINUTE) == [("ada", "skipped", "no_longer_matches")]


def test_steps_of_long_ago_are_not_kept(world: World) -> None:
    old = NOW - 431 * DAY
    _order(world, NOW, "old", placed_at=old, paid_at=old, shipped_at=old)
    _order(world, NOW, "new", paid_at=NOW - DAY, delivered_at=NOW)
    with world.db.read() as connection:
        kinds = connection.execute(select(order_events.c.kind).order_by(order_events.c.kind)).scalars().all()
    assert kinds == ["delivered", "paid"]


def test_first_order_leads_to_a_second(world: World) -> None:
    world.journey("first_order", days=2)
    _order(world, NOW + HOUR, placed_at=NOW + HOUR)
    for number in (1, 2):
        _order(world, NOW + HOUR, f"b{number}", "bob", placed_at=NOW + HOUR)
    world.plan(NOW + 2 * DAY)
    assert world.told() == [("ada", "planned", "", "06-03 08:00")]
    assert world.verdicts(NOW + 2 * DAY) == [("ada", None, "")]
    _order(world, NOW + 2 * DAY, "o2", placed_at=NOW + 2 * DAY)
    assert world.verdicts(NOW + 2 * DAY) == [("ada", "skipped", "no_longer_matches")]


@pytest.mark.parametrize("sent", [True, False])
def test_first_order_that_was_cancelled_gives_way_to_the_next(world: World, sent: bool) -> None:
    world.journey("first_order", days=1)
    _order(world, NOW + HOUR, placed_at=NOW + HOUR)
    world.plan(NOW + DAY)
    if sent:
        world.sent()
    _order(world, NOW + DAY, placed_at=NOW + HOUR, status=OrderStatus.CANCELLED)
    _order(world, NOW + DAY, "o2", placed_at=NOW + DAY)
    world.plan(NOW + 2 * DAY)
    expected = [] if sent else [("ada", "skipped", "no_longer_matches"), ("ada", None, "")]
    assert world.verdicts(NOW + 2 * DAY) == expected
    assert len(world.rows()) == (1 if sent else 2)


def _line(sku: str, title: str = "", product: str = "", quantity: float = 1) -> OrderLineRecord:
    return OrderLineRecord(sku=sku, title=title, product_external_id=product, quantity=quantity, total_minor=500)


@pytest.mark.parametrize(
    ("params", "who"),
    [
        ({"sku": "TEA"}, ["ada"]),
        ({"title": "Green tea"}, ["ada"]),
        ({"category": "Teas"}, ["ada", "bob"]),
        ({"category": "Teas", "sku": "TEA"}, ["ada"]),
        ({"category": "Teas", "title": "Cup"}, []),
        ({"sku": "GONE"}, []),
    ],
)
@pytest.mark.parametrize("days", [0, 1])
def test_product_bought(world: World, params: dict[str, str], who: list[str], days: int) -> None:
    world.journey("bought", days=days, **params)
    told = {"sku": "TEA", "title": "Green tea", "category": "Teas"}
    write(world.db, world.shop, [ProductRecord(external_id="p1", **told)], NOW)
    at = NOW + HOUR
    _order(world, at, placed_at=at, lines=(_line("TEA", "Green tea"), _line("CUP", "Cup")))
    _order(world, at, "o2", "bob", placed_at=at, lines=(_line("", "", "p1"), _line("GONE", quantity=0)))
    world.plan(at + DAY)
    assert [row[0] for row in world.told()] == who
    assert world.verdicts(at + DAY) == [(name, None, "") for name in who]


def test_line_that_was_taken_out_is_not_spoken_of(world: World) -> None:
    world.journey("bought", days=1, sku="TEA")
    at = NOW + HOUR
    _order(world, at, placed_at=at, lines=(_line("TEA"), _line("CUP")))
    world.plan(at + DAY)
    _order(world, at + DAY, placed_at=at, lines=(_line("CUP"),))
    assert world.verdicts(at + DAY) == [("ada", "skipped", "no_longer_matches")]


@pytest.mark.parametrize(("days", "due"), [(0, "06-01 11:00"), (1, "06-02 08:00")])
def test_refund_is_spoken_of_once_each(world: World, days: int, due: str) -> None:
    world.journey("refund", days=days, _kind="transactional")
    _order(world, NOW)
    at = NOW + HOUR
    given = [refund(name, order_external_id="o1", refunded_at=at) for name in ("r1", "r2")]
    write(world.db, world.shop, [*given, refund("r3", order_external_id="unknown", refunded_at=at)], at)
    for later in (DAY, DAY + HOUR):
        world.plan(NOW + later)
        assert world.told() == [("ada", "planned", "", due)] * 2
    assert {row.occasion.split(":")[0] for row in world.rows()} == {"refund"}
    write(world.db, world.shop, [refund("r1", order_external_id="o1", refunded_at=at, deleted=True)], NOW + DAY)
    assert sorted(str(state) for _, state, _ in world.verdicts(NOW + DAY)) == ["None", "skipped"]
