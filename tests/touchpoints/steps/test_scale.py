"""What a round costs: by index from step to step, and nothing for those who merely wait."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select

from crm_plugin.store import coupon_codes, coupon_pools, enrolment_events, enrolments
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.plan import plan_shop
from tests.factories import order, write
from tests.touchpoints.steps.stage import SEND, START, Counting, person, plan, settle, stage, turn_on

TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
_LARGE = (
    "enrolments",
    "enrolment_events",
    "members",
    "touchpoints",
    "orders",
    "delivery_events",
    "coupon_codes",
    "member_tags",
    "journey_versions",
)
_ALIASES = {
    "e": "enrolments",
    "v": "enrolment_events",
    "m": "members",
    "t": "touchpoints",
    "o": "orders",
    "d": "delivery_events",
    "x": "enrolments",
}
STEPS: list[dict[str, Any]] = [
    {"key": "code", "coupon": {"pool": "p"}},
    {"key": "mark", "tag": {"add": ["a"], "remove": ["b"]}},
    SEND,
    {"key": "opens", "wait": {"event": "opened", "within_days": 1}},
    {
        "key": "buys",
        "wait": {"event": "order_placed", "within_days": 1},
        "then": [{"key": "t", "task": {"title": "Call"}}],
    },
    {"key": "noon", "wait": {"until": {"at": "12:00", "weekday": "fri"}}},
    {"key": "ab", "split": {"a": 50, "b": 50}, "arms": {"a": [{"key": "rest", "wait": {"days": 2}}]}},
    {"key": "rich", "branch": "orders() >= 1", "then": [{"key": "out", "end": {}}]},
    {**SEND, "key": "again"},
]


@pytest.fixture
def shop(db: Database) -> Shop:
    made = stage(db)
    with db.write() as connection:
        ours = {"shop_id": made.shop_id, "pool_key": "p"}
        connection.execute(insert(coupon_pools).values(**ours, title="", created_at=START))
        connection.execute(insert(coupon_codes), [{**ours, "code": f"C{n}", "place": n} for n in range(30)])
    return made


@pytest.mark.slow
def test_no_round_goes_through_a_table(sqlite_db: Database) -> None:
    """Of every statement of two weeks of rounds SQLite says how it would look for rows: by an index, whichever table is large."""
    db = sqlite_db
    shop = stage(db)
    write(db, shop, [person(n) for n in range(30)], START)
    turn_on(db, shop, *STEPS, audience='tag("vip") or not tag("never")', goal="spent() > 100000")
    ran: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        ran[statement] = parameters

    event.listen(db.engine, "before_cursor_execute", note)
    for day in range(14):
        plan(db, shop, TEN + day * DAY)
        settle(db, TEN + day * DAY)
        if day == 2:
            write(db, shop, [order("o1", member_external_id="1", placed_at=TEN + day * DAY)], TEN + day * DAY)
    event.remove(db.engine, "before_cursor_execute", note)
    ours = {told: values for told, values in ran.items() if _asks(told)}
    assert len(ours) >= 16
    for statement, values in ours.items():
        with db.read() as connection:
            how = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
        for line in how:
            found = re.match(r"SCAN (\w+)", line)
            assert found is None or _ALIASES.get(found[1], found[1]) not in _LARGE, (line, statement)


def _asks(statement: str) -> bool:
    """Whether it is a statement of the steps."""
    return (
        any(name in statement for name in ("enrolment", "taken_up", "journey_versions", "AS w"))
        and "INTO orders" not in statement
    )


def test_those_who_wait_cost_nothing(db: Database, shop: Shop) -> None:
    write(db, shop, [person(n) for n in range(30)], START)
    turn_on(db, shop, {"key": "rest", "wait": {"days": 30}}, SEND)
    with Counting(db) as first:
        assert plan(db, shop, TEN) == {"enrolled": 30}
    with Counting(db) as idle:
        assert plan(db, shop, TEN + DAY) == {}
    assert (first.count, idle.count) == COSTS[db.is_sqlite]


COSTS = {True: (12, 11), False: (10, 10)}


@pytest.mark.slow
def test_two_planners_at_once_take_each_step_once(db: Database, shop: Shop) -> None:
    write(db, shop, [person(n) for n in range(20)], START)
    turn_on(db, shop, *STEPS, reentry={"every_days": 2})
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            for day in range(6):
                plan_shop(db, shop, TEN + day * DAY)
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    v, e, c = enrolment_events.c, enrolments.c, coupon_codes.c
    with db.read() as connection:
        assert connection.execute(select(func.count()).select_from(enrolments)).scalar_one() == 20
        twice = select(func.count()).where(v.what.in_(["begun", "done"])).group_by(v.enrolment_id, v.what, v.step_key)
        assert set(connection.execute(twice).scalars()) == {1}
        assert connection.execute(select(func.count()).where(c.handed_at.is_not(None))).scalar_one() == 20
        assert connection.execute(select(func.count(func.distinct(c.enrolment_id)))).scalar_one() == 20
        last = select(func.max(v.seq)).where(v.enrolment_id == e.enrolment_id).scalar_subquery()
        assert connection.execute(select(func.count()).where(e.seq != last)).scalar_one() == 0
