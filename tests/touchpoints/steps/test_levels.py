"""Steps that give levels: what branches of the same round see of them, and what is stored in the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from crm_plugin.rules import tiers
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tier_history import history
from crm_plugin.store import member_tiers, members, tier_bars, tier_changes, tier_writebacks, writeback_switches
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.factories import write
from tests.touchpoints.steps.stage import SEND, START, Counting, person, plan, put_levels, settle, stage, story, turn_on

TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
GOLD = {"key": "lift", "tier": {"level": "gold", "reason": "Thanks"}}
SILVER = {"key": "lower", "tier": {"level": "silver", "reason": "Thanks"}}


@pytest.fixture
def shop(db: Database) -> Shop:
    shop = stage(db)
    put_levels(db, shop)
    write(db, shop, [person(1)], START)
    return shop


def _arms(db: Database, shop: Shop, *steps: dict[str, Any], **told: Any) -> dict[str, str]:
    """Which way each branch of one round took."""
    turn_on(db, shop, *steps, **told)
    plan(db, shop, TEN)
    return {step: arm for _what, step, _to, _reason, arm in story(db) if arm in ("then", "else")}


def _asks(**rules: str) -> list[dict[str, Any]]:
    return [{"key": key, "branch": rule} for key, rule in rules.items()]


def _written(ran: Counting, table: str) -> int:
    return sum(f"INSERT INTO {table} " in one for one in ran.statements)


def test_branches_see_the_level_that_was_given(db: Database, shop: Shop) -> None:
    """Whatever way the level is asked for; one programme's says nothing of another's, and a level refused is none."""
    chain = [
        *_asks(none='tier == ""', some='tier != ""'),
        GOLD,
        {"key": "no", "tier": {"level": "brass", "reason": "x"}},
        *_asks(given='tier == "gold"', other='tier != "silver"', one='tier in ("silver", "gold")'),
        *_asks(out='tier not in ("silver", "gold")', both='not (tier == "silver") and spent() < 1'),
        SILVER,
        *_asks(last='tier == "silver"'),
    ]
    with Counting(db) as ran:
        arms = _arms(db, shop, *chain)
    assert [key for key, arm in arms.items() if arm == "then"] == ["none", "given", "other", "one", "both", "last"]
    assert [key for key, arm in arms.items() if arm == "else"] == ["some", "out"]
    assert _written(ran, "member_tiers") == 1
    assert sum(one.startswith("SELECT w.member_id") for one in ran.statements) == 0


def test_branch_on_more_than_the_level_sees_it_stored(db: Database, shop: Shop) -> None:
    """Since when it is held is known once it is written; what was asked for before is asked again."""
    chain = [*_asks(before="days_in_tier == 0"), GOLD, *_asks(after="days_in_tier == 0")]
    with Counting(db) as ran:
        assert _arms(db, shop, *chain, SILVER, *_asks(last='tier == "silver"')) == {
            "before": "else",
            "after": "then",
            "last": "then",
        }
    assert _written(ran, "member_tiers") == 2
    with db.read() as connection:
        t = tier_changes.c
        moved = connection.execute(select(t.from_level, t.to_level).order_by(t.change_id)).all()
        assert list(map(tuple, moved)) == [("", "gold"), ("gold", "silver")]
        assert connection.execute(select(member_tiers.c.level_key)).scalars().all() == ["silver"]


def test_goal_that_is_a_level_ends_it_at_once(db: Database, shop: Shop) -> None:
    turn_on(db, shop, GOLD, {"key": "mark", "tag": {"add": ["a"]}}, goal='tier == "gold"')
    plan(db, shop, TEN)
    assert story(db)[-1][:2] == ("ended", "mark")


def test_audience_that_the_level_leaves_writes_no_more(db: Database, shop: Shop) -> None:
    turn_on(db, shop, SEND, SILVER, {**SEND, "key": "again"}, audience='tier != "silver"')
    assert plan(db, shop, TEN) == {"enrolled": 1, "planned": 1}
    settle(db, TEN)
    assert plan(db, shop, TEN + timedelta(hours=1)) == {}
    assert story(db)[-1][:4] == ("ended", "again", "", "audience")


_BETWEEN = [
    {"key": "skipped", "send": {"template": "hello", "channels": ["sms"]}},
    {"key": "late", "wait": {"hours": 1}},
]


@pytest.mark.parametrize("before", [[], *([{"key": "rest", "wait": {"hours": 9}}, one] for one in _BETWEEN)])
def test_member_who_was_to_hold_none_holds_the_level(db: Database, shop: Shop, before: list[dict[str, Any]]) -> None:
    """Also past what takes time, where nobody was seen to come."""
    with db.write() as connection:
        [who] = connection.execute(select(members.c.member_id)).scalars()
        bar = {"program_key": "main", "member_id": who, "reason": "x", "actor": "y", "at": START}
        connection.execute(insert(tier_bars).values(shop_id=shop.shop_id, **bar))
    turn_on(db, shop, *before, GOLD)
    for at in (TEN, TEN + timedelta(hours=20)):
        plan(db, shop, at)
    with db.read() as connection:
        assert connection.execute(select(tier_bars.c.reason)).all() == []
        assert connection.execute(select(member_tiers.c.level_key)).scalars().all() == ["gold"]


@pytest.mark.parametrize("between", _BETWEEN)
def test_level_that_is_given_past_what_takes_time_follows_the_one_held(
    db: Database, shop: Shop, between: dict[str, Any]
) -> None:
    """A message that is skipped, and a wait that is found to be over, are passed in the same round."""
    turn_on(db, shop, SILVER, {"key": "rest", "wait": {"hours": 9}}, between, GOLD)
    for at in (TEN, TEN + timedelta(hours=20)):
        plan(db, shop, at)
    with db.read() as connection:
        t = tier_changes.c
        moved = connection.execute(select(t.from_level, t.to_level).order_by(t.change_id)).all()
        assert list(map(tuple, moved)) == [("", "silver"), ("silver", "gold")]


def test_levels_of_several_steps_are_told_in_their_order(db: Database, shop: Shop) -> None:
    """Also those that change nothing, and invitations between them."""
    with db.write() as connection:
        levels = [{"key": "silver", "entry": 100}, {"key": "gold", "entry": 500}, {"key": "circle", "invitation": True}]
        tiers.save_policy(connection, shop, read_policy({"measure": "spent", "levels": levels}), START, actor="test")
    asked = {"tier": {"level": "circle", "invite": True}}
    turn_on(db, shop, *({**one, "key": f"s{n}"} for n, one in enumerate([asked, GOLD, GOLD, SILVER, asked])))
    plan(db, shop, TEN)
    with db.read() as connection:
        [who] = connection.execute(select(members.c.member_id)).scalars()
        told = [(one.cause, one.to_level) for one in history(connection, shop.shop_id, "main", who)]
    invited = ("invited", "circle")
    assert told == [invited, ("by_hand", "gold"), ("by_hand", "gold"), ("by_hand", "silver"), invited]


def test_members_of_different_tags_and_levels_go_the_same_way(db: Database, shop: Shop) -> None:
    write(db, shop, [person(2, first_name="Ada")], START)
    marks = [{"key": "a", "tag": {"add": ["a"]}}, GOLD], [{"key": "b", "tag": {"add": ["b"]}}, SILVER]
    ways = {"key": "ways", "branch": 'first_name == "Ada"', "then": marks[0], "else": marks[1]}
    turn_on(db, shop, ways, *_asks(marked='tag("a") or tag("b")', held='tier != ""', other='tier == ""'))
    plan(db, shop, TEN)
    for who, first in ((1, "else"), (2, "then")):
        arms = [arm for *_, arm in story(db, who) if arm in ("then", "else")]
        assert arms == [first, "then", "then", "else"]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_store_is_told_where_it_is_to_be(db: Database, shop: Shop, enabled: bool) -> None:
    with db.write() as connection:
        switch = insert(writeback_switches).values(shop_id=shop.shop_id, enabled=enabled, updated_at=START)
        connection.execute(switch)
    turn_on(db, shop, GOLD)
    plan(db, shop, TEN)
    settle(db, TEN)
    with db.read() as connection:
        assert connection.execute(select(tier_writebacks.c.wanted_level)).scalars().all() == ["gold"] * enabled
