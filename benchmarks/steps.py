"""Journeys of several steps: a round costs what is due, however many are inside and wait, for a time, an event or a message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event, insert, text, update

from benchmarks import data
from benchmarks.harness import Options, Result, benchmark, seconds, sqlite_database
from crm_plugin.rules import tiers
from crm_plugin.store import bulk, connections, journeys, writebacks
from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.steps import duties

_SMALL = 10_000
_DUE = 3_000
# Under twenty.
_MOST_STATEMENTS = 19
_NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_STEPS: list[dict[str, Any]] = [
    {"key": "hello", "send": {"template": "hello", "channels": ["email"]}},
    {"key": "rest", "wait": {"days": 30}},
    {"key": "again", "send": {"template": "again", "channels": ["email"]}},
    {"key": "opens", "wait": {"event": "opened", "within_days": 9}},
    {"key": "buys", "wait": {"event": "order_placed", "within_days": 90}},
]
# A message, and all that can be done at once after it until the next wait.
_LONG: list[dict[str, Any]] = [
    _STEPS[0],
    {"key": "mark", "tag": {"add": ["asked"], "remove": ["new"]}},
    {"key": "old", "branch": 'tag("asked") and not tag("new")', "then": [{"key": "olds", "tag": {"add": ["old"]}}]},
    {"key": "buyer", "branch": "orders() >= 1", "else": [{"key": "first", "tag": {"add": ["never"]}}]},
    {
        "key": "ab",
        "split": {"a": 50, "b": 50},
        "arms": {
            "a": [{"key": "call", "task": {"title": "Call"}}],
            "b": [{"key": "write", "task": {"title": "Write"}}],
        },
    },
    {"key": "code", "coupon": {"pool": "gifts"}},
    {"key": "poor", "branch": "spent() < 100", "then": [{"key": "more", "coupon": {"pool": "gifts"}}]},
    {"key": "rest", "wait": {"days": 30}},
    {"key": "again", "send": {"template": "again", "channels": ["email"]}},
]

# The same with two steps that give levels and a branch that asks for one.
_RAISED: list[dict[str, Any]] = [
    *_LONG[:2],
    {"key": "lift", "tier": {"level": "silver", "reason": "Thanks"}},
    {"key": "raise", "tier": {"level": "gold", "reason": "Thanks again"}},
    {"key": "lasts", "branch": 'tier == "gold"', "else": [{"key": "out", "end": {}}]},
    *_LONG[2:],
]


@benchmark("planning.steps")
def steps(options: Options) -> Iterator[Result]:
    """A round with everybody inside, in a shop of ten thousand and a large one.

    Nothing due; 3,000 waits over; 3,000 messages settled; 3,000 who pass all that is done at once from a message to the next wait; and the
    same with levels among it, which the store is told.
    """
    small = min(_SMALL, options.members)
    idle: dict[int, float] = {}
    for size in dict.fromkeys((small, options.members)):
        options.say(f"{size:,} members inside a journey of {len(_STEPS)} steps")
        with sqlite_database() as database:
            shop = _inside(database, size)
            rounds = iter(range(1, 1_000))
            idle[size] = min(_round(database, shop, _NOON + next(rounds) * _MINUTE) for _ in range(2 * options.repeats))
            _let_in(database, shop, size, size, "winter", 120, _LONG)
            _let_in(database, shop, size, 2 * size, "spring", 150, _RAISED)
            due = {name: _measured(database, shop, name, size, next(rounds)) for name in _MAKES_DUE}
    detail = {"small": small, "large": options.members, "due": due}
    name = "planning: a tick with nothing due, all inside a journey of steps"
    yield Result(name, idle[options.members], idle[small], "s", 2.0, False, "a shop of 10,000", detail)
    for name, told in due.items():
        yield Result(
            f"planning: {name}", told["statements"], _MOST_STATEMENTS, "statements", 1.0, False, "the budget", told
        )


_SETTLED = (
    "UPDATE touchpoints SET state = 'accepted', accepted_at = :at, settled_at = :at "
    "WHERE shop_id = 1 AND journey_key = '{key}' AND state = 'planned' AND member_id <= :upto"
)
# Some whose wait is over, some whose message has left, the first `_DUE` of each: (statement, where they are).
_MAKES_DUE = {
    "waits that are over": "UPDATE enrolments SET due_at = :at WHERE shop_id = 1 AND phase = 'waits' AND member_id <= :upto",
    "messages that were settled": "UPDATE touchpoints SET state = 'accepted', accepted_at = :at, settled_at = :at "
    "WHERE shop_id = 1 AND journey_key = 'win_back' AND state = 'planned' AND step = 1 AND member_id <= :upto",
    "messages before many steps": _SETTLED.format(key="winter"),
    "messages before many steps and levels": _SETTLED.format(key="spring"),
}


def _measured(database: Database, shop: Shop, name: str, size: int, minutes: int) -> dict[str, float]:
    """Of the round that finds these due: how many they are, its seconds, and the statements of the transaction that asks most: theirs."""
    at = _NOON + minutes * _MINUTE
    with database.write() as connection:
        made = connection.execute(text(_MAKES_DUE[name]), {"at": to_micros(at), "upto": min(4 * _DUE, size)}).rowcount
    with _counted(database) as asked:
        took = _round(database, shop, at)
    return {"due": made, "statements": max(map(len, asked)), "seconds": took}


def _round(database: Database, shop: Shop, at: datetime) -> float:
    def work() -> None:
        assert plan_shop(database, shop, at).problems == {}

    return seconds(work)


@contextmanager
def _counted(database: Database) -> Iterator[list[list[str]]]:
    """The statements of each transaction that writes, of those that the block runs."""
    asked: list[list[str]] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement == "BEGIN IMMEDIATE":
            asked.append([])
        elif asked:
            # What is read once for all journeys was before.
            asked[-1].append(statement)

    cursor = bulk._cursor

    def note_bare(connection: Any, statement: str) -> Any:
        asked[-1].append(statement)
        return cursor(connection, statement)

    event.listen(database.engine, "before_cursor_execute", note)
    bulk._cursor = note_bare
    try:
        yield asked
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
        bulk._cursor = cursor


def _inside(database: Database, size: int) -> Shop:
    """A shop whose members are all inside one journey: half wait for their message, a quarter for a time, the others for events."""
    with database.write() as connection:
        shop = data.make_shop(connection)
        values = {
            "adapter": "smtp",
            "channel": "email",
            "settings": b"",
            "enabled": True,
            "status": "ok",
            "status_detail": "",
        }
        connection.execute(insert(connections).values(shop_id=shop.shop_id, **values, updated_at=_NOON))
        told = {"key": "win_back", "trigger": {"type": "lapse", "days": 90}, "steps": _STEPS, "validity_days": 7}
        journey_store.save(connection, shop, read_draft(told), _NOON)
        connection.execute(update(journeys).values(enabled=True, enabled_at=_NOON - _DAY, planned_through=_NOON))
        span = {
            "size": size,
            "now": to_micros(_NOON),
            "since": to_micros(_NOON - _DAY),
            "until": to_micros(_NOON + _DAY),
        }
        for statement in (_MEMBERS, _CONSENTS, _ENROLMENTS, _TOUCHPOINTS):
            connection.execute(text(statement), span)
        rules = {"silver": "spent() >= 100", "gold": "spent() >= 1000"}
        levels = [tiers.read_level({"key": key, "title": {"en": key}, "rule": rule}) for key, rule in rules.items()]
        tiers.put_main_levels(connection, shop, levels, _NOON)
        writebacks.turn(connection, shop.shop_id, _NOON, on=True)
    return shop


def _let_in(
    database: Database, shop: Shop, size: int, after: int, key: str, days: int, chain: list[dict[str, Any]]
) -> None:
    """A journey of more steps than the first, with ids behind `after`: its first message is planned for as many as are due in that."""
    with database.write() as connection:
        told = {"key": key, "trigger": {"type": "lapse", "days": days}, "steps": chain, "validity_days": 7}
        journey_store.save(connection, shop, read_draft(told), _NOON)
        on = update(journeys).where(journeys.c.journey_key == key)
        connection.execute(on.values(enabled=True, enabled_at=_NOON - _DAY, planned_through=_NOON))
        duties.load_codes(connection, shop, "gifts", [f"{key}{n}" for n in range(2 * _DUE)], _NOON)
        span = {"size": min(_DUE, size), "since": to_micros(_NOON - _DAY), "until": to_micros(_NOON + _DAY)}
        for statement in (_ENROLMENTS, _TOUCHPOINTS):
            own = statement.replace("win_back", key).replace("SELECT 1, i", f"SELECT 1, {after} + i")
            connection.execute(text(own.replace("i % 4", "2")), span)


_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :size) "
_MEMBERS = (
    "INSERT INTO members (shop_id, member_id, external_id, state, email, phone, first_name, last_name, locale, timezone, zone, country, "
    f"region, attributes, first_seen_at, changed_at, touched_at, fingerprint) {_NUMBERS}"
    "SELECT 1, i, i, 'active', 'm' || i || '@example.test', '', 'First', 'Last', '', '', 'Europe/Paris', 'FR', '', '{}', "
    "0, i, i, '' FROM n"
)
_CONSENTS = (
    "INSERT INTO member_consents (shop_id, member_id, channel, topic, state, at, source) "
    f"{_NUMBERS}SELECT 1, i, 'email', 'marketing', 'granted', 0, '' FROM n"
)
_ENROLMENTS = (
    "INSERT INTO enrolments (shop_id, enrolment_id, journey_key, member_id, occasion, cause, version, state, end_reason, step_key, phase, "
    f"seq, base_at, due_at, occasion_on, enrolled_at, updated_at) {_NUMBERS}"
    "SELECT 1, i, 'win_back', i, 'lapse:' || i, 'lapse:' || i, 1, 'active', '', "
    "CASE i % 4 WHEN 0 THEN 'rest' WHEN 1 THEN CASE i % 8 WHEN 1 THEN 'opens' ELSE 'buys' END ELSE 'hello' END, "
    "CASE i % 4 WHEN 0 THEN 'waits' WHEN 1 THEN CASE i % 8 WHEN 1 THEN 'event:opened' ELSE 'event:order_placed' END ELSE 'sent' END, "
    "5, :since + i, :until + i, 20000, :since, :since FROM n"
)
_TOUCHPOINTS = (
    "INSERT INTO touchpoints (shop_id, touchpoint_id, journey_key, member_id, step, occasion, journey_version, state, reason, "
    "reason_detail, channel, adapter, address, occasion_on, due_at, next_try_at, valid_until, planned_at, fence, attempts, updated_at) "
    f"{_NUMBERS}SELECT 1, i, 'win_back', i, 1, 'lapse:' || i, 1, 'planned', '', '', 'email', 'smtp', 'm' || i || '@example.test', 20000, "
    ":since + i, :until, :until + i, :since, 0, 0, :since FROM n WHERE i % 4 > 1"
)
