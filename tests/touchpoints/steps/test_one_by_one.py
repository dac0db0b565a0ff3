"""A round takes all who are due in hand at once; what it decides, writes and tells is as if each had taken each step alone."""

from __future__ import annotations

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
from crm_plugin.touchpoints.journeys import get
from crm_plugin.touchpoints.steps import engine, moving
from crm_plugin.touchpoints.steps.duties import load_codes
from crm_plugin.touchpoints.versions import with_steps
from tests.factories import order, write
from tests.touchpoints.steps import slowly
from tests.touchpoints.steps.rounds import JOURNEYS, PEOPLE, POLICY, SEGMENTS
from tests.touchpoints.steps.stage import START, person, plan, settle, stage, turn_on

DAY = timedelta(days=1)


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
        kinds, journey = with_steps(connection, shop.shop_id), get(connection, shop.shop_id, "j")
    seen = []
    for way in (engine.move, slowly.move):
        unwritten = _Unwritten(db)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "move", way)
            planning._plan_alone(unwritten, shop, journey, kinds, now, Looked())  # type: ignore[arg-type]
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
