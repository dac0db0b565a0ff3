"""The goal is asked before a message leaves too: hours of rest and waits for others may lie between planning and sending."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, update

from crm_plugin.store import tasks, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch, gate, publishing
from crm_plugin.touchpoints.gate import Verdict
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.states import Reason, State
from crm_plugin.touchpoints.steps import duties
from tests.factories import order, write
from tests.touchpoints.steps.stage import SEND, START, inside, person, plan, settle, stage, turn_on

TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REST: dict[str, Any] = {"key": "rest", "wait": {"days": 1}}


@pytest.fixture
def shop(db: Database) -> Shop:
    shop = stage(db)
    write(db, shop, [person(1), person(2)], START)
    return shop


def _verdicts(db: Database, shop: Shop, now: datetime) -> list[Verdict]:
    with db.read() as connection:
        rows = connection.execute(select(touchpoints).order_by(touchpoints.c.touchpoint_id)).all()
        known = batch.load(connection, shop, rows, now)
    return [gate.judge(row, known, policy_of(shop), now) for row in rows]


@pytest.mark.parametrize(
    "told", [{}, {"exit": "never"}, {"audience": "orders() >= 0"}], ids=lambda told: [*told, ""][0]
)
def test_who_reaches_the_goal_before_it_leaves_is_not_written_to(
    db: Database, shop: Shop, told: dict[str, Any]
) -> None:
    turn_on(db, shop, SEND, REST, {**SEND, "key": "again"}, goal="orders() >= 1", **told)
    assert plan(db, shop, TEN) == {"enrolled": 2, "planned": 2}
    write(db, shop, [order("o1", member_external_id="1", placed_at=TEN + MINUTE)], TEN + 2 * MINUTE)
    gone, stays = _verdicts(db, shop, TEN + 3 * MINUTE)
    assert gone == Verdict(State.SKIPPED, Reason.GOAL)
    assert stays.open
    # And once it is settled, they go no further.
    with db.write() as connection:
        first = select(touchpoints.c.touchpoint_id).order_by(touchpoints.c.touchpoint_id).limit(1).scalar_subquery()
        skipped = {"state": "skipped", "reason": "goal", "settled_at": TEN, "updated_at": TEN}
        connection.execute(update(touchpoints).where(touchpoints.c.touchpoint_id == first).values(**skipped))
    settle(db, TEN)
    plan(db, shop, TEN + timedelta(hours=1))
    assert inside(db) == {"m1": ("goal", "rest", ""), "m2": ("active", "rest", "waits")}


def test_nobody_is_called_who_reached_the_goal_or_whose_journey_ended(db: Database, shop: Shop) -> None:
    turn_on(db, shop, {"key": "call", "task": {"title": {"en": "Call"}, "due_days": 3}}, goal="orders() >= 1")
    assert plan(db, shop, TEN) == {"enrolled": 2}
    write(db, shop, [order("o1", member_external_id="1", placed_at=TEN + MINUTE)], TEN + 2 * MINUTE)
    plan(db, shop, TEN + timedelta(hours=1))
    columns = (tasks.c.done_at.is_not(None), tasks.c.done_by, tasks.c.outcome)
    with db.write() as connection:
        assert sorted(connection.execute(select(*columns)).all()) == [(False, "", ""), (True, "journey", "goal")]
        publishing.archive(connection, shop, "j", TEN + timedelta(hours=2))
        assert [row[2] for row in sorted(connection.execute(select(*columns)).all())] == ["archived", "goal"]


def test_goal_is_asked_for_each_open_task_by_the_member(db: Database, shop: Shop) -> None:
    """Also of tables that the database has no figures about: it never holds the tasks against the tasks, or against all members."""
    call = {"key": "call", "task": {"title": {"en": "Call"}, "due_days": 3}}
    journey = turn_on(db, shop, call, goal="orders() >= 1")
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        asked.append((statement, parameters))

    with db.write() as connection:
        event.listen(connection, "before_cursor_execute", note)
        assert connection.execute(duties.reached(connection, shop, journey, TEN)).all() == []
        event.remove(connection, "before_cursor_execute", note)
        (statement, parameters) = asked[-1]
        explain = "EXPLAIN QUERY PLAN" if db.is_sqlite else "EXPLAIN"
        told = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))
    assert "tasks_1" not in told
    assert "Semi Join" not in told
    assert "SCAN tasks" not in told


def test_a_goal_that_cannot_be_asked_keeps_the_message_waiting(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crm_plugin.rules import compile_rule, segments

    with db.write() as connection:
        segments.put(connection, shop, "s", compile_rule("orders() >= 1"), START, title="s")
    turn_on(db, shop, SEND, goal='segment("s")')
    plan(db, shop, TEN)
    with db.write() as connection:
        connection.execute(segments.segments.delete())
    verdicts = _verdicts(db, shop, TEN + MINUTE)
    assert [(one.state, one.reason) for one in verdicts] == [(State.PLANNED, Reason.NO_AUDIENCE)] * 2
