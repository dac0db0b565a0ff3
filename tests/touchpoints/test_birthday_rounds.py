"""Birthdays through whole years of rounds: pauses, clocks set back, lunar years, every zone; each occasion once, and nothing stale."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import count
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from crm_plugin.birthdays import LEAP, LUNAR, birthday_of, kept_in
from crm_plugin.clock import at_local, is_zone
from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord
from crm_plugin.store import connections, journeys, members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from tests.factories import make_shop, member, write

_SHOPS = count(1)
ZONES = sorted(name for name in available_timezones() if is_zone(name))
NUMBERS = st.sampled_from(
    [
        101,
        100,
        229,
        301,
        1231,
        LUNAR + 101,
        LUNAR + 815,
        LUNAR + 1201,
        LUNAR + 1230,
        LUNAR + 600,
        LEAP + 615,
        LEAP + 630,
    ]
)
PEOPLE = st.lists(st.tuples(NUMBERS, st.sampled_from(ZONES)), min_size=1, max_size=5)
# Hours from one round to the next: mostly a day, now and then an outage of months, or the clock set back.
PAUSES = st.lists(
    st.one_of(st.integers(1, 30), st.integers(20, 28), st.integers(24 * 20, 24 * 150), st.integers(-72, -1)),
    min_size=5,
    max_size=40,
)


def _person(number: int, born: int, zone: str, at: datetime) -> MemberRecord:
    told = birthday_of(born)
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=at - timedelta(days=9)),)
    return member(
        str(number),
        email=f"m{number}@x.test",
        timezone=zone,
        birth_month=told.month,
        birth_day=told.day or None,
        birth_lunar=told.lunar,
        birth_leap=told.leap,
        consents=yes,
    )


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    people=PEOPLE,
    year=st.integers(1975, 2096),
    pauses=PAUSES,
    days=st.sampled_from([0, 0, -7, -1, 3]),
    leap_day=st.sampled_from(["before", "after"]),
    validity_days=st.integers(1, 5),
)
@example(
    [(LUNAR + 1201, "Asia/Shanghai"), (229, "UTC")], 2024, [24] * 60 + [24 * 150, -40, 24, 24 * 150, 24], 0, "after", 3
)
def test_each_occasion_once_and_nothing_stale(
    db: Database,
    people: list[tuple[int, str]],
    year: int,
    pauses: list[int],
    days: int,
    leap_day: str,
    validity_days: int,
) -> None:
    begin = datetime(year, 12, 20, tzinfo=UTC)
    with db.write() as connection:
        shop = make_shop(connection, next(_SHOPS), timezone="Asia/Shanghai")
        row = {"adapter": "smtp", "channel": "email", "settings": b"", "enabled": True, "status": "ok"}
        connection.execute(connections.insert().values(shop_id=shop.shop_id, updated_at=begin, **row))
    write(db, shop, [_person(number, *one, begin) for number, one in enumerate(people)], begin - timedelta(days=1))
    trigger = {"type": "birthday", "days": days, "leap_day": leap_day}
    draft = read_draft(
        {"key": "greet", "trigger": trigger, "channels": ["email"], "validity_days": validity_days, "send_at": "09:00"}
    )
    with db.write() as connection:
        journey_store.save(connection, shop, draft, begin)
        values = {"enabled": True, "enabled_at": begin, "planned_through": begin}
        connection.execute(journeys.update().where(journeys.c.shop_id == shop.shop_id).values(**values))
    now = last = begin
    for pause in pauses:
        now = max(begin, now + timedelta(hours=pause))
        last = max(last, now)
        plan_shop(db, shop, now)
    t = touchpoints.c
    with db.read() as connection:
        ids = {row.external_id: row.member_id for row in connection.execute(_ids(shop.shop_id))}
        rows = connection.execute(select(touchpoints).where(t.shop_id == shop.shop_id)).all()
    expected: set[tuple[Any, str]] = set()
    for number, (born, zone) in enumerate(people):
        for one in range(year - 1, year + 10):
            if born >= LUNAR and one > 2100:
                continue
            due = at_local(kept_in(one, born, leap_day) + timedelta(days=days), time(9), zone)
            if begin < due <= last:
                expected.add((ids[str(number)], str(one)))
    assert sorted((row.member_id, row.occasion) for row in rows) == sorted(expected)
    for row in rows:
        assert row.due_at <= row.planned_at
        assert row.state == ("planned" if row.planned_at < row.valid_until else "missed")
        assert row.valid_until - row.due_at <= timedelta(days=validity_days)
    with db.write() as connection:
        connection.execute(delete(touchpoints).where(t.shop_id == shop.shop_id))


def _ids(shop_id: int) -> Any:
    return select(members.c.member_id, members.c.external_id).where(members.c.shop_id == shop_id)
