"""Several journeys about birthdays beside one another: one of them greets a member on a day."""

from __future__ import annotations

from datetime import timedelta

from crm_plugin.store.session import Database
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import publishing
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.recipes import install_one
from crm_plugin.touchpoints.states import Reason
from tests.factories import write
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
    # The week before is the club's own; on the day the other journey was first.
    assert [row[:3] for row in planned(db)] == [
        (1, "accepted", ""), (0, "planned", ""), (3, "skipped", Reason.GREETED),
    ]  # fmt: skip
