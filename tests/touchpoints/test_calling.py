"""Calling slow senders: several at the same time, each message once, and the next ones made ready meanwhile."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.adapters.channels.base import Flow, Flowed
from crm_plugin.errors import ActionRequired
from crm_plugin.records import Message, SendResult
from crm_plugin.store import attempts
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import calling
from crm_plugin.touchpoints.calling import Called, Line, Pace, Ready
from crm_plugin.touchpoints.dispatch import DispatchReport, dispatch_shop
from tests.touchpoints.guarding import BOX, NOON, PUBLIC, Sent, journey, plant, rows, shop_with

_PEOPLE = 20


@dataclass
class Sender:
    """Takes its time; whoever calls after `well` calls is told that the key was revoked."""

    seconds: float = 4 * calling.QUICK
    well: int = 1_000
    called: list[str] = field(default_factory=list)
    in_the_air: int = 0
    most: int = 0
    lock: Any = field(default_factory=threading.Lock)
    parallel, most_a_minute, flow = 3, 0, staticmethod(lambda: None)

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        with self.lock:
            self.called.append(message.to)
            number = len(self.called)
            self.in_the_air += 1
            self.most = max(self.most, self.in_the_air)
        time.sleep(self.seconds)
        with self.lock:
            self.in_the_air -= 1
        if number > self.well:
            raise ActionRequired("The key was revoked.", adapter="smtp", operation="send")
        return SendResult(f"<{number}@x.test>")

    def close(self) -> None: ...


def _round(db: Database, sender: Sender) -> tuple[DispatchReport, list[int]]:
    """Send twenty messages; also how many calls were under way each time that a message was made ready."""
    shop = shop_with(db, _PEOPLE)
    journey(db, shop, "birthday")
    plant(db, "birthday")
    under_way: list[int] = []
    plain = Sent().ways()

    def compose(*told: Any) -> Any:
        under_way.append(sender.in_the_air)
        return plain.compose(*told)

    ways = replace(plain, compose=compose, open_channel=lambda *_, **__: sender)
    return dispatch_shop(db, BOX, shop, NOON, public_url=PUBLIC, ways=ways), under_way


def test_slow_sender_is_called_several_times_at_once(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "MOST", 4)
    sender = Sender()
    report, under_way = _round(sqlite_db, sender)
    assert dict(report.states) == {"accepted": _PEOPLE}
    assert sorted(sender.called) == sorted(f"m{n}@x.test" for n in range(_PEOPLE))
    assert sender.most == 3
    # Each was made ready once, and some of them while others were in the air.
    assert len(under_way) == _PEOPLE
    assert max(under_way) > 0
    with sqlite_db.read() as connection:
        tried = connection.execute(select(attempts.c.attempt_no, attempts.c.outcome)).all()
    assert [tuple(row) for row in tried] == [(1, "accepted")] * _PEOPLE


def test_what_was_made_ahead_does_not_leave_by_a_sender_that_rests(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "MOST", 4)
    sender = Sender(well=6)
    report, under_way = _round(sqlite_db, sender)
    assert report.states["accepted"] == 6
    assert len(sender.called) < len(under_way) < _PEOPLE
    assert {(row.state, row.attempts) for row in rows(sqlite_db)} == {("accepted", 1), ("planned", 1), ("planned", 0)}
    assert sum(row.attempts for row in rows(sqlite_db)) == len(sender.called)


def test_quick_sender_is_called_by_one(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # However busy the machine is.
    monkeypatch.setattr(calling, "QUICK", 60.0)
    sender = Sender(seconds=0)
    report, under_way = _round(sqlite_db, sender)
    assert (dict(report.states), sender.most, set(under_way)) == ({"accepted": _PEOPLE}, 1, {0})


def test_of_a_group_that_a_rate_has_room_for_in_part_that_part_leaves(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of one, two and four: of the last, two are left of the five a minute."""
    monkeypatch.setattr(Pace, "_SHORT", 60.0)
    sender = Sender(seconds=0)
    sender.most_a_minute = 5
    report, _ = _round(sqlite_db, sender)
    assert (report.states["accepted"], len(sender.called)) == (5, 5)
    assert {(row.state, row.attempts) for row in rows(sqlite_db)} == {("accepted", 1), ("planned", 0)}


class Together(Flow):
    """Takes four, and tells of all at once when it is asked. A signal comes while it takes those of `interrupted_at`."""

    interrupted_at: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self._tags: list[int] = []

    @property
    def under_way(self) -> int:
        return len(self._tags)

    def room(self, width: int) -> int:
        return 4 - len(self._tags)

    def put(self, tag: int, message: Message, width: int) -> None:
        self._tags.append(tag)
        if tag in self.interrupted_at:
            raise KeyboardInterrupt

    def ended(self, wait: bool) -> list[Flowed]:
        assert self._tags, "nobody waits where nothing is under way"
        tags, self._tags = self._tags, []
        return [Flowed(tag, 0.0, SendResult(str(tag))) for tag in tags]

    def close(self) -> None: ...


def _ready(channel: Any) -> deque[Ready]:
    return deque(Ready(SimpleNamespace(touchpoint_id=tag), channel, None, None, NOON) for tag in range(6))  # type: ignore[arg-type]


def test_one_that_a_signal_came_amid_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Together, "interrupted_at", frozenset({2}))
    channel: Any = SimpleNamespace(parallel=4, flow=Together)
    waiting, heard = _ready(channel), []
    with pytest.raises(KeyboardInterrupt):
        Line(channel).call(waiting, lambda _: True, lambda called: heard.append(called.ready.row.touchpoint_id))
    assert (heard, len(waiting)) == ([0, 1, 2], 3)


def test_each_that_ended_is_heard_of_though_hearing_of_one_fails() -> None:
    channel: Any = SimpleNamespace(parallel=4, flow=Together)
    waiting = _ready(channel)
    heard: list[int] = []

    def hear(called: Called) -> None:
        heard.append(called.ready.row.touchpoint_id)
        if len(heard) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Line(channel).call(waiting, lambda _: True, hear)
    assert heard == [0, 1, 2, 3, 4]
    assert [ready.row.touchpoint_id for ready in waiting] == [5]
