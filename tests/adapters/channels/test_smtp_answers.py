"""What the SMTP channel makes of a mail server's worst answers: the analogue of `contracts/answers.py`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_plugin.adapters.channels.smtp import SmtpChannel, opening
from crm_plugin.records import Message
from tests.adapters.channels.flowing import Flowing
from tests.adapters.channels.smtp_server import DRIPS, ENDLESS, HANG_UP, SILENCE, Script, SmtpServer
from tests.contracts.answers import LONG, SHORT, meaning
from tests.contracts.provider import certificate, tls_of

MESSAGE = Message("email", "anna@example.com", "birthday:7:0:2026-06-01", "Dear Anna", subject="Happy birthday")
# Where it is answered, and how: what that means.
TABLE: dict[tuple[str, str], str] = {
    ("GREETING", "hello there"): "shop",
    ("GREETING", "\x00\x01garbage"): "shop",
    ("GREETING", "354 go on"): "shop",
    ("GREETING", "2" * 10_000): "shop",
    ("GREETING", ENDLESS): "again",
    ("GREETING", DRIPS): "again",
    ("GREETING", SILENCE): "again",
    # Then it is greeted as in old times.
    ("EHLO", "what is this"): "taken",
    ("EHLO", ENDLESS): "again",
    ("MAIL", "999 what is this"): "again",
    ("MAIL", "354 go on"): "again",
    ("MAIL", "550 no\x00 sender"): "shop",
    ("MAIL", ENDLESS): "again",
    ("RCPT", "2" * 10_000): "again",
    ("RCPT", "550 5.1.1 no\x00 such"): "recipient",
    ("RCPT", DRIPS): "again",
    # One reply too many: what answers DATA answers an earlier command.
    ("RCPT", "250 ok\r\n250 ok"): "again",
    ("DATA", "250 ok"): "again",
    ("DATA", "what is this"): "again",
    ("DATA", SILENCE): "again",
    # From the end of the body on nobody knows.
    ("BODY", "354 go on"): "unconfirmed",
    ("BODY", "100 wait"): "unconfirmed",
    ("BODY", "999 what is this"): "unconfirmed",
    ("BODY", "2" * 10_000): "unconfirmed",
    ("BODY", ENDLESS): "unconfirmed",
    ("BODY", DRIPS): "unconfirmed",
    ("BODY", SILENCE): "unconfirmed",
    ("BODY", HANG_UP): "unconfirmed",
    ("BODY", "554 5.6.0 \x00no"): "message",
    ("BODY", "452 4.3.1 no space"): "again",
    # A yes is a yes.
    ("BODY", "250 \x00ok"): "taken",
    ("QUIT", ENDLESS): "taken",
}
_WAITS = (DRIPS, SILENCE)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def server(script: Script) -> Iterator[SmtpServer]:
    with SmtpServer(script) as running:
        yield running


def _channel(port: int, kind: type[SmtpChannel] = SmtpChannel, **told: Any) -> SmtpChannel:
    values = {"host": "127.0.0.1", "port": port, "security": "none", "from_address": "shop@example.org", **told}
    return kind(values)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SmtpChannel, Flowing])
@pytest.mark.parametrize("pipelining", [True, False])
def test_every_answer_has_its_meaning(
    server: SmtpServer, monkeypatch: pytest.MonkeyPatch, pipelining: bool, kind: type[SmtpChannel]
) -> None:
    # How long is waited does not depend on it.
    asked = [(place, reply) for place, reply in TABLE if pipelining or reply not in _WAITS]
    found = {}
    for place, reply in asked:
        monkeypatch.setattr(opening, "_LONGEST_CALL", SHORT if reply in _WAITS else LONG)
        # One of its own for each: what a pipelined command asked before comes late.
        script = server.script = Script(("PIPELINING",) if pipelining else (), {place: reply})
        found[place, reply] = meaning(_channel(server.port, kind), MESSAGE)
        assert script.verbs.count("DATA") <= 1, (place, reply)
        assert script.written < 8 * 2**20, (place, reply)
    assert found == {one: TABLE[one] for one in asked}


@pytest.mark.parametrize(
    ("place", "reply", "means"),
    [
        ("AUTH", "334 abc", "shop"),
        ("AUTH", "what is this", "shop"),
        ("AUTH", "454 4.7.0 later", "again"),
        ("AUTH", HANG_UP, "again"),
    ],
)
def test_login_that_is_answered_badly(script: Script, server: SmtpServer, place: str, reply: str, means: str) -> None:
    script.login = ("anna", "right")
    script.replies = {place: reply}
    assert meaning(_channel(server.port, username="anna", password="right"), MESSAGE) == means
    assert script.mails == []


@pytest.mark.parametrize(
    ("reply", "means"),
    [
        ("454 4.7.0 not now", "again"),
        ("501 5.5.4 never", "shop"),
        ("what is this", "shop"),
        (HANG_UP, "again"),
        # Its certificate is its own.
        ("", "shop"),
    ],
)
def test_no_mail_without_encryption(script: Script, server: SmtpServer, tmp_path: Path, reply: str, means: str) -> None:
    script.tls = tls_of(certificate(tmp_path / "mail.pem"))
    script.login = ("anna", "right")
    script.replies = {"STARTTLS": reply} if reply else {}
    channel = _channel(server.port, security="starttls", username="anna", password="right")
    assert meaning(channel, MESSAGE) == means
    assert script.verbs == ["EHLO", "STARTTLS"]


def test_what_is_said_before_the_encryption_is_forgotten(script: Script, server: SmtpServer, tmp_path: Path) -> None:
    pem = certificate(tmp_path / "mail.pem")
    script.tls = tls_of(pem)
    # Whoever stands between puts replies into the clear part.
    script.replies = {"STARTTLS": "220 go on\r\n250 ok\r\n250 ok"}
    channel = SmtpChannel(
        {"host": "127.0.0.1", "port": server.port, "security": "starttls", "from_address": "shop@example.org"},
        tls=ssl.create_default_context(cafile=str(pem)),
    )
    assert meaning(channel, MESSAGE) in ("again", "shop")
    assert script.mails == []


def test_what_is_not_reached_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nameless)
    assert meaning(_channel(25, host="nowhere.test"), MESSAGE) == "again"
