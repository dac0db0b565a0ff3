"""The sinks keep what the product's own channels send, and refuse whom they are told to."""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

import pytest
import requests

from crm_plugin.adapters.channels.smtp import SmtpChannel
from crm_plugin.adapters.channels.twilio import TwilioChannel
from crm_plugin.demo import mail_sink, sms_sink
from crm_plugin.errors import ActionRequired, OptedOut, RecipientRefused, TransientError
from crm_plugin.records import Message


def _mail(to: str = "ann@inbox.example", key: str = "birthday:1:0:2026-11-24") -> Message:
    return Message("email", to, key, "你好\n.\n..dots", subject="生日快乐", html="<p>Hello</p>", marketing=False)


def _text(to: str = "+447700900001", body: str = "Hello") -> Message:
    return Message("sms", to, "lapse:1:0:x", body)


@pytest.fixture
def mails() -> Iterator[mail_sink.MailSink]:
    with mail_sink.serve() as sink:
        yield sink


@pytest.fixture
def smtp(mails: mail_sink.MailSink) -> Iterator[SmtpChannel]:
    values = {"host": mails.host, "port": mails.port, "security": "none", "from_address": "hello@lantern.example"}
    channel = SmtpChannel(values)
    yield channel
    channel.close()


@pytest.fixture
def texts() -> Iterator[sms_sink.SmsSink]:
    with sms_sink.serve() as sink:
        yield sink


@pytest.fixture
def twilio(texts: sms_sink.SmsSink) -> Iterator[TwilioChannel]:
    channel = TwilioChannel(_account(texts))
    yield channel
    channel.close()


def _account(texts: sms_sink.SmsSink, token: str = "") -> dict[str, str]:
    return {
        "account_sid": texts.account_sid,
        "auth_token": token or texts.auth_token,
        "from_number": "+15005550006",
        "base_url": texts.url,
    }


def test_mail_is_kept_with_its_envelope(smtp: SmtpChannel, mails: mail_sink.MailSink) -> None:
    assert smtp.check() == []
    smtp.send(_mail(), idempotency_key="a")
    [kept] = mails.messages
    assert (kept.sender, kept.recipients) == ("hello@lantern.example", ("ann@inbox.example",))
    read = message_from_bytes(kept.data, policy=policy.default)
    assert read["Subject"] == "生日快乐"
    plain = read.get_body(("plain",))
    assert plain is not None
    assert plain.get_content().splitlines() == ["你好", ".", "..dots"]


def test_chosen_recipient_is_refused_and_the_next_is_not(smtp: SmtpChannel, mails: mail_sink.MailSink) -> None:
    mails.refuse("Gone@inbox.example")
    with pytest.raises(RecipientRefused) as caught:
        smtp.send(_mail("gone@inbox.example"), idempotency_key="a")
    assert caught.value.suppress is True
    assert mails.messages == []
    smtp.send(_mail(), idempotency_key="b")
    assert [mail.recipients for mail in mails.messages] == [("ann@inbox.example",)]
    assert mails.connections == 1


def test_everybody_can_be_refused_for_a_while(smtp: SmtpChannel, mails: mail_sink.MailSink) -> None:
    mails.refuse("*", "451 4.3.2 Try later")
    with pytest.raises(TransientError):
        smtp.send(_mail(), idempotency_key="a")
    assert mails.messages == []
    mails.refusals.clear()
    smtp.send(_mail(), idempotency_key="a")
    assert len(mails.messages) == 1


def test_many_threads_lose_nothing(smtp: SmtpChannel, mails: mail_sink.MailSink) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(80):
            pool.submit(smtp.send, _mail(f"m{number}@inbox.example", f"k:{number}"), idempotency_key=str(number))
    assert sorted(mail.recipients[0] for mail in mails.messages) == sorted(f"m{n}@inbox.example" for n in range(80))


def test_plain_client_with_one_of_two_refused(mails: mail_sink.MailSink) -> None:
    mails.refuse("b@x.test", "550 5.2.1 Closed")
    with smtplib.SMTP(mails.host, mails.port, timeout=5) as client:
        refused = client.sendmail("s@x.test", ["a@x.test", "b@x.test"], b"Subject: x\r\n\r\n.one\r\n")
    assert refused == {"b@x.test": (550, b"5.2.1 Closed")}
    assert mails.messages == [mail_sink.Mail("s@x.test", ("a@x.test",), b"Subject: x\r\n\r\n.one\r\n")]


def test_commands_out_of_order_keep_nothing(mails: mail_sink.MailSink) -> None:
    with smtplib.SMTP(mails.host, mails.port, timeout=5) as client:
        client.ehlo()
        assert client.docmd("RCPT TO:<a@x.test>")[0] == 503
        assert client.docmd("DATA")[0] == 554
        assert client.docmd("MAIL FROM: nobody")[0] == 501
        assert client.docmd("VRFY a")[0] == 502
    assert mails.messages == []


def test_mail_that_breaks_off_is_not_kept(mails: mail_sink.MailSink) -> None:
    with socket.create_connection((mails.host, mails.port), timeout=5) as raw:
        raw.recv(100)
        raw.sendall(b"EHLO x\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n")
        with raw.makefile("rb") as replies:
            while not replies.readline().startswith(b"354"):
                pass
        raw.sendall(b"Subject: half")
    with smtplib.SMTP(mails.host, mails.port, timeout=5) as client:
        client.noop()
    assert mails.messages == []


def test_text_is_kept(twilio: TwilioChannel, texts: sms_sink.SmsSink) -> None:
    assert twilio.check() == []
    sent = twilio.send(_text(body="生" * 71), idempotency_key="a")
    assert (sent.provider_message_id, sent.parts) == (f"SM{1:032x}", 2)
    [kept] = texts.messages
    assert kept == sms_sink.Text(f"SM{1:032x}", "+447700900001", "+15005550006", "生" * 71, 2, "", kept.made_at)
    # And told of when it is asked for.
    before = datetime.now(UTC) - timedelta(minutes=1)
    assert [event.kind for event in twilio.events(since=before).events] == ["sent"]
    assert [one.parts for one in twilio.find(_text(body="生" * 71), since=before)] == [2]


@pytest.mark.parametrize(("code", "error"), [(21610, OptedOut), (21211, RecipientRefused), (30001, TransientError)])
def test_chosen_number_is_refused(
    twilio: TwilioChannel, texts: sms_sink.SmsSink, code: int, error: type[Exception]
) -> None:
    texts.refuse("+447700900002", code)
    with pytest.raises(error):
        twilio.send(_text("+447700900002"), idempotency_key="a")
    assert texts.messages == []
    twilio.send(_text(), idempotency_key="b")
    assert [text.to for text in texts.messages] == ["+447700900001"]


def test_wrong_token_is_refused(texts: sms_sink.SmsSink) -> None:
    channel = TwilioChannel(_account(texts, "wrong"))
    with pytest.raises(ActionRequired):
        channel.send(_text(), idempotency_key="a")
    assert [problem.code for problem in channel.check()] == ["action_required"]
    channel.close()
    assert texts.messages == []


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"To": "12", "Body": "x", "From": "+15005550006"}, 21211),
        ({"To": "+447700900001", "From": "+15005550006"}, 21602),
        ({"To": "+447700900001", "Body": "x"}, 21603),
        ({"To": "+447700900001", "Body": "x" * 1601, "From": "+15005550006"}, 21617),
    ],
)
def test_bad_text_is_refused(texts: sms_sink.SmsSink, form: dict[str, str], code: int) -> None:
    url = f"{texts.url}/2010-04-01/Accounts/{texts.account_sid}/Messages.json"
    answer = requests.post(url, data=form, auth=(texts.account_sid, texts.auth_token), timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert texts.messages == []
