"""The queue: one job of a kind for each shop, shops in turn, nothing that goes wrong stops the others, and how it went is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from crm_plugin.clock import FixedClock
from crm_plugin.config import Config
from crm_plugin.errors import ActionRequired
from crm_plugin.jobs import queue as queues
from crm_plugin.jobs.queue import Queue
from crm_plugin.jobs.tasks import JOBS, Job
from crm_plugin.runtime import Runtime
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.sync.pull import Progress
from tests.factories import make_shop


@pytest.fixture
def runtime(sqlite_db: Database, clock: FixedClock, tmp_path: Path) -> Runtime:
    with sqlite_db.write() as connection:
        for shop_id in (1, 2, 3):
            make_shop(connection, shop_id)
    return Runtime(Config("", tmp_path), sqlite_db, SecretBox(Fernet.generate_key()), clock)


class _Gate:
    """A job that waits until it is let go, and remembers whom it ran for."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.began = threading.Semaphore(0)
        self.ran: list[int] = []

    def run(
        self, _runtime: Runtime, shop: Any, *, now: Any, progress: Any, fail: str = "", again: bool = False
    ) -> dict[str, Any]:
        first = shop.shop_id not in self.ran
        self.ran.append(shop.shop_id)
        progress(Progress("orders", 3, 9))
        self.began.release()
        assert self.open.wait(10)
        if fail == "ours":
            raise ActionRequired("The key was revoked.", hint="Make a new one.")
        if fail:
            raise RuntimeError(fail)
        return {"rows": 1, "at": now} | ({"again": first} if again else {})


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> _Gate:
    found = _Gate()
    jobs = {job.name: replace(job, run=found.run) for job in JOBS} | {"other": Job("other", "", 0, found.run)}
    monkeypatch.setattr(queues, "_JOBS", jobs)
    return found


@pytest.fixture
def queue(runtime: Runtime, gate: _Gate) -> Iterator[Queue]:
    made = Queue(runtime, workers=1)
    yield made
    gate.open.set()
    made.close()


def test_same_job_of_a_shop_waits_once(queue: Queue, gate: _Gate) -> None:
    assert queue.enqueue("sync", 1) is True
    gate.began.acquire()
    assert [queue.enqueue("sync", 1), queue.enqueue("tick", 1), queue.enqueue("tick", 1)] == [False, True, False]
    gate.open.set()
    assert queue.wait()
    assert gate.ran == [1, 1]
    assert queue.enqueue("sync", 1) is True


def test_shops_take_turns(queue: Queue, gate: _Gate) -> None:
    queue.enqueue("sync", 1)
    gate.began.acquire()
    for job, shop_id in (("tick", 1), ("other", 1), ("sync", 2), ("tick", 2), ("sync", 3)):
        queue.enqueue(job, shop_id)
    gate.open.set()
    assert queue.wait()
    assert gate.ran == [1, 1, 2, 3, 1, 2]


def test_job_that_asks_again_lets_others_go_first(queue: Queue, gate: _Gate) -> None:
    queue.enqueue("tick", 1, again=True)
    gate.began.acquire()
    for shop_id in (2, 3):
        queue.enqueue("tick", shop_id)
    gate.open.set()
    assert queue.wait()
    assert gate.ran == [1, 2, 3, 1]


def test_progress_is_told_while_it_runs(queue: Queue, gate: _Gate) -> None:
    queue.enqueue("sync", 1)
    gate.began.acquire()
    queue.enqueue("tick", 1)
    assert [(one.job, one.label, one.done, one.total, one.started) for one in queue.running(1)] == [
        ("sync", "orders", 3, 9, True),
        ("tick", "", 0, None, False),
    ]
    assert queue.running(2) == []


@pytest.mark.parametrize(
    ("fail", "error"), [("ours", "The key was revoked. Make a new one."), ("oh", "RuntimeError: oh"), ("", "")]
)
def test_how_it_went_is_kept(queue: Queue, gate: _Gate, runtime: Runtime, fail: str, error: str) -> None:
    assert queue.last(1, "sync") is None
    gate.open.set()
    queue.enqueue("sync", 1, fail=fail)
    queue.enqueue("sync", 2)
    assert queue.wait()
    run = queue.last(1, "sync")
    assert run is not None
    assert (run.error, run.ok, run.finished_at) == (error, not error, runtime.clock.now())
    assert run.result == ({} if fail else {"rows": 1, "at": str(runtime.clock.now())})
    other = queue.last(2, "sync")
    assert other is not None
    assert other.ok


def test_shop_that_is_gone_stops_nothing(queue: Queue, gate: _Gate) -> None:
    gate.open.set()
    queue.enqueue("sync", 99)
    queue.enqueue("sync", 1)
    assert queue.wait()
    assert (gate.ran, queue.last(99, "sync")) == ([1], None)


def test_closing_leaves_what_waits(queue: Queue, gate: _Gate) -> None:
    queue.enqueue("sync", 1)
    gate.began.acquire()
    queue.enqueue("sync", 2)
    gate.open.set()
    queue.close()
    assert gate.ran == [1]
    assert queue.enqueue("sync", 3) is False


def test_long_jobs_leave_a_worker_free(runtime: Runtime, gate: _Gate) -> None:
    queue = Queue(runtime, workers=2)
    try:
        for shop_id in (1, 2):
            queue.enqueue("sync", shop_id)
        gate.began.acquire()
        queue.enqueue("tick", 3)
        gate.began.acquire()
        assert gate.ran == [1, 3]
    finally:
        gate.open.set()
    assert queue.wait()
    assert gate.ran == [1, 3, 2]
    queue.close()


class _Endless:
    """A job that goes on page by page until it is stopped, or for a while."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.closing = threading.Event()
        self.pages = 0

    def run(self, _runtime: Runtime, _shop: Any, *, now: Any, progress: Any) -> dict[str, Any]:
        self.began.set()
        assert self.closing.wait(10)
        for page in range(1, 4):
            self.pages = page
            progress(Progress("orders", page, None))
        return {"rows": self.pages}


@pytest.mark.parametrize(("job", "pages"), [("sync", 1), ("tick", 1), ("import_file", 3)])
def test_closing_stops_what_can_go_on_later(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, job: str, pages: int
) -> None:
    found = _Endless()
    monkeypatch.setattr(queues, "_JOBS", {one.name: replace(one, run=found.run) for one in JOBS})
    queue = Queue(runtime)
    queue.enqueue(job, 1)
    assert found.began.wait(10)
    queue.close(wait=False)
    found.closing.set()
    queue.close()
    assert found.pages == pages
    # What goes on later has not ended, so nothing is told of an end.
    assert (queue.last(1, job) is None) == (pages == 1)


def test_steps_that_went_wrong_are_kept(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> dict[str, Any]:
        return {"plan": {}, "errors": {"plan": "KeyError: 'x'", "tiers": "No such field."}}

    monkeypatch.setattr(queues, "_JOBS", {"tick": Job("tick", "", 60, run)})
    queue = Queue(runtime)
    queue.enqueue("tick", 1)
    assert queue.wait()
    queue.close()
    last = queue.last(1, "tick")
    assert last is not None
    assert (last.error, last.result["plan"]) == ("plan: KeyError: 'x'; tiers: No such field.", {})
