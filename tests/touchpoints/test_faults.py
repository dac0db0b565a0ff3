"""One journey that cannot be read, or that goes wrong, stops no other."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from crm_plugin.store import journey_versions, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import plan as planning
from crm_plugin.touchpoints.plan import plan_shop
from tests.factories import write
from tests.touchpoints.guarding import NOON, journey, plant, rows, send, shop_with, states
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
    journey(db, shop, "whole")
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

    def broken(connection, shop, journey, now):  # type: ignore[no-untyped-def]
        if journey.key == "a":
            raise ValueError("odd")
        return one(connection, shop, journey, now)

    monkeypatch.setattr(planning, "_plan_journey", broken)
    report = plan_shop(db, shop, NOON)
    assert (report.problems, report.journeys) == ({"a": "ValueError: odd"}, {"b": {"planned": 1}})

    def away(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("away"))

    monkeypatch.setattr(planning, "_plan_journey", away)
    with pytest.raises(OperationalError):
        plan_shop(db, shop, NOON + timedelta(days=365))
