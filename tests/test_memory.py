"""What a process that sends does not load: each of these takes megabytes of every worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

# All that a worker needs to plan and to send mails, and a database of SQLite.
_SENDING = ("crm_plugin.touchpoints.plan", "crm_plugin.touchpoints.dispatch", "crm_plugin.adapters.channels.smtp")
_OPEN = "from crm_plugin.store.session import Database; Database.at('sqlite://').engine.connect()"


@pytest.fixture(scope="module")
def loaded() -> frozenset[str]:
    """The names of the modules of a process that is ready to plan and to send mails."""
    lines = [*(f"import {name}" for name in _SENDING), _OPEN, "import sys; print(*sys.modules)"]
    told = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    return frozenset(told.stdout.split())


@pytest.mark.parametrize("name", ["requests", "urllib3", "http.client", "cryptography.hazmat.primitives.serialization"])
def test_what_mails_do_not_need_is_not_loaded(loaded: frozenset[str], name: str) -> None:
    assert "crm_plugin.adapters.channels.smtp.flow" in loaded
    assert name not in loaded
