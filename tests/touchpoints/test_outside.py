"""Why a journey did not take somebody in, months later: by what was so on that day."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import select

from crm_plugin.store import members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.outside import Outside
from crm_plugin.touchpoints.why import why
from tests.factories import order, write
from tests.touchpoints.steps.stage import SEND, START, person, plan, stage, turn_on

DAY = timedelta(days=1)
LATER = START + 200 * DAY


def _told(db: Database, shop: Shop, number: int, on: date | None = None, now: datetime = LATER) -> list[Outside]:
    with db.read() as connection:
        whose = select(members.c.member_id).where(members.c.external_id == str(number))
        return list(why(connection, shop, connection.execute(whose).scalar_one(), "j", now, on).outside)


def _shop(db: Database, **told: Any) -> Shop:
    shop = stage(db)
    turn_on(db, shop, SEND, **told)
    unlike = [person(2, birth_month=None, birth_day=None), person(3, birth_month=1, birth_day=7)]
    write(db, shop, [person(1), *unlike], START)
    return shop


def test_audience_is_asked_as_of_the_day(sqlite_db: Database) -> None:
    shop = _shop(sqlite_db, trigger={"type": "post_purchase", "days": 2}, audience="orders() >= 3")
    for number in range(5):
        placed = START + (number * 30 + 1) * DAY
        write(sqlite_db, shop, [order(f"o{number}", member_external_id="1", placed_at=placed)], placed)
    newest = _told(sqlite_db, shop, 1)
    assert [one.cause for one in newest] == ["changed_since"] * 3 + ["audience"] * 2
    [told] = _told(sqlite_db, shop, 1, on=date(2026, 7, 4))
    assert told.text == "It fell due on 2026-07-04, and the audience did not hold for the member on that day."
    assert told.explained is not None
    assert [(leaf.value, leaf.truth) for leaf in told.explained.leaves] == [(2, False)]
    assert [one.text for one in _told(sqlite_db, shop, 1, on=date(2026, 7, 5))] == [
        "Nothing that it speaks of fell due for the member in that time. The last order that counts is of 2026-09-30."
    ]


def test_trigger_that_never_fired_says_what_is_missing(sqlite_db: Database) -> None:
    shop = _shop(sqlite_db)
    [told] = _told(sqlite_db, shop, 2)
    assert (told.cause, told.text) == (
        "no_occasion",
        "Nothing that it speaks of fell due for the member in that time. No birthday is known.",
    )
    assert _told(sqlite_db, shop, 3)[0].text.endswith("in that time. The birthday is 01-07 (month and day).")
    [told] = _told(sqlite_db, shop, 2, on=date(2026, 5, 1))
    assert (told.cause, told.text) == ("not_on", "The journey was switched on (last) only on 2026-06-01.")


def test_who_was_in_before_is_kept_out_by_reentry(sqlite_db: Database) -> None:
    shop = _shop(sqlite_db, trigger={"type": "post_purchase", "days": 2}, reentry={"every_days": 60})
    for number, days in enumerate((1, 20)):
        placed = START + days * DAY
        write(sqlite_db, shop, [order(f"o{number}", member_external_id="1", placed_at=placed)], placed)
        plan(sqlite_db, shop, placed + 3 * DAY)
    assert [one.text for one in _told(sqlite_db, shop, 1, on=date(2026, 6, 23))] == [
        "The member came in on 2026-06-05, and nobody comes in again within 60 days."
    ]
    assert _told(sqlite_db, shop, 1, on=date(2026, 6, 4)) == []
    assert _told(sqlite_db, shop, 1) == []
