"""DKIM signatures, verified by another library; a mail that was changed after it was signed does not verify."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_plugin.adapters.channels.dkim import Signer, signer
from crm_plugin.adapters.channels.mime import skeleton
from crm_plugin.adapters.channels.smtp.adapter import SmtpChannel
from crm_plugin.errors import InvalidInput
from crm_plugin.records import Message

MESSAGE = Message("email", "anna@example.com", "lapse:7:0:x", "Hello", subject="It has been a while")


@cache
def pem(kind: str = "rsa") -> str:
    made = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def signing() -> Signer:
    return signer("example.org", "crm", pem())


def verified(mail: bytes, by: Signer) -> bool:
    name, record = by.record

    def dns(asked: bytes, timeout: float = 5) -> bytes:
        assert asked.decode().rstrip(".") == name
        return record.encode()

    return bool(dkim.verify(mail, dnsfunc=dns))


def built(**changes: str) -> bytes:
    form = skeleton("shop@example.org", "Shop")
    return form.build(dataclasses.replace(MESSAGE, **changes), date=datetime(2026, 6, 1, tzinfo=UTC)).data  # type: ignore[arg-type]


def test_another_library_verifies_it() -> None:
    mail = signing().sign(built(html="<p>Hi</p>", unsubscribe_url="https://crm.example/u/x"))
    assert verified(mail, signing())
    assert max(map(len, mail.split(b"\r\n"))) <= 998
    for old, new in ((b"Hi", b"Ho"), (b"/u/x", b"/u/y"), (b"a while", b"a whim"), (b"One-Click", b"No-Click")):
        assert not verified(mail.replace(old, new), signing())


_BODY = st.text(alphabet="a \t\n\r.=é会", max_size=200)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    subject=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=120), text=_BODY, html=_BODY
)
def test_any_mail_is_verified(subject: str, text: str, html: str) -> None:
    made = signing()
    assert verified(made.sign(built(subject=subject, text=text or "x", html=html)), made)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"word", b"."]), max_size=30).map(b"".join))
def test_any_body_on_the_wire_is_verified(body: bytes) -> None:
    made = signing()
    assert verified(made.sign(b"From: a@example.org\r\nSubject:  x \t y \r\n folded\r\n\r\n" + body + b"\r\n"), made)


def test_key_of_one_line_is_read() -> None:
    assert signer("example.org", "crm", pem().replace("\n", " ")).record == signing().record


@pytest.mark.parametrize(
    ("selector", "key", "why"),
    [
        ("crm key", lambda: pem(), "selector"),
        ("crm", lambda: "hello", "PEM"),
        ("crm", lambda: pem()[:400], "PEM"),
        ("crm", lambda: pem("ec"), "not an RSA"),
    ],
)
def test_what_cannot_sign_is_refused(selector: str, key: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        signer("example.org", selector, key())  # type: ignore[operator]


def test_settings_sign_what_is_sent() -> None:
    values = {"host": "h", "from_address": "shop@example.org", "dkim_selector": "crm", "dkim_key": pem()}
    channel = SmtpChannel(values)
    assert verified(channel.built(MESSAGE).data, signing())
    with pytest.raises(InvalidInput) as told:
        SmtpChannel({**values, "dkim_key": "hello"})
    assert told.value.field == "dkim_key"
    with pytest.raises(InvalidInput) as told:
        SmtpChannel({**values, "dkim_key": ""})
    assert told.value.field == "dkim_key"
