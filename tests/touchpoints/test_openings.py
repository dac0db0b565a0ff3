"""What is planned for later says from the start when it may leave: the guards find nothing to put off any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, text, update

from crm_plugin.store import members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import openings
from crm_plugin.touchpoints.openings import MOVE
from crm_plugin.touchpoints.plan import plan_shop
from tests.touchpoints.guarding import journey, send, shop_with
from tests.touchpoints.plans import counted, explained

_NIGHT: dict[str, dict[str, Any]] = {"quiet_hours": {"from": "22:00", "to": "07:00"}}


def _waits(db: Database) -> dict[str, tuple[str, str]]:
    """Member → hour in UTC, reason."""
    m, t = members.c, touchpoints.c
    query = select(m.external_id, t.next_try_at, t.reason).join(touchpoints, m.member_id == t.member_id)
    with db.read() as connection:
        return {
            row.external_id: (f"{row.next_try_at:%d %H:%M}", row.reason)
            for row in connection.execute(query.where(t.state == "planned"))
        }


def test_texts_wait_for_the_hour_of_their_place(db: Database) -> None:
    at_home: dict[str, Any] = {"country": "US", "timezone": "America/New_York"}
    shop = shop_with(db, 3, **at_home, settings=_NIGHT)
    # By the address and by the number: New York, Connecticut, and a number of Connecticut at an address in New York.
    numbers = {"0": ("NY", "+12125550100"), "1": ("CT", "+12035550101"), "2": ("NY", "+12035550102")}
    with db.write() as connection:
        for name, (state, phone) in numbers.items():
            whose = members.c.external_id == name
            connection.execute(update(members).where(whose).values(region=state, phone=phone))
    journey(db, shop, "text", channels=["sms"], send_at="06:30", validity_days=1)
    night = datetime(2026, 6, 2, 10, 31, tzinfo=UTC)
    plan_shop(db, shop, night)
    assert {at for at, _ in _waits(db).values()} == {"02 11:00"}
    with counted(db) as statements:
        assert openings.put_off(db, shop, night) == 3
    assert sum("UPDATE touchpoints" in one for one in statements) <= 2
    # Eight o'clock in New York and nine in Connecticut.
    expected = {"0": ("02 12:00", "quiet_hours"), "1": ("02 13:00", "quiet_hours"), "2": ("02 13:00", "quiet_hours")}
    assert _waits(db) == expected
    assert openings.put_off(db, shop, night) == 0
    assert send(db, shop, night + timedelta(minutes=60)).total == 0
    assert dict(send(db, shop, night + timedelta(minutes=90)).states) == {"accepted": 1}
    assert dict(send(db, shop, night + timedelta(minutes=150)).states) == {"accepted": 2}


def test_rows_are_found_by_their_key(db: Database) -> None:
    # A list of keys is looked up: what was ever sent is not gone through, nor what waits once for each row.
    named = MOVE.replace("IN ({marks})", "IN (?)" if db.is_sqlite else "= ANY(?)").replace("?", "{}")
    statement = text(named.format(1, "'quiet_hours'", 0, 1, 0, 2, 7 if db.is_sqlite else "'{7}'"))
    with db.write() as connection:
        plan = explained(connection, statement)
    by_key = "INDEX pk_touchpoints" if db.is_sqlite else "touchpoint_id = ANY"
    assert by_key in plan or "(shop_id=? AND touchpoint_id=?)" in plan, plan


def test_day_of_rest_is_known_from_the_start(sqlite_db: Database) -> None:
    hours = {**_NIGHT["quiet_hours"], "sundays": True}
    shop = shop_with(sqlite_db, settings={"quiet_hours": hours}, birth_day=7, country="DE")
    journey(sqlite_db, shop, "mail", send_at="06:30", validity_days=2)
    sunday = datetime(2026, 6, 7, 4, 31, tzinfo=UTC)
    assert sunday.weekday() == 6
    plan_shop(sqlite_db, shop, sunday)
    assert openings.put_off(sqlite_db, shop, sunday) == 1
    assert _waits(sqlite_db) == {"0": ("08 05:00", "quiet_hours")}
