"""What goes wrong around the jobs: a database that is away, a disk that is full, a clock that is put back, a slow provider."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import DBAPIError, OperationalError

from crm_plugin import rounds
from crm_plugin.config import load_config
from crm_plugin.jobs import queue as queues
from crm_plugin.jobs import turns
from crm_plugin.jobs.queue import Queue
from crm_plugin.jobs.remote import RemoteQueue
from crm_plugin.runtime import Runtime
from crm_plugin.store import touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import shop_by_id
from crm_plugin.touchpoints import claims, dispatch, health, settling
from crm_plugin.touchpoints.calling import Pace
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.recover import recover_shop
from crm_plugin.touchpoints.render import Rendered
from tests.brokers import Broker
from tests.chaos.programs import environment
from tests.chaos.provider import HOST, Fate, Provider
from tests.chaos.shops import fill
from tests.postgres import PostgresServer
from tests.touchpoints.guarding import NOON, Sent, journey, plant, rows, send, shop_with

AFTER_THE_CLAIM, AFTER_THE_CALL = claims.CLAIMED + timedelta(minutes=1), claims.BEGUN + timedelta(minutes=1)


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Takes everything, each after 50 ms on the average."""
    made = Provider(7, seconds=0.05, shares={Fate.TAKE: 1.0})
    made.start()
    yield made
    made.stop()


def _runtime(folder: Path, provider: Provider, members: int, database_url: str = "", broker_url: str = "") -> Runtime:
    """A shop that has a message for each member now."""
    where = {"CRM_DATA_DIR": str(folder), "CRM_DATABASE_URL": database_url, "CRM_BROKER_URL": broker_url}
    runtime = Runtime.open(load_config({**where, "CRM_PUBLIC_URL": "https://crm.test"}))
    fill(runtime, 1, members, "smtp", _sender(provider))
    return runtime


def _sender(provider: Provider) -> dict[str, Any]:
    return {"host": HOST, "port": provider.smtp_port, "security": "none", "from_address": "shop@crm.test"}


def _states(db: Database, shop_id: int = 1) -> dict[str, int]:
    t = touchpoints.c
    with db.read() as connection:
        query = select(t.state, func.count()).where(t.shop_id == shop_id).group_by(t.state)
        return {row[0]: row[1] for row in connection.execute(query)}


def _tick(runtime: Runtime, at: datetime) -> None:
    with runtime.db.read() as connection:
        shop = shop_by_id(connection, 1)
    rounds.tick(runtime, shop, at)


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.postgres
# The driver leaves the sockets of a server that is gone, or refuses, to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_database_that_was_away_learns_what_has_left(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "MOST", 16)
    server = PostgresServer()
    try:
        runtime = _runtime(tmp_path, provider, 60, server.url("postgres"))
        queue = Queue(runtime, workers=1)
        queue.enqueue("tick", 1)
        _until(lambda: provider.handled >= 10)
        server.down()
        server.up()
        assert queue.wait()
        assert set(_states(runtime.db)) <= {"accepted", "planned", "in_flight"}
        _tick(runtime, runtime.clock.now() + AFTER_THE_CALL)
        # What could not be noted in time is doubtful; it is never sent again.
        left = _states(runtime.db)
        assert left["accepted"] + left.get("unconfirmed", 0) == 60
        assert left["accepted"] >= 60 - Pace.MOST
        assert set(provider.taken.values()) == {1}
        queue.close()
        runtime.close()
    finally:
        server.stop()
        gc.collect()


_AWAY = OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))


def test_attempts_of_which_nobody_knows_whether_they_were_noted_are_taken_back(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, sent, begin, take_back = sqlite_db, Sent(), settling.begin, claims.take_back
    shop = shop_with(db, 3)
    journey(db, shop, "j")
    plant(db, "j")
    monkeypatch.setattr(settling, "PAUSE_SECONDS", 0)
    lost = {begin, take_back}

    def losing(work: Callable[..., Any]) -> Callable[..., Any]:
        """The answer to its first commit is lost."""

        def noted(*told: Any) -> Any:
            answer = work(*told)
            if work in lost:
                lost.remove(work)
                raise _AWAY
            return answer

        return noted

    monkeypatch.setattr(dispatch, "begin", losing(begin))
    monkeypatch.setattr(claims, "take_back", losing(take_back))
    with pytest.raises(DBAPIError):
        send(db, shop, NOON, sent)
    assert (sent.rows, [(row.state, row.attempts) for row in rows(db)]) == ([], [("planned", 0)] * 3)
    send(db, shop, NOON, sent)
    assert ([(row.state, row.attempts) for row in rows(db)], len(sent.rows)) == ([("accepted", 1)] * 3, 3)


def test_call_counts_though_its_senders_health_cannot_be_written(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, sent = sqlite_db, Sent()
    shop = shop_with(db, 3)
    journey(db, shop, "j")
    plant(db, "j")
    with db.write() as connection:
        health.rest(connection, 1, "smtp", NOON - timedelta(hours=1), "It hung up.")

    def away(*_: Any) -> None:
        raise _AWAY

    monkeypatch.setattr(health, "well", away)
    assert send(db, shop, NOON, sent).states == {"accepted": 3}
    assert len(sent.rows) == 3


@pytest.mark.slow
def test_full_disk_lets_nothing_leave_that_cannot_be_noted(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "PATIENCE_SECONDS", 0)
    provider.seconds = 0.0
    runtime, count = _runtime(tmp_path, provider, 400), 400
    engine, now = runtime.db.engine, runtime.clock.now()
    with runtime.db.read() as connection:
        plan_shop(runtime.db, shop_by_id(connection, 1), now)
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    engine.dispose()

    def fill_up(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + 4}")

    event.listen(engine, "connect", fill_up)
    with pytest.raises(DBAPIError, match="full"):
        _tick(runtime, now)
    event.remove(engine, "connect", fill_up)
    engine.dispose()
    before = _states(runtime.db)
    assert set(before) <= {"accepted", "planned", "in_flight"}
    # A group whose end could not be written had left; nothing else has.
    in_doubt = provider.taken.total() - before.get("accepted", 0)
    assert 0 <= in_doubt <= provider.taken.total() < count
    _tick(runtime, now + AFTER_THE_CLAIM)
    _tick(runtime, now + AFTER_THE_CALL)
    after = Counter(_states(runtime.db))
    assert (after["accepted"] + after["unconfirmed"], after["unconfirmed"] <= in_doubt) == (count, True)
    assert (provider.taken.total(), set(provider.taken.values())) == (count, {1})
    runtime.close()


def test_clock_that_is_put_back_doubles_nothing(sqlite_db: Database) -> None:
    db, sent, hour = sqlite_db, Sent(), timedelta(hours=1)
    shop = shop_with(db, 5, settings={"caps": {"day": 0, "week": 0}})
    journey(db, shop, "j")
    plant(db, "j")
    send(db, shop, NOON, sent, limit=2)
    # A worker takes the others, notes the attempt of one, and is killed.
    rows = claims.claim(db, 1, NOON, 3, resting=())
    settling.begin(db, [(rows[0], Rendered("en", "Hi", "Hello", "", ""))], NOON)
    for at in (NOON - hour, NOON - hour + AFTER_THE_CALL, NOON):
        assert recover_shop(db, shop, at) == {}
        assert send(db, shop, at, sent).total == 0
    later = NOON + AFTER_THE_CALL
    assert recover_shop(db, shop, later) == {"unconfirmed": 1, "planned": 2}
    assert send(db, shop, later, sent).states == {"accepted": 2}
    assert (len(sent.rows), len(set(sent.rows))) == (4, 4)


@pytest.fixture
def quick() -> Iterator[Provider]:
    """Takes everything at once."""
    made = Provider(8, shares={Fate.TAKE: 1.0})
    made.start()
    yield made
    made.stop()


def _ten_shops(tmp_path: Path, slow: Provider, quick: Provider, broker_url: str = "") -> Runtime:
    """One with 400 messages that a slow provider takes, and nine with five for a quick one."""
    slow.seconds = 0.1
    runtime = _runtime(tmp_path, slow, 400, broker_url=broker_url)
    fill(runtime, 9, 5, "smtp", _sender(quick), first=2)
    return runtime


def _was_fair(runtime: Runtime, order: list[int]) -> None:
    # One worker for all: the slow one had the first turn, and each of the others one, before it has the next.
    assert order[:10] == list(range(1, 11))
    assert [_states(runtime.db, shop_id) for shop_id in range(2, 11)] == [{"accepted": 5}] * 9
    assert _states(runtime.db)["planned"] > _states(runtime.db)["accepted"] > 0


@pytest.mark.slow
def test_slow_provider_of_one_shop_keeps_no_other_waiting(
    tmp_path: Path, provider: Provider, quick: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = _ten_shops(tmp_path, provider, quick)
    monkeypatch.setattr(turns, "TURN", timedelta(seconds=1))
    order: list[int] = []
    work = queues.work

    def noted(*told: Any) -> bool:
        order.append(told[2])
        return work(*told)

    monkeypatch.setattr(queues, "work", noted)
    queue = Queue(runtime, workers=1)
    for shop_id in range(1, 11):
        queue.enqueue("tick", shop_id)
    _until(lambda: quick.taken.total() == 45)
    queue.close()
    _was_fair(runtime, order)
    runtime.close()


# A worker of one process, with turns of a second; it notes whose turn begins.
_WORKER = """
import sys
from datetime import timedelta
from crm_plugin.config import load_config
from crm_plugin.jobs import turns, worker
turns.TURN = timedelta(seconds=1)
work = worker.work
def noted(*told):
    with open(sys.argv[1], "a") as file:
        print(told[2], file=file)
    return work(*told)
worker.work = noted
worker.Worker(load_config(), 1, "short").run()
"""


@pytest.mark.slow
def test_nor_does_it_over_a_broker(tmp_path: Path, provider: Provider, quick: Provider, redis: Broker) -> None:
    runtime = _ten_shops(tmp_path, provider, quick, redis.url)
    queue, noted = RemoteQueue(runtime), tmp_path / "order"
    assert all(queue.enqueue("tick", shop_id) for shop_id in range(1, 11))
    env = environment(tmp_path, CRM_DATA_DIR=str(tmp_path), CRM_BROKER_URL=redis.url, CRM_PUBLIC_URL="https://crm.test")
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen([sys.executable, "-c", _WORKER, str(noted)], env=env, stdout=log, stderr=log)
    try:
        # The one with much has its second turn when all others have had theirs.
        _until(lambda: noted.exists() and len(noted.read_text().split()) > 10)
    finally:
        worker.terminate()
        assert worker.wait(60) == 0
    _was_fair(runtime, [int(shop_id) for shop_id in noted.read_text().split()])
    assert noted.read_text().split()[10] == "1"
    queue.close()
    runtime.close()
