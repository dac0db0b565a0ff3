"""`tiers writeback`: switched on, written, checked; a process that is killed while the store is asked leaves nothing undone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from crm_plugin.adapters.storefronts.base import Allowance
from crm_plugin.adapters.storefronts.woocommerce import WooCommerceStorefront
from crm_plugin.demo.server import ServedShop, Trouble, serve
from crm_plugin.demo.shop import generate
from crm_plugin.records import MemberRecord, Stream
from crm_plugin.runtime import Runtime
from tests.cli.conftest import Run, Spoken

PROGRAM = "tiers:\n- {key: silver, title: {en: Silver}, rule: orders() >= 1}\n"
NOTHING = {"states": {}, "recovered": 0, "calls": 0, "stopped": ""}


@pytest.fixture
def served() -> Iterator[ServedShop]:
    with serve(generate(seed=4, members=30, years=1, until=date(2026, 6, 1))) as running:
        yield running


@pytest.fixture
def shop(run: Run, served: ServedShop, tmp_path: Path) -> Run:
    """A store in step in which all who ordered hold silver."""
    (tmp_path / "program.yaml").write_text(PROGRAM, encoding="utf-8")
    keys = ("--key", served.key, "--secret", served.secret)
    assert run("shop", "add", "s", "--platform", "woocommerce", "--url", served.url, *keys)[0] == 0
    assert run("sync", "s")[0] == 0
    assert run("program", "load", "s", str(tmp_path / "program.yaml"))[0] == 0
    assert run("tiers", "apply", "s")[0] == 0
    return run


def _storefront(served: ServedShop) -> WooCommerceStorefront:
    return WooCommerceStorefront({"url": served.url, "key": served.key, "secret": served.secret})


def _marks(served: ServedShop) -> dict[str, str]:
    storefront = _storefront(served)
    records = [record for page in storefront.pages(Stream.MEMBERS, "") for record in page.records]
    storefront.close()
    return {one.external_id: one.marks["main"] for one in records if isinstance(one, MemberRecord) and one.marks}


@pytest.mark.slow
def test_on_write_check_off(shop: Run, served: ServedShop) -> None:
    code, found = shop("tiers", "writeback", "s")
    assert (code, found["possible"], found["enabled"], sum(found["states"].values())) == (0, True, False, 0)
    code, found = shop("tiers", "writeback", "s", "--on", "--run")
    written = found["states"]["written"]
    assert (code, found["run"]["states"]["written"]) == (0, written)
    assert len(_marks(served)) == written > 5
    assert shop("tiers", "writeback", "s", "--run")[1]["run"] == NOTHING
    one = next(iter(_marks(served)))
    storefront = _storefront(served)
    storefront.client.bring(f"customers/{one}", {"meta_data": [{"key": "crm_tier_main", "value": None}]})
    storefront.close()
    code, found = shop("tiers", "writeback", "s", "--verify")
    assert (code, found["changed_in_store"], found["run"]["states"], found["put_back"]) == (0, 1, {"written": 1}, 1)
    assert len(_marks(served)) == written
    assert shop("tiers", "writeback", "s", "--off")[1]["enabled"] is False


@pytest.mark.slow
def test_what_must_be_done_is_said(shop: Run, served: ServedShop, say: Callable[..., Spoken]) -> None:
    served.may_write = False
    told = say("tiers", "writeback", "s", "--on")
    assert (told.code, "Read/Write" in told.err) == (1, True)
    served.may_write = True
    assert "on; " in say("tiers", "writeback", "s", "--on").out
    served.may_write = False
    told = say("tiers", "writeback", "s", "--run")
    assert (told.code, "stopped: The key may not do this" in told.err) == (1, True)
    assert "levels do not reach the store: The key may not do this" in say("doctor").out
    served.may_write = True
    told = say("tiers", "writeback", "s", "--retry", "--run")
    assert (told.code, told.err) == (0, "")
    assert "written" in told.out


def test_day_that_is_used_up_is_told(shop: Run, say: Callable[..., Spoken], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WooCommerceStorefront, "tier_allowance", lambda _: Allowance(1, "UTC"))
    told = say("tiers", "writeback", "s", "--on", "--run")
    assert "As many levels were written as may be in one day." in told.out
    assert told.code == 0
    assert "00:00Z: As many levels were written as may be in one day. They go on by themselves." in say("doctor").out


def test_file_shop_is_refused(run: Run, say: Callable[..., Spoken]) -> None:
    words = ("shop", "add", "f", "--platform", "csv", "--currency", "EUR", "--timezone", "UTC")
    assert run(*words)[0] == 0
    told = say("tiers", "writeback", "f", "--on")
    assert (told.code, "CSV files cannot hold a member's level." in told.err) == (1, True)
    assert say("tiers", "writeback", "f").out == "This store cannot hold levels.\n"
    assert say("tiers", "writeback", "f", "--verify").code == 1


@pytest.mark.slow
@pytest.mark.parametrize("done", [False, True])
def test_killed_while_the_store_is_asked(shop: Run, served: ServedShop, data_dir: Path, done: bool) -> None:
    assert shop("tiers", "writeback", "s", "--on")[0] == 0
    asked, gone = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> Trouble | None:
        if path != "customers/batch":
            return None
        asked.set()
        gone.wait(30)
        return Trouble(0, after=done)

    served.trouble = hold
    environment: dict[str, Any] = {**os.environ, "CRM_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "crm_plugin", "tiers", "writeback", "s", "--run"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert asked.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    gone.set()
    served.trouble = None
    states = shop("tiers", "writeback", "s", "--run")[1]["states"]
    assert (states["in_flight"] > 5, states["written"]) == (True, 0)
    runtime = Runtime.open()
    with runtime.db.write() as connection:
        # The lease runs out.
        connection.exec_driver_sql("UPDATE tier_writebacks SET claimed_until = 1 WHERE state = 'in_flight'")
    runtime.close()
    found = shop("tiers", "writeback", "s", "--run")[1]
    assert (found["run"]["recovered"], found["states"]["written"]) == (states["in_flight"], states["in_flight"])
    assert len(_marks(served)) == states["in_flight"]
