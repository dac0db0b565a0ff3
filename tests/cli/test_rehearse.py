"""`rehearse` as a merchant's developer types it."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crm_plugin.cli import rehearsing
from crm_plugin.clock import SystemClock
from crm_plugin.demo import mail_sink
from crm_plugin.errors import InvalidInput
from crm_plugin.rehearsal.scratch import copied
from tests.cli.conftest import Run, Spoken, greet


@pytest.fixture
def shop(run: Run, sink: mail_sink.MailSink, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Two members with a birthday on 2 June; it is the 10th."""
    monkeypatch.setenv("CRM_PUBLIC_URL", "https://crm.example")
    monkeypatch.setattr(SystemClock, "now", lambda _self: datetime(2026, 6, 10, 12, tzinfo=UTC))
    greet(run, sink)
    return run


@pytest.mark.slow
def test_past_days_of_one_journey(shop: Run, sink: mail_sink.MailSink) -> None:
    words = ("rehearse", "shop", "birthday", "--from", "2026-06-01", "--to", "2026-06-03", "--member", "m1@x.test")
    code, told = shop(*words, "--rate", "email=60")
    assert (code, told["messages"], told["held_back"], told["cost"]) == (0, 2, 0, "0")
    assert told["sends"] == [{"on": "2026-06-02", "journey": "birthday", "channel": "email", "messages": 2, "parts": 0}]
    (contact,) = told["contacts"]
    assert (contact["at"], contact["due_on"], contact["state"]) == (
        "2026-06-02T10:00:00+02:00",
        "2026-06-02",
        "accepted",
    )
    assert told["loads"][0]["done_at"] == "2026-06-02T10:02:00+02:00"
    assert sink.messages == []
    assert shop("outbox", "shop") == (0, [])


@pytest.mark.slow
def test_words_for_a_person(shop: Run, say: Callable[..., Spoken]) -> None:
    told = say("rehearse", "shop", "--from", "2026-06-02", "--to", "2026-06-02")
    assert told.code == 0
    assert told.out.splitlines()[:2] == [
        "shop, all journeys that are on, 2026-06-02 to 2026-06-02 (Europe/Berlin): 2 messages to 2 members; 0 held back.",
        f"Tue 2026-06-02          2  {'█' * 24}  birthday by email 2",
    ]
    assert told.err == ""
    none = say("rehearse", "shop", "--from", "2026-05-20", "--to", "2026-05-20", "--member", "m1@x.test").out
    at = none.splitlines().index("What members get:")
    assert none.splitlines()[at + 1].endswith(
        "  nothing, and nothing was held back: no journey had an occasion for them"
    )


@pytest.mark.parametrize(
    ("words", "days"),
    [
        ((), ("2026-06-10", "2026-07-09")),
        (("--from", "2026-06-12"), ("2026-06-12", "2026-07-11")),
        (("--from", "2026-06-03"), ("2026-06-03", "2026-06-09")),
        (("--from", "2026-04-01"), ("2026-04-01", "2026-04-30")),
        (("--to", "2026-06-11"), ("2026-06-10", "2026-06-11")),
    ],
)
def test_days_that_are_not_named(
    shop: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], days: tuple[str, str]
) -> None:
    asked: list[Any] = []

    def play(_runtime: Any, _shop: Any, ask: Any, progress: Any) -> Any:
        asked.append(ask)
        raise InvalidInput("Enough.", hint="It was asked.")

    monkeypatch.setattr(rehearsing, "play", play)
    assert shop("rehearse", "shop", *words)[0] == 1
    assert (str(asked[0].first), str(asked[0].last)) == days


def test_stopped_by_hand_it_says_so(shop: Run, say: Callable[..., Spoken], monkeypatch: pytest.MonkeyPatch) -> None:
    def play(*_what: Any, **_how: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(rehearsing, "play", play)
    told = say("rehearse", "shop")
    assert (told.code, told.out, told.err) == (130, "", "Stopped. A rehearsal leaves nothing behind.\n")


def test_killed_politely_it_leaves_nothing_behind(
    shop: Run, say: Callable[..., Spoken], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def play(runtime: Any, there: Any, *_what: Any, **_how: Any) -> Any:
        with copied(runtime.db, there.shop_id, lambda *_: None):
            assert len(list(tmp_path.glob("crm-rehearsal-*"))) == 1
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("it goes on")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(rehearsing, "play", play)
    assert say("rehearse", "shop").code == 128 + signal.SIGTERM
    assert list(tmp_path.glob("crm-rehearsal-*")) == []
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "There is no journey 'nothing'."),
        (("--from", "2026-06-04", "--to", "2026-06-03"), "--to: The rehearsal ends before it begins: 2026-06-04 to"),
        (("--from", "2020-06-04", "--to", "2020-06-05"), "--from: 2020-06-04 to 2020-06-05 is too far from today."),
        (("--from", "2026-06-04", "--to", "2027-06-05"), "--to: 367 days are too many."),
        (("--from", "soon"), "--from: 'soon' is not a day."),
        (("--sms-price", "cheap"), "--sms-price: 'cheap' is no amount."),
        (("--sms-price", "-1"), "--sms-price: A part of a text message cannot cost -1."),
        (("--rate", "email"), "--rate: 'email' is no rate."),
        (("--rate", "fax=9"), "--rate: fax=9 is no rate."),
        (("--outage", "2026-06-04T10:00", "2026-06-04T09:00"), "--outage: An outage ends before it begins."),
        (("--member", "nobody@x.test"), "nobody@x.test"),
    ],
)
def test_refusals_name_what_is_wrong(shop: Run, words: tuple[str, ...], said: str) -> None:
    code, told = shop("rehearse", "shop", *words)
    assert code == 1
    assert said in told["error"]["message"]
    assert told["error"]["hint"]
