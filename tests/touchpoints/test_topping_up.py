"""A sender that takes several at a time: the next messages are noted before the last of a group has ended, and leave only then."""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import OperationalError

from crm_plugin.adapters.channels.base import Flow, Flowed
from crm_plugin.clock import FixedClock
from crm_plugin.errors import ActionRequired
from crm_plugin.records import Message, SendResult
from crm_plugin.store import attempts, consent, sender_health, touchpoint_contents, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import claims, dispatch, health
from crm_plugin.touchpoints.calling import Pace
from crm_plugin.touchpoints.dispatch import FRESH, FRESH_GROUP, DispatchReport, dispatch_shop
from crm_plugin.touchpoints.recover import recover_shop
from tests.touchpoints.guarding import BOX, NOON, PUBLIC, Sent, journey, plant, rows, shop_with

_PEOPLE, _MOST, _ROOM = 60, 8, 4
_AWAY = OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))


@dataclass
class Sender(Flow):
    """Takes four at a time and ends the first of them when it is waited for; `look` sees each before it leaves."""

    look: Callable[[int], None] = lambda _number: None
    well: int = 1_000
    most_a_minute: int = 0
    put_in: list[str] = field(default_factory=list)
    idle: int = 0
    parallel = _ROOM

    def __post_init__(self) -> None:
        self._under_way: deque[tuple[int, int]] = deque()

    def flow(self) -> Flow:
        return self

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def room(self, width: int) -> int:
        return _ROOM - len(self._under_way)

    def put(self, tag: int, message: Message, width: int) -> None:
        self.look(int(message.touchpoint_key))
        self.put_in.append(message.to)
        self._under_way.append((tag, len(self.put_in)))

    def ended(self, wait: bool) -> list[Flowed]:
        if not wait:
            return []
        tag, number = self._under_way.popleft()
        self.idle += not self._under_way
        if number > self.well:
            return [Flowed(tag, 0.0, error=ActionRequired("The key was revoked.", adapter="smtp", operation="send"))]
        return [Flowed(tag, 0.0, SendResult(f"<{tag}@x.test>"))]

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups grow to eight and stay there, however busy the machine is."""
    monkeypatch.setattr(Pace, "MOST", _MOST)
    monkeypatch.setattr(Pace, "_SHORT", 60.0)


@pytest.fixture
def shop(db: Database) -> Shop:
    """With sixty messages that are due."""
    return _planned(db)


def _planned(db: Database) -> Shop:
    shop = shop_with(db, _PEOPLE)
    journey(db, shop, "birthday")
    plant(db, "birthday")
    return shop


def _send(db: Database, shop: Shop, open_channel: Callable[[str], Any], **more: Any) -> DispatchReport:
    ways = replace(Sent().ways(), open_channel=lambda _db, _box, _shop, adapter, *_, **__: open_channel(adapter))
    return dispatch_shop(db, BOX, shop, NOON, public_url=PUBLIC, ways=ways, **more)


def _in_doubt(db: Database) -> set[int]:
    a = attempts.c
    with db.read() as connection:
        return set(connection.execute(select(a.touchpoint_id).where(a.outcome == "")).scalars())


def _texts(db: Database) -> int:
    with db.read() as connection:
        return connection.execute(select(func.count()).select_from(touchpoint_contents)).scalar_one()


def test_each_leaves_after_its_own_note_and_no_more_than_a_group_is_in_doubt(db: Database, shop: Shop) -> None:
    doubtful: list[int] = []

    def look(number: int) -> None:
        noted = _in_doubt(db)
        assert number in noted
        doubtful.append(len(noted))

    sender = Sender(look)
    assert dict(_send(db, shop, lambda _: sender).states) == {"accepted": _PEOPLE}
    assert sender.put_in == [row.address for row in rows(db)]
    assert {row.attempts for row in rows(db)} == {1}
    assert max(doubtful) == _MOST


def test_connections_are_idle_at_no_end_of_a_group(sqlite_db: Database) -> None:
    sender = Sender()
    _send(sqlite_db, _planned(sqlite_db), lambda _: sender)
    # But for the first message, which the others wait for, and the end of the round.
    assert sender.idle == 2


def test_what_has_ended_is_written_with_the_next_notes(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    begin = dispatch.begin

    def noted(db: Database, made: Any, now: Any, ended: Any) -> Any:
        told.append((len(made), len(ended)))
        return begin(db, made, now, ended)

    monkeypatch.setattr(dispatch, "begin", noted)
    shop, commits = _planned(sqlite_db), []
    event.listen(sqlite_db.engine, "commit", lambda connection: commits.append(connection))
    _send(sqlite_db, shop, lambda _: Sender())
    assert told == [(1, 0), (2, 1), (3, 1), (6, 2), *[(4, 4)] * 12]
    assert sum(made for made, _ in told) == _PEOPLE
    # Beside these there are the claim, and what ended last.
    assert len(commits) == len(told) + 2


@pytest.mark.parametrize("calls", [1, 9, 30])
def test_who_is_asked_to_end_leaves_nothing_in_doubt(db: Database, shop: Shop, calls: int) -> None:
    """What was noted and not handed over waits as if it had never been noted; what was under way ends."""
    sender = Sender()

    def hear(_done: int) -> None:
        if len(sender.put_in) == calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _send(db, shop, lambda _: sender, progress=hear)
    assert len(sender.put_in) == calls
    found = [(row.state, row.attempts, row.claimed_until) for row in rows(db)]
    assert found == [("accepted", 1, None)] * calls + [("planned", 0, None)] * (_PEOPLE - calls)
    assert (_in_doubt(db), _texts(db)) == (set(), calls)
    assert dict(_send(db, shop, lambda _: sender).states) == {"accepted": _PEOPLE - calls}
    assert sorted(sender.put_in) == sorted(row.address for row in rows(db))


def test_crash_between_note_and_call_leaves_a_group_in_doubt_and_the_others_waiting(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twentieth is noted, and the worker is gone: it writes nothing any more."""

    class GoneError(BaseException):
        pass

    def gone(*_: object) -> None:
        raise GoneError

    with monkeypatch.context() as patched:

        def look(_number: int) -> None:
            if len(sender.put_in) == 19:
                patched.setattr(db, "write", gone)
                gone()

        sender = Sender(look)
        with pytest.raises(GoneError):
            _send(db, shop, lambda _: sender)
    doubtful = len(_in_doubt(db))
    assert 0 < doubtful <= _MOST
    accepted = sum(row.state == "accepted" for row in rows(db))
    left = {"unconfirmed": doubtful, "planned": _PEOPLE - doubtful - accepted}
    assert recover_shop(db, shop, NOON + claims.BEGUN + timedelta(minutes=1)) == left
    again = Sender()
    assert dict(_send(db, shop, lambda _: again).states) == {"accepted": left["planned"]}
    assert not set(sender.put_in) & set(again.put_in)


def test_sender_that_rests_gets_none_of_what_was_noted_for_it(db: Database, shop: Shop) -> None:
    sender = Sender(well=18)
    report = _send(db, shop, lambda _: sender)
    assert report.states["accepted"] == 18
    # As many as were under way when the first of them was refused.
    assert len(sender.put_in) <= 18 + _ROOM
    assert sum(row.attempts for row in rows(db)) == len(sender.put_in)
    assert (_in_doubt(db), {row.state for row in rows(db)}) == (set(), {"accepted", "planned"})


def test_no_more_are_added_than_a_minute_has_room_for(db: Database, shop: Shop) -> None:
    sender = Sender(most_a_minute=17)
    assert _send(db, shop, lambda _: sender).states["accepted"] == 17
    assert len(sender.put_in) == 17
    assert [(row.state, row.attempts) for row in rows(db)] == [("accepted", 1)] * 17 + [("planned", 0)] * 43
    with db.read() as connection:
        assert connection.execute(select(sender_health.c.tokens)).scalars().all() == [0]


def test_messages_of_two_senders_keep_their_order(db: Database) -> None:
    """Nobody is put off because the other sender has more to do."""
    shop = _planned(db)
    t = touchpoints.c
    with db.write() as connection:
        connection.execute(update(touchpoints).where(t.touchpoint_id % 3 == 0).values(adapter="other"))
    order: list[int] = []
    senders = {name: Sender(order.append) for name in ("smtp", "other")}
    assert dict(_send(db, shop, senders.__getitem__).states) == {"accepted": _PEOPLE}
    assert sorted(order) == [row.touchpoint_id for row in rows(db)]
    # Within a group each sender has its turn.
    assert max(abs(place + 1 - number) for place, number in enumerate(order)) < _MOST


def test_stale_answers_of_guards_let_nothing_leave(db: Database, shop: Shop) -> None:
    clock, asked, left = FixedClock(NOON), {}, []
    plain = Sent().ways()

    def compose(row: Any, *told: Any) -> Any:
        asked[row.touchpoint_id] = clock.now()
        return plain.compose(row, *told)

    sender = Sender(lambda number: left.append(clock.now() - asked[number]))
    ways = replace(plain, compose=compose, open_channel=lambda *_, **__: sender)
    told = {"clock": clock.now, "progress": lambda _done: clock.move(seconds=2)}
    report = dispatch_shop(db, BOX, shop, NOON, public_url=PUBLIC, ways=ways, **told)
    assert dict(report.states) == {"accepted": _PEOPLE}
    assert timedelta(0) < max(left) <= FRESH_GROUP
    assert (len(sender.put_in), _in_doubt(db)) == (_PEOPLE, set())


def test_database_that_is_away_while_more_is_noted_ends_no_round(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice: once it had noted them, once it had not."""
    begin, calls = dispatch.begin, Counter()

    def failing(*told: Any) -> Any:
        calls["all"] += 1
        if calls["all"] == 4:
            raise _AWAY
        answer = begin(*told)
        if calls["all"] == 7:
            raise _AWAY
        return answer

    monkeypatch.setattr(dispatch, "begin", failing)
    sender = Sender()
    _send(db, shop, lambda _: sender)
    assert [(row.state, row.attempts) for row in rows(db)] == [("accepted", 1)] * _PEOPLE
    assert (sorted(sender.put_in), _in_doubt(db)) == (sorted(row.address for row in rows(db)), set())


def test_database_that_is_away_when_a_rate_is_asked_for_delays_nobody(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of those has been noted: they are asked for again in the same round."""
    allowed, calls = health.allowed, Counter[str]()

    def failing(*told: Any) -> int:
        calls["all"] += 1
        if calls["all"] == 5:
            raise _AWAY
        return allowed(*told)

    monkeypatch.setattr(health, "allowed", failing)
    sender = Sender(most_a_minute=1_000)
    assert dict(_send(db, shop, lambda _: sender).states) == {"accepted": _PEOPLE}
    assert calls["all"] > 5
    assert (sorted(sender.put_in), _in_doubt(db)) == (sorted(row.address for row in rows(db)), set())


def test_what_was_made_ahead_by_older_knowledge_is_made_anew(db: Database, shop: Shop) -> None:
    """All complain shortly before what is known of them is read again: then only those leave that had been noted."""
    clock, noted = FixedClock(NOON), set()
    sender = Sender()

    def hear(_done: int) -> None:
        if len(sender.put_in) == 20 and clock.now() == NOON:
            clock.move(seconds=FRESH.total_seconds() - 1)
        if len(sender.put_in) == 24 and clock.now() < NOON + FRESH:
            clock.move(seconds=2)
            with db.write() as connection:
                noted.update(connection.execute(select(attempts.c.touchpoint_id)).scalars())
                for row in rows(db):
                    consent.suppress(connection, 1, "email", row.address, reason="complained", at=NOON, source="smtp")

    report = _send(db, shop, lambda _: sender, clock=clock.now, progress=hear)
    assert clock.now() > NOON + FRESH
    assert {row.touchpoint_id for row in rows(db) if row.state == "accepted"} == noted
    assert dict(report.states) == {"accepted": len(noted), "skipped": _PEOPLE - len(noted)}


def test_what_waited_for_others_who_write_is_not_sent_by_what_was_asked_before(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, left = FixedClock(NOON), []
    begin, evening = dispatch.begin, NOON.replace(hour=18, minute=59, second=50)
    clock.move(seconds=(evening - NOON).total_seconds())

    def slow(*told: Any) -> Any:
        answer = begin(*told)
        clock.move(seconds=20)
        return answer

    monkeypatch.setattr(dispatch, "begin", slow)
    sender = Sender(lambda _number: left.append(clock.now()))
    report = _send(db, shop, lambda _: sender, clock=clock.now)
    assert (left, dict(report.states)) == ([], {"planned": _PEOPLE})
    assert dict(report.reasons) == {"quiet_hours": _PEOPLE}
    assert _in_doubt(db) == set()


def test_database_that_is_away_when_a_sender_is_opened_fails_no_message(db: Database, shop: Shop) -> None:
    def gone(_adapter: str) -> Any:
        raise _AWAY

    with pytest.raises(OperationalError):
        _send(db, shop, gone)
    assert {(row.state, row.attempts) for row in rows(db)} == {("planned", 0)}
    assert dict(_send(db, shop, lambda _: Sender()).states) == {"accepted": _PEOPLE}
