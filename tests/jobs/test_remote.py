"""Jobs over a real broker: real workers and a real clock, which may die at any time, and so may the broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crm_plugin.config import load_config
from crm_plugin.errors import ConfigError, TransientError
from crm_plugin.jobs.remote import LONG, SHORT, RemoteQueue
from crm_plugin.runtime import Runtime
from crm_plugin.store import leases, migrate
from tests.brokers import Broker, RabbitMQ, Redis, free_port
from tests.chaos.programs import children_of
from tests.factories import make_shop

SHOPS = (1, 2)


def _runtime(tmp_path: Path, broker_url: str) -> Runtime:
    config = load_config({"CRM_DATA_DIR": str(tmp_path), "CRM_BROKER_URL": broker_url})
    runtime = Runtime.open(config)
    migrate.upgrade(runtime.db.engine)
    with runtime.db.write() as connection:
        for shop_id in SHOPS:
            make_shop(connection, shop_id)
    return runtime


@contextmanager
def _process(runtime: Runtime, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "CRM_DATA_DIR": str(runtime.config.data_dir),
        "CRM_BROKER_URL": runtime.config.broker_url,
    }
    with (runtime.config.data_dir / f"{words[0]}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "crm_plugin", *words],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(params=[Redis, pytest.param(RabbitMQ, marks=pytest.mark.slow)], ids=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """A real broker of each kind."""
    found = request.getfixturevalue("redis" if request.param is Redis else "rabbitmq")
    assert isinstance(found, Broker)
    return found


@pytest.mark.slow
def test_clock_asks_and_workers_work(broker: Broker, tmp_path: Path) -> None:
    runtime = _runtime(tmp_path, broker.url)
    queue = RemoteQueue(runtime)
    # Two workers of one machine, as the README has them.
    short, long = (("worker", "--processes", "1", "--jobs", kind) for kind in ("short", "long"))
    with _process(runtime, *short) as first, _process(runtime, *long) as second, _process(runtime, "clock") as clock:
        queue.enqueue("recount", 1)
        asked = [("tick", 1), ("tick", 2), ("recount", 1)]
        assert _until(lambda: all(queue.last(shop, job) is not None for job, shop in asked)), _logs(tmp_path)
        assert all(queue.last(shop, job).ok for job, shop in asked)  # type: ignore[union-attr]
        for process in (clock, first, second):
            process.terminate()
            assert process.wait(30) == 0, _logs(tmp_path)
    with runtime.db.read() as connection:
        assert [leases.held(connection, shop, runtime.clock.now()) for shop in (0, *SHOPS)] == [[], [], []]
    runtime.close()


@pytest.mark.slow
def test_processes_killed_while_a_worker_begins_are_replaced(redis: Redis, tmp_path: Path) -> None:
    runtime = _runtime(tmp_path, redis.url)
    queue = RemoteQueue(runtime)
    with _process(runtime, "worker", "--processes", "2") as worker:
        # It begins both before it speaks to its broker.
        assert _until(lambda: len(children_of(worker.pid)) == 2 or worker.poll() is not None), _logs(tmp_path)
        killed = children_of(worker.pid)
        for process in killed:
            os.kill(process, signal.SIGKILL)
        queue.enqueue("recount", 1)
        assert _until(lambda: queue.last(1, "recount") is not None or worker.poll() is not None), _logs(tmp_path)
        assert worker.poll() is None, _logs(tmp_path)
        assert _until(lambda: len(set(children_of(worker.pid)) - set(killed)) == 2)
    queue.close()
    runtime.close()


def _logs(folder: Path) -> str:
    return "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in folder.glob("*.log"))


@pytest.mark.slow
def test_job_is_handed_over_once(broker: Broker, tmp_path: Path) -> None:
    runtime = _runtime(tmp_path, broker.url)
    queue = RemoteQueue(runtime)
    asked = [queue.enqueue("tick", 1), queue.enqueue("tick", 1), queue.enqueue("tick", 2), queue.enqueue("recount", 1)]
    assert asked == [True, False, True, True]
    assert [(one.job, one.started) for one in queue.running(1)] == [("tick", False), ("recount", False)]
    with queue._app.connection_or_acquire() as connection:
        assert [_emptied(connection.SimpleQueue(name)) for name in (SHORT, LONG)] == [2, 1]
    queue.close()
    runtime.close()


def _emptied(queue: object) -> int:
    found = 0
    while True:
        try:
            queue.get(timeout=1).ack()  # type: ignore[attr-defined]
        except queue.Empty:  # type: ignore[attr-defined]
            return found
        found += 1


@pytest.mark.slow
def test_broker_that_is_away_takes_nothing_and_holds_nothing(tmp_path: Path) -> None:
    runtime = _runtime(tmp_path, f"redis://127.0.0.1:{free_port()}/0")
    queue = RemoteQueue(runtime)
    for _ in range(2):
        with pytest.raises(TransientError, match="broker"):
            queue.enqueue("tick", 1)
    assert queue.running(1) == []
    runtime.close()


@pytest.mark.parametrize("url", ["http://here", "sqlite:///x", "redis"])
def test_broker_of_another_kind_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="CRM_BROKER_URL"):
        load_config({"CRM_DATA_DIR": str(tmp_path), "CRM_BROKER_URL": url})
