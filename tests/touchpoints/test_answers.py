"""One round against a provider that answers badly: every message comes to its end or waits, and none keeps the others from leaving."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.adapters.channels.smtp import SmtpChannel
from crm_plugin.adapters.channels.twilio import TwilioChannel
from crm_plugin.errors import TransientError
from crm_plugin.records import Message, SendResult
from crm_plugin.store import attempts, members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import health
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.readying import Ways
from tests.adapters.channels.smtp_server import HANG_UP, Script, SmtpServer
from tests.contracts.answers import ANSWERS, WAITS
from tests.contracts.provider import Play, Provider, says, serving
from tests.touchpoints.guarding import BOX, NOON, PUBLIC, Sent, journey, plant, rows, shop_with

_TAKEN = says(201, '{"sid": "SM1"}')
# What ends a message's own way and says nothing of the others.
_OWN: dict[str, tuple[Play, tuple[str, str]]] = {
    **{
        name: (ANSWERS[name], ("unconfirmed", "outcome_unknown"))
        for name in ANSWERS
        if name.startswith("yes") and name not in WAITS
    },
    **{name: (ANSWERS[name], ("unconfirmed", "outcome_unknown")) for name in ("reset", "hung up", "500")},
    "id without end": (says(201, '{"sid": "%s"}' % ("S" * 100_000)), ("accepted", "")),
    "id with a NUL": (says(201, '{"sid": "SM\\u0000X"}'), ("accepted", "")),
    "parts beyond all": (says(201, '{"sid": "SM9", "num_segments": "99999999999"}'), ("accepted", "")),
    "a no with a NUL": (says(400, b'{"code": 1, "message": "no\\u0000\x1f!"}'), ("failed", "permanent")),
    "400 with a page": (ANSWERS["400 with a page"], ("failed", "permanent")),
    "a dead number": (says(400, '{"code": 21211, "message": "Invalid"}'), ("failed", "recipient_refused")),
    "503": (ANSWERS["503"], ("retry_wait", "transient")),
}


class OneByOne(TwilioChannel):
    """The same, in the order of the members."""

    parallel = 1


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(Provider(_TAKEN)) as running:
        yield running


def _ways(channel: Any) -> Ways:
    return Ways(Sent().ways().compose, lambda *_, **__: channel)


def _texts(provider: Provider) -> OneByOne:
    told = {"account_sid": "AC1", "auth_token": "token", "from_number": "+15550100123"}
    return OneByOne({**told, "base_url": f"http://127.0.0.1:{provider.port}"})


def _round(db: Database, channel: Any, people: int, kind: str) -> list[tuple[str, str]]:
    """One round over so many members; what became of each, in their order."""
    shop = shop_with(db, people)
    journey(db, shop, "hello", channels=[kind])
    plant(db, "hello", channel=kind, adapter=channel.name)
    if kind == "sms":
        with db.write() as connection:
            m, t = members.c, touchpoints.c
            phone = select(m.phone).where(m.shop_id == t.shop_id, m.member_id == t.member_id).scalar_subquery()
            connection.execute(update(touchpoints).values(address=phone))
    report = dispatch_shop(db, BOX, shop, NOON, public_url=PUBLIC, ways=_ways(channel))
    assert report.total == people
    return [(row.state, row.reason) for row in rows(db)]


def _to(request: bytes) -> int:
    """The member that a text is for."""
    found = re.search(rb"To=%2B49309018(\d{3})", request)
    assert found, request
    return int(found[1])


@pytest.mark.slow
def test_one_bad_answer_stops_nobody_else(db: Database, provider: Provider) -> None:
    plays = [play for play, _ in _OWN.values()]
    # After each bad answer comes somebody whose text is taken.
    provider.chosen = lambda request: _TAKEN if (place := _to(request)) % 2 else plays[place // 2]
    ends = _round(db, _texts(provider), 2 * len(plays), "sms")
    assert dict(zip(_OWN, ends[::2], strict=True)) == {name: end for name, (_, end) in _OWN.items()}
    assert set(ends[1::2]) == {("accepted", "")}
    # Each was told once.
    assert sorted(map(_to, provider.requests)) == list(range(2 * len(plays)))
    with db.read() as connection:
        ended = connection.execute(select(attempts.c.outcome, attempts.c.parts)).all()
    assert len(ended) == 2 * len(plays)
    assert all(one.outcome and (one.parts or 0) <= 1000 for one in ended)


@pytest.mark.parametrize(
    ("name", "first", "others"),
    [
        ("403", ("planned", "sender_paused"), ("planned", "sender_paused")),
        ("429 with seconds", ("retry_wait", "transient"), ("planned", "sender_paused")),
    ],
)
def test_who_waits_for_a_sender_is_not_asked_for_again(
    sqlite_db: Database, provider: Provider, name: str, first: tuple[str, str], others: tuple[str, str]
) -> None:
    provider.play = ANSWERS[name]
    ends = _round(sqlite_db, _texts(provider), 3, "sms")
    assert (ends, len(provider.requests)) == ([first, others, others], 1)


def test_one_bad_reply_of_a_mail_server_stops_nobody_else(db: Database) -> None:
    replies = {
        "550 5.1.1 no\0 such": ("failed", "recipient_refused"),
        "450 \0 later": ("retry_wait", "transient"),
        "999 what is this": ("retry_wait", "transient"),
        HANG_UP: ("retry_wait", "transient"),
    }
    script = Script(extensions=())
    script.refused = {f"m{2 * place}@x.test": reply for place, reply in enumerate(replies)}
    with SmtpServer(script) as server:
        values = {"host": "127.0.0.1", "port": server.port, "security": "none", "from_address": "shop@x.test"}
        ends = _round(db, SmtpChannel({**values, "connections": 1}), 2 * len(replies), "email")
    assert ends[::2] == list(replies.values())
    assert set(ends[1::2]) == {("accepted", "")}
    assert sorted(mail.recipient for mail in script.mails) == [f"m{place}@x.test" for place in (1, 3, 5, 7)]


class Many:
    """A sender that calls many others: half of them ask for two hours."""

    name, parallel, most_a_minute, flow = "smtp", 1, 0, staticmethod(lambda: None)

    def __init__(self) -> None:
        self.asked: list[str] = []

    def whose(self, address: str) -> str:
        return "busy" if int(address[1]) % 2 else "well"

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        self.asked.append(message.to)
        if self.whose(message.to) == "busy":
            raise TransientError("later", adapter="smtp", operation="send", retry_after=7200)
        return SendResult(idempotency_key)

    def close(self) -> None: ...


def test_one_of_many_that_fails_keeps_its_own_messages_alone(db: Database) -> None:
    many = Many()
    ends = _round(db, many, 6, "email")
    assert set(ends[::2]) == {("accepted", "")}
    assert ends[1::2] == [("retry_wait", "transient"), ("planned", "sender_paused"), ("planned", "sender_paused")]
    assert many.asked == ["m0@x.test", "m1@x.test", "m2@x.test", "m4@x.test"]
    assert {row.next_try_at for row in rows(db)[1::2]} == {NOON + timedelta(hours=2)}
    with db.read() as connection:
        assert health.rests(connection, 1, NOON) == {}
