"""What a process that sends does not load, and what it does not leave lying about: each of these takes megabytes of every worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from crm_plugin.store import touchpoints
from crm_plugin.store.base import unindexed
from crm_plugin.store.session import Database

# All that a worker needs to plan and to send mails.
_SENDING = (
    "crm_plugin.runtime",
    "crm_plugin.touchpoints.plan",
    "crm_plugin.touchpoints.dispatch",
    "crm_plugin.adapters.channels.smtp",
)


def _loaded(*names: str) -> frozenset[str]:
    """The modules of a process of its own that has loaded these."""
    lines = [*(f"import {name}" for name in names), "import sys; print(*sys.modules)"]
    told = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
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


def test_the_benchmark_of_sending_measures_a_worker_alone() -> None:
    found = _loaded("benchmarks.sending_worker")
    assert not found & {"benchmarks.data", "benchmarks.mail_server", "crm_plugin.sync", "yaml"}


def test_a_column_without_its_index_is_made_once() -> None:
    assert unindexed(touchpoints.c.state) is unindexed(touchpoints.c.state)
    assert unindexed(touchpoints.c.state) is not unindexed(touchpoints.c.due_at)


def test_a_connection_to_sqlite_keeps_no_more_than_four_megabytes(sqlite_db: Database) -> None:
    with sqlite_db.read() as connection:
        assert connection.exec_driver_sql("PRAGMA cache_size").scalar() == -4096
