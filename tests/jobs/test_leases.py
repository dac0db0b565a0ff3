"""Leases: held by one, kept while in use, free again when their time has run out; one clock leads."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from crm_plugin.clock import FixedClock
from crm_plugin.config import Config
from crm_plugin.jobs.clock import Clock
from crm_plugin.jobs.leader import SPAN, Leader
from crm_plugin.jobs.tasks import job_named
from crm_plugin.runtime import Runtime
from crm_plugin.store import leases
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from tests.factories import make_shop

MINUTE = timedelta(minutes=1)


def test_what_is_held_is_taken_by_nobody_else(db: Database, clock: FixedClock) -> None:
    now = clock.now()
    with db.write() as connection:
        assert leases.take(connection, 1, "tick", "a", now, MINUTE)
        assert not leases.take(connection, 1, "tick", "b", now, MINUTE)
        assert leases.take(connection, 2, "tick", "b", now, MINUTE)
        assert leases.take(connection, 1, "sync", "b", now, MINUTE)
        assert not leases.keep(connection, 1, "tick", "b", now, MINUTE)
        assert [(one.name, one.started) for one in leases.held(connection, 1, now)] == [
            ("sync", False),
            ("tick", False),
        ]


def test_what_waits_is_begun_once_whoever_asked_last(db: Database, clock: FixedClock) -> None:
    now = clock.now()
    with db.write() as connection:
        assert leases.take(connection, 1, "tick", "a", now, MINUTE)
        # Its time has run out before its turn came, and it was asked for again.
        assert leases.take(connection, 1, "tick", "b", now + MINUTE, MINUTE)
        assert leases.begin(connection, 1, "tick", "first message", now + MINUTE, MINUTE)
        assert not leases.begin(connection, 1, "tick", "second message", now + MINUTE, MINUTE)
        assert leases.keep(connection, 1, "tick", "first message", now, MINUTE, label="orders", done=3, total=9)
        (one,) = leases.held(connection, 1, now)
        assert (one.started, one.label, one.done, one.total) == (True, "orders", 3, 9)
        leases.give_back(connection, 1, "tick", "second message")
        leases.give_back(connection, 1, "tick", "first message")
        assert leases.held(connection, 1, now) == []
        assert not leases.begin(connection, 1, "tick", "second message", now, MINUTE)


def test_what_a_dead_worker_held_is_free_when_its_time_is_over(db: Database, clock: FixedClock) -> None:
    now = clock.now()
    with db.write() as connection:
        assert leases.take(connection, 1, "tick", "a", now, MINUTE)
        assert leases.begin(connection, 1, "tick", "dead", now, MINUTE)
        assert not leases.take(connection, 1, "tick", "b", now + MINUTE - timedelta(seconds=1), MINUTE)
        assert leases.held(connection, 1, now + MINUTE) == []
        assert leases.take(connection, 1, "tick", "b", now + MINUTE, MINUTE)
        # The dead one was only slow: it hears that another has the job.
        assert not leases.keep(connection, 1, "tick", "dead", now + MINUTE, MINUTE)


def test_clock_that_is_put_back_does_not_hold_for_ever(db: Database, clock: FixedClock) -> None:
    now = clock.now()
    hour_ago = now - timedelta(hours=1)
    with db.write() as connection:
        assert leases.take(connection, 1, "tick", "a", now, MINUTE)
        assert leases.take(connection, 1, "tick", "b", hour_ago, MINUTE)
        assert not leases.take(connection, 1, "tick", "c", hour_ago, MINUTE)


class _Asked:
    def __init__(self) -> None:
        self.shops: list[int] = []

    def enqueue(self, _job: str, shop_id: int, **_arguments: object) -> bool:
        self.shops.append(shop_id)
        return True


def test_one_of_two_clocks_ticks_and_the_other_follows(db: Database, clock: FixedClock, tmp_path: Path) -> None:
    with db.write() as connection:
        make_shop(connection, 1)
    runtime = Runtime(Config("", tmp_path), db, SecretBox(Fernet.generate_key()), clock)
    asked = (_Asked(), _Asked())
    leaders = (Leader(runtime), Leader(runtime))
    clocks = [Clock(runtime, *pair) for pair in zip(asked, leaders, strict=True)]
    tick = job_named("tick")
    assert [one.ask(tick) for one in clocks] == [1, 0]
    clock.move(seconds=SPAN.total_seconds() - 1)
    assert [one.ask(tick) for one in reversed(clocks)] == [0, 1]
    # The first is gone without a word.
    clock.move(seconds=SPAN.total_seconds())
    assert [one.ask(tick) for one in reversed(clocks)] == [1, 0]
    leaders[1].resign()
    assert [one.ask(tick) for one in clocks] == [1, 0]


@pytest.mark.parametrize("late", [0, 1])
def test_clock_that_is_put_back_leads_on(db: Database, clock: FixedClock, tmp_path: Path, late: int) -> None:
    runtime = Runtime(Config("", tmp_path), db, SecretBox(Fernet.generate_key()), clock)
    leader = Leader(runtime)
    assert leader.leads()
    clock.move(hours=-late)
    assert leader.leads()
