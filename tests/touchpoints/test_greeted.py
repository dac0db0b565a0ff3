"""Several journeys about birthdays beside one another: one of them greets a member on a day."""

from __future__ import annotations

import itertools
from datetime import timedelta

from sqlalchemy import select, update

from crm_plugin.store import touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import publishing
from crm_plugin.touchpoints.plan import coming, plan_shop
from crm_plugin.touchpoints.recipes import install_one
from crm_plugin.touchpoints.states import Reason
from tests.factories import write
from tests.touchpoints.guarding import NOON, journey, send, shop_with
from tests.touchpoints.plans import explained
from tests.touchpoints.steps.stage import START, person, planned, settle, stage

DAY = timedelta(days=1)


def test_birthday_is_greeted_once(db: Database) -> None:
    shop = stage(db)
    write(db, shop, [person(1, birth_day=12)], START)
    with db.write() as connection:
        for key in ("birthday", "birthday_club"):
            install_one(connection, shop, key, START)
        journey_store.switch(connection, shop, "birthday", True, START)
        publishing.publish(connection, shop, "birthday_club", START)
    plan_shop(db, shop, START + 5 * DAY)
    settle(db, START + 5 * DAY)
    report = plan_shop(db, shop, START + 11 * DAY + timedelta(hours=3))
    assert report.problems == {}
    # The week before is the club's own; on the day either may greet, until one has.
    assert [row[:3] for row in planned(db)] == [(1, "accepted", ""), (0, "planned", ""), (3, "planned", "")]


def _two(db: Database) -> Shop:
    shop = shop_with(db, settings={"caps": {"day": 2}})
    journey(db, shop, "first")
    journey(db, shop, "second")
    plan_shop(db, shop, NOON)
    return shop


def test_second_waits_and_is_left_out(db: Database) -> None:
    shop = _two(db)
    first = touchpoints.c.journey_key == "first"
    with db.write() as connection:
        connection.execute(update(touchpoints).where(first).values(next_try_at=NOON + timedelta(minutes=30)))
    assert dict(send(db, shop, NOON).states) == {"planned": 1}
    assert [row[1:3] for row in planned(db)] == [("planned", ""), ("planned", Reason.GREETED)]
    for minutes in (30, 45):
        send(db, shop, NOON + timedelta(minutes=minutes))
    assert [row[1:3] for row in planned(db)] == [("accepted", ""), ("skipped", Reason.GREETED)]


def test_second_goes_when_the_first_does_not(sqlite_db: Database) -> None:
    shop = _two(sqlite_db)
    with sqlite_db.write() as connection:
        journey_store.switch(connection, shop, "first", False, NOON)
    assert dict(send(sqlite_db, shop, NOON).states) == {"accepted": 1}
    assert [row[1] for row in planned(sqlite_db)] == ["cancelled", "accepted"]


def test_webhook_is_no_greeting(sqlite_db: Database) -> None:
    shop = shop_with(sqlite_db, settings={"caps": {"day": 2}})
    journey(sqlite_db, shop, "first")
    plan_shop(sqlite_db, shop, NOON)
    with sqlite_db.write() as connection:
        connection.execute(update(touchpoints).values(channel="webhook", state="accepted"))
    journey(sqlite_db, shop, "second")
    plan_shop(sqlite_db, shop, NOON)
    assert [row[1] for row in planned(sqlite_db)] == ["accepted", "planned"]
    assert dict(send(sqlite_db, shop, NOON).states) == {"accepted": 1}


def test_what_is_the_same_for_all_is_looked_up_once(sqlite_db: Database) -> None:
    """The calendar, whether another journey is about birthdays, and whether anybody ever was inside this one."""
    shop = shop_with(sqlite_db)
    journey(sqlite_db, shop, "first")
    with sqlite_db.read() as connection:
        found = coming(connection, shop, journey_store.get(connection, shop.shop_id, "first"), NOON - DAY, NOON)
        assert found is not None
        lines = explained(connection, select(found.c.state)).splitlines()
    assert any("MATERIALIZE cal" in line for line in lines)
    for once in ("SEARCH a USING INDEX sqlite_autoindex_journeys_1", "SEARCH enrolments USING COVERING INDEX"):
        [before] = [asks for asks, line in itertools.pairwise(lines) if once in line]
        assert "SCALAR SUBQUERY" in before
        assert "CORRELATED" not in before
