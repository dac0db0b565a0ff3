"""A round takes all who are due in hand at once; what it decides, writes and tells is as if each had taken each step alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update

from crm_plugin.rules import compile_rule, segments, tiers
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tier_history import history
from crm_plugin.store import (
    coupon_codes,
    enrolment_events,
    enrolments,
    journeys,
    member_tags,
    member_tiers,
    members,
    shops,
    tasks,
    tier_bars,
    tier_invitations,
    touchpoints,
)
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import plan as planning
from crm_plugin.touchpoints.idle import Looked
from crm_plugin.touchpoints.steps import engine, moving
from crm_plugin.touchpoints.steps.duties import load_codes
from crm_plugin.touchpoints.versions import with_steps
from tests.factories import order, write
from tests.touchpoints.steps import slowly
from tests.touchpoints.steps.stage import START, person, plan, settle, stage, turn_on

DAY = timedelta(days=1)
TAGS = ("a", "b", "c")
DEPTH = 2
SEGMENTS = {
    "marked": 'tag("a") or tag("b")',
    "plain": 'not segment("marked") and tag("c")',
    "old": 'days_in_tier >= 0 or tag("b") and received() > 0',
}
POLICY: dict[str, Any] = {
    "measure": "spent",
    "window": {"days": 365},
    "term": {"days": 20},
    "grace_days": 5,
    "levels": [
        {"key": "silver", "entry": 100, "keep": 80},
        {"key": "gold", "entry": 500, "keep": 400},
        {"key": "circle", "invitation": True},
    ],
}
LEAVES = (
    *(f'tag("{tag}")' for tag in TAGS * 3),
    *(f'segment("{key}")' for key in SEGMENTS),
    *(
        'tier(program="club") == "gold"',
        'tier(program="club") not in ["silver", "gold"]',
        'tier == "gold"',
        'tier in ["silver", "gold"]',
        'tier == ""',
        "days_in_tier < 3",
        "to_next_tier <= 300",
    ),
    *("tier_at_risk(within=3000)", "orders() >= 2", 'orders(since="tier") >= 1', "received() == 0", "known(phone)"),
)
RULES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map("({0[0]}) {0[1]} ({0[2]})".format),
    ),
    max_leaves=3,
)
_NAMES = st.lists(st.sampled_from(TAGS), min_size=1, max_size=2, unique=True)
_FIXES = st.fixed_dictionaries(
    {"level": st.sampled_from(["silver", "gold", "gone"]), "reason": st.just("Why")},
    optional={"until_days": st.integers(1, 9), "program": st.sampled_from(["club", "none"])},
)
_INVITES = st.fixed_dictionaries({"level": st.sampled_from(["circle", "gold"]), "invite": st.just(True)})
_MARKS = st.one_of(
    st.fixed_dictionaries({"add": _NAMES}),
    st.fixed_dictionaries({"remove": _NAMES}),
    st.permutations(TAGS).map(lambda names: {"add": [names[0]], "remove": [names[1]]}),
).map(lambda told: {"tag": told})
_PLAIN = (
    *(_MARKS, _MARKS, _MARKS),
    _FIXES.map(lambda told: {"tier": told}),
    st.one_of(_FIXES, _INVITES).map(lambda told: {"tier": told}),
    st.sampled_from(["p", "q"]).map(lambda pool: {"coupon": {"pool": pool}}),
    st.just({"task": {"title": "Call", "due_days": 2}}),
    st.just({"send": {"template": "hello", "channels": ["email"]}}),
    st.sampled_from([{"wait": {"hours": 5}}, {"wait": {"days": 1}}]),
)


# What is done, and what a rule may say of it before it is stored.
_SEEN = (
    (_FIXES.map(lambda told: {"tier": told}), ["days_in_tier < 3", *(leaf for leaf in LEAVES if "tier" in leaf)]),
    (_MARKS, [leaf for leaf in LEAVES if "tag" in leaf or "segment" in leaf]),
)


def _lists(depth: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Steps without their keys."""
    plain: list[st.SearchStrategy[list[dict[str, Any]]]] = [kind.map(lambda step: [step]) for kind in _PLAIN]
    if not depth:
        return st.lists(st.one_of(*plain), max_size=2).map(_joined)
    inner = _lists(depth - 1)
    both = {"then": inner, "else": inner}
    seen = []
    for act, leaves in _SEEN:
        asks = st.sampled_from(leaves).flatmap(
            lambda rule: st.lists(st.fixed_dictionaries({"branch": st.just(rule), **both}), min_size=2, max_size=2)
        )
        # The same is asked before and after.
        seen.append(st.tuples(act, asks).map(lambda told: [told[1][0], told[0], told[1][1]]))
    arms = {"split": st.just({"a": 50, "b": 50}), "arms": st.fixed_dictionaries({"a": inner})}
    buys = {"wait": st.just({"event": "order_placed", "within_days": 1}), **both}
    parts = ({"branch": RULES, **both}, arms, buys)
    one = st.one_of(*(st.fixed_dictionaries(told) for told in parts), st.just({"end": {}})).map(lambda step: [step])
    least, most = (3, 6) if depth == DEPTH else (0, 2)
    return st.lists(st.one_of(*seen, *seen, one, st.one_of(*plain)), min_size=least, max_size=most).map(_joined)


def _joined(parts: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return list(itertools.chain.from_iterable(parts))


def _named(steps: list[dict[str, Any]], numbers: Iterator[int]) -> list[dict[str, Any]]:
    named = []
    for step in steps:
        told: dict[str, Any] = {"key": f"s{next(numbers)}", **step}
        told |= {part: _named(step[part], numbers) for part in ("then", "else") if part in step}
        if "arms" in step:
            told["arms"] = {arm: _named(inner, numbers) for arm, inner in step["arms"].items()}
        named.append(told)
    return named


STEPS = _lists(DEPTH).map(lambda steps: _named(steps, itertools.count()))
JOURNEYS = st.fixed_dictionaries(
    {"steps": STEPS},
    optional={
        "goal": RULES,
        "audience": RULES,
        "exit": st.sampled_from(["never", "audience"]),
        "holdout_pct": st.just(30),
    },
)
PEOPLE = st.lists(
    st.fixed_dictionaries(
        {
            "agreed": st.booleans(),
            "tags": st.lists(st.sampled_from(TAGS), max_size=2, unique=True),
            "own": st.lists(st.sampled_from(TAGS), max_size=2, unique=True),
            # The hours at which each order is placed.
            "orders": st.lists(st.integers(0, 60), min_size=1, max_size=3),
        }
    ),
    min_size=2,
    max_size=4,
)


class _Undone(Exception):
    pass


class _Unwritten:
    """A database of which each transaction is looked at before it ends, and undone."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.seen: dict[str, Any] = {}

    @contextmanager
    def write(self) -> Iterator[Connection]:
        try:
            with self._db.write() as connection:
                yield connection
                self.seen = _seen(connection)
                raise _Undone
        except _Undone:
            pass


_IDS = {"task_id", "touchpoint_id", "enrolment_id"}


def _seen(connection: Connection) -> dict[str, Any]:
    """All that a round can bring, without the numbers that are new in each."""
    e = enrolments.c
    rows = connection.execute(select(enrolments).order_by(e.member_id, e.occasion)).all()
    names = {row.enrolment_id: f"{row.member_id} {row.occasion}" for row in rows}
    whom = connection.execute(select(members.c.member_id)).scalars().all()
    found: dict[str, Any] = {
        "history": {
            (one, program): history(connection, 1, program, one) for one in whom for program in ("main", "club")
        }
    }
    for table, order_by in (
        (enrolments, ("enrolment_id",)),
        (enrolment_events, ("enrolment_id", "seq")),
        (member_tags, ("member_id", "tag")),
        (member_tiers, ("member_id", "program_key")),
        (tier_bars, ("member_id",)),
        (tier_invitations, ("member_id", "level_key")),
        (tasks, ("enrolment_id", "step_key")),
        (coupon_codes, ("pool_key", "code")),
        (touchpoints, ("member_id", "occasion", "step")),
    ):
        told = []
        for row in connection.execute(select(table).order_by(*(table.c[name] for name in order_by))):
            values = {name: value for name, value in row._mapping.items() if name not in _IDS}
            if "enrolment_id" in table.c:
                values["whose"] = names.get(row.enrolment_id)
            told.append(values)
        found[table.name] = sorted(told, key=lambda one: str(one["whose"])) if told and "whose" in told[0] else told
    return found


def _both(db: Database, shop: Shop, now: datetime) -> None:
    """The engine's round and one step after the other bring the same."""
    with db.read() as connection:
        kinds = with_steps(connection, shop.shop_id)
    seen = []
    for way in (engine.move, slowly.move):
        unwritten = _Unwritten(db)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "move", way)
            planning._plan_alone(unwritten, shop, "j", kinds, now, Looked())  # type: ignore[arg-type]
        seen.append(unwritten.seen)
    at_once, alone = seen
    for name, rows in alone.items():
        assert at_once[name] == rows, name


def _shop(db: Database, people: list[dict[str, Any]]) -> Shop:
    with db.write() as connection:
        connection.execute(delete(shops))
    shop = stage(db)
    came = [
        person(n, tags=tuple(one["tags"]), **({} if one["agreed"] else {"consents": ()}))
        for n, one in enumerate(people)
    ]
    write(db, shop, came, START)
    with db.write() as connection:
        for program in ("main", "club"):
            tiers.save_policy(connection, shop, read_policy(POLICY, program), START, actor="test")
        for key, rule in SEGMENTS.items():
            segments.put(connection, shop, key, compile_rule(rule), START)
        load_codes(connection, shop, "p", [f"p{n}" for n in range(3)], START)
        load_codes(connection, shop, "q", [f"q{n}" for n in range(40)], START)
        ids = {
            row.external_id: row.member_id
            for row in connection.execute(select(members.c.external_id, members.c.member_id))
        }
        for n, one in enumerate(people):
            for tag in set(one["own"]) - set(one["tags"]):
                connection.execute(insert(member_tags).values(shop_id=1, member_id=ids[str(n)], tag=tag, own=True))
    return shop


def _publish(db: Database, shop: Shop, told: dict[str, Any], now: datetime) -> None:
    rest = {name: value for name, value in told.items() if name != "steps"}
    with db.write() as connection:
        # What is on is not saved with a level that is gone, or a pool without codes; it may lose them later.
        connection.execute(update(journeys).values(enabled=False))
    turn_on(db, shop, *told["steps"], at=now, trigger={"type": "order_placed"}, **rest)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(people=PEOPLE, first=JOURNEYS, second=JOURNEYS, moves=st.booleans())
def test_all_at_once_is_as_one_by_one(
    db: Database, people: list[dict[str, Any]], first: dict[str, Any], second: dict[str, Any], moves: bool
) -> None:
    shop = _shop(db, people)
    orders = sorted((hour, n, place) for n, one in enumerate(people) for place, hour in enumerate(one["orders"]))
    _publish(db, shop, first, START)
    before = START
    for number, hours in enumerate((7, 20, 31, 50, 62), 1):
        now = START + timedelta(hours=hours)
        came = [
            order(f"o{n}-{place}", 7_000 * (n + 1), member_external_id=str(n), placed_at=START + timedelta(hours=hour))
            for hour, n, place in orders
            if before <= START + timedelta(hours=hour) < now
        ]
        if came:
            write(db, shop, came, now - timedelta(minutes=1))
        _both(db, shop, now)
        plan(db, shop, now)
        settle(db, now)
        before = now
        if number == 4:
            with db.write() as connection:
                connection.execute(update(members).where(members.c.external_id == "1").values(state="deleted"))
        if number == 2:
            _publish(db, shop, second, now)
            if moves:
                with db.write() as connection:
                    moving.move(connection, shop, "j", now)
