"""Whatever happens, in whatever order: nobody comes in twice where they may not, and no step is taken twice.

Rounds, rounds killed at any statement, rounds repeated, clocks set on and back, orders, pauses, edits, moves to a version, switching off
and on; all on both databases.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, event, insert, select, update

from crm_plugin.store import (
    coupon_codes,
    coupon_pools,
    enrolment_events,
    enrolments,
    journeys,
    shops,
    tasks,
    touchpoints,
)
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import publishing
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.steps import insiders, moving
from crm_plugin.touchpoints.versions import versions
from tests.factories import order, write
from tests.touchpoints.steps.stage import person, stage

_PEOPLE = 3
_HELLO: dict[str, Any] = {"key": "hello", "send": {"template": "hello", "channels": ["email"]}}
_AGAIN: dict[str, Any] = {"key": "again", "send": {"template": "other", "channels": ["email"]}}
_CODE: dict[str, Any] = {"key": "code", "coupon": {"pool": "p"}}
_CALL: dict[str, Any] = {"key": "call", "task": {"title": {"en": "Call"}}}
_MARK: dict[str, Any] = {"key": "mark", "tag": {"add": ["seen"]}}
_BUYS: dict[str, Any] = {
    "key": "buys",
    "wait": {"event": "order_placed", "within_days": 2},
    "then": [_MARK],
    "else": [_CALL],
}
_REST: dict[str, Any] = {"key": "rest", "wait": {"hours": 30}}
_NOON: dict[str, Any] = {"key": "noon", "wait": {"until": {"at": "12:00"}}}
_RICH: dict[str, Any] = {"key": "rich", "branch": "orders() >= 3", "then": [_CODE], "else": [_NOON, _AGAIN]}
_FORMS: tuple[list[dict[str, Any]], ...] = (
    [_HELLO, _REST, _AGAIN, _BUYS, _CODE],
    [_HELLO, _BUYS, _RICH],
    [_CODE, _HELLO, _NOON, _CALL, _AGAIN],
    [_REST, {"key": "ab", "split": {"a": 50, "b": 50}, "arms": {"a": [_HELLO], "b": [_CALL, _MARK]}}, _AGAIN],
)
_ACTS = ("hello", "again", "code", "call", "mark")
_REENTRY: tuple[Any, ...] = ("each", "once", {"every_days": 2})


# What happens, the more often it is named the oftener.
_WHAT = (
    *("order_comes", "order_comes", "days_go_by", "days_go_by", "days_go_by", "round_is_killed", "round_is_killed"),
    *("round_is_repeated", "messages_are_settled", "time_goes", "time_goes", "is_edited", "pauses_or_goes_on"),
    *("is_switched", "those_inside_move", "insiders_are_taken_in", "audience_changes"),
)


class _Killed(BaseException):
    """The process is gone at this statement: nothing that catches errors sees it."""


class Lives(RuleBasedStateMachine):
    """Three members, whose orders let them into one journey that is edited, paused, moved and switched while its rounds are killed."""

    db: Database

    @initialize(form=st.integers(0, len(_FORMS) - 1), reentry=st.sampled_from(_REENTRY))
    def begin(self, form: int, reentry: Any) -> None:
        with self.db.write() as connection:
            connection.execute(delete(shops))
        self.shop = stage(self.db)
        self.now = datetime(2026, 6, 2, 6, tzinfo=UTC)
        self.reentry, self.orders = reentry, 0
        write(self.db, self.shop, [person(n, tags=("in",)) for n in range(_PEOPLE)], self.now)
        with self.db.write() as connection:
            ours = {"shop_id": self.shop.shop_id, "pool_key": "p"}
            connection.execute(insert(coupon_pools).values(**ours, title="", created_at=self.now))
            connection.execute(insert(coupon_codes), [{**ours, "code": f"C{n}", "place": n} for n in range(5)])
        self.is_edited(form)
        self.now += timedelta(minutes=1)

    @rule(what=st.sampled_from(_WHAT), way=st.integers(0, 5039))
    def happens(self, what: str, way: int) -> None:
        """One rule for all, for hypothesis leaves out whole rules of a life; `way` chooses among the ways each can go."""
        getattr(self, what)(way)

    def order_comes(self, way: int) -> None:
        for number in ((0,), (1,), (0, 1, 2), (2, 2))[way % 4]:
            self.orders += 1
            self.now += timedelta(minutes=1)
            placed = self.now - timedelta(hours=(0, 0, 50)[way % 3])
            own = order(f"o{self.orders}", member_external_id=str(number), placed_at=placed)
            write(self.db, self.shop, [own], self.now)
        self.now += timedelta(minutes=1)

    def days_go_by(self, way: int) -> None:
        """Rounds as they should be, half a day apart; what was planned is settled between them."""
        for _ in range(1 + way % 6):
            assert plan_shop(self.db, self.shop, self.now).problems == {}
            self._nobody_is_overlooked()
            self._settle(("accepted", "failed")[way % 2], 9)
            self.now += timedelta(hours=11)

    def round_is_killed(self, way: int) -> None:
        """The process is gone at a statement, and what it had begun with it."""
        self._round(1 + way % 40)

    def round_is_repeated(self, _way: int) -> None:
        self._round(None)
        self._round(None)
        self._nobody_is_overlooked()

    def _nobody_is_overlooked(self) -> None:
        """After a round nobody waits for a message that is settled."""
        e, t = enrolments.c, touchpoints.c
        with self.db.read() as connection:
            journey = journey_store.get(connection, self.shop.shop_id, "j")
            if not journey.runs:
                return
            numbers = versions(connection, self.shop.shop_id, journey)[journey.version].numbers
            key = (t.shop_id == e.shop_id) & (t.member_id == e.member_id) & (t.occasion == e.occasion)
            waits = select(e.step_key, t.step, t.state).join_from(enrolments, touchpoints, key)
            rows = connection.execute(waits.where(e.state == "active", e.phase == "sent")).all()
        assert {row.state for row in rows if numbers[row.step_key] == row.step} <= {"planned"}

    def _round(self, kill: int | None) -> None:
        seen = 0

        def count(*_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == kill:
                raise _Killed

        event.listen(self.db.engine, "before_cursor_execute", count)
        try:
            with suppress(_Killed):
                assert plan_shop(self.db, self.shop, self.now).problems == {}
        finally:
            event.remove(self.db.engine, "before_cursor_execute", count)

    def messages_are_settled(self, way: int) -> None:
        self._settle(("accepted", "accepted", "failed", "missed", "unconfirmed")[way % 5], 1 + way % 3)

    def _settle(self, state: str, most: int) -> None:
        t = touchpoints.c
        left = {"accepted_at": self.now} if state == "accepted" else {}
        with self.db.write() as connection:
            due = select(t.touchpoint_id).where(t.state == "planned", t.due_at <= self.now)
            ids = connection.execute(due.order_by(t.touchpoint_id).limit(most)).scalars().all()
            values = {"state": state, "settled_at": self.now, "updated_at": self.now, **left}
            connection.execute(update(touchpoints).where(t.touchpoint_id.in_(ids)).values(**values))

    def time_goes(self, way: int) -> None:
        self.now += timedelta(minutes=(1, 60, 600, 1441, 1800, 3000, 6000, -5, -700, -1500)[way % 10])

    def is_edited(self, way: int) -> None:
        told = {"key": "j", "trigger": {"type": "order_placed"}, "audience": 'tag("in")', "reentry": self.reentry}
        draft = read_draft({**told, "steps": _FORMS[way % len(_FORMS)]})
        j = journeys.c
        with self.db.write() as connection:
            # A pool that is empty must not keep it from being edited here: it is saved while it is off.
            was = connection.execute(select(j.enabled).where(j.journey_key == "j")).scalar()
            connection.execute(update(journeys).values(enabled=False))
            journey_store.save(connection, self.shop, draft, self.now)
            began = {} if was is not None else {"enabled_at": self.now, "planned_through": self.now}
            connection.execute(update(journeys).values(enabled=was is not False, **began))

    def pauses_or_goes_on(self, _way: int) -> None:
        with self.db.write() as connection:
            journey = journey_store.get(connection, self.shop.shop_id, "j")
            if journey.status == "on":
                publishing.pause(connection, self.shop, "j", self.now)
            elif journey.status == "paused":
                publishing.resume(connection, self.shop, "j", self.now)

    def is_switched(self, way: int) -> None:
        with self.db.write() as connection:
            if journey_store.get(connection, self.shop.shop_id, "j").enabled and way % 3 == 0:
                journey_store.switch(connection, self.shop, "j", False, self.now)
            else:
                again = {"enabled": True, "enabled_at": self.now, "planned_through": self.now}
                connection.execute(update(journeys).where(~journeys.c.enabled).values(**again))

    def those_inside_move(self, _way: int) -> None:
        with self.db.write() as connection:
            moving.move(connection, self.shop, "j", self.now)

    def insiders_are_taken_in(self, way: int) -> None:
        with self.db.write() as connection:
            journey = journey_store.get(connection, self.shop.shop_id, "j")
            if journey.runs:
                insiders.take_in(connection, self.shop, journey, 1 + way % _PEOPLE, self.now)

    def audience_changes(self, way: int) -> None:
        tags = ("in",) if way % 3 else ()
        write(self.db, self.shop, [person(way % _PEOPLE, tags=tags)], self.now)

    @invariant()
    def nobody_comes_in_too_often(self) -> None:
        if not hasattr(self, "shop"):
            return
        e = enrolments.c
        with self.db.read() as connection:
            rows = connection.execute(select(e.member_id, e.occasion, e.cause, e.enrolled_at)).all()
        came: dict[int, list[datetime]] = defaultdict(list)
        for row in rows:
            came[row.member_id].append(row.enrolled_at)
        assert max(Counter((row.member_id, row.occasion) for row in rows).values(), default=1) == 1
        if self.reentry != "once":
            assert max(Counter((row.member_id, row.cause) for row in rows).values(), default=1) == 1
        else:
            assert all(len(times) == 1 for times in came.values())
        if isinstance(self.reentry, dict):
            for times in map(sorted, came.values()):
                assert all(later - before >= timedelta(days=2) for before, later in itertools.pairwise(times))

    @invariant()
    def every_step_is_taken_once(self) -> None:
        if not hasattr(self, "shop"):
            return
        v = enrolment_events.c
        with self.db.read() as connection:
            events: dict[int, list[Any]] = defaultdict(list)
            for row in connection.execute(select(enrolment_events).order_by(v.enrolment_id, v.seq)):
                events[row.enrolment_id].append(row)
            there = {row.enrolment_id: row for row in connection.execute(select(enrolments))}
            codes = connection.execute(select(coupon_codes.c.enrolment_id, coupon_codes.c.code)).all()
            calls = Counter(connection.execute(select(tasks.c.enrolment_id)).scalars())
            t = touchpoints.c
            sent = Counter((row.member_id, row.occasion) for row in connection.execute(select(t.member_id, t.occasion)))
            journey = journey_store.get(connection, self.shop.shop_id, "j")
            numbers = versions(connection, self.shop.shop_id, journey)[journey.version].numbers
        assert set(events) == set(there)
        assert sorted(numbers.values()) == list(range(1, len(numbers) + 1))
        for enrolment_id, told in events.items():
            own = there[enrolment_id]
            assert [row.seq for row in told] == list(range(own.seq + 1))
            # A wait, branch or split may be taken again on another version, which has it further on.
            did = [row for row in told if row.what in ("begun", "done") and row.reason != "before"]
            taken = Counter((row.what, row.step_key) for row in did if row.step_key in _ACTS)
            assert max(taken.values(), default=1) == 1
            last = told[-1]
            ended = not last.to_step
            assert (own.state == "ended") == ended
            assert own.step_key == (last.step_key if ended else last.to_step)
            assert all(row.to_step for row in told[:-1])
            handed = sorted(row.detail for row in told if row.step_key == "code" and row.what == "done" and row.detail)
            assert handed == sorted(row.code for row in codes if row.enrolment_id == enrolment_id)
            assert calls[enrolment_id] == taken["done", "call"]
            begun = taken["begun", "hello"] + taken["begun", "again"]
            assert sent[own.member_id, own.occasion] == begun


@pytest.mark.slow
def test_no_sequence_takes_a_step_twice(db: Database) -> None:
    Lives.db = db
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=30 if db.is_sqlite else 8,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
