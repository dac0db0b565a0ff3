"""What a command does about messages that ended badly."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.demo import mail_sink
from crm_plugin.runtime import Runtime
from crm_plugin.store import touchpoints
from tests.cli.conftest import LONG_AGO, Run, greet


@pytest.fixture
def two(run: Run, sink: mail_sink.MailSink) -> list[int]:
    """A shop with two messages that failed for good."""
    greet(run, sink)
    assert run("tick", "shop", "--at", "2026-06-02T09:00Z")[0] == 0
    return _set(state="failed", reason="permanent")


def _set(**values: Any) -> list[int]:
    runtime = Runtime.open()
    with runtime.db.write() as connection:
        connection.execute(update(touchpoints).values(**values))
        found = list(connection.execute(select(touchpoints.c.touchpoint_id)).scalars())
    runtime.close()
    return found


@pytest.mark.slow
def test_failed_go_again_one_by_one_or_all_and_the_unknown_only_when_sure(run: Run, two: list[int]) -> None:
    assert run("message", "again", "shop", "--reason", "permanent") == (0, {"again": 2})
    assert run("outbox", "shop", "--count")[1]["states"] == {"planned": 2}
    assert run("message", "cancel", "shop", str(two[0])) == (0, {"cancelled": 1})
    _set(state="unconfirmed")
    code, told = run("message", "again", "shop", str(two[0]))
    assert (code, told["error"]["field"]) == (1, "sure")
    assert run("message", "again", "shop", str(two[0]), "--sure") == (0, {"again": 1})
    assert run("message", "settle", "shop", "--all", "--not-sent") == (0, {"settled": 1})
    assert run("outbox", "shop", "--count")[1]["states"] == {"failed": 1, "planned": 1}


@pytest.mark.parametrize(
    "words", [("again",), ("again", "7", "--reason", "render"), ("settle", "7", "--all", "--sent")]
)
def test_one_or_all_has_to_be_said(run: Run, two: list[int], words: tuple[str, ...]) -> None:
    code, told = run("message", words[0], "shop", *words[1:])
    assert (code, told["error"]["field"]) == (1, "id")
    assert run("outbox", "shop", "--count")[1]["states"] == {"failed": 2}


def test_what_waits_is_told_by_sender(run: Run, two: list[int]) -> None:
    assert run("outbox", "shop", "--waiting") == (0, {"waiting": 0, "until": None, "senders": []})
    _set(state="planned", next_try_at=LONG_AGO)
    code, told = run("outbox", "shop", "--waiting")
    assert (code, told["waiting"], told["until"]) == (0, 2, None)
    assert [(one["adapter"], one["oldest_at"]) for one in told["senders"]] == [("smtp", LONG_AGO.isoformat())]
