"""The SMTP channel against a real server over loopback."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crm_plugin.adapters.channels import bodies
from crm_plugin.adapters.channels.smtp import SmtpChannel, session
from crm_plugin.adapters.channels.smtp import connection as smtp_connection
from crm_plugin.bounded import Bounded
from crm_plugin.clock import FixedClock
from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    InvalidInput,
    OutcomeUnknown,
    PermanentError,
    RecipientRefused,
    TransientError,
)
from crm_plugin.records import Message
from crm_plugin.woven import of_blocks
from tests.adapters.channels.flowing import Flowing
from tests.adapters.channels.smtp_server import HANG_UP, SILENCE, Script, SmtpServer
from tests.contracts.channel import ChannelContract

MESSAGE = Message(
    channel="email",
    to="anna@example.com",
    to_name="Anna",
    touchpoint_key="birthday:7:0:2026-06-01",
    subject="Happy birthday",
    text="Dear Anna,\n.\n.. a line that begins with dots\n",
    html="<p>Dear Anna</p>",
    unsubscribe_url="https://crm.example/u/token",
)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def server(script: Script) -> Iterator[SmtpServer]:
    with SmtpServer(script) as running:
        yield running


@pytest.fixture
def values(server: SmtpServer) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "from_address": "shop@example.org",
        "from_name": "Harbour & Co",
        "timeout": 5,
    }


@pytest.fixture(params=[SmtpChannel, Flowing], ids=["alone", "flowing"])
def channel(request: pytest.FixtureRequest, values: dict[str, Any], clock: FixedClock) -> Iterator[SmtpChannel]:
    channel = request.param(values, clock=clock)
    yield channel
    channel.close()


def send(channel: SmtpChannel, **changes: Any) -> str:
    message = dataclasses.replace(MESSAGE, **changes)
    return channel.send(message, idempotency_key=message.touchpoint_key).provider_message_id


class TestContract(ChannelContract):
    @pytest.fixture
    def values(self, server: SmtpServer) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": server.port, "security": "none", "from_address": "shop@example.org"}

    @pytest.fixture
    def channel(self, values: dict[str, Any], clock: FixedClock) -> Iterator[SmtpChannel]:
        channel = SmtpChannel(values, clock=clock)
        yield channel
        channel.close()

    @pytest.fixture
    def message(self) -> Message:
        return MESSAGE

    @pytest.fixture
    def sent(self, script: Script) -> Callable[[], int]:
        return lambda: len(script.mails)


def test_mail_arrives_whole(channel: SmtpChannel, script: Script) -> None:
    own_id = send(channel, reply_to="help@example.org")
    [mail] = script.mails
    assert (mail.sender, mail.recipient) == ("shop@example.org", "anna@example.com")
    read = message_from_bytes(mail.data, policy=policy.default)
    assert read["From"] == "Harbour & Co <shop@example.org>"
    assert read["To"] == "Anna <anna@example.com>"
    assert read["Reply-To"] == "help@example.org"
    assert read["Date"] == "Mon, 01 Jun 2026 12:00:00 +0000"
    assert read["Message-ID"] == own_id == "<6478fa20bc6e2e186bdc503038824767@example.org>"
    assert read["List-Unsubscribe"] == "<https://crm.example/u/token>"
    assert read["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    plain, html = read.iter_parts()
    assert plain.get_content() == "Dear Anna,\r\n.\r\n.. a line that begins with dots\r\n"
    assert html.get_content() == "<p>Dear Anna</p>\r\n"


def test_connection_is_reused(channel: SmtpChannel, script: Script) -> None:
    for number in range(5):
        send(channel, touchpoint_key=f"key:{number}")
    assert (script.connections, len(script.mails)) == (1, 5)
    assert script.verbs == ["EHLO", *["MAIL", "RCPT", "DATA"] * 5]


def test_opening_is_read_a_line_at_a_time(
    values: dict[str, Any], script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What comes after it is for who reads then, so it is never read beyond a line; nor is a line read in pieces.
    read: list[bytes] = []

    class Watched(Bounded):
        def readinto(self, buffer: Any) -> int | None:
            count = super().readinto(buffer)
            read.append(bytes(buffer[:count]))
            return count

    monkeypatch.setattr(session, "Bounded", Watched)
    script.once["GREETING"] = "220-mail.test\r\n220 ESMTP"
    smtp_connection.Connection(SmtpChannel(values).server).close(politely=False)
    assert len(read) > 3
    assert all(one.endswith(b"\r\n") and one.count(b"\n") == 1 for one in read)


def test_nothing_of_a_mail_is_kept_when_its_round_has_ended(channel: SmtpChannel) -> None:
    send(channel, text="Liebe Zoë\n", html=of_blocks(("", "<p>Hello</p>\n", "<p>Anna</p>")))
    kept = (bodies._kept_as_it_is, bodies._kept_quoted)
    assert all(one.cache_info().currsize > 0 for one in kept)
    channel.close()
    assert [one.cache_info().currsize for one in kept] == [0, 0]


def test_worn_connection_is_left(channel: SmtpChannel, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_connection, "MAILS_PER_CONNECTION", 2)
    for _ in range(5):
        send(channel)
    assert (script.connections, len(script.mails)) == (3, 5)


def test_threads_share_connections(values: dict[str, Any], script: Script) -> None:
    channel = SmtpChannel(values)
    keys = [f"key:{number}" for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda key: send(channel, touchpoint_key=key), keys))
    channel.close()
    assert len(set(ids)) == len(script.mails) == 40
    assert {message_from_bytes(mail.data)["Message-ID"] for mail in script.mails} == set(ids)
    assert script.connections <= 4


def test_connection_closed_while_idle_is_replaced(channel: SmtpChannel, script: Script) -> None:
    send(channel)
    script.once["MAIL"] = HANG_UP
    send(channel)
    script.once["MAIL"] = "421 4.4.2 idle too long"
    send(channel)
    assert (script.connections, len(script.mails)) == (3, 3)


def test_server_without_pipelining(channel: SmtpChannel, script: Script) -> None:
    script.extensions = ()
    script.refused["gone@example.com"] = "550 5.1.1 no such user"
    with pytest.raises(RecipientRefused):
        send(channel, to="gone@example.com")
    send(channel)
    assert script.verbs == ["EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA"]
    assert len(script.mails) == 1


def test_refused_recipient_leaves_the_connection_usable(channel: SmtpChannel, script: Script) -> None:
    script.refused["gone@example.com"] = "550 5.1.1 no such user"
    with pytest.raises(RecipientRefused) as caught:
        send(channel, to="gone@example.com")
    assert caught.value.suppress
    assert caught.value.status == 550
    assert script.mails == []
    send(channel)
    assert [mail.recipient for mail in script.mails] == ["anna@example.com"]
    assert script.connections == 1


@pytest.mark.parametrize(("place", "reply"), [("RCPT", "550 5.1.1 no such user"), ("MAIL", "552 5.3.4 too big")])
def test_body_wanted_after_a_refusal_is_not_given(channel: SmtpChannel, script: Script, place: str, reply: str) -> None:
    script.replies |= {place: reply, "DATA without recipient": "354 go on all the same"}
    with pytest.raises(PermanentError):
        send(channel)
    script.replies.clear()
    send(channel)
    assert (script.connections, len(script.mails)) == (2, 1)
    assert script.mails[0].data


def test_refusal_survives_a_hang_up(channel: SmtpChannel, script: Script) -> None:
    script.replies |= {"RCPT": "550 5.1.1 no such user", "DATA without recipient": HANG_UP}
    with pytest.raises(RecipientRefused):
        send(channel)
    script.replies.clear()
    send(channel)
    assert (script.connections, len(script.mails)) == (2, 1)


@pytest.mark.parametrize(
    ("place", "reply", "error", "suppress"),
    [
        ("RCPT", "550 no such user", RecipientRefused, True),
        ("RCPT", "550 5.2.1 mailbox disabled", RecipientRefused, True),
        ("RCPT", "553 bad address syntax", RecipientRefused, True),
        ("RCPT", "552 5.2.2 mailbox full", RecipientRefused, False),
        ("RCPT", "550 5.7.1 this recipient takes no mail from you", RecipientRefused, False),
        ("RCPT", "554 5.7.1 relay access denied", ActionRequired, None),
        ("RCPT", "550 5.7.26 unauthenticated mail", ActionRequired, None),
        ("RCPT", "450 4.2.0 greylisted", TransientError, None),
        ("MAIL", "451 4.3.0 try later", TransientError, None),
        ("MAIL", "550 5.1.0 sender rejected", ActionRequired, None),
        ("MAIL", "530 5.7.0 authentication required", ActionRequired, None),
        ("MAIL", "552 5.3.4 message too big", PermanentError, None),
        ("DATA", "554 5.7.9 policy", ActionRequired, None),
        ("DATA", "451 4.3.2 busy", TransientError, None),
        ("BODY", "554 5.6.0 looks like spam", PermanentError, None),
        ("BODY", "550 5.1.1 no such user", RecipientRefused, True),
        ("BODY", "452 4.3.1 no space", TransientError, None),
        ("BODY", "421 4.3.2 shutting down", TransientError, None),
        ("GREETING", "421 too many connections", TransientError, None),
        ("GREETING", "554 no service for you", ActionRequired, None),
        ("GREETING", HANG_UP, TransientError, None),
        ("EHLO", HANG_UP, TransientError, None),
        ("MAIL", HANG_UP, TransientError, None),
        ("RCPT", HANG_UP, TransientError, None),
        ("DATA", HANG_UP, TransientError, None),
        ("MAIL", "421 4.3.2 shutting down", TransientError, None),
        ("MAIL", "what is this", TransientError, None),
        ("BODY", HANG_UP, OutcomeUnknown, None),
        ("BODY", "what is this", OutcomeUnknown, None),
    ],
)
def test_reply_becomes_the_right_error(
    channel: SmtpChannel, script: Script, place: str, reply: str, error: type[AdapterError], suppress: bool | None
) -> None:
    script.replies[place] = reply
    with pytest.raises(AdapterError) as caught:
        send(channel)
    assert type(caught.value) is error
    assert getattr(caught.value, "suppress", None) == suppress
    assert caught.value.adapter == "smtp"
    assert script.mails == []
    script.replies.clear()
    send(channel)
    assert len(script.mails) == 1


@pytest.mark.slow
def test_silence_lasts_no_longer_than_the_setting_says(values: dict[str, Any], script: Script) -> None:
    script.replies["BODY"] = SILENCE
    channel = SmtpChannel(values | {"timeout": 1})
    with pytest.raises(OutcomeUnknown):
        send(channel)
    channel.close()


def test_port_without_a_server_is_told_in_plain_words(values: dict[str, Any]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        # Bound and not listened at: whoever comes is refused.
        [problem] = SmtpChannel({**values, "host": "127.0.0.1", "port": port}).check()
    assert problem.message == f"Nothing answers at 127.0.0.1:{port}: no mail server runs there, or it is another port."


def test_no_server_is_transient(values: dict[str, Any], server: SmtpServer) -> None:
    server.server_close()
    channel = SmtpChannel(values)
    # By how far the closing is, it is refused or hung up on.
    with pytest.raises(
        TransientError, match=f"^(Nothing answers at|The mail server) {values['host']}:{values['port']}"
    ):
        send(channel)
    [problem] = channel.check()
    assert problem.code == "transient"


def test_login(values: dict[str, Any], script: Script) -> None:
    script.login = ("anna", "right")
    channel = SmtpChannel(values | {"username": "anna", "password": "right"})
    assert channel.check() == []
    send(channel)
    channel.close()
    wrong = SmtpChannel(values | {"username": "anna", "password": "wr0ng-pass"})
    with pytest.raises(ActionRequired) as caught:
        send(wrong)
    assert caught.value.status == 535
    assert "wr0ng-pass" not in f"{caught.value} {wrong.server!r}"
    [problem] = wrong.check()
    assert (problem.code, problem.hint) == (
        "action_required",
        "Check user name and password; many providers want an app password.",
    )
    foreign = SmtpChannel(values | {"username": "anna", "password": "пароль"})
    with pytest.raises(ActionRequired):
        send(foreign)
    assert len(script.mails) == 1


def test_login_where_none_is_offered(values: dict[str, Any]) -> None:
    channel = SmtpChannel(values | {"username": "anna", "password": "right"})
    with pytest.raises(ActionRequired, match="does not offer"):
        send(channel)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A file with key and certificate for 127.0.0.1, and the certificate alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + pem
    )
    return path, pem


class TestEncryption:
    @pytest.fixture(autouse=True)
    def encrypted(self, script: Script, certificate: tuple[Path, bytes]) -> None:
        script.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        script.tls.load_cert_chain(certificate[0])
        script.login = ("anna", "right")

    @pytest.fixture
    def trust(self, certificate: tuple[Path, bytes]) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=certificate[1].decode())

    @pytest.mark.parametrize("security", ["starttls", "tls"])
    def test_mail_goes_encrypted(
        self, values: dict[str, Any], script: Script, trust: ssl.SSLContext, security: str
    ) -> None:
        script.tls_at_once = security == "tls"
        login = {"security": security, "username": "anna", "password": "right"}
        channel = SmtpChannel(values | login, tls=trust)
        send(channel)
        send(channel)
        channel.close()
        assert (script.connections, len(script.mails)) == (1, 2)
        assert script.verbs[:3] == (
            ["EHLO", "STARTTLS", "EHLO"] if security == "starttls" else ["EHLO", "AUTH", "MAIL"]
        )

    def test_unknown_certificate_is_refused(self, values: dict[str, Any], script: Script) -> None:
        channel = SmtpChannel(values | {"security": "starttls", "username": "anna", "password": "right"})
        with pytest.raises(ActionRequired, match="cannot be trusted"):
            send(channel)
        assert "AUTH" not in script.verbs

    def test_missing_encryption_is_refused(self, values: dict[str, Any], script: Script) -> None:
        """A server, or someone between, that does not offer STARTTLS gets neither password nor mail."""
        script.tls = None
        channel = SmtpChannel(values | {"security": "starttls", "username": "anna", "password": "right"})
        with pytest.raises(ActionRequired, match="does not offer"):
            send(channel)
        assert script.verbs == ["EHLO"]

    def test_wrong_encryption_is_told(self, values: dict[str, Any], trust: ssl.SSLContext) -> None:
        channel = SmtpChannel(values | {"security": "tls"}, tls=trust)
        [problem] = channel.check()
        assert (problem.code, problem.hint) == (
            "action_required",
            "Port 465 goes with TLS, port 587 with STARTTLS.",
        )


def test_unencrypted_to_elsewhere_is_warned_of(
    values: dict[str, Any], script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = SmtpChannel(values)
    monkeypatch.setattr(channel, "server", dataclasses.replace(channel.server, host="localhost.localdomain"))
    monkeypatch.setattr("crm_plugin.adapters.channels.smtp.adapter.Connection", lambda server: channel)
    [problem] = channel.check()
    assert (problem.code, problem.severity) == ("no_encryption", "warning")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"security": "ssl"}, "security"),
        ({"port": "http"}, "port"),
        ({"port": 70000}, "port"),
        ({"timeout": 0}, "timeout"),
        ({"from_address": "shop"}, "from_address"),
        ({"reply_to": "a@b\r\nBcc: c@d"}, "reply_to"),
    ],
)
def test_bad_setting_is_named(values: dict[str, Any], change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SmtpChannel(values | change)
    assert caught.value.field == field


def test_injected_header_is_not_sent(channel: SmtpChannel, script: Script) -> None:
    with pytest.raises(PermanentError) as caught:
        send(channel, subject="Hello\r\nBcc: all@example.com")
    assert caught.value.code == "header_injection"
    with pytest.raises(RecipientRefused):
        send(channel, to="a@example.com>\r\nRCPT TO:<b@example.com")
    assert script.connections == 0
