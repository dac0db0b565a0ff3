"""Somebody switches a journey off, puts it away or moves its members while it is being planned: one after the other, whoever is first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, insert, select, text, update

from crm_plugin.store import coupon_codes, coupon_pools, enrolment_events, enrolments, members, tasks, touchpoints
from crm_plugin.store.members import lock
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import plan, publishing
from crm_plugin.touchpoints.idle import hold_as_read, move_marks
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import acts, moving
from crm_plugin.touchpoints.steps.moves import Group
from tests.factories import order, write
from tests.touchpoints.steps.stage import SEND, START, person, stage

TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
REST = {"key": "rest", "wait": {"days": 3}}
Act = Callable[[Connection, Shop], object]


def _archive(connection: Connection, shop: Shop) -> object:
    return publishing.archive(connection, shop, "j", TEN)


def _off(connection: Connection, shop: Shop) -> object:
    return journey_store.switch(connection, shop, "j", False, TEN)


def _move(connection: Connection, shop: Shop) -> object:
    return moving.move(connection, shop, "j", TEN)


STEPS: dict[str, Any] = {"steps": [SEND, REST]}
ONE: dict[str, Any] = {"channels": ["email"], "template": "hello"}


@pytest.fixture
def shop(db: Database) -> Shop:
    shop = stage(db)
    write(db, shop, [person(n) for n in range(3)], START)
    return shop


def _run(db: Database, shop: Shop, told: dict[str, Any]) -> None:
    with db.write() as connection:
        document = {"key": "j", "trigger": {"type": "birthday", "days": 0}, **told}
        publishing.save_draft(connection, shop, document, START)
        publishing.publish(connection, shop, "j", START)


class Beside:
    """Work in a thread of its own; a problem there fails the test at the end."""

    def __init__(self, db: Database, work: Callable[[], object]) -> None:
        self._db, self._work = db, work
        self._wrong: list[BaseException] = []
        self._thread = threading.Thread(target=self._do)
        self._thread.start()

    def _do(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._wrong.append(error)

    def until_it_waits(self) -> None:
        """Go on once it waits for a lock that another transaction has. SQLite lets but one write, so there it waits whenever it comes."""
        query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        while not self._db.is_sqlite and self._thread.is_alive():
            with self._db.read() as connection:
                if connection.execute(query).scalar_one():
                    return
            time.sleep(0.01)

    def end(self) -> None:
        self._thread.join()
        assert self._wrong == []


def _left(db: Database) -> tuple[int, int]:
    """Touchpoints that still wait, and stays that still last."""
    with db.read() as connection:
        planned = select(func.count()).where(touchpoints.c.state == "planned")
        active = select(func.count()).where(enrolments.c.state == "active")
        return connection.execute(planned).scalar_one(), connection.execute(active).scalar_one()


@pytest.mark.parametrize("act", [_archive, _off])
@pytest.mark.parametrize("told", [STEPS, ONE])
def test_what_a_round_is_just_planning_ends_with_its_journey(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], act: Act
) -> None:
    _run(db, shop, told)
    beside: list[Beside] = []
    held = plan._held

    def ending() -> None:
        with db.write() as connection:
            act(connection, shop)

    def holding(*args: Any) -> Journey:
        journey = held(*args)
        beside.append(Beside(db, ending))
        beside[0].until_it_waits()
        return journey

    monkeypatch.setattr(plan, "_held", holding)
    assert plan.plan_shop(db, shop, TEN).problems == {}
    beside[0].end()
    assert _left(db) == (0, 0)
    with db.read() as connection:
        assert connection.execute(select(func.count()).where(touchpoints.c.state == "cancelled")).scalar_one() == 3


@pytest.mark.parametrize("act", [_archive, _off])
@pytest.mark.parametrize("told", [STEPS, ONE])
def test_a_round_plans_nothing_for_a_journey_that_just_ended(
    db: Database, shop: Shop, told: dict[str, Any], act: Act
) -> None:
    _run(db, shop, told)
    with db.write() as connection:
        act(connection, shop)
        beside = Beside(db, lambda: plan.plan_shop(db, shop, TEN))
        beside.until_it_waits()
    beside.end()
    assert _left(db) == (0, 0)


def _pause(connection: Connection, shop: Shop) -> object:
    return publishing.pause(connection, shop, "j", TEN)


def _on_again(connection: Connection, shop: Shop) -> object:
    _off(connection, shop)
    return journey_store.switch(connection, shop, "j", True, TEN.replace(hour=7))


def _edit(connection: Connection, shop: Shop) -> object:
    publishing.save_draft(connection, shop, {"key": "j", "trigger": {"type": "birthday", "days": 1}, **STEPS}, TEN)
    return publishing.publish(connection, shop, "j", TEN)


def _another_round(connection: Connection, shop: Shop) -> object:
    return move_marks(connection, shop, [journey_store.get(connection, shop.shop_id, "j")], TEN.replace(hour=7))


@pytest.mark.parametrize("act", [_archive, _off, _pause, _on_again, _edit, _another_round])
def test_journey_that_is_not_what_a_round_read_is_read_again(db: Database, shop: Shop, act: Act) -> None:
    _run(db, shop, STEPS)
    with db.write() as connection:
        read = journey_store.get(connection, shop.shop_id, "j")
        act(connection, shop)
        present = journey_store.get(connection, shop.shop_id, "j")
        assert not hold_as_read(connection, shop, read, TEN)
        assert journey_store.get(connection, shop.shop_id, "j") == present
        if present.runs:
            assert hold_as_read(connection, shop, present, TEN)
            assert journey_store.get(connection, shop.shop_id, "j") == replace(present, planned_through=TEN)


def test_who_is_moved_during_a_round_is_moved_once_with_all_that_is_told_of_it(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(db, shop, {"steps": [REST, SEND]})
    plan.plan_shop(db, shop, TEN)
    _run(db, shop, {"steps": [REST, SEND, {"key": "tag", "tag": {"add": ["x"]}}]})
    moved: list[Any] = []
    with db.write() as connection:
        moved.append(_move(connection, shop))
        beside = Beside(db, lambda: plan.plan_shop(db, shop, TEN.replace(day=4, hour=9)))
        beside.until_it_waits()
    beside.end()
    assert moved == [(3, [])]
    e, v = enrolments.c, enrolment_events.c
    with db.read() as connection:
        assert connection.execute(select(e.version, e.step_key).distinct()).all() == [(2, "hello")]
        last = select(func.max(v.seq)).where(v.enrolment_id == e.enrolment_id).scalar_subquery()
        assert connection.execute(select(func.count()).where(e.seq != last)).scalar_one() == 0


def test_task_that_is_taken_away_during_a_round_is_not_made_anew(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two stays that are merged one goes, with its tasks; here the goal does away with one of them meanwhile."""
    _run(db, shop, {"steps": [{"key": "call", "task": {"title": {"en": "Call"}}}], "goal": "orders() >= 1"})
    plan.plan_shop(db, shop, TEN)
    write(db, shop, [order("o1", member_external_id="1", placed_at=TEN)], TEN)
    beside: list[Beside] = []
    writing = acts.write

    def taking_away() -> None:
        with db.write() as connection:
            connection.execute(delete(tasks).where(tasks.c.done_at.is_(None)))

    def late(group: Group) -> None:
        beside.append(Beside(db, taking_away))
        beside[0].until_it_waits()
        writing(group)

    monkeypatch.setattr(acts, "write", late)
    assert plan.plan_shop(db, shop, TEN.replace(hour=9)).problems == {}
    beside[0].end()
    with db.read() as connection:
        assert connection.execute(select(tasks.c.title, tasks.c.done_by)).all() == [({"en": "Call"}, "journey")]


def test_a_round_that_writes_members_lets_whoever_writes_them_already_go_first(db: Database, shop: Shop) -> None:
    """A file of the programme locks members, then journeys: a round that did it the other way about would stand against it for ever."""
    _run(db, shop, {"steps": [{"key": "tag", "tag": {"add": ["x"]}}, REST]})
    with db.write() as connection:
        lock(connection, shop.shop_id)
        connection.execute(update(members).values(first_name="Ada"))
        beside = Beside(db, lambda: plan.plan_shop(db, shop, TEN))
        beside.until_it_waits()
        assert journey_store.hold(connection, shop.shop_id, "j").enabled
    beside.end()
    assert _left(db) == (0, 3)


def test_two_journeys_that_hand_out_of_the_same_pools_take_them_in_one_order(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        for pool in ("a", "b"):
            ours = {"shop_id": shop.shop_id, "pool_key": pool}
            connection.execute(insert(coupon_pools).values(**ours, title="", created_at=START))
            codes = [{**ours, "code": f"C{n}", "place": n} for n in range(3)]
            connection.execute(insert(coupon_codes), codes)
    steps = [{"key": "one", "coupon": {"pool": "b"}}, {"key": "two", "coupon": {"pool": "a"}}, REST]
    _run(db, shop, {"steps": steps})
    p = coupon_pools.c
    with db.write() as connection:
        connection.execute(select(p.pool_key).where(p.pool_key == "a").with_for_update())
        beside = Beside(db, lambda: plan.plan_shop(db, shop, TEN))
        beside.until_it_waits()
        connection.execute(select(p.pool_key).where(p.pool_key == "b").with_for_update())
    beside.end()
    with db.read() as connection:
        handed = select(func.count()).where(coupon_codes.c.handed_at.is_not(None))
        assert connection.execute(handed).scalar_one() == 6
