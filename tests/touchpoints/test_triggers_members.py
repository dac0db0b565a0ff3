"""Journeys about members themselves: joining, anniversaries, days for all, and one-off campaigns."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from crm_plugin.errors import InvalidInput
from crm_plugin.records import OrderStatus
from crm_plugin.rules.triggers import read_trigger
from crm_plugin.store import journeys
from crm_plugin.store.session import Database
from tests.factories import order, write
from tests.touchpoints.trigger_world import DAY, HOUR, MINUTE, NOW, World, person


@pytest.fixture
def world(db: Database) -> World:
    return World(db, NOW)


def test_whoever_joins_is_welcomed_once(world: World) -> None:
    world.journey("joined", minutes=10)
    at = NOW + HOUR
    known = [person("old", joined_at=NOW - DAY), person("guest", joined_at=None), person("ada", joined_at=at)]
    write(world.db, world.shop, known, at + MINUTE)
    world.plan(at + 5 * MINUTE)
    assert world.told() == []
    for later in (10 * MINUTE, HOUR, DAY):
        world.plan(at + later)
        assert world.told() == [("ada", "planned", "", "06-01 11:10")]
    write(world.db, world.shop, [person("guest", joined_at=at + DAY)], at + DAY + HOUR)
    world.plan(at + DAY + 2 * HOUR)
    assert [row[0] for row in world.told()] == ["ada", "guest"]
    assert world.verdicts(at + DAY + 2 * HOUR) == [("ada", None, ""), ("guest", None, "")]


def test_days_after_joining(world: World) -> None:
    world.journey("joined", days=3)
    write(
        world.db, world.shop, [person("ada", joined_at=NOW + HOUR), person("bob", joined_at=NOW - 4 * DAY)], NOW + HOUR
    )
    world.plan(NOW + 3 * DAY + HOUR)
    assert world.told() == [("ada", "planned", "", "06-04 08:00")]


@pytest.mark.parametrize(
    ("joined", "at", "days", "due"),
    [
        (date(2020, 6, 3), datetime(2026, 6, 3, 12, tzinfo=UTC), 0, "06-03 08:00"),
        (date(2025, 6, 10), datetime(2026, 6, 3, 12, tzinfo=UTC), -7, "06-03 08:00"),
        (date(2024, 6, 2), datetime(2026, 6, 3, 12, tzinfo=UTC), 1, "06-03 08:00"),
        (date(2024, 2, 29), datetime(2027, 2, 28, 12, tzinfo=UTC), 0, "02-28 09:00"),
        (date(2024, 2, 29), datetime(2028, 2, 29, 12, tzinfo=UTC), 0, "02-29 09:00"),
        (date(2024, 2, 29), datetime(2028, 2, 28, 12, tzinfo=UTC), 0, ""),
        (date(2026, 6, 3), datetime(2026, 6, 3, 12, tzinfo=UTC), 0, ""),
    ],
)
def test_anniversary_of_joining(world: World, joined: date, at: datetime, days: int, due: str) -> None:
    world.begun = at - DAY
    told = datetime(joined.year, joined.month, joined.day, 12, tzinfo=UTC)
    write(world.db, world.shop, [person("ada", joined_at=told)], min(told, NOW))
    world.journey("anniversary", days=days)
    for later in (0 * DAY, HOUR):
        world.plan(at + later)
        assert world.told() == ([("ada", "planned", "", due)] if due else [])
    assert world.verdicts(at) == ([("ada", None, "")] if due else [])
    write(world.db, world.shop, [person("ada", joined_at=told + 40 * DAY)], at)
    assert world.verdicts(at) == ([("ada", "skipped", "no_longer_matches")] if due else [])


def test_anniversary_of_the_first_order(world: World) -> None:
    world.journey("anniversary", of="first_order", days=0)
    write(world.db, world.shop, [person("ada")], NOW)
    first = {"placed_at": datetime(2024, 6, 3, 12, tzinfo=UTC), "member_external_id": "ada"}
    write(world.db, world.shop, [order("o1", **first)], NOW)
    write(world.db, world.shop, [order("o2", placed_at=NOW, member_external_id="ada")], NOW)
    world.plan(NOW + 2 * DAY)
    assert world.told() == [("ada", "planned", "", "06-03 08:00")]
    [row] = world.rows()
    assert (row.occasion, row.occasion_on) == ("2026", date(2026, 6, 3))
    write(world.db, world.shop, [order("o1", status=OrderStatus.CANCELLED, **first)], NOW + 2 * DAY)
    assert world.verdicts(NOW + 2 * DAY) == [("ada", "skipped", "no_longer_matches")]


@pytest.mark.parametrize(
    ("params", "at", "occasion"),
    [
        ({"date": "06-03"}, datetime(2026, 6, 3, 12, tzinfo=UTC), "2026"),
        ({"date": "2026-06-03"}, datetime(2026, 6, 3, 12, tzinfo=UTC), "date:2026-06-03"),
        ({"date": "2027-06-03"}, datetime(2026, 6, 3, 12, tzinfo=UTC), ""),
        ({"date": "06-10", "days": -7}, datetime(2026, 6, 3, 12, tzinfo=UTC), "2026"),
        ({"date": "02-29"}, datetime(2027, 2, 28, 12, tzinfo=UTC), "2027"),
        ({"festival": "dragon_boat"}, datetime(2026, 6, 19, 12, tzinfo=UTC), "2026"),
        ({"festival": "spring_festival", "days": -3}, datetime(2027, 2, 3, 12, tzinfo=UTC), "2027"),
        ({"festival": "black_friday"}, datetime(2026, 11, 27, 12, tzinfo=UTC), "2026"),
        ({"festival": "black_friday"}, datetime(2026, 11, 26, 12, tzinfo=UTC), ""),
    ],
)
def test_day_that_is_the_same_for_all(world: World, params: dict[str, str], at: datetime, occasion: str) -> None:
    people = [person("ada"), person("bob", consents=()), person("kim", timezone="Asia/Seoul")]
    write(world.db, world.shop, people, NOW)
    world.begun = at - DAY
    world.journey("fixed_date", **params)
    expected = [("kim", "planned", ""), ("ada", "planned", ""), ("", "skipped", "no_consent")] if occasion else []
    for later in (0 * DAY, HOUR):
        world.plan(at + later)
        assert sorted(row[:3] for row in world.told()) == sorted(expected)
    assert {row.occasion for row in world.rows()} == ({occasion} if occasion else set())
    # It is night in Seoul by then.
    reasons = {reason for _, _, reason in world.verdicts(at)}
    assert reasons == ({"", "quiet_hours"} if occasion else set())


def test_outage_over_a_festival_is_missed_once(world: World) -> None:
    write(world.db, world.shop, [person("ada")], NOW)
    world.journey("fixed_date", date="06-03")
    for later in (8 * DAY, 9 * DAY):
        world.plan(NOW + later)
        assert [row[:3] for row in world.told()] == [("ada", "missed", "window_over")]


def test_day_that_was_moved_is_no_longer_meant(world: World) -> None:
    write(world.db, world.shop, [person("ada")], NOW)
    world.journey("fixed_date", date="2026-06-03", _send_at="12:00")
    at = NOW + 2 * DAY
    world.plan(at)
    with world.db.write() as connection:
        connection.execute(journeys.update().values(trigger_params={"days": 0, "date": "2026-06-04"}))
    assert world.verdicts(at) == [("ada", "skipped", "no_longer_matches")]
    world.plan(at + DAY)
    assert [row.occasion for row in world.rows()] == ["date:2026-06-03", "date:2026-06-04"]


def test_campaign_goes_out_once_it_is_on(world: World) -> None:
    people = [
        person("ada", country="GB"),
        person("bob", country="US"),
        person("kim", timezone="Asia/Seoul", country="GB"),
    ]
    write(world.db, world.shop, people, NOW)
    world.journey("campaign", _audience='country == "GB"')
    world.plan(NOW + MINUTE)
    assert sorted(row[:2] for row in world.told()) == [("ada", "planned"), ("kim", "planned")]
    assert {row.due_at.replace(microsecond=0) for row in world.rows()} == {NOW}
    write(world.db, world.shop, [person("new", country="GB")], NOW + HOUR)
    for later in (HOUR, DAY):
        world.plan(NOW + later)
        assert len(world.rows()) == 2
    # Switched on again, it speaks to those alone to whom it has not spoken.
    with world.db.write() as connection:
        again = NOW + 2 * DAY
        connection.execute(journeys.update().values(enabled_at=again, planned_through=again))
    world.plan(NOW + 2 * DAY + MINUTE)
    assert sorted(row[0] for row in world.told()) == ["ada", "kim", "new"]


def test_campaign_at_a_time_is_local(world: World) -> None:
    write(world.db, world.shop, [person("ada"), person("kim", timezone="Asia/Seoul")], NOW)
    world.journey("campaign", at="2026-06-03 18:30", _send_at="09:00")
    world.plan(NOW + 3 * DAY)
    assert world.told() == [("kim", "planned", "", "06-03 09:30"), ("ada", "planned", "", "06-03 16:30")]
    world.plan(NOW + 4 * DAY)
    assert len(world.rows()) == 2


@pytest.mark.parametrize(
    ("kind", "params", "field"),
    [
        ("fixed_date", {}, "date"),
        ("fixed_date", {"date": "12-24", "festival": "easter"}, "date"),
        ("fixed_date", {"date": "02-30"}, "date"),
        ("fixed_date", {"date": "2026-02-29"}, "date"),
        ("fixed_date", {"festival": "ester"}, "festival"),
        ("campaign", {"at": "tomorrow"}, "at"),
        ("campaign", {"at": "2026-13-01 10:00"}, "at"),
        ("campaign", {"days": 3}, "trigger"),
        ("anniversary", {"of": "birth"}, "of"),
        ("joined", {"days": 1, "minutes": 5}, "minutes"),
        ("segment_entered", {}, "segment"),
        ("segment_entered", {"segment": 'a" or everyone'}, "segment"),
        ("tier_near", {"within": 0}, "within"),
        ("points_expiring", {"days": 0}, "days"),
        ("event", {"event": "Two Words"}, "event"),
        ("bought", {}, "sku"),
        ("bought", {"sku": " "}, "sku"),
    ],
)
def test_wrong_parameters_are_refused_by_name(kind: str, params: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_trigger(kind, params)
    assert refused.value.field == field
    assert refused.value.hint or field in ("days", "within", "sku")
