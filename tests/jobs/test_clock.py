"""The clock: it asks for every shop's jobs, and only for those that the shop has a use for."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from crm_plugin.adapters import registry
from crm_plugin.clock import FixedClock, SystemClock
from crm_plugin.config import Config
from crm_plugin.jobs import clock as clocks
from crm_plugin.jobs.clock import Clock
from crm_plugin.jobs.tasks import JOBS, job_named
from crm_plugin.jobs.work import work
from crm_plugin.records import StoreEventKind
from crm_plugin.runtime import Runtime
from crm_plugin.store import runs
from crm_plugin.store.runs import Run
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import UNINSTALLED, all_shops
from crm_plugin.sync import heard
from tests.factories import NOON, make_shop
from tests.sync.plain_store import PlainStore, event

# What is asked for by the hour of the night, or once a day, depends on the clock of the machine.
_NIGHTLY = {(job, shop) for job in ("prune", "reconcile") for shop in (1, 2)}


class _Asked:
    def __init__(self) -> None:
        self.calls: set[tuple[str, int]] = set()
        self.both = threading.Event()

    def enqueue(self, job: str, shop_id: int, **arguments: Any) -> bool:
        new = (job, shop_id) not in self.calls
        self.calls.add((job, shop_id))
        if len(self.calls) == 3:
            self.both.set()
        return new


@pytest.fixture
def runtime(sqlite_db: Database, tmp_path: Path) -> Runtime:
    with sqlite_db.write() as connection:
        make_shop(connection, 1)
        make_shop(connection, 2, platform="woocommerce", url="https://shop.example")
    return Runtime(Config("", tmp_path), sqlite_db, SecretBox(Fernet.generate_key()), SystemClock())


def test_each_job_is_asked_where_it_is_of_use(runtime: Runtime) -> None:
    asked = _Asked()
    clock = Clock(runtime, asked)
    assert [clock.ask(job_named("tick")), clock.ask(job_named("sync")), clock.ask(job_named("sync"))] == [2, 1, 0]
    assert asked.calls - _NIGHTLY == {("tick", 1), ("tick", 2), ("sync", 2)}


def test_clock_ticks_by_itself(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "_FIRST", clocks.timedelta(0))
    asked = _Asked()
    clock = Clock(runtime, asked)
    clock.start()
    try:
        assert asked.both.wait(20)
    finally:
        clock.stop()
        clock.stop()
    assert asked.calls - _NIGHTLY == {("tick", 1), ("tick", 2), ("sync", 2)}


def test_jobs_have_names_of_their_own_and_are_described() -> None:
    assert len({job.name for job in JOBS}) == len(JOBS)
    assert all(job.help for job in JOBS)
    readme = (Path(clocks.__file__).parent / "README.md").read_text(encoding="utf-8")
    for job in JOBS:
        asked = f"every {job.every_seconds} s" if job.every_seconds else "from the page"
        assert f"| `{job.name}` | {asked} |" in readme


def test_store_that_refuses_us_is_asked_once_an_hour(sqlite_db: Database, tmp_path: Path) -> None:
    with sqlite_db.write() as connection:
        make_shop(connection, 1, platform="woocommerce", status="action_required")
        make_shop(connection, 2, platform="woocommerce")
    now = FixedClock(datetime(2026, 6, 1, 12, tzinfo=UTC))
    clock = Clock(Runtime(Config("", tmp_path), sqlite_db, SecretBox(Fernet.generate_key()), now), _Asked())
    assert clock.ask(job_named("sync")) == 2
    with sqlite_db.write() as connection:
        for shop_id in (1, 2):
            runs.keep(connection, shop_id, Run("sync", now.now(), now.now(), {}, "The key was revoked."))
    for minutes, shops in ((59, {("sync", 2), ("tick", 1), ("tick", 2)}), (1, {("sync", 1), ("sync", 2)})):
        now.move(minutes=minutes)
        asked = _Asked()
        again = Clock(Runtime(Config("", tmp_path), sqlite_db, SecretBox(Fernet.generate_key()), now), asked)
        again.ask(job_named("sync"))
        if minutes == 59:
            again.ask(job_named("tick"))
        assert asked.calls == shops


def test_shop_without_its_app_is_left_alone_but_for_what_the_law_asks(
    sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_foreign", lambda: {"plain": PlainStore})
    runtime = Runtime(Config("", tmp_path), sqlite_db, SecretBox("A" * 43 + "="), FixedClock(NOON))
    with sqlite_db.write() as connection:
        shop = make_shop(connection, platform="plain", status=UNINSTALLED)
    asked = _Asked()
    clock = Clock(runtime, asked)
    assert [clock.ask(job) for job in JOBS] == [0] * len(JOBS)
    heard.keep(sqlite_db, shop, [event("", StoreEventKind.ERASE_SHOP, None)], NOON)
    assert clock.ask(job_named("follow")) == 1
    work(runtime, job_named("follow"), shop.shop_id, {}, lambda _progress: None)
    with sqlite_db.read() as connection:
        assert all_shops(connection) == []
