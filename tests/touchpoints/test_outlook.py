"""What a journey will do and did: counted by channel and reason, without planning anything."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord
from crm_plugin.store import connections, journeys, members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import outlook as outlook_module
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.outlook import Coming, newest_match, outlook, recent, waiting
from crm_plugin.touchpoints.plan import plan_shop
from tests.factories import NOON, make_shop, member, order, write

YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=NOON - timedelta(days=90)),)
WEEK = NOON + timedelta(days=7)


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        made = make_shop(connection)
        row = {"adapter": "smtp", "channel": "email", "settings": b"", "enabled": True, "status": "ok"}
        connection.execute(insert(connections).values(shop_id=1, updated_at=NOON, **row))
        return made


def _journey(db: Database, shop: Shop, **told: Any) -> Journey:
    draft = read_draft(
        {"key": "greet", "trigger": {"type": "birthday", "days": 0}, "channels": ["email", "sms"], **told}
    )
    with db.write() as connection:
        return journey_store.save(connection, shop, draft, NOON)


def _switch(db: Database, on: bool, at: datetime) -> None:
    """On or off, without the texts that it would take."""
    with db.write() as connection:
        connection.execute(update(journeys).values(enabled=on, enabled_at=at, planned_through=at))


def _person(number: int, **values: Any) -> MemberRecord:
    told = {"email": f"m{number}@x.test", "birth_month": 6, "consents": YES, **values}
    return member(str(number), **told)


def test_day_that_is_changed_within_the_year_promises_nothing_twice(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1), _person(2)])
    _journey(db, shop, trigger={"type": "fixed_date", "date": "06-02"})
    _switch(db, True, NOON)
    assert plan_shop(db, shop, NOON + timedelta(days=1)).journeys == {"greet": {"planned": 2}}
    write(db, shop, [_person(3)])
    _switch(db, False, NOON)
    changed = _journey(db, shop, trigger={"type": "fixed_date", "date": "06-05"})
    with db.read() as connection:
        found = outlook(connection, shop, changed, NOON + timedelta(days=1), WEEK)
    assert (found.planned, found.reasons()) == (1, [("dealt_with", 2)])
    _switch(db, True, NOON + timedelta(days=1))
    assert plan_shop(db, shop, NOON + timedelta(days=5)).journeys == {"greet": {"planned": 1}}


def test_counts_by_day_channel_and_reason(db: Database, shop: Shop) -> None:
    people = [
        _person(1, birth_day=2),
        _person(2, birth_day=2),
        _person(3, birth_day=4),
        _person(4, birth_day=4, consents=()),
        _person(5, birth_day=4, email=""),
        _person(6, birth_day=20),
    ]
    write(db, shop, people)
    with db.read() as connection:
        found = outlook(connection, shop, _journey(db, shop), NOON, WEEK)
        assert connection.execute(select(func.count()).select_from(touchpoints)).scalar_one() == 0
    assert found.rows == (
        Coming(date(2026, 6, 2), "email", "", 2),
        Coming(date(2026, 6, 4), "", "no_address", 1),
        Coming(date(2026, 6, 4), "", "no_consent", 1),
        Coming(date(2026, 6, 4), "email", "", 1),
    )
    assert (found.planned, found.held_back, found.members, found.missing) == (3, 2, 3, ("sms",))
    assert found.on(date(2026, 6, 4)) == 1
    assert found.channels() == [("email", 3)]
    assert sorted(found.reasons()) == [("no_address", 1), ("no_consent", 1)]


def test_two_orders_of_one_member_are_two_messages(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1)])
    write(db, shop, [order("a", member_external_id="1"), order("b", member_external_id="1")])
    journey = _journey(db, shop, trigger={"type": "post_purchase", "days": 3})
    with db.read() as connection:
        found = outlook(connection, shop, journey, NOON, WEEK)
    assert (found.planned, found.members) == (2, 1)


def test_without_any_sender_all_are_held_back(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1, birth_day=2)])
    journey = _journey(db, shop, channels=["sms"])
    with db.read() as connection:
        found = outlook(connection, shop, journey, NOON, WEEK)
    assert (found.planned, found.members, found.reasons(), found.missing) == (0, 0, [("no_sender", 1)], ("sms",))


def test_recent_counts_what_was_due_and_all_that_waits(db: Database, shop: Shop) -> None:
    write(db, shop, [_person(1)])
    with db.write() as connection:
        member_id = connection.execute(select(members.c.member_id)).scalar_one()
        for number, (state, days) in enumerate(
            [("accepted", -1), ("accepted", -40), ("skipped", -2), ("planned", 2), ("retry_wait", -40)]
        ):
            at = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(days=days)
            connection.execute(
                insert(touchpoints).values(
                    shop_id=1,
                    touchpoint_id=number,
                    journey_key="greet",
                    member_id=member_id,
                    occasion=str(number),
                    state=state,
                    occasion_on=at.date(),
                    due_at=at,
                    next_try_at=at,
                    valid_until=at,
                    planned_at=at,
                    updated_at=at,
                )
            )
    with db.read() as connection:
        assert recent(connection, 1, NOON - timedelta(days=30)) == {
            "greet": {"accepted": 1, "skipped": 1, "planned": 1, "retry_wait": 1}
        }
        assert waiting(connection, 1, "greet") == 2
        assert waiting(connection, 1, "other") == 0


@pytest.mark.parametrize(
    ("told", "chosen"),
    [
        ({}, "2"),
        ({"audience": 'country == "GB"'}, "1"),
        ({"trigger": {"type": "lapse", "days": 60}}, "1"),
        ({"trigger": {"type": "post_purchase", "days": 1}}, "1"),
        ({"audience": 'country == "FR"'}, None),
    ],
)
def test_newest_match_has_what_the_trigger_waits_for(
    db: Database, shop: Shop, told: dict[str, Any], chosen: str | None
) -> None:
    people = [
        _person(1, birth_day=2, country="GB"),
        _person(2, birth_day=2, country="DE"),
        _person(3, birth_month=None),
        _person(4, birth_day=2, email="", country="DE"),
    ]
    for person in people:
        write(db, shop, [person])
    write(db, shop, [order("a", member_external_id="1")])
    journey = _journey(db, shop, **told)
    with db.read() as connection:
        found = newest_match(connection, shop, journey, NOON.date())
        query = select(members.c.external_id).where(members.c.shop_id == 1, members.c.member_id == found)
        assert connection.execute(query).scalar() == chosen


def test_newest_match_reads_the_language(db: Database, shop: Shop) -> None:
    people = [_person(1, locale="zh-CN"), _person(2, locale="zh"), _person(3, locale="en-GB")]
    for person in [*people, _person(4, locale="zh-CN", email="")]:
        write(db, shop, [person])
    journey = _journey(db, shop)
    with db.read() as connection:
        ids = {row.external_id: row.member_id for row in connection.execute(select(members))}
        for language, chosen in (("zh", "2"), ("en", "3"), ("fr", "3"), ("", "3"), ("%", "3")):
            assert newest_match(connection, shop, journey, NOON.date(), language) == ids[chosen], language


@pytest.mark.parametrize("reentry", ["once", {"every_days": 60}])
def test_whom_reentry_keeps_out_is_not_said_to_come_in(sqlite_db: Database, reentry: Any) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
    wait = {"key": "rest", "wait": {"days": 2}}
    told = {"trigger": {"type": "post_purchase", "days": 1}, "reentry": reentry, "steps": [wait]}
    with sqlite_db.write() as connection:
        draft = read_draft({"key": "thank", **told})
        journey = journey_store.save(connection, shop, draft, NOON)
    _switch(sqlite_db, True, NOON)
    write(sqlite_db, shop, [_person(1)])
    coming = []
    for number in range(2):
        at = NOON + timedelta(days=10 * number, hours=1)
        write(sqlite_db, shop, [order(f"o{number}", member_external_id="1", placed_at=at)], at)
        with sqlite_db.read() as connection:
            found = outlook(connection, shop, journey, at, at + timedelta(days=7))
        coming.append(sum(row.count for row in found.rows if row.reason != "dealt_with"))
        plan_shop(sqlite_db, shop, at + timedelta(days=2))
    assert coming == [1, 0]


def test_no_example_is_looked_for_among_the_oldest(db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2, 3):
        write(db, shop, [_person(number, country="DE" if number == 1 else "GB")])
    journey = _journey(db, shop, audience='country == "DE"')
    found = []
    with db.read() as connection:
        for looked_through in (3, 2):
            monkeypatch.setattr(outlook_module, "_LOOKED_THROUGH", looked_through)
            found.append(newest_match(connection, shop, journey, NOON.date()) is None)
    assert found == [False, True]
