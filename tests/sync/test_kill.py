"""A real `crm-plugin sync` killed in the middle, and a store that goes away and comes back: what is pulled is the same in the end."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from crm_plugin.demo import woo_lists
from crm_plugin.demo.server import ServedShop, serve
from crm_plugin.demo.shop import DemoShop, generate
from crm_plugin.errors import TransientError
from crm_plugin.store import member_consents, member_facts, members, migrate, order_lines, orders, products, refunds
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import shop_named
from crm_plugin.sync import batch, facts
from crm_plugin.sync.connect import add_shop, open_storefront
from crm_plugin.sync.pull import sync_shop
from tests.factories import NOON

pytestmark = pytest.mark.slow
BOX = SecretBox("A" * 43 + "=")
# Ten pages are written at a time then, for none waits longer.
PAUSE = batch.SECONDS / 10


@pytest.fixture(scope="module")
def made() -> DemoShop:
    return generate(seed=5, members=1200, years=2, until=date(2026, 11, 24))


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A store that takes its time over each page of orders, so that there is a middle to be killed in; called, it hurries."""
    quick = woo_lists.Table.page

    def slow(table: woo_lists.Table, params: Any, parent: int | None = None) -> woo_lists.Found:
        time.sleep(PAUSE if params.get("orderby") == "modified" else 0)
        return quick(table, params, parent)

    monkeypatch.setattr(woo_lists.Table, "page", slow)
    return monkeypatch.undo


def _told(database: Database) -> dict[str, Any]:
    """All that was pulled, told without our own ids."""
    owner = orders.outerjoin(
        members, (members.c.shop_id == orders.c.shop_id) & (members.c.member_id == orders.c.member_id)
    )
    with database.read() as connection:
        kept = connection.execute(
            select(orders.c.external_id, orders.c.fingerprint, members.c.external_id, members.c.email).select_from(
                owner
            )
        )
        sums = select(
            func.count(), func.sum(member_facts.c.orders_count), func.sum(member_facts.c.spent_minor)
        ).select_from(member_facts)
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table))
            for table in (members, order_lines, products, member_consents)
        }
        shop = shop_named(connection, "demo")
        assert facts.recount(connection, shop.shop_id) == []
        return {
            "orders": sorted(map(tuple, kept)),
            "refunds": sorted(map(tuple, connection.execute(select(refunds.c.external_id, refunds.c.amount_minor)))),
            "facts": tuple(connection.execute(sums).one()),
            **counts,
        }


def _pulled_at_once(folder: Path, served: ServedShop) -> dict[str, Any]:
    database = Database.at(f"sqlite:///{folder / 'whole.sqlite3'}")
    migrate.upgrade(database.engine)
    keys = {"key": served.key, "secret": served.secret}
    shop = add_shop(database, BOX, name="demo", platform="woocommerce", credentials=keys, url=served.url, now=NOON)
    storefront = open_storefront(database, BOX, shop)
    sync_shop(database, shop, storefront, now=NOON)
    storefront.close()
    told = _told(database)
    database.dispose()
    return told


def test_killed_sync_goes_on_to_the_same_rows(made: DemoShop, tmp_path: Path, hurry: Callable[[], None]) -> None:
    environment = {**os.environ, "CRM_DATA_DIR": str(tmp_path / "data")}
    environment.pop("CRM_DATABASE_URL", None)
    path = tmp_path / "data" / "crm.sqlite3"
    with serve(made) as served:
        command = [sys.executable, "-m", "crm_plugin"]
        add = ["shop", "add", "demo", "--platform", "woocommerce", "--url", served.url]
        subprocess.run([*command, *add, "--key", served.key, "--secret", served.secret], env=environment, check=True)
        for _ in range(2):
            before = _orders(path)
            process = subprocess.Popen(
                [*command, "sync", "demo"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while process.poll() is None and _orders(path) == before:
                time.sleep(0.005)
            # Until a page or two are read that are not yet written.
            time.sleep(2 * PAUSE)
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert before < _orders(path) < len(made.orders)
        hurry()
        subprocess.run([*command, "sync", "demo"], env=environment, check=True, stdout=subprocess.DEVNULL)
        calls = served.calls.total()
        whole = _pulled_at_once(tmp_path, served)
        # Each kill cost a page or two, not a beginning anew.
        assert calls < (served.calls.total() - calls) * 1.6
    database = Database.at(f"sqlite:///{path}")
    assert _told(database) == whole
    database.dispose()
    assert len(whole["orders"]) == len(made.orders)


def _orders(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path, timeout=5)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM orders").fetchone()[0])


def test_store_that_went_away_is_gone_on_with(made: DemoShop, tmp_path: Path, hurry: Callable[[], None]) -> None:
    database = Database.at(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    migrate.upgrade(database.engine)
    seen: list[int] = []

    class Gone(Exception):
        pass

    with serve(made) as served:
        port = int(served.url.rpartition(":")[2])
        keys = {"key": served.key, "secret": served.secret}
        shop = add_shop(database, BOX, name="demo", platform="woocommerce", credentials=keys, url=served.url, now=NOON)
        storefront = open_storefront(database, BOX, shop)
        storefront.client.attempts = 2  # type: ignore[attr-defined]
        storefront.client._sleep = lambda _: None  # type: ignore[attr-defined]

        def note(progress: Any) -> None:
            if progress.stream == "orders":
                seen.append(progress.done)
                raise Gone

        with pytest.raises(Gone):
            sync_shop(database, shop, storefront, now=NOON, progress=note)
    hurry()
    # Nobody answers at that port now.
    with pytest.raises(TransientError, match="cannot be reached"):
        sync_shop(database, shop, storefront, now=NOON)
    with serve(made, port, **keys) as served:
        report = sync_shop(database, shop, storefront, now=NOON)
        assert 0 < report.streams["orders"].written.new < len(made.orders)
        assert _told(database) == _pulled_at_once(tmp_path, served)
        assert sync_shop(database, shop, storefront, now=NOON).rows == 0
    storefront.close()
    database.dispose()
