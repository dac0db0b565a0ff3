"""A round in which nothing is due asks little, moves the marks, and overlooks nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from crm_plugin.rules.trigger_kinds import Arrival
from crm_plugin.rules.trigger_members import ANYONE, KNOWN_BEFORE
from crm_plugin.store import journeys, segments
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import arrived, glance, idle
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.arrived import Arrived
from crm_plugin.touchpoints.due import Asked, Late
from crm_plugin.touchpoints.idle import asked_of
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from tests.factories import make_shop, member, order, write
from tests.touchpoints.plans import counted

START = datetime(2026, 2, 27, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
NIGHT = START + 23 * HOUR
KINDS: dict[str, dict[str, Any]] = {
    "born": {"type": "birthday", "days": 0},
    "lapsed": {"type": "lapse", "days": 30},
    "bought": {"type": "post_purchase", "days": 0},
    "placed": {"type": "order_placed", "days": 0},
}


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        return make_shop(connection)


def _on(db: Database, shop: Shop, *keys: str, **told: Any) -> None:
    with db.write() as connection:
        for key in keys:
            draft = read_draft({"key": key, "trigger": KINDS[key], "channels": ["email"], **told})
            journey_store.save(connection, shop, draft, START)
        connection.execute(journeys.update().values(enabled=True, enabled_at=START, planned_through=START))


def _marks(db: Database) -> dict[str, datetime]:
    with db.read() as connection:
        return {one.key: one.planned_through or START for one in journey_store.all_journeys(connection, 1)}


def test_idle_round_asks_once_for_all_journeys(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1")], START - 9 * HOUR)
    _on(db, shop, *KINDS)
    plan_shop(db, shop, NIGHT)
    with counted(db) as statements:
        assert plan_shop(db, shop, NIGHT + HOUR).journeys == {}
    asked = [one for one in statements if not one.startswith("BEGIN")]
    # Journeys and which have steps; zones; members and facts, and orders, by what was written; all marks.
    assert [one.split()[0] for one in asked] == ["SELECT", "SELECT", "WITH", *["SELECT"] * 3, "UPDATE"]
    assert not any("INSERT" in one for one in asked)
    assert _marks(db) == dict.fromkeys(KINDS, NIGHT + HOUR)


def test_what_came_is_planned_beside_idle_journeys(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1")], START - 9 * HOUR)
    _on(db, shop, *KINDS)
    plan_shop(db, shop, NIGHT)
    write(db, shop, [order("o1", member_external_id="1", placed_at=NIGHT + HOUR)], NIGHT + HOUR)
    report = plan_shop(db, shop, NIGHT + 2 * HOUR)
    assert report.journeys == {"placed": {"skipped": 1}}
    assert _marks(db) == dict.fromkeys(KINDS, NIGHT + 2 * HOUR)


def test_journeys_with_something_due_look_up_together(db: Database, shop: Shop) -> None:
    _on(db, shop, *KINDS)
    write(db, shop, [member("1")], START + HOUR)
    write(db, shop, [order("o1", member_external_id="1", placed_at=START + HOUR)], START + HOUR)
    with counted(db) as statements:
        assert plan_shop(db, shop, NIGHT).journeys == {"placed": {"skipped": 1}, "bought": {"skipped": 1}}
    assert sum(one.startswith("WITH") and "zone" in one and "INSERT" not in one for one in statements) == 1
    looks = [one for one in statements if "LIMIT 1" in one and one.startswith("SELECT 1 FROM")]
    assert len(looks) == len(set(looks))


def test_audience_that_is_gone_is_told_of_while_nothing_is_due(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        connection.execute(
            segments.insert().values(
                shop_id=1, segment_key="best", title="Best", kind="list", rule_text="", rule={}, updated_at=START
            )
        )
    _on(db, shop, "born", audience='segment("best")')
    _on(db, shop, "lapsed")
    with db.write() as connection:
        connection.execute(segments.delete())
    report = plan_shop(db, shop, START + HOUR)
    assert list(report.problems) == ["born"]
    assert "best" in report.problems["born"]
    assert _marks(db) == {"born": START, "lapsed": START + HOUR}


def test_journeys_of_steps_look_for_what_came_late_together(db: Database, shop: Shop) -> None:
    steps = [{"key": "call", "task": {"title": "Call"}}]
    write(db, shop, [member("1")], START - 9 * HOUR)
    with db.write() as connection:
        for key, trigger in KINDS.items():
            draft = read_draft({"key": key, "trigger": trigger, "steps": steps})
            journey_store.save(connection, shop, draft, START)
        connection.execute(journeys.update().values(enabled=True, enabled_at=START, planned_through=START))
    plan_shop(db, shop, NIGHT)
    with counted(db) as statements:
        assert plan_shop(db, shop, NIGHT + HOUR).journeys == {}
    assert sum(one.startswith("SELECT EXISTS") for one in statements) == 1
    assert sum("UPDATE journeys" in one for one in statements) == len(KINDS)
    assert _marks(db) == dict.fromkeys(KINDS, NIGHT + HOUR)


def test_journey_of_steps_that_cannot_be_asked_stops_no_other(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(connection: Connection, shop: Shop, journey: Journey, looked: idle.Looked) -> Asked:
        if journey.key == "born":
            raise ArithmeticError("broken")
        return asked_of(connection, shop, journey, looked)

    monkeypatch.setattr(idle, "asked_of", ask)
    with db.write() as connection:
        for key, trigger in KINDS.items():
            draft = read_draft({"key": key, "trigger": trigger, "steps": [{"key": "call", "task": {"title": "Call"}}]})
            journey_store.save(connection, shop, draft, START)
        connection.execute(journeys.update().values(enabled=True, enabled_at=START, planned_through=START))
    assert plan_shop(db, shop, NIGHT).problems == {"born": "ArithmeticError: broken"}
    assert _marks(db) == {**dict.fromkeys(KINDS, NIGHT), "born": START}


def test_very_many_are_asked_about_in_several_statements(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrived, "_MOST", 2)
    write(db, shop, [member("1")], START)
    lates = [Late(ANYONE, START - HOUR, START + n * HOUR) for n in range(-1, 4)]
    with db.read() as connection, counted(db) as statements:
        assert Arrived(connection, 1)(lates) == lates[1:]
    assert len(statements) == 3


def test_arrivals_are_seen_by_the_span(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1")], START)
    with db.read() as connection:
        seen = {
            Late(ANYONE, START - HOUR, START): True,
            Late(ANYONE, START, START + HOUR): False,
            Late(ANYONE, START - 2 * HOUR, START - HOUR): False,
            # Whether somebody was known before is left to the select.
            Late(KNOWN_BEFORE, START - HOUR, START): True,
            # Between the shop and the instant stands the segment: the index cannot tell.
            Late(Arrival("e.at", "ix_segment_events_segment"), START, START + HOUR): True,
        }
        for late, is_seen in seen.items():
            assert Arrived(connection, 1)([late]) == [late] * is_seen
        asks = Arrived(connection, 1)
        for count in (1, 0):
            with counted(db) as statements:
                assert asks(list(seen)) == [late for late, is_seen in seen.items() if is_seen]
            assert len(statements) == count
        assert Arrived(connection, 2)([Late(ANYONE, START - HOUR, START)]) == []


@pytest.mark.parametrize(
    ("asks", "index"),
    [
        (glance.DUE, "ix_touchpoints_due"),
        (glance.OVER, "ix_touchpoints_due"),
        (glance.LOST, "ix_touchpoints_lease"),
    ],
)
def test_glances_go_by_an_index(sqlite_db: Database, asks: Any, index: str) -> None:
    with sqlite_db.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asks}", {"shop_id": 1, "now": 0}).all()
    assert [index in row[3] for row in plan] == [True]


def test_days_of_the_lunar_calendar_are_laid_out_for_whoever_keeps_one(db: Database, shop: Shop) -> None:
    _on(db, shop, "born")

    def slots() -> int:
        with db.read() as connection:
            asked = asked_of(connection, shop, journey_store.get(connection, 1, "born"))
            return len(asked.slots(START, START + timedelta(days=4)))

    write(db, shop, [member("1", birth_month=3, birth_day=3)], START - HOUR)
    # 27 and 28 February, that is 29 too, 1 March, that is the whole month too, and 2 March.
    assert slots() == 6
    write(db, shop, [member("2", birth_month=1, birth_day=12, birth_lunar=True)], START)
    assert slots() == 14
    assert plan_shop(db, shop, START + timedelta(days=2)).journeys == {"born": {"skipped": 1}}
