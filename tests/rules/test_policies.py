"""The versions of a programme's policy: which is in force when, which wait, and that none is overwritten unseen."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, insert

from crm_plugin.errors import InvalidInput
from crm_plugin.rules import tiers
from crm_plugin.rules.policies import every_version, in_force, newest_policies, plans, versions
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tiers import Level
from crm_plugin.store import tier_levels
from crm_plugin.store.session import Database
from tests.factories import NOON, make_shop


def test_what_was_saved_meanwhile_is_not_overwritten(db: Database) -> None:
    bars = {"program": "club", "measure": "spent", "levels": [{"key": "a", "entry": 1}]}
    with db.write() as connection:
        shop = make_shop(connection)
        tiers.save_policy(connection, shop, read_policy(bars), NOON, actor="a", based_on=0)
        tiers.save_policy(connection, shop, read_policy({**bars, "grace_days": 1}), NOON, actor="a", based_on=1)
        with pytest.raises(InvalidInput, match="saved by somebody else meanwhile") as caught:
            tiers.save_policy(connection, shop, read_policy({**bars, "grace_days": 2}), NOON, actor="b", based_on=1)
        assert caught.value.field == "version"
        assert [one.policy.grace_days for one in versions(connection, shop.shop_id, "club")] == [0, 1]


def test_new_programme_begins_on_its_day(db: Database) -> None:
    day = NOON.date() + timedelta(days=30)
    bars = {"program": "club", "measure": "spent", "levels": [{"key": "a", "entry": 1}]}
    with db.write() as connection:
        shop = make_shop(connection)
        tiers.save_policy(
            connection, shop, read_policy({**bars, "effective_on": day.isoformat()}), NOON, actor="a", based_on=0
        )
        assert in_force(connection, shop.shop_id, "club", NOON.date()).policy.levels == ()
        assert tiers.levels(connection, shop.shop_id, "club") == []
        assert in_force(connection, shop.shop_id, "club", day).policy.keys == ["a"]
        kept = every_version(connection, shop.shop_id)["club"]
        assert [one.effective_on for one in plans(kept, NOON.date())] == [day]
        assert plans(kept, day) == []


def test_plan_that_changes_nothing_is_none(db: Database) -> None:
    day = NOON.date() + timedelta(days=30)
    bars = {"program": "club", "measure": "spent", "levels": [{"key": "a", "entry": 1}]}
    with db.write() as connection:
        shop = make_shop(connection)
        tiers.save_policy(connection, shop, read_policy(bars), NOON, actor="a")
        for grace in (5, 0):
            planned = read_policy({**bars, "grace_days": grace, "effective_on": day.isoformat()})
            tiers.save_policy(connection, shop, planned, NOON, actor="a")
            kept = every_version(connection, shop.shop_id)["club"]
            assert [one.policy.grace_days for one in plans(kept, NOON.date())] == ([5] if grace else [])


def test_ladder_without_versions_is_version_zero(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
        row = {"program_key": "main", "level_key": "a", "rank": 0, "rule_text": "everyone", "rule": {}, "title": {}}
        connection.execute(insert(tier_levels).values(shop_id=shop.shop_id, **row, updated_at=NOON))
        (kept,) = every_version(connection, shop.shop_id)["main"]
        assert kept == in_force(connection, shop.shop_id, "main", NOON.date())
        assert (kept.version, kept.policy.keys) == (0, ["a"])


@pytest.mark.parametrize(
    ("zone", "at", "day"),
    [
        # In New York it is still the 26th, and the 27th is a day to come.
        ("America/New_York", datetime(2026, 11, 27, 1, tzinfo=UTC), "2026-11-27"),
        # In Shanghai it is the 27th already: it is in force at once.
        ("Asia/Shanghai", datetime(2026, 11, 26, 18, tzinfo=UTC), None),
    ],
)
def test_plan_is_told_by_the_days_of_the_shop(db: Database, zone: str, at: datetime, day: str | None) -> None:
    bars = {"program": "club", "measure": "spent", "levels": [{"key": "a", "entry": 1}]}
    with db.write() as connection:
        shop = make_shop(connection, timezone=zone)
        wanted = read_policy({**bars, "effective_on": "2026-11-27"})
        tiers.save_policy(connection, shop, wanted, at, actor="a")
        told = newest_policies(connection, shop)["club"].as_file()
    assert told.get("effective_on") == day


@pytest.mark.postgres
def test_levels_saved_meanwhile_keep_what_was_promised(request: pytest.FixtureRequest) -> None:
    """Who saves levels alone waits for whoever is saving the policy, and keeps its days of grace."""
    with request.getfixturevalue("postgres").kept() as db:
        told = {"levels": [{"key": "a", "rule": "orders() >= 1"}]}
        with db.write() as connection:
            shop = make_shop(connection)
            tiers.save_policy(connection, shop, read_policy(told), NOON, actor="a")

        def other() -> None:
            levels = [Level("a", "orders() >= 1"), Level("b", "orders() >= 2")]
            with db.write() as connection:
                tiers.save_levels(connection, shop, levels, NOON, actor="b")

        asks, waiting = threading.Event(), threading.Thread(target=other)
        with db.write() as connection:
            tiers.save_policy(connection, shop, read_policy({**told, "grace_days": 7}), NOON, actor="a")
            event.listen(db.engine, "before_cursor_execute", lambda *told: asks.set() if "FOR " in told[2] else None)
            waiting.start()
            assert asks.wait(20)
        waiting.join(20)
        with db.read() as connection:
            policy = in_force(connection, shop.shop_id, "main", NOON.date()).policy
        assert (policy.grace_days, policy.keys) == (7, ["a", "b"])
