"""The pass over terms, grace, descent, re-entry and rewards says the same as a plain model of one member."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, select

from crm_plugin.ids import new_id
from crm_plugin.rules import tier_undo, tiers
from crm_plugin.rules.lab import look_at
from crm_plugin.rules.policies import in_force, put_levels
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.store import (
    member_facts,
    member_tiers,
    orders,
    tier_entries,
    tier_invitations,
    tier_levels,
    tier_passes,
)
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import facts
from tests.rules.shops import MadeMember, keep
from tests.rules.tier_model import Model

# Before a turn of the year and a leap day.
BEGINS = date(2027, 11, 20)
JOINED = date(2027, 12, 25)
_SHOPS = itertools.count(1)
_AMOUNTS = st.sampled_from([4_900, 5_000, 10_000, 20_000])
_STEPS = st.sampled_from([1, 1, 1, 2, 5, 30, 31, 90, 366, -3])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Policies by bars, with everything that can be promised."""
    measure = draw(st.sampled_from(["spent", "orders"]))
    unit = 50 if measure == "spent" else 1
    window: Any = draw(st.sampled_from(["lifetime", "calendar_year", "since_joining", {"days": 30}, {"days": 365}]))
    levels = []
    for place in range(draw(st.integers(1, 3))):
        entry = unit * (2 * place + 2)
        keeps, returns = (
            draw(st.sampled_from([None, 0, unit, entry])),
            draw(st.sampled_from([None, entry, entry + unit])),
        )
        level: dict[str, Any] = {"key": f"level{place}", "entry": entry}
        level |= {} if keeps is None else {"keep": keeps}
        level |= {} if returns is None else {"reentry": returns}
        level |= draw(st.sampled_from([{}, {"reward": f"points:{place}"}]))
        levels.append(level)
    term = draw(st.sampled_from(["none", {"days": 1}, {"days": 30}, {"days": 400}, "end_of_year", "end_of_next_year"]))
    return {
        "measure": measure,
        "window": window,
        "term": term,
        "grace_days": draw(st.sampled_from([0, 0, 1, 20])),
        "descent": draw(st.sampled_from(["straight", "one_step", "never"])),
        "levels": levels,
    }


# Some in the year before the first pass.
_ORDERS = st.lists(st.tuples(st.integers(-40, 500) | st.sampled_from([-400, -330]), _AMOUNTS), max_size=6)
_PEOPLE = st.lists(st.tuples(st.booleans(), _ORDERS), min_size=1, max_size=3)


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(document=documents(), people=_PEOPLE, steps=st.lists(_STEPS, min_size=1, max_size=7))
def test_pass_and_model_say_the_same(
    db: Database, document: dict[str, Any], people: list[tuple[bool, list[tuple[int, int]]]], steps: list[int]
) -> None:
    _same_day_by_day(db, document, people, steps)


# A member in grace whom nobody looked at for a year: down a level when the grace was over, and there the bar is missed today.
_LEFT_IN_GRACE: dict[str, Any] = {
    "measure": "spent",
    "window": "calendar_year",
    "term": "none",
    "grace_days": 20,
    "descent": "one_step",
    "levels": [
        {"key": "level0", "entry": 100, "reentry": 100},
        {"key": "level1", "entry": 200, "keep": 50, "reward": "points:1"},
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("descent", ["straight", "one_step"])
@pytest.mark.parametrize("grace_days", [1, 20])
def test_what_was_missed_in_grace_begins_again_a_level_below(db: Database, descent: str, grace_days: int) -> None:
    document = {**_LEFT_IN_GRACE, "descent": descent, "grace_days": grace_days}
    _same_day_by_day(db, document, [(False, [(-400, 20_000), (-330, 5_000), (448, 4_900)])], [30, 30, 366, 90, 1])


@pytest.mark.slow
def test_a_second_pass_goes_no_further_down_on_the_day_of_a_fall(db: Database) -> None:
    levels = [{"key": "level0", "entry": 100}, {"key": "level1", "entry": 200, "keep": 50}]
    document = {**_LEFT_IN_GRACE, "window": {"days": 365}, "grace_days": 1, "levels": levels}
    _same_day_by_day(db, document, [(False, [(-330, 20_000), (84, 20_000)])], [31, 1, 30, 1, 31])


def _same_day_by_day(
    db: Database,
    document: Mapping[str, Any],
    people: Sequence[tuple[bool, Sequence[tuple[int, int]]]],
    steps: Sequence[int],
) -> None:
    shop = _shop(db, document, [joined for joined, _ in people])
    models = {place: Model(document, JOINED if joined else None) for place, (joined, _) in enumerate(people, start=1)}
    placed = {
        place: [(BEGINS + timedelta(days=day), minor) for day, minor in told]
        for place, (_, told) in enumerate(people, 1)
    }
    today, known = BEGINS, date.min
    for step in [0, *steps]:
        today += timedelta(days=step)
        _order(db, shop, placed, known, today)
        known = max(known, today)
        _pass_as_foreseen(db, shop, document, today)
        for place, model in models.items():
            model.look(today, [one for one in placed[place] if one[0] <= known])
        with db.read() as connection:
            assert _held(connection, shop) == _told(models), (today, document)
            assert _rewards(connection, shop) == {
                (place, f"level{one}") for place, model in models.items() for one in model.rewards
            }
        assert tiers.apply(db, shop, as_of=today, now=_noon(today)).run_id is None


def _pass_as_foreseen(db: Database, shop: Shop, document: Mapping[str, Any], today: date) -> None:
    """What the lab says before is what the pass does then."""
    with db.read() as connection:
        seen = look_at(connection, shop, in_force(connection, shop.shop_id, "main", today).policy, today)
    report = tiers.apply(db, shop, as_of=today, now=_noon(today))
    foreseen = [(cell.from_level, cell.to_level, cell.members) for cell in seen.cells if cell.moves]
    assert foreseen == [(move.from_level, move.to_level, move.members) for move in report.moves]
    assert dict(seen.terms) == dict(report.terms)
    with db.read() as connection:
        assert {key: number for key, number in seen.after.items() if key and number} == tiers.held(
            connection, shop.shop_id
        )


def _shop(db: Database, document: Mapping[str, Any], joined: Sequence[bool]) -> Shop:
    with db.write() as connection:
        made = [MadeMember(joined_days_ago=(date(2026, 6, 1) - JOINED).days if one else None) for one in joined]
        shop = keep(connection, next(_SHOPS), made)
        tiers.save_policy(connection, shop, read_policy(document), _noon(BEGINS - timedelta(days=400)), actor="test")
    return shop


def _order(db: Database, shop: Shop, placed: Mapping[int, list[tuple[date, int]]], after: date, until: date) -> None:
    """The orders of the days since, and all sums of them."""
    with db.write() as connection:
        for member_id, told in placed.items():
            for day, minor in told:
                if after < day <= until:
                    order_id = new_id()
                    row = {"order_id": order_id, "external_id": str(order_id), "member_id": member_id, "counts": True}
                    row |= {"status": "completed", "currency": shop.currency, "total_minor": minor, "base_minor": minor}
                    row |= {"placed_at": _noon(day), "placed_on": day, "first_seen_at": _noon(day)}
                    connection.execute(insert(orders).values(shop_id=shop.shop_id, **row))
        facts.rebuild(connection, shop, _noon(until))


def _held(connection: Connection, shop: Shop) -> dict[int, tuple[Any, ...]]:
    c = member_tiers.c
    query = select(c.member_id, c.level_key, c.since_on, c.valid_until, c.grace_until, c.in_grace)
    return {row[0]: tuple(row[1:]) for row in connection.execute(query.where(c.shop_id == shop.shop_id))}


def _told(models: Mapping[int, Model]) -> dict[int, tuple[Any, ...]]:
    return {
        place: (f"level{one.level}", one.since, one.ends, one.grace_ends, one.in_grace)
        for place, one in models.items()
        if one.level >= 0
    }


def _rewards(connection: Connection, shop: Shop) -> set[tuple[int, str]]:
    c = tier_entries.c
    query = select(c.member_id, c.level_key).where(c.shop_id == shop.shop_id, c.state == "open")
    return {(row.member_id, row.level_key) for row in connection.execute(query)}


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def test_last_year_counts_on_the_first_day(db: Database) -> None:
    """What was reached in a calendar year holds through the end of the next, also when the programme begins only then."""
    document = {"measure": "spent", "window": "calendar_year", "levels": [{"key": "level0", "entry": 100}]}
    shop = _shop(db, {**document, "term": "end_of_next_year"}, [False])
    _order(db, shop, {1: [(BEGINS - timedelta(days=400), 10_000)]}, date.min, BEGINS)
    _pass_as_foreseen(db, shop, document, BEGINS)
    ends = date(BEGINS.year, 12, 31)
    with db.read() as connection:
        assert _held(connection, shop) == {1: ("level0", BEGINS, ends, ends, False)}
        assert _rewards(connection, shop) == set()
    later = date(BEGINS.year + 1, 1, 1)
    tiers.apply(db, shop, as_of=later, now=_noon(later))
    with db.read() as connection:
        assert _held(connection, shop) == {}


_STATES = st.sampled_from([None, "invited", "expired", "accepted", "declined"])


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    document=documents(), people=_PEOPLE, states=st.lists(_STATES, min_size=3, max_size=3),
    steps=st.lists(st.tuples(_STEPS, st.booleans()), min_size=1, max_size=7),
)  # fmt: skip
def test_undone_is_as_never_passed(
    db: Database,
    document: dict[str, Any],
    people: list[tuple[bool, list[tuple[int, int]]]],
    states: list[str | None],
    steps: list[tuple[int, bool]],
) -> None:
    """Each pass is undone; after some of them the merchant goes on, and the next begins from there."""
    circle = [{"key": "circle", "invitation": True}] if any(states) else []
    shop = _shop(db, {**document, "levels": [*document["levels"], *circle]}, [joined for joined, _ in people])
    placed = {
        place: [(BEGINS + timedelta(days=day), minor) for day, minor in told]
        for place, (_, told) in enumerate(people, 1)
    }
    _invite(db, shop, dict(zip(placed, states, strict=False)))
    today, known = BEGINS, date.min
    for step, goes_on in [(0, True), *steps]:
        today += timedelta(days=step)
        _order(db, shop, placed, known, today)
        known = max(known, today)
        with db.write() as connection:
            put_levels(
                connection, shop, in_force(connection, shop.shop_id, "main", today).policy, None, today, _noon(today)
            )
        before = _kept(db, shop)
        ran = tiers.apply(db, shop, as_of=today, now=_noon(today))
        passed = _kept(db, shop)
        if ran.run_id is None:
            continue
        with db.write() as connection:
            tier_undo.undo(connection, shop, today=today, now=_noon(today), actor="test")
        assert _kept(db, shop) == before
        assert tiers.apply(db, shop, as_of=today, now=_noon(today), daily=True).still == ("main",)
        assert _kept(db, shop) == before
        if goes_on:
            again = tiers.apply(db, shop, as_of=today, now=_noon(today))
            assert (again.moves, again.terms) == (ran.moves, ran.terms)
            assert _kept(db, shop) == passed


def _invite(db: Database, shop: Shop, states: Mapping[int, str | None]) -> None:
    """Invitations as they are, one that is said to have expired about to do so."""
    with db.write() as connection:
        for member_id, state in states.items():
            if state is not None:
                row = {
                    "program_key": "main",
                    "member_id": member_id,
                    "level_key": "circle",
                    "invited_at": _noon(BEGINS),
                }
                last = BEGINS + timedelta(days=1) if state == "expired" else None
                row |= {"state": "invited" if state == "expired" else state, "expires_on": last}
                connection.execute(insert(tier_invitations).values(shop_id=shop.shop_id, **row))


def _kept(db: Database, shop: Shop) -> dict[str, list[tuple[Any, ...]]]:
    """All that is kept of tiers but what happened, and in which run."""
    found = {}
    with db.read() as connection:
        for table in (member_tiers, tier_entries, tier_invitations, tier_levels, tier_passes):
            columns = [one for one in table.c if one.name not in ("run_id", "held_run_id")]
            rows = connection.execute(select(*columns).where(table.c.shop_id == shop.shop_id))
            found[table.name] = sorted((tuple(row) for row in rows), key=repr)
        f = member_facts.c
        beside = connection.execute(
            select(f.member_id, f.level_key).where(f.shop_id == shop.shop_id, f.level_key != "")
        )
        found["beside"] = sorted(tuple(row) for row in beside)
    return found
