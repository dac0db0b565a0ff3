"""What waits and until when; what should move and does not."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import event, insert, select, update

from crm_plugin.clock import FixedClock
from crm_plugin.config import Config
from crm_plugin.ids import new_id
from crm_plugin.jobs import metrics, stalls
from crm_plugin.jobs.stalls import Stall, What
from crm_plugin.runtime import Runtime
from crm_plugin.store import connections, journeys, members, runs, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import backlog, health
from tests.factories import NOON, make_shop, member, write

MINUTE = timedelta(minutes=1)


@pytest.fixture
def runtime(db: Database, tmp_path: Path) -> Runtime:
    """A shop with a journey that is on and a round that has just ended, and an SMTP that may send 60 a minute."""
    box = SecretBox(Fernet.generate_key())
    with db.write() as connection:
        made = make_shop(connection)
        journey = {"title": {}, "trigger": "birthday", "template_key": "j", "updated_at": NOON}
        connection.execute(insert(journeys).values(shop_id=1, journey_key="j", enabled=True, **journey))
        row = {"settings": box.seal({"most_a_minute": 60}), "enabled": True, "status": "ok", "updated_at": NOON}
        connection.execute(insert(connections).values(shop_id=1, adapter="smtp", channel="email", **row))
        runs.keep(connection, 1, runs.Run("tick", NOON - MINUTE, NOON - MINUTE, {}, ""))
    write(db, made, [member("1", email="a@x.test")])
    return Runtime(Config("", tmp_path), db, box, FixedClock(NOON))


def _put(db: Database, count: int, state: str, at: datetime, adapter: str = "smtp", **more: Any) -> None:
    with db.write() as connection:
        owner = connection.execute(select(members.c.member_id)).scalar_one()
        row = dict.fromkeys(("due_at", "next_try_at", "valid_until", "planned_at", "updated_at"), at)
        about = {"journey_key": "j", "member_id": owner, "occasion_on": at.date(), "adapter": adapter, **more}
        rows = [
            {"shop_id": 1, "touchpoint_id": number, "occasion": str(number), "state": state, **row, **about}
            for number in (new_id() for _ in range(count))
        ]
        connection.execute(insert(touchpoints), rows)


def test_estimate_goes_by_the_last_minutes_within_the_senders_limit(db: Database, runtime: Runtime) -> None:
    _put(db, 120, "planned", NOON - MINUTE)
    _put(db, 30, "retry_wait", NOON, adapter="twilio")
    _put(db, 9, "planned", NOON + MINUTE)
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))

    def told() -> list[tuple[str, int, float | None, datetime | None]]:
        with db.read() as connection:
            found = backlog.estimates(connection, runtime.box, 1, NOON)
        return [(one.adapter, one.waiting, one.per_minute, one.until) for one in found]

    assert told() == [("smtp", 120, 60, NOON + 2 * MINUTE), ("twilio", 30, None, None)]
    assert len([one for one in asked if one.startswith("SELECT")]) == 6
    _put(db, 20, "accepted", NOON, accepted_at=NOON - 2 * MINUTE)
    _put(db, 30, "accepted", NOON, adapter="twilio", accepted_at=NOON - 3 * MINUTE)
    _put(db, 500, "accepted", NOON, adapter="twilio", accepted_at=NOON - 6 * MINUTE)
    assert told() == [("smtp", 120, 10, NOON + 12 * MINUTE), ("twilio", 30, 10, NOON + 3 * MINUTE)]
    with db.write() as connection:
        health.rest(connection, 1, "smtp", NOON, "451", 10 * MINUTE)
    assert told()[0] == ("smtp", 120, 10, NOON + 22 * MINUTE)
    with db.write() as connection:
        connection.execute(update(connections).values(enabled=False))
    assert told()[0] == ("smtp", 120, 10, None)
    with db.write() as connection:
        connection.execute(update(journeys).values(paused_at=NOON))
    assert told() == []


def _stalls(db: Database) -> list[Stall]:
    with db.read() as connection:
        return stalls.stalls(connection, NOON, 1)


def test_due_messages_of_which_none_leaves_stand_still(db: Database, runtime: Runtime) -> None:
    _put(db, 3, "planned", NOON - 6 * MINUTE)
    found = [Stall(1, What.MESSAGES, NOON - 6 * MINUTE, 3, "smtp")]
    assert _stalls(db) == found
    with db.write() as connection:
        health.rest(connection, 1, "smtp", NOON, "451")
    assert _stalls(db) == []
    with db.write() as connection:
        health.try_now(connection, 1, "smtp")
    assert _stalls(db) == found
    # What is many takes its time.
    _put(db, 1, "accepted", NOON, accepted_at=NOON - MINUTE)
    assert _stalls(db) == []


def test_messages_that_have_just_become_due_do_not(db: Database, runtime: Runtime) -> None:
    _put(db, 3, "planned", NOON - 4 * MINUTE)
    _put(db, 1, "in_flight", NOON - 9 * MINUTE, claimed_until=NOON - 4 * MINUTE)
    assert _stalls(db) == []


def test_rounds_that_stopped_and_what_a_worker_left_are_told_of(
    db: Database, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    _put(db, 2, "in_flight", NOON - 20 * MINUTE, claimed_until=NOON - 6 * MINUTE)
    assert _stalls(db) == [Stall(1, What.CLAIMS, NOON - 6 * MINUTE, 2)]
    with db.write() as connection:
        runs.keep(connection, 1, runs.Run("tick", NOON, NOON - 6 * MINUTE, {}, ""))
    assert _stalls(db) == [Stall(1, What.ROUNDS, NOON - 6 * MINUTE)]
    assert 'crm_stalled{adapter="",shop="shop-1",what="rounds"} 1.0' in metrics.exposition(runtime).decode()
    with caplog.at_level(logging.WARNING):
        assert stalls.watch(runtime) == 1
    assert "rounds of shop 1" in caplog.text
    with db.write() as connection:
        connection.execute(update(journeys).values(enabled=False))
    # Nobody waits for a round where nothing is on; what a worker left is told of again.
    assert [one.what for one in _stalls(db)] == [What.CLAIMS]
