"""Test messages: they say what they are, reach nobody by accident, and show a paused sender that it works again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes, policy

import pytest
from sqlalchemy import func, select

from crm_plugin.demo import mail_sink, sms_sink
from crm_plugin.errors import ActionRequired, InvalidInput, NotFound, RecipientRefused
from crm_plugin.store import inapp_messages, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import senders
from crm_plugin.touchpoints.testing import send_test
from tests.factories import NOON, make_shop, member, write

BOX = SecretBox("A" * 43 + "=")


@pytest.fixture
def mails() -> Iterator[mail_sink.MailSink]:
    with mail_sink.serve() as server:
        yield server


@pytest.fixture
def texts() -> Iterator[sms_sink.SmsSink]:
    with sms_sink.serve() as server:
        yield server


@pytest.fixture
def shop(sqlite_db: Database, mails: mail_sink.MailSink, texts: sms_sink.SmsSink) -> Shop:
    with sqlite_db.write() as connection:
        made = make_shop(connection, title="Lantern & Leaf")
    write(sqlite_db, made, [member("7", email="ann@x.test")])
    smtp = {"host": mails.host, "port": mails.port, "security": "none", "from_address": "shop@x.test"}
    twilio = {
        "account_sid": texts.account_sid,
        "auth_token": texts.auth_token,
        "from_number": "+15550100123",
        "base_url": texts.url,
    }
    senders.save_connection(sqlite_db, BOX, made, "smtp", smtp, NOON)
    senders.save_connection(sqlite_db, BOX, made, "twilio", twilio, NOON)
    return made


def _touchpoints(db: Database) -> int:
    with db.read() as connection:
        return int(connection.execute(select(func.count()).select_from(touchpoints)).scalar_one())


@pytest.mark.parametrize(
    ("locale", "subject"), [("en", "Test message from Lantern & Leaf"), ("zh-CN", "来自Lantern & Leaf的测试消息")]
)
def test_mail_says_that_it_is_a_test(
    sqlite_db: Database, shop: Shop, mails: mail_sink.MailSink, locale: str, subject: str
) -> None:
    result = send_test(sqlite_db, BOX, replace(shop, locale=locale), "smtp", " me@x.test ", NOON)
    [mail] = mails.messages
    read = message_from_bytes(mail.data, policy=policy.default)
    assert (mail.recipients, read["Subject"], read["List-Unsubscribe"]) == (("me@x.test",), subject, None)
    assert result.provider_message_id == read["Message-ID"]
    assert _touchpoints(sqlite_db) == 0


def test_text_goes_to_a_typed_number(sqlite_db: Database, shop: Shop, texts: sms_sink.SmsSink) -> None:
    send_test(sqlite_db, BOX, shop, "twilio", "+44 7700 900-123", NOON, "https://crm.example")
    [text] = texts.messages
    assert (text.to, text.body.startswith("This is a test message from Lantern & Leaf.")) == ("+447700900123", True)


def test_card_lies_in_the_members_inbox(sqlite_db: Database, shop: Shop) -> None:
    send_test(sqlite_db, BOX, shop, "inapp", "7", NOON)
    with sqlite_db.read() as connection:
        titles = connection.execute(select(inapp_messages.c.title)).scalars().all()
    assert titles == ["Test message from Lantern & Leaf"]
    with pytest.raises(RecipientRefused):
        send_test(sqlite_db, BOX, shop, "inapp", "8", NOON)


@pytest.mark.parametrize(
    ("adapter", "to"),
    [
        ("smtp", ""),
        ("smtp", "me"),
        ("smtp", "me@x.test, you@x.test"),
        ("smtp", "me@x.test\r\nBcc: all@x.test"),
        ("twilio", "07700 900123"),
        ("twilio", "me@x.test"),
        ("inapp", " "),
        ("woocommerce_note", "12"),
    ],
)
def test_address_that_cannot_be_one_is_refused(
    sqlite_db: Database, shop: Shop, mails: mail_sink.MailSink, texts: sms_sink.SmsSink, adapter: str, to: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        send_test(sqlite_db, BOX, shop, adapter, to, NOON)
    assert caught.value.hint
    assert (mails.messages, texts.messages) == ([], [])


def test_sender_that_is_not_set_up_is_named(sqlite_db: Database, mails: mail_sink.MailSink) -> None:
    with sqlite_db.write() as connection:
        other = make_shop(connection, 9)
    with pytest.raises(NotFound, match="SMTP is not set up"):
        send_test(sqlite_db, BOX, other, "smtp", "me@x.test", NOON)


def _paused(db: Database) -> dict[str, str]:
    with db.read() as connection:
        return senders.paused(connection, 1)


def test_paused_sender_goes_on_once_it_works(sqlite_db: Database, shop: Shop, mails: mail_sink.MailSink) -> None:
    with sqlite_db.write() as connection:
        for adapter in ("smtp", "twilio"):
            senders.pause(connection, 1, adapter, "The password is wrong.", NOON)
    mails.refuse("*")
    with pytest.raises(RecipientRefused):
        send_test(sqlite_db, BOX, shop, "smtp", "me@x.test", NOON)
    assert set(_paused(sqlite_db)) == {"smtp", "twilio"}
    mails.refusals.clear()
    send_test(sqlite_db, BOX, shop, "smtp", "me@x.test", NOON)
    assert set(_paused(sqlite_db)) == {"twilio"}


def test_refusing_provider_is_told_in_its_words(sqlite_db: Database, shop: Shop, texts: sms_sink.SmsSink) -> None:
    texts.refuse("+447700900123", 21608)
    with pytest.raises(ActionRequired) as caught:
        send_test(sqlite_db, BOX, shop, "twilio", "+447700900123", NOON)
    assert "trial account" in caught.value.hint
