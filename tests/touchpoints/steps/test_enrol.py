"""Who comes in: once, once in a period, once for each occasion; and what a version means to those inside."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.store import coupon_codes, coupon_pools, enrolments, journeys, members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch, compose, gate
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.scene import CouponView
from crm_plugin.touchpoints.states import State
from crm_plugin.touchpoints.steps import stock
from tests.factories import order, write
from tests.touchpoints.steps.stage import SEND, START, inside, person, plan, planned, stage, turn_on

TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TAG = {"key": "t", "tag": {"add": ["x"]}}
AFTER: dict[str, Any] = {"trigger": {"type": "post_purchase", "days": 1}}


@pytest.fixture
def shop(db: Database) -> Shop:
    return stage(db)


def _orders(db: Database, shop: Shop, *days: int) -> None:
    """One order a day after the start, by the first member."""
    for day in days:
        placed = TEN + day * DAY
        write(db, shop, [order(f"o{day}", member_external_id="1", placed_at=placed)], placed)


def _came(db: Database) -> list[tuple[str, str]]:
    e = enrolments.c
    with db.read() as connection:
        rows = connection.execute(select(e.occasion, e.enrolled_at).order_by(e.enrolled_at, e.enrolment_id)).all()
    return [(row.occasion.split(":")[0], f"{row.enrolled_at:%m-%d}") for row in rows]


def _run(db: Database, shop: Shop, days: range, **told: Any) -> None:
    turn_on(db, shop, TAG, **AFTER, **told)
    for day in days:
        plan(db, shop, TEN + day * DAY)
        plan(db, shop, TEN + day * DAY + timedelta(hours=1))


def test_each_order_once(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    _orders(db, shop, 0, 1, 3)
    _run(db, shop, range(1, 8))
    assert _came(db) == [("order", "06-02"), ("order", "06-03"), ("order", "06-05")]


@pytest.mark.slow
def test_once_and_never_again(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    _orders(db, shop, 0, 1, 3)
    _run(db, shop, range(1, 8), reentry="once")
    assert _came(db) == [("once", "06-02")]


@pytest.mark.slow
def test_not_again_within_a_number_of_days(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    _orders(db, shop, *range(12))
    _run(db, shop, range(1, 14), reentry={"every_days": 4}, validity_days=1)
    days = [day for _occasion, day in _came(db)]
    assert days == ["06-02", "06-06", "06-10"]


def test_two_orders_at_once_let_in_one(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    for name in ("a", "b"):
        write(db, shop, [order(name, member_external_id="1", placed_at=TEN)], TEN)
    turn_on(db, shop, TAG, **AFTER, reentry={"every_days": 30})
    assert plan(db, shop, TEN + 2 * DAY) == {"enrolled": 1}
    assert plan(db, shop, TEN + 3 * DAY) == {}


def test_whoever_is_held_out_gets_nothing_and_is_counted(db: Database, shop: Shop) -> None:
    write(db, shop, [person(n) for n in range(40)], START)
    turn_on(db, shop, TAG, holdout_pct=50)
    assert plan(db, shop, TEN) == {"enrolled": 40}
    ends = [where[0] for where in inside(db).values()]
    assert {*ends} == {"holdout", "done"}
    assert 10 < ends.count("holdout") < 30


def test_those_inside_stay_on_their_version(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1), person(2, birth_day=2)], START)
    rest = {"key": "rest", "wait": {"days": 3}}
    turn_on(db, shop, rest, SEND, {**SEND, "key": "more"})
    plan(db, shop, TEN)
    turn_on(db, shop, rest, {**SEND, "send": {"template": "other", "channels": ["email"]}}, at=TEN)
    plan(db, shop, TEN + DAY)
    assert plan(db, shop, TEN + 4 * DAY) == {"planned": 2}
    with db.read() as connection:
        t = touchpoints.c
        rows = connection.execute(select(touchpoints).order_by(t.due_at)).all()
        known = batch.load(connection, shop, rows, TEN + 4 * DAY)
    spoken = [known.journey_of(row) for row in rows]
    assert [
        (row.journey_version, row.step, one.template_key) for row, one in zip(rows, spoken, strict=True) if one
    ] == [
        (1, 2, "hello"),
        (2, 2, "other"),
    ]
    assert all(gate.judge(row, known, policy_of(shop), TEN + 4 * DAY).open for row in rows)


def test_what_a_paused_journey_planned_waits(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    turn_on(db, shop, SEND)
    plan(db, shop, TEN)
    with db.write() as connection:
        connection.execute(journeys.update().values(paused_at=TEN))
    assert plan(db, shop, TEN + DAY) == {}
    with db.read() as connection:
        row = connection.execute(select(touchpoints)).one()
        verdict = gate.judge(row, batch.load(connection, shop, [row], TEN + DAY), policy_of(shop), TEN + DAY)
    assert (verdict.state, verdict.reason) == (State.PLANNED, "journey_paused")


def test_a_text_may_speak_of_the_coupon(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    with db.write() as connection:
        ours = {"shop_id": shop.shop_id, "pool_key": "p"}
        connection.execute(coupon_pools.insert().values(**ours, title="", created_at=START))
        connection.execute(coupon_codes.insert().values(**ours, code="C1", place=1))
    turn_on(db, shop, {"key": "code", "coupon": {"pool": "p"}}, SEND)
    plan(db, shop, TEN)
    with db.read() as connection:
        row = connection.execute(select(touchpoints)).one()
        known = batch.load(connection, shop, [row], TEN)
    assert known.coupons == {("j", row.member_id, "2026"): "C1"}
    # Until when a code of one's own is good nobody tells.
    assert known.coupon_ends == {}


@pytest.mark.parametrize("segment", ["", "best"])
def test_a_text_tells_until_when_a_code_of_the_store_is_good(db: Database, shop: Shop, segment: str) -> None:
    """A code of the store ends at midnight after its last day in the shop's zone, also one that was made for this very member."""
    write(db, shop, [person(1)], START)
    # Midnight of the 20th in Berlin: the 19th is the last day.
    ends_at = datetime(2026, 6, 19, 22, tzinfo=UTC)
    order = stock.Order(
        "seed", 3, stock.Terms(prefix="HI-"), START, ends_at, asked=3, state=stock.DONE, segment=segment
    )
    with db.write() as connection:
        member_id = connection.execute(select(members.c.member_id)).scalar_one()
        code = order.code(member_id if segment else 1)
        ours = {"shop_id": shop.shop_id, "pool_key": "p"}
        connection.execute(coupon_pools.insert().values(**ours, title="", created_at=START))
        connection.execute(coupon_codes.insert().values(**ours, code=code, place=1))
        stock.put(connection, shop.shop_id, stock.Stock("p", orders=[order]), START)
    turn_on(db, shop, {"key": "code", "coupon": {"pool": "p"}}, SEND)
    plan(db, shop, TEN)
    with db.read() as connection:
        row = connection.execute(select(touchpoints)).one()
        known = batch.load(connection, shop, [row], TEN)
    scene = compose.scene_of(row, known, shop, policy_of(shop), "en")
    assert scene.coupon == CouponView(code, date(2026, 6, 19))


def test_a_journey_that_is_switched_off_ends_for_all(db: Database, shop: Shop) -> None:
    from crm_plugin.touchpoints import journeys as journey_store

    write(db, shop, [person(1)], START)
    turn_on(db, shop, SEND)
    plan(db, shop, TEN)
    with db.write() as connection:
        journey_store.switch(connection, shop, "j", False, TEN + DAY)
    assert inside(db) == {"m1": ("journey_off", "hello", "")}
    assert planned(db) == [(1, "cancelled", "journey_off", "06-01 08:00")]
