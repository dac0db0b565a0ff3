"""What the trigger itself asks of a member (its segment) holds for every step, as the audience does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from crm_plugin.rules import compile_rule, kept, segments
from crm_plugin.store import member_tags, tasks
from crm_plugin.store.session import Database
from tests.factories import order, write
from tests.touchpoints.steps.stage import SEND, START, inside, person, plan, planned, stage, turn_on

TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
STEPS: tuple[dict[str, Any], ...] = (
    {"key": "w", "wait": {"days": 1}},
    {"key": "t", "tag": {"add": ["gold"]}},
    {"key": "call", "task": {"title": "Call"}},
    SEND,
)


def _left(db: Database, **told: Any) -> dict[str, int]:
    """Somebody comes into the segment of the trigger, and is out of it again while they wait; answers what the wait's end brings."""
    shop = stage(db)
    write(db, shop, [person(1)], START)
    with db.write() as connection:
        segments.put(connection, shop, "s", compile_rule("orders() >= 1"), START, title="s")
        kept.keep(connection, shop, START)
    turn_on(db, shop, *STEPS, trigger={"type": "segment_entered", "segment": "s"}, **told)
    write(db, shop, [order("o1", member_external_id="1", placed_at=TEN)], TEN)
    with db.write() as connection:
        kept.keep(connection, shop, TEN + HOUR / 60)
    assert plan(db, shop, TEN + HOUR) == {"enrolled": 1}
    write(db, shop, [order("o1", member_external_id="1", placed_at=TEN, status="cancelled")], TEN + 2 * HOUR)
    with db.write() as connection:
        kept.keep(connection, shop, TEN + 3 * HOUR)
    return plan(db, shop, TEN + 48 * HOUR)


def _brought(db: Database) -> list[int]:
    """How many tags and tasks there are."""
    with db.read() as connection:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (member_tags, tasks)
        ]


@pytest.mark.parametrize("told", [{}, {"audience": "orders() >= 0"}], ids=["everyone", "audience"])
def test_who_left_the_segment_leaves_before_anything_else_is_done(db: Database, told: dict[str, Any]) -> None:
    assert _left(db, **told) == {}
    assert inside(db) == {"m1": ("audience", "t", "")}
    assert _brought(db) == [0, 0]
    assert planned(db) == []


def test_without_an_exit_they_go_on_and_the_message_says_why_it_is_not_sent(db: Database) -> None:
    assert _left(db, exit="never") == {"skipped": 1}
    assert _brought(db) == [1, 1]
    assert [row[:3] for row in planned(db)] == [(4, "skipped", "no_longer_matches")]
    assert inside(db) == {"m1": ("done", "hello", "due")}
