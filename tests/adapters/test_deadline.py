"""Whoever answers a byte at a time holds no call longer than its deadline."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from crm_plugin import http_client
from crm_plugin.adapters.channels.webhook import WebhookChannel
from crm_plugin.adapters.channels.webhook.public import Pinned
from crm_plugin.errors import TransientError
from crm_plugin.records import Message

_WHOLE, _PAUSE, _DRIPS = 0.2, 0.02, 150
# After so many drips the answer is whole, and a call without a deadline comes to its end.
_ANSWERS = {
    "headers": [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Slow: ", *[b"x"] * _DRIPS, b"\r\n\r\n"],
    "body": [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _DRIPS, *[b"x"] * _DRIPS],
}


@contextmanager
def _dripping(parts: list[bytes], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that answers one call with these parts, a little apart; its port."""
    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            caller, _ = listening.accept()
            with tls.wrap_socket(caller, server_side=True) if tls else caller as taken:
                taken.recv(65536)
                for part in parts:
                    taken.sendall(part)
                    if over.wait(_PAUSE):
                        return

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        over.set()
        listening.close()
        thread.join()


@pytest.mark.parametrize("what", _ANSWERS)
def test_dripping_answer_ends_with_the_deadline(what: str) -> None:
    with (
        _dripping(_ANSWERS[what]) as port,
        http_client.make_session(whole=_WHOLE) as session,
        pytest.raises(requests.RequestException),
    ):
        session.get(f"http://127.0.0.1:{port}/")


def test_answer_within_the_deadline_is_read() -> None:
    answer = [b"HTTP/1.1 200 OK\r\nContent-", b"Length: 2\r\n\r\no", b"k"]
    with _dripping(answer) as port, http_client.make_session() as session:
        assert session.get(f"http://127.0.0.1:{port}/").text == "ok"


def test_webhook_is_tried_again_when_its_headers_drip(tmp_path: Path) -> None:
    pem = _certificate(tmp_path / "hook.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    class Here(Pinned):
        """The same, but here, and by a certificate of our own."""

        def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
            return super().send(request, **{**options, "verify": str(pem)})

    with _dripping(_ANSWERS["headers"], context) as port:
        channel = WebhookChannel(
            {"signing_secret": "0123456789abcdef"},
            look_up=lambda _host, _port: ["93.184.215.14"],
            transport=lambda host, _address: Here(host, "127.0.0.1", _WHOLE),
        )
        message = Message("webhook", f"https://hook.test:{port}/", "k", text="{}")
        with pytest.raises(TransientError, match="does not answer"):
            channel.send(message, idempotency_key="k")


def _certificate(path: Path) -> Path:
    """A key and its certificate for hook.test, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hook.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path
