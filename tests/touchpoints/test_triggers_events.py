"""Journeys that an event row starts: segments, levels, and what was raised for a member."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.rules import by_hand, kept, segments, tier_undo, tiers
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.store.events import raise_event, withdraw_event
from crm_plugin.store.session import Database
from tests.factories import order, write
from tests.touchpoints.trigger_world import DAY, HOUR, MINUTE, NOW, World, person

TODAY = date(2026, 6, 1)


@pytest.fixture
def world(db: Database) -> World:
    made = World(db, NOW)
    write(db, made.shop, [person("ada"), person("bob")], NOW - DAY)
    return made


def _buys(world: World, name: str, who: str, at: Any, euros: int = 100) -> None:
    write(world.db, world.shop, [order(name, euros * 100, placed_at=at, member_external_id=who)], at)


def _keep(world: World, at: Any) -> None:
    with world.db.write() as connection:
        kept.keep(connection, world.shop, at)


def _segment(world: World, rule: str, at: Any) -> None:
    with world.db.write() as connection:
        segments.save(connection, world.shop, "buyers", rule, at)
    _keep(world, at)


@pytest.mark.parametrize(("params", "due"), [({"minutes": 5}, "06-01 11:05"), ({"days": 1}, "06-02 08:00")])
def test_coming_into_a_segment(world: World, params: dict[str, int], due: str) -> None:
    _buys(world, "o0", "bob", NOW - DAY)
    _segment(world, "orders() >= 1", NOW - HOUR)
    world.journey("segment_entered", segment="buyers", **params)
    _buys(world, "o1", "ada", NOW + HOUR)
    _keep(world, NOW + HOUR)
    for later in (DAY, DAY + HOUR):
        world.plan(NOW + later)
        assert world.told() == [("ada", "planned", "", due)]
    assert world.verdicts(NOW + DAY) == [("ada", None, "")]
    [row] = world.rows()
    assert row.occasion.startswith("segment:")


def test_changed_rule_brings_no_message(world: World) -> None:
    _segment(world, "orders() >= 1", NOW - HOUR)
    world.journey("segment_entered", segment="buyers")
    with world.db.write() as connection:
        segments.save(connection, world.shop, "buyers", "orders() >= 0", NOW + HOUR)
    _keep(world, NOW + HOUR)
    world.plan(NOW + 2 * HOUR)
    assert world.told() == []


def test_leaving_a_segment_and_coming_back(world: World) -> None:
    _segment(world, "not orders() >= 1", NOW - HOUR)
    world.journey("segment_left", segment="buyers")
    _buys(world, "o1", "ada", NOW + HOUR)
    _keep(world, NOW + HOUR)
    world.plan(NOW + HOUR + MINUTE)
    assert world.told() == [("ada", "planned", "", "06-01 11:00")]
    assert world.verdicts(NOW + HOUR + MINUTE) == [("ada", None, "")]
    write(
        world.db,
        world.shop,
        [order("o1", placed_at=NOW + HOUR, member_external_id="ada", deleted=True)],
        NOW + 2 * HOUR,
    )
    _keep(world, NOW + 2 * HOUR)
    assert world.verdicts(NOW + 2 * HOUR) == [("ada", "skipped", "no_longer_matches")]


def test_journey_stands_still_while_its_segment_is_gone(world: World) -> None:
    world.journey("segment_left", segment="nobody")
    report = world.plan(NOW + HOUR)
    assert list(report["problems"]) == ["it"]


def test_member_who_leaves_again_is_not_welcomed(world: World) -> None:
    _segment(world, "orders() >= 1", NOW - HOUR)
    world.journey("segment_entered", segment="buyers", days=1)
    _buys(world, "o1", "ada", NOW + HOUR)
    _keep(world, NOW + HOUR)
    write(
        world.db,
        world.shop,
        [order("o1", placed_at=NOW + HOUR, member_external_id="ada", deleted=True)],
        NOW + 2 * HOUR,
    )
    _keep(world, NOW + 2 * HOUR)
    world.plan(NOW + DAY)
    assert world.told() == []


LEVELS = [{"key": "silver", "entry": 100, "keep": 100}, {"key": "gold", "entry": 200, "keep": 200}]
POLICY: dict[str, Any] = {"program": "main", "measure": "spent", "window": {"days": 365}, "levels": LEVELS}


def _policy(world: World, **told: Any) -> None:
    with world.db.write() as connection:
        tiers.save_policy(connection, world.shop, read_policy({**POLICY, **told}), NOW - 2 * DAY, actor="test")


def _apply(world: World, at: Any) -> Any:
    return tiers.apply(world.db, world.shop, as_of=at.date(), now=at)


def test_rise_is_told_once_and_no_first_calculation(world: World) -> None:
    _policy(world)
    _buys(world, "o1", "ada", NOW - DAY)
    _buys(world, "o2", "bob", NOW - DAY)
    world.begun = NOW - 2 * DAY
    world.journey("tier_up")
    _apply(world, NOW)
    world.plan(NOW + MINUTE)
    assert world.told() == []
    _buys(world, "o3", "ada", NOW + HOUR)
    _apply(world, NOW + 2 * HOUR)
    for later in (2 * HOUR + MINUTE, DAY):
        world.plan(NOW + later)
        assert world.told() == [("ada", "planned", "", "06-01 12:00")]
    assert world.verdicts(NOW + DAY) == [("ada", None, "")]


@pytest.mark.parametrize(("level", "told"), [("gold", ["ada"]), ("silver", [])])
def test_rise_to_one_level_alone(world: World, level: str, told: list[str]) -> None:
    _policy(world)
    _apply(world, NOW - HOUR)
    world.journey("tier_up", level=level, days=1)
    _buys(world, "o1", "ada", NOW + HOUR, 250)
    _apply(world, NOW + HOUR)
    world.plan(NOW + DAY)
    assert [row[0] for row in world.told()] == told


def test_run_that_is_undone_takes_its_messages_along(world: World) -> None:
    _policy(world)
    _apply(world, NOW - HOUR)
    world.journey("tier_up")
    _buys(world, "o1", "ada", NOW + HOUR)
    _apply(world, NOW + HOUR)
    world.plan(NOW + HOUR + MINUTE)
    assert world.verdicts(NOW + HOUR + MINUTE) == [("ada", None, "")]
    with world.db.write() as connection:
        tier_undo.undo(connection, world.shop, today=TODAY, now=NOW + 2 * HOUR, actor="test")
    assert world.verdicts(NOW + 2 * HOUR) == [("ada", "skipped", "no_longer_matches")]
    world.journey("tier_down")
    world.plan(NOW + 3 * HOUR)
    assert len(world.rows()) == 1


def test_fall_is_told(world: World) -> None:
    _policy(world, window={"days": 10})
    _buys(world, "o1", "ada", NOW - DAY)
    _apply(world, NOW - HOUR)
    world.journey("tier_down")
    _apply(world, NOW + 12 * DAY)
    world.plan(NOW + 12 * DAY + MINUTE)
    assert world.told() == [("ada", "planned", "", "06-13 10:00")]
    assert world.verdicts(NOW + 12 * DAY + MINUTE) == [("ada", None, "")]


def test_import_with_a_history_is_no_rise(world: World) -> None:
    _policy(world)
    _apply(world, NOW - HOUR)
    world.journey("tier_up")
    write(world.db, world.shop, [person("old"), person("new")], NOW + HOUR)
    for name, at in (("old", NOW - 30 * DAY), ("new", NOW)):
        write(world.db, world.shop, [order(name, 15_000, placed_at=at, member_external_id=name)], NOW + HOUR)
    _apply(world, NOW + 2 * HOUR)
    world.plan(NOW + 2 * HOUR + MINUTE)
    assert [row[0] for row in world.told()] == ["new"]


@pytest.mark.slow
def test_order_that_brings_the_next_tier_near(world: World) -> None:
    _policy(world)
    _buys(world, "o0", "bob", NOW - DAY, 90)
    _apply(world, NOW - HOUR)
    world.journey("tier_near", within=20)
    _buys(world, "o1", "ada", NOW + HOUR, 85)
    for later in (HOUR + MINUTE, DAY):
        world.plan(NOW + later)
        assert world.told() == [("ada", "planned", "", "06-01 11:00")]
    assert world.verdicts(NOW + DAY) == [("ada", None, "")]
    _buys(world, "o2", "ada", NOW + DAY, 5)
    world.plan(NOW + DAY + MINUTE)
    assert len(world.rows()) == 1
    _buys(world, "o3", "ada", NOW + DAY + HOUR, 50)
    assert world.verdicts(NOW + DAY + HOUR) == [("ada", "skipped", "no_longer_matches")]


def test_level_at_risk_before_it_ends(world: World) -> None:
    _policy(world, window={"days": 60}, term={"days": 90})
    for name, euros in (("ada", 110), ("bob", 110)):
        _buys(world, name, name, NOW - DAY, euros)
    _apply(world, NOW - HOUR)
    world.journey("tier_at_risk", days=-10)
    _buys(world, "o2", "bob", NOW + 70 * DAY, 120)
    at = NOW + 79 * DAY
    world.plan(at - DAY)
    assert world.told() == []
    for later in (0 * DAY, HOUR):
        world.plan(at + later)
        assert [row[:2] for row in world.told()] == [("ada", "planned")]
    [row] = world.rows()
    assert row.occasion == f"tier_end:{row.occasion_on.isoformat()}"
    assert world.verdicts(at) == [("ada", None, "")]
    _buys(world, "o3", "ada", at, 120)
    assert world.verdicts(at) == [("ada", "skipped", "no_longer_matches")]


def _raise(world: World, kind: str, who: str, now: Any, **told: Any) -> bool:
    member_id = world.id_of(who)
    with world.db.write() as connection:
        return raise_event(connection, world.shop, kind, member_id, now, **told)


def test_complaint_is_followed_up_once(world: World) -> None:
    world.journey("complaint", minutes=30, _kind="transactional")
    assert _raise(world, "complaint", "ada", NOW + HOUR, subject="7")
    assert not _raise(world, "complaint", "ada", NOW + 2 * HOUR, subject="7")
    assert _raise(world, "complaint", "bob", NOW + HOUR, at=NOW - DAY)
    for later in (2 * HOUR, DAY):
        world.plan(NOW + later)
        assert world.told() == [("ada", "planned", "", "06-01 11:30")]
    ada = world.id_of("ada")
    with world.db.write() as connection:
        for done in (True, False):
            assert withdraw_event(connection, world.shop, "complaint", ada, NOW + DAY, subject="7") is done
    assert world.verdicts(NOW + DAY) == [("ada", "skipped", "no_longer_matches")]


@pytest.mark.parametrize("kind", ["points_expiring", "coupon_expiring"])
def test_what_expires_is_announced_and_never_after(world: World, kind: str) -> None:
    world.journey(kind, days=-7, _validity_days=10)
    day = TODAY + timedelta(days=9)
    _raise(world, kind, "ada", NOW + HOUR, subject="lot 1", on=day, amount_minor=500)
    _raise(world, kind, "bob", NOW + HOUR, subject="lot 2", on=day + timedelta(days=1))
    at = NOW + 2 * DAY
    for later in (0 * DAY, HOUR):
        world.plan(at + later)
        assert world.told() == [("ada", "planned", "", "06-03 08:00")]
    assert world.verdicts(at) == [("ada", None, "")]
    assert world.verdicts(NOW + 9 * DAY) == [("ada", "missed", "window_over")]
    _raise(world, kind, "bob", at + DAY, subject="late", on=day + timedelta(days=0))
    world.plan(at + DAY + HOUR)
    assert [row[:2] for row in world.told()] == [("ada", "planned"), ("bob", "planned"), ("bob", "planned")]


def test_own_kinds_of_event(world: World) -> None:
    world.journey("event", event="party", days=2)
    _raise(world, "party", "ada", NOW + HOUR)
    _raise(world, "other", "bob", NOW + HOUR)
    world.plan(NOW + 2 * DAY)
    assert world.told() == [("ada", "planned", "", "06-03 08:00")]


def test_event_that_cannot_be_raised(world: World) -> None:
    with pytest.raises(InvalidInput) as refused:
        _raise(world, "Two words", "ada", NOW)
    assert refused.value.field == "kind"
    with pytest.raises(NotFound), world.db.write() as connection:
        raise_event(connection, world.shop, "party", 12345, NOW)


def test_fixed_by_hand_is_a_rise(world: World) -> None:
    _policy(world)
    _apply(world, NOW - HOUR)
    world.journey("tier_up")
    with world.db.write() as connection:
        desk = by_hand.Desk(connection, world.shop, NOW + HOUR, "test")
        by_hand.fix(desk, world.id_of("ada"), "gold", "A friend of the house.")
    world.plan(NOW + HOUR + MINUTE)
    assert [row[:2] for row in world.told()] == [("ada", "planned")]
