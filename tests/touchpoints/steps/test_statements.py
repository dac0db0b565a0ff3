"""How many statements one journey's round asks: that depends on the kinds of what its steps bring, not on how many steps there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from crm_plugin.store import coupon_codes, member_tags, member_tiers, tasks, tier_changes, tier_writebacks, writebacks
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import senders
from crm_plugin.touchpoints.steps.duties import load_codes
from tests.factories import order, write
from tests.touchpoints.steps.stage import (
    BOX,
    SEND,
    START,
    Counting,
    inside,
    person,
    plan,
    put_levels,
    settle,
    stage,
    turn_on,
)

TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
REST = {"key": "rest", "wait": {"days": 30}}


def _costs(db: Database, shop: Shop, *rounds: datetime) -> list[int]:
    """Of each of these rounds, after which what was planned leaves, how many statements the journey's own transaction asked."""
    costs = []
    for at in rounds:
        with Counting(db) as ran:
            plan(db, shop, at)
        settle(db, at)
        costs.append(len(ran.own))
    return costs


def test_round_of_many_due_asks_under_twenty_statements(sqlite_db: Database) -> None:
    """Coming in and being written to, going on from a message into a wait, from a wait to the next message: each in one transaction."""
    db, shop = sqlite_db, stage(sqlite_db)
    buys = {"key": "buys", "wait": {"event": "order_placed", "within_days": 9}}
    opens = {"key": "opens", "wait": {"event": "opened", "within_days": 9}}
    write(db, shop, [person(n) for n in range(40)], START)
    turn_on(db, shop, SEND, REST, {**SEND, "key": "again"}, buys, opens)
    assert _costs(db, shop, TEN, TEN + DAY, TEN + 31 * DAY) == [7, 6, 7]


# All that a step can do at once, several times over.
_MANY: list[dict[str, Any]] = [
    {"key": "mark", "tag": {"add": ["seen"]}},
    {
        "key": "rich",
        "branch": "orders() >= 1",
        "else": [
            {"key": "ab", "split": {"a": 50, "b": 50}, "arms": {"a": [{"key": "call", "task": {"title": "Call"}}]}},
            {"key": "known", "branch": 'not tag("never")', "then": [{"key": "code", "coupon": {"pool": "p"}}]},
        ],
    },
    {"key": "marks", "tag": {"add": ["twice"]}},
    {"key": "write", "task": {"title": "Write"}},
    {"key": "other", "coupon": {"pool": "q"}},
    {"key": "poor", "branch": "spent() < 9", "then": [{"key": "late", "task": {"title": "Ask"}}]},
]


def test_round_in_which_many_steps_are_passed_asks_under_twenty_statements(db: Database) -> None:
    """A message, twelve steps that take no time, a wait and another message: what they bring is written once for each kind."""
    shop = stage(db)
    with db.write() as connection:
        for pool in ("p", "q"):
            load_codes(connection, shop, pool, [f"{pool}{n}" for n in range(40)], START)
    write(db, shop, [person(n) for n in range(40)], START)
    turn_on(db, shop, SEND, *_MANY, REST, {**SEND, "key": "again"})
    assert _costs(db, shop, TEN, TEN + timedelta(hours=1), TEN + 31 * DAY) == MANY[db.is_sqlite]
    assert max(MANY[db.is_sqlite]) < 20
    assert set(inside(db).values()) == {("active", "again", "sent")}
    with db.read() as connection:
        told = select(func.count(), func.count(func.distinct(coupon_codes.c.enrolment_id)))
        assert connection.execute(told.where(coupon_codes.c.handed_at.is_not(None))).one() == (80, 40)


# PostgreSQL holds the pools first, and writes at once what SQLite writes table by table.
MANY = {True: [7, 10, 7], False: [8, 7, 8]}


# Every kind of step; tags that are read in the round that gives and takes them, two pools, two messages and a webhook.
_EVERY: list[dict[str, Any]] = [
    SEND,
    {"key": "mark", "tag": {"add": ["seen"], "remove": ["new"]}},
    {
        "key": "known",
        "branch": 'tag("seen") and not tag("new")',
        "then": [
            {"key": "marks", "tag": {"add": ["known"]}},
            {"key": "sure", "branch": 'tag("known")', "then": [{"key": "call", "task": {"title": "Call"}}]},
        ],
    },
    {"key": "code", "coupon": {"pool": "p"}},
    {"key": "other", "coupon": {"pool": "q"}},
    {"key": "ab", "split": {"a": 50, "b": 50}, "arms": {"a": [{"key": "ask", "task": {"title": "Ask"}}]}},
    {"key": "tell", "webhook": {"url": "https://erp.example/hook"}},
    {"key": "opens", "wait": {"event": "opened", "within_days": 2}},
    {"key": "noon", "wait": {"until": {"at": "12:00"}}},
    {**SEND, "key": "again"},
    {"key": "rest", "wait": {"days": 3}},
]
_LIFT: list[dict[str, Any]] = [
    {"key": "lift", "tier": {"level": "silver", "reason": "Thanks"}},
    {"key": "raise", "tier": {"level": "gold", "reason": "Thanks again", "until_days": 30}},
    {"key": "lasts", "branch": 'tier == "gold"', "else": [{"key": "out", "end": {}}]},
]


def test_round_in_which_levels_are_given_asks_under_twenty_statements(db: Database) -> None:
    """The same steps, with two that give levels and a branch on the level."""
    shop = stage(db)
    with db.write() as connection:
        for pool in ("p", "q"):
            load_codes(connection, shop, pool, [f"{pool}{n}" for n in range(40)], START)
    put_levels(db, shop)
    write(db, shop, [person(n) for n in range(40)], START)
    turn_on(db, shop, SEND, *_LIFT, *_MANY, REST, {**SEND, "key": "again"})
    [_, most, _] = _costs(db, shop, TEN, TEN + timedelta(hours=1), TEN + 31 * DAY)
    assert most == {True: 14, False: 11}[db.is_sqlite]
    assert set(inside(db).values()) == {("active", "again", "sent")}
    with db.read() as connection:
        assert connection.execute(select(member_tiers.c.level_key)).scalars().all() == ["gold"] * 40


def _each_day(db: Database, *steps: dict[str, Any]) -> int:
    """The most statements of a round in two weeks, in which others stand at all steps.

    Each day twenty come in, five more are told late, and one of those with an open task reaches the goal. The store is told of levels.
    """
    shop = stage(db)
    senders.save_connection(db, BOX, shop, "webhook", {"signing_secret": "0123456789abcdef"}, START, probe=False)
    with db.write() as connection:
        for pool in ("p", "q"):
            load_codes(connection, shop, pool, [f"{pool}{n}" for n in range(400)], START)
        writebacks.turn(connection, shop.shop_id, START, on=True)
    put_levels(db, shop)
    turn_on(db, shop, *steps, goal="orders() >= 5", audience='not tag("vip")')
    costs = []
    for day in range(10):
        at, soon = TEN + day * DAY, TEN + day * DAY + timedelta(hours=1)
        came = [person(25 * day + n, birth_day=day + 1) for n in range(25)]
        write(db, shop, came[:20], at - timedelta(hours=4))
        costs += _costs(db, shop, at)
        bought = [order(f"{day}-{n}", member_external_id=str(25 * (day - 1)), placed_at=at) for n in range(5)]
        write(db, shop, came[20:], soon - timedelta(minutes=5))
        if day:
            write(db, shop, bought, soon - timedelta(minutes=5))
        costs += _costs(db, shop, soon, at + timedelta(hours=3))
    assert {step for _, step, _ in inside(db).values()} == {"tell", "opens", "noon", "again", "rest"}
    with db.read() as connection:
        done = select(func.count(func.distinct(tasks.c.member_id))).where(tasks.c.outcome == "goal")
        assert connection.execute(done).scalar_one() == 9
    return max(costs)


def test_round_of_every_kind_of_step(db: Database) -> None:
    assert _each_day(db, *_EVERY) == EVERY[db.is_sqlite]
    with db.read() as connection:
        asked = select(member_tags.c.tag, func.count()).group_by(member_tags.c.tag)
        assert set(connection.execute(asked)) == {("seen", 250), ("known", 250)}
        called = select(func.count()).where(tasks.c.step_key == "call")
        assert connection.execute(called).scalar_one() == 250


EVERY = {True: 14, False: 10}


def test_levels_of_several_steps_are_written_together(db: Database) -> None:
    """What is decided about levels costs what the policy, its history and the record of it take, once for all steps of a programme."""
    assert _each_day(db, *_EVERY[:2], *_LIFT, *_EVERY[2:]) == LEVELS[db.is_sqlite]
    assert LEVELS[db.is_sqlite] < 20
    with db.read() as connection:
        asked = select(member_tiers.c.level_key, func.count()).group_by(member_tiers.c.level_key)
        assert set(connection.execute(asked)) == {("gold", 250)}
        moved = select(tier_changes.c.from_level, tier_changes.c.to_level, func.count())
        moved = moved.group_by(tier_changes.c.from_level, tier_changes.c.to_level)
        assert set(connection.execute(moved)) == {("", "silver", 250), ("silver", "gold", 250)}
        told = select(func.count()).where(tier_writebacks.c.wanted_level == "gold")
        assert connection.execute(told).scalar_one() == 250


# On SQLite, where each write is a statement of its own, 16 of them write, and 3 read.
LEVELS = {True: 19, False: 15}


def test_what_the_tags_of_a_round_settle_is_not_asked(db: Database) -> None:
    """Three tags are there or not in eight ways, and the rule comes down to two; the other to one."""
    shop = stage(db)
    write(db, shop, [person(1)], START)
    rule = '(tag("a") or tag("b") or tag("c")) and orders() == 0'
    none = {"key": "none", "branch": 'not tag("a")', "then": [{"key": "out", "end": {}}]}
    turn_on(db, shop, {"key": "mark", "tag": {"add": ["a", "b", "c"]}}, {"key": "any", "branch": rule}, none, REST)
    with Counting(db) as ran:
        plan(db, shop, TEN)
    [asked] = [one for one in ran.own if "AS rule0" in one]
    assert asked.count(" AS rule") - asked.count(" AS rule_") == 3
    assert inside(db) == {"m1": ("active", "rest", "waits")}
