"""What a process that sends does not load, and what it does not leave lying about: each of these takes megabytes of every worker."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crm_plugin.store import touchpoints
from crm_plugin.store.base import unindexed
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import senders
from tests.factories import make_shop

# All that a worker needs to plan and to send mails.
_SENDING = (
    "crm_plugin.runtime",
    "crm_plugin.touchpoints.plan",
    "crm_plugin.touchpoints.dispatch",
    "crm_plugin.adapters.channels.smtp",
)


def _loaded(*names: str, then: str = "") -> frozenset[str]:
    """The modules of a process of its own that has loaded these, and done something."""
    lines = [*(f"import {name}" for name in names), then, "import sys; print(*sys.modules)"]
    told = subprocess.run([sys.executable, "-c", "\n".join(lines)], stdout=subprocess.PIPE, text=True, check=True)
    return frozenset(told.stdout.split())


@pytest.fixture(scope="module")
def loaded() -> frozenset[str]:
    """The modules of a process that is ready to plan and to send mails."""
    return _loaded(*_SENDING)


@pytest.mark.parametrize(
    "name",
    [
        "requests",
        "urllib3",
        "http.client",
        "cryptography",
        "yaml",
        "platformdirs",
        "html",
        "babel.dates",
        "css_inline",
        "sqlalchemy.dialects.postgresql",
        "crm_plugin.touchpoints.steps.engine",
        "crm_plugin.touchpoints.steps.checks",
        "crm_plugin.touchpoints.steps.stock",
        "crm_plugin.rules.evaluate",
    ],
)
def test_what_mails_do_not_need_is_not_loaded(loaded: frozenset[str], name: str) -> None:
    assert "crm_plugin.adapters.channels.smtp.flow" in loaded
    assert name not in loaded


# What a worker does every minute, of the only shop.
_ROUND = """
from crm_plugin.runtime import Runtime
with (runtime := Runtime.open()).db.read() as connection:
    shop = crm_plugin.store.tenants.all_shops(connection)[0]
assert not crm_plugin.rounds.tick(runtime, shop, runtime.clock.now()).errors
"""


def test_a_round_loads_no_adapter_that_the_shop_does_not_use(
    sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
    box, told = SecretBox("A" * 43 + "="), {"host": "mail.example", "from_address": "shop@lantern.example"}
    senders.save_connection(sqlite_db, box, shop, "smtp", told, datetime(2026, 5, 1, tzinfo=UTC), probe=False)
    monkeypatch.setenv("CRM_DATABASE_URL", str(sqlite_db.engine.url))
    monkeypatch.setenv("CRM_SECRET_KEY", "A" * 43 + "=")
    monkeypatch.setenv("CRM_DATA_DIR", str(tmp_path))
    found = _loaded("crm_plugin.jobs.tasks", "crm_plugin.store.tenants", then=_ROUND)
    assert "crm_plugin.adapters.channels.smtp" in found
    assert not found & {
        "requests",
        "crm_plugin.adapters.channels.twilio",
        "crm_plugin.adapters.storefronts.woocommerce",
    }


def test_the_benchmark_of_sending_measures_a_worker_alone() -> None:
    found = _loaded("benchmarks.sending_worker")
    assert not found & {"benchmarks.data", "benchmarks.mail_server", "crm_plugin.sync", "yaml"}


def test_a_column_without_its_index_is_made_once() -> None:
    assert unindexed(touchpoints.c.state) is unindexed(touchpoints.c.state)
    assert unindexed(touchpoints.c.state) is not unindexed(touchpoints.c.due_at)


def test_a_connection_to_sqlite_keeps_no_more_than_four_megabytes(sqlite_db: Database) -> None:
    with sqlite_db.read() as connection:
        assert connection.exec_driver_sql("PRAGMA cache_size").scalar() == -4096
