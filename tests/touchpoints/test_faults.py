"""One journey that cannot be read, or that goes wrong, stops no other."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError, ProgrammingError

from crm_plugin.store import journey_versions, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import idle
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import plan as planning
from crm_plugin.touchpoints.plan import plan_shop
from tests.factories import write
from tests.touchpoints.guarding import NOON, journey, plant, rows, send, shop_with, states
from tests.touchpoints.guarding import START as GUARD_START
from tests.touchpoints.steps.stage import SEND, START, person, stage, turn_on

HOUR = timedelta(hours=1)
_FIRST = {"key": "a", "trigger": {"type": "birthday", "days": 0}}


def _spoil(db: Database, key: str) -> None:
    """A version of which this program knows nothing."""
    v = journey_versions.c
    with db.write() as connection:
        document = dict(connection.execute(select(v.document).where(v.journey_key == key)).scalar_one())
        spoiled = {**document, "steps": [{"key": "x", "dance": {}}]}
        connection.execute(update(journey_versions).where(v.journey_key == key).values(document=spoiled))


def test_version_that_cannot_be_read_stops_its_own_journey_alone(db: Database) -> None:
    shop = stage(db)
    turn_on(db, shop, SEND, **_FIRST)
    turn_on(db, shop, SEND)
    write(db, shop, [person(1)], START)
    at = START + 12 * HOUR
    wait = {"key": "later", "wait": {"days": 3}}
    turn_on(db, shop, wait, SEND, key="aa", trigger=_FIRST["trigger"])
    plan_shop(db, shop, START + 6 * HOUR)
    _spoil(db, "aa")
    report = plan_shop(db, shop, at + timedelta(days=4))
    assert set(report.problems) == {"aa"}
    assert "dance" in report.problems["aa"] or "x" in report.problems["aa"]
    with db.read() as connection:
        keys = connection.execute(select(touchpoints.c.journey_key).distinct().order_by(touchpoints.c.journey_key))
        assert keys.scalars().all() == ["a", "j"]


def test_what_an_unreadable_version_planned_is_refused_and_the_rest_leaves(db: Database) -> None:
    shop = shop_with(db, 1, settings={"caps": {"day": 0, "week": 0}})
    journey(db, shop, "s", channels=None, steps=[{"key": "one", "send": {"template": "t", "channels": ["email"]}}])
    # Of two journeys about birthdays one would wait for the other.
    journey(db, shop, "whole", trigger={"type": "campaign"})
    plant(db, "s", step=1, journey_version=1)
    plant(db, "whole")
    _spoil(db, "s")
    send(db, shop, NOON)
    assert states(db) == {"s": ("skipped", "journey_off"), "whole": ("accepted", "")}
    assert next(row.reason_detail for row in rows(db)) == "The step or the version it was planned by cannot be read."


def test_fault_of_one_journey_is_told_and_that_of_the_database_is_raised(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = stage(db)
    for key in ("a", "b"):
        journey(db, shop, key)
    write(db, shop, [person(1, birth_day=2)], START)
    one = planning._plan_journey

    def broken(connection, shop, journey, *rest):  # type: ignore[no-untyped-def]
        if journey.key == "a":
            raise ValueError("odd")
        return one(connection, shop, journey, *rest)

    monkeypatch.setattr(planning, "_plan_journey", broken)
    report = plan_shop(db, shop, NOON)
    assert (report.problems, report.journeys) == ({"a": "ValueError: odd"}, {"b": {"planned": 1}})

    def refused(*_: object) -> None:
        raise ProgrammingError("SELECT 1", {}, Exception({"C": "42883"}))

    monkeypatch.setattr(planning, "_plan_journey", refused)
    assert set(plan_shop(db, shop, NOON + timedelta(days=365)).problems) == {"a", "b"}

    def away(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("away"))

    monkeypatch.setattr(planning, "_plan_journey", away)
    with pytest.raises(OperationalError):
        plan_shop(db, shop, NOON + timedelta(days=365))


@pytest.mark.parametrize("spoiled", ["trigger = 'dance'", "channels = '[oops'"])
def test_journey_that_cannot_be_read_stops_no_other(db: Database, spoiled: str) -> None:
    shop = shop_with(db, 1, settings={"caps": {"day": 0, "week": 0}})
    for key in ("a", "b", "off"):
        journey(db, shop, key)
    with db.write() as connection:
        connection.execute(text(f"UPDATE journeys SET {spoiled} WHERE journey_key <> 'b'"))
        connection.execute(text("UPDATE journeys SET enabled = FALSE WHERE journey_key = 'off'"))
    report = plan_shop(db, shop, NOON)
    assert (set(report.problems), report.journeys) == ({"a"}, {"b": {"planned": 1}})
    send(db, shop, NOON)
    assert states(db) == {"b": ("accepted", "")}


def test_what_goes_wrong_while_nothing_is_due_is_told_of_its_journey_alone(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, shop = sqlite_db, shop_with(sqlite_db, 1)
    for key in ("a", "b"):
        journey(db, shop, key)
    one = idle.passes

    def broken(asked, *rest):  # type: ignore[no-untyped-def]
        if asked.journey.key == "a":
            raise ValueError("odd")
        return one(asked, *rest)

    monkeypatch.setattr(idle, "passes", broken)
    early = NOON - 30 * HOUR
    assert plan_shop(db, shop, early).problems == {"a": "ValueError: odd"}
    with db.read() as connection:
        marks = {one.key: one.planned_through for one in journey_store.all_journeys(connection, 1)}
    assert marks == {"a": GUARD_START, "b": early}

    def refused(*_: object) -> None:
        raise ProgrammingError("SELECT 1", {}, Exception({"C": "42883"}))

    # Where the statement for all of them fails, each is planned by itself.
    monkeypatch.undo()
    monkeypatch.setattr(idle, "calendar_of", refused)
    report = plan_shop(db, shop, NOON)
    assert set(report.problems) == {"a", "b"}


def test_transaction_undone_for_another_is_run_again(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pg8000 tells of a deadlock: an error of the class for wrong statements, with the server's code."""
    db, shop = sqlite_db, shop_with(sqlite_db, 1)
    for key in ("a", "b"):
        journey(db, shop, key)
    one, left = planning._plan_journey, {"a": 2, "b": 9}

    def stands_against(connection, shop, journey, *rest):  # type: ignore[no-untyped-def]
        left[journey.key] -= 1
        counts = one(connection, shop, journey, *rest)
        if left[journey.key] >= 0:
            raise ProgrammingError("UPDATE", {}, Exception({"C": "40P01", "M": "deadlock detected"}))
        return counts

    monkeypatch.setattr(planning, "_plan_journey", stands_against)
    report = plan_shop(db, shop, NOON)
    assert report.journeys == {"a": {"planned": 1}}
    assert "deadlock" in report.problems["b"]
    assert left == {"a": -1, "b": 6}
