"""Memory: `serve` at rest against the usual parts of such a plugin, and while it reads a large store (Linux)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from cryptography.fernet import Fernet

from benchmarks import data, flask_peer
from benchmarks.harness import Options, Result, benchmark
from benchmarks.processes import held_mb
from benchmarks.store_server import store
from crm_plugin.clock import SystemClock
from crm_plugin.config import Config
from crm_plugin.jobs.tasks import add_shop
from crm_plugin.runtime import Runtime
from crm_plugin.store import migrate, runs
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import recipes

# What the processes do after their first job, before they rest.
_SETTLED_SECONDS = 3.0
_LOOK_SECONDS = 0.25
_MOST_MB = 300.0
# What a full cache and the collector's coming and going make of it; what grows with the orders is more.
_FLAT, _FULL = 1.15, 1_000_000
_LONGEST_SECONDS = 3_600.0


@benchmark("memory.idle")
def idle(options: Options) -> Iterator[Result]:
    """`serve` with pages, clock and two workers, a page looked at and a round done, and the peer's processes in the same state."""
    pause = _SETTLED_SECONDS if options.members >= 1_000 else 0.0
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder, ExitStack() as stack:
        url, key = f"sqlite:///{Path(folder) / 'memory.sqlite3'}", Fernet.generate_key().decode()
        database = _made(url)
        with database.write() as connection:
            shop = data.make_shop(connection)
            recipes.install(connection, shop, data.END)
        data.load(database, shop, data.member_pages(min(options.members, 10_000)))
        served = stack.enter_context(_serving(url, Path(folder), key))
        peers = stack.enter_context(_peers(Path(folder)))
        _wait_until(lambda: _run(database, shop.shop_id, "tick") is not None)
        # The page has noted one visit, what follows came by the clock and the worker.
        _wait_until(lambda: flask_peer.visits(Path(folder)) > 1)
        database.dispose()
        time.sleep(pause)
        ours, theirs = held_mb([served]), held_mb(peers)
    yield Result("memory: serve at rest", ours, theirs, "MB", 0.5, False, "Flask, Celery worker and beat")


@benchmark("memory.sync")
def sync(options: Options) -> Iterator[Result]:
    """`serve` while it reads as many orders as there are members, over HTTP: the most it holds, and whether that grows on the way."""
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder, ExitStack() as stack:
        served = stack.enter_context(store(max(options.members // 50, 50), options.seed, options.members))
        url, key = f"sqlite:///{Path(folder) / 'memory.sqlite3'}", Fernet.generate_key().decode()
        database = _made(url)
        runtime = Runtime(Config(url, Path(folder)), database, SecretBox(key), SystemClock())
        credentials = {"url": served.url, "key": "ck_bench", "secret": "cs_bench"}
        shop = add_shop(runtime, name="bench", platform="woocommerce", credentials=credentials)
        options.say(f"a store of {served.records}")
        ours = stack.enter_context(_serving(url, Path(folder), key))
        held: list[float] = []

        def is_read() -> bool:
            held.append(held_mb([ours]))
            return _run(database, shop.shop_id, "sync") is not None

        _wait_until(is_read)
        run = _run(database, shop.shop_id, "sync")
        database.dispose()
    assert run is not None
    assert not run.error, run.error
    detail = {"orders": served.records["orders"], "looked": len(held)}
    yield Result("memory: serve while it reads", max(held), _MOST_MB, "MB", 1.0, False, "300 MB", detail)
    half = len(held) // 2
    # A small store is read before the caches are full.
    budget = _FLAT if options.members >= _FULL else None
    yield Result(
        "memory: does it grow", max(held[half:]), max(held[:half]), "MB", budget, False, "its first half", detail
    )


def _made(url: str) -> Database:
    """A database as `serve` makes it."""
    database = Database.at(url)
    migrate.upgrade(database.engine)
    return database


def _run(database: Database, shop_id: int, job: str) -> runs.Run | None:
    with database.read() as connection:
        return runs.last(connection, shop_id, job)


def _wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + _LONGEST_SECONDS
    while not is_so():
        assert time.monotonic() < until, "it took too long"
        time.sleep(_LOOK_SECONDS)


@contextmanager
def _serving(url: str, folder: Path, key: str) -> Iterator[int]:
    """`crm-plugin serve` with its pages looked at once; its process."""
    environment = {**os.environ, "CRM_DATABASE_URL": url, "CRM_DATA_DIR": str(folder), "CRM_SECRET_KEY": key}
    with started([sys.executable, "-m", "crm_plugin", "serve", "--port", "0"], environment) as process:
        assert process.stdout is not None
        _look_at(process.stdout.readline().split()[-1])
        yield process.pid


@contextmanager
def _peers(folder: Path) -> Iterator[list[int]]:
    """The peer's three processes, its page looked at once."""
    with ExitStack() as stack:
        roles = [
            stack.enter_context(started([sys.executable, "-m", "benchmarks.flask_peer", role, str(folder)]))
            for role in ("web", "worker", "beat")
        ]
        assert roles[0].stdout is not None
        _look_at(roles[0].stdout.readline().strip())
        yield [process.pid for process in roles]


def _look_at(url: str) -> None:
    with urlopen(url) as answer:
        answer.read()


@contextmanager
def started(command: Sequence[str], environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process, killed with its children at the end."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    # A group of its own, so that its children end with it.
    process = subprocess.Popen(command, text=True, env=environment, start_new_session=True, **pipes)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
