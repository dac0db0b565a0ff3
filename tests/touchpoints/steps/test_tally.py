"""Who is at each step, passed it or left there; a member's stays; tasks that are done: in a fixed number of statements."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from crm_plugin.store import members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import publishing
from crm_plugin.touchpoints.steps import duties
from crm_plugin.touchpoints.steps.tally import Tally, tally
from crm_plugin.touchpoints.why import stays
from tests.factories import write
from tests.touchpoints.steps.stage import START, Counting, person, plan, stage, turn_on

DAY = timedelta(days=1)
CALL = {"key": "call", "task": {"title": {"en": "Call"}, "due_days": 1}}
REST = {"key": "rest", "wait": {"days": 3}}
SPLIT = {"key": "s", "branch": {"rule": 'country == "DE"'}, "then": [CALL], "else": [{"key": "out", "end": {}}]}


@pytest.fixture
def shop(db: Database) -> Shop:
    return stage(db)


def _at(db: Database, shop: Shop, since: datetime) -> dict[str, Tally]:
    with db.read() as connection, Counting(db) as ran:
        found = tally(connection, shop, "j", since)
    assert sum("SELECT" in one for one in ran.statements) == 3
    return found


@pytest.mark.parametrize("count", [1, 5])
def test_steps_are_counted_for_all_at_once(db: Database, shop: Shop, count: int) -> None:
    people = [person(number, country="DE") for number in range(count)]
    write(db, shop, [*people, person(90, country="FR"), person(91, country="FR")])
    turn_on(db, shop, SPLIT, REST)
    assert _at(db, shop, START) == {}
    plan(db, shop, START + DAY)
    passed = {"call": Tally(0, count), "out": Tally(0, 2), "s": Tally(0, count + 2)}
    assert _at(db, shop, START) == {**passed, "rest": Tally(count)}
    with db.write() as connection:
        publishing.archive(connection, shop, "j", START + DAY)
    assert _at(db, shop, START) == {**passed, "rest": Tally(0, 0, {"archived": count})}
    assert _at(db, shop, START + 2 * DAY) == {}


def test_stays_are_the_newest_first_in_two_statements(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1, country="DE")])
    for number, key in enumerate(("a", "b", "c")):
        turn_on(db, shop, REST, key=key, at=START + number * timedelta(microseconds=1))
    plan(db, shop, START + DAY)
    with db.read() as connection:
        who = connection.execute(select(members.c.member_id)).scalar_one()
        with Counting(db) as ran:
            found = stays(connection, shop, who)
        newest = stays(connection, shop, who, limit=1)
        one = stays(connection, shop, who, "b")
    assert sum("SELECT" in text for text in ran.statements) == 2
    assert sorted(key for key, _stay in found) == ["a", "b", "c"]
    assert newest == found[:1]
    assert [(key, stay.step_key, [event.what for event in stay.happenings]) for key, stay in one] == [
        ("b", "rest", ["enrolled", "begun"])
    ]


def test_what_was_done_is_told_the_newest_first(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1), person(2)])
    turn_on(db, shop, CALL)
    plan(db, shop, START + DAY)
    with db.write() as connection:
        first, second = duties.open_tasks(connection, shop)
        duties.finish(connection, shop, first.task_id, "Reached", "page:owner", START + DAY)
        duties.finish(connection, shop, second.task_id, "Not reached", "cli", START + 2 * DAY)
    with db.read() as connection:
        told = [(one.task_id, one.outcome, one.done_by) for one in duties.done_tasks(connection, shop, START)]
        late = duties.done_tasks(connection, shop, START + 2 * DAY)
    assert told == [(second.task_id, "Not reached", "cli"), (first.task_id, "Reached", "page:owner")]
    assert [one.task_id for one in late] == [second.task_id]
