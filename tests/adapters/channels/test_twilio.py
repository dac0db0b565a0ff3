"""The Twilio channel against answers in Twilio's form."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import requests
import responses
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from crm_plugin.adapters.channels.twilio import TwilioChannel
from crm_plugin.adapters.channels.twilio.webhooks import signature
from crm_plugin.clock import FixedClock
from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    InvalidInput,
    MalformedResponse,
    OptedOut,
    OutcomeUnknown,
    PermanentError,
    RecipientRefused,
    TransientError,
    WebhookRejected,
)
from crm_plugin.events import DeliveryEvent, DeliveryEventKind
from crm_plugin.records import Message, RawRequest
from tests.contracts.channel import ChannelContract
from tests.factories import NOON

ACCOUNT = "AC0123456789abcdef0123456789abcdef"
BASE = "https://api.twilio.test"
API = f"{BASE}/2010-04-01/Accounts/{ACCOUNT}"
SENT = {"sid": "SM1", "status": "queued", "num_segments": "1", "error_code": None}
CALLBACK = "https://crm.example/hooks/twilio"
VALUES = {"account_sid": ACCOUNT, "auth_token": "12345", "from_number": "+15017122661", "base_url": BASE}
MESSAGE = Message(
    channel="sms", to="+447700900123", touchpoint_key="birthday:7:0:2026-06-01", text="Harbour & Co: Happy birthday!"
)


@pytest.fixture
def twilio() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def channel(clock: FixedClock) -> Iterator[TwilioChannel]:
    channel = TwilioChannel(VALUES, clock=clock)
    yield channel
    channel.close()


def send(channel: TwilioChannel, **changes: Any) -> Any:
    return channel.send(dataclasses.replace(MESSAGE, **changes), idempotency_key="key")


class TestContract(ChannelContract):
    @pytest.fixture
    def values(self) -> dict[str, Any]:
        return dict(VALUES)

    @pytest.fixture
    def channel(self, values: dict[str, Any], twilio: responses.RequestsMock) -> TwilioChannel:
        twilio.post(f"{API}/Messages.json", json=SENT, status=201)
        twilio.get(f"{API}.json", json={"sid": ACCOUNT, "status": "active"})
        return TwilioChannel(values)

    @pytest.fixture
    def message(self) -> Message:
        return MESSAGE

    @pytest.fixture
    def sent(self, twilio: responses.RequestsMock) -> Callable[[], int]:
        return lambda: sum(call.request.method == "POST" for call in twilio.calls)


def test_request_is_the_form_twilio_wants(channel: TwilioChannel, twilio: responses.RequestsMock) -> None:
    twilio.post(f"{API}/Messages.json", json=SENT | {"num_segments": "2"}, status=201)
    result = send(channel, text="Grüße, 小明", extra={"status_callback": CALLBACK})
    assert (result.provider_message_id, result.parts, result.raw) == ("SM1", 2, {"status": "queued"})
    [call] = twilio.calls
    assert dict(parse_qsl(call.request.body)) == {
        "To": "+447700900123",
        "Body": "Grüße, 小明",
        "From": "+15017122661",
        "StatusCallback": CALLBACK,
    }
    login = base64.b64encode(f"{ACCOUNT}:12345".encode()).decode()
    assert call.request.headers["Authorization"] == f"Basic {login}"


def test_messaging_service_goes_instead_of_a_number(twilio: responses.RequestsMock) -> None:
    twilio.post(f"{API}/Messages.json", json=SENT | {"num_segments": "0"}, status=201)
    values = VALUES | {"from_number": "", "messaging_service_sid": "MG1", "status_callback_url": CALLBACK}
    result = send(TwilioChannel(values), text="会" * 71)
    assert result.parts == 2
    form = dict(parse_qsl(twilio.calls[0].request.body))
    called = f"{CALLBACK}?touchpoint=birthday:7:0:2026-06-01"
    assert (form["MessagingServiceSid"], form["StatusCallback"]) == ("MG1", called)
    assert "From" not in form


def test_sender_is_needed() -> None:
    with pytest.raises(InvalidInput) as caught:
        TwilioChannel(VALUES | {"from_number": ""})
    assert caught.value.field == "from_number"


@pytest.mark.parametrize(
    ("status", "code", "error", "suppress"),
    [
        (400, 21610, OptedOut, True),
        (400, 21211, RecipientRefused, True),
        (400, 21614, RecipientRefused, True),
        (400, 21612, RecipientRefused, False),
        (401, 20003, ActionRequired, None),
        (400, 21408, ActionRequired, None),
        (404, 20404, ActionRequired, None),
        (403, None, ActionRequired, None),
        (302, None, ActionRequired, None),
        (429, 20429, TransientError, None),
        (429, None, TransientError, None),
        (500, 20500, TransientError, None),
        (503, None, TransientError, None),
        (400, 30001, TransientError, None),
        (400, 21617, PermanentError, None),
        (400, None, PermanentError, None),
    ],
)
def test_refusal_becomes_the_right_error(
    channel: TwilioChannel,
    twilio: responses.RequestsMock,
    status: int,
    code: int | None,
    error: type[AdapterError],
    suppress: bool | None,
) -> None:
    body = {"code": code, "message": "No.", "status": status} if code else "<html>No."
    twilio.post(
        f"{API}/Messages.json",
        status=status,
        headers={"Retry-After": "7"},
        **({"json": body} if code else {"body": body}),  # type: ignore[arg-type]
    )
    with pytest.raises(AdapterError) as caught:
        send(channel)
    assert type(caught.value) is error
    assert caught.value.status == status
    assert getattr(caught.value, "suppress", None) == suppress
    assert getattr(caught.value, "retry_after", None) == (7.0 if error is TransientError else None)
    assert len(twilio.calls) == 1


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (requests.ConnectTimeout("late"), TransientError),
        (requests.exceptions.SSLError(MaxRetryError(None, "/", NewConnectionError(None, "no"))), TransientError),  # type: ignore[arg-type]
        (requests.ConnectionError(MaxRetryError(None, "/", NewConnectionError(None, "no"))), TransientError),  # type: ignore[arg-type]
        (requests.ReadTimeout("late"), OutcomeUnknown),
        (requests.ConnectionError(ProtocolError("Connection aborted.")), OutcomeUnknown),
    ],
)
def test_broken_connection_becomes_the_right_error(
    channel: TwilioChannel, twilio: responses.RequestsMock, raised: Exception, error: type[AdapterError]
) -> None:
    twilio.post(f"{API}/Messages.json", body=raised)
    with pytest.raises(AdapterError) as caught:
        send(channel)
    assert type(caught.value) is error
    assert len(twilio.calls) == 1


def test_no_server_is_transient() -> None:
    with pytest.raises(TransientError):
        send(TwilioChannel(VALUES | {"base_url": "http://127.0.0.1:1"}))


def test_unreadable_yes_is_not_sent_again(channel: TwilioChannel, twilio: responses.RequestsMock) -> None:
    twilio.post(f"{API}/Messages.json", body="<html>", status=201)
    with pytest.raises(OutcomeUnknown):
        send(channel)


@pytest.mark.parametrize("number", ["", "07700900123", "+44 7700 900123", "+0123456789", "anna@example.com"])
def test_number_must_be_international(channel: TwilioChannel, twilio: responses.RequestsMock, number: str) -> None:
    with pytest.raises(RecipientRefused) as caught:
        send(channel, to=number)
    assert not caught.value.suppress
    assert len(twilio.calls) == 0


@pytest.mark.parametrize(
    ("status", "body", "code", "hint"),
    [
        (401, '{"code": 20003, "message": "Authenticate"}', "action_required", "Check account SID and auth token."),
        (200, '{"status": "suspended"}', "action_required", "Open it in Twilio's console."),
        (200, "<html>", "malformed_response", "Check the API address."),
        (503, "", "transient", ""),
    ],
)
def test_check_says_what_is_wrong(
    channel: TwilioChannel, twilio: responses.RequestsMock, status: int, body: str, code: str, hint: str
) -> None:
    twilio.get(f"{API}.json", status=status, body=body)
    [problem] = channel.check()
    assert (problem.code, problem.hint) == (code, hint)


def test_check_without_network() -> None:
    [problem] = TwilioChannel(VALUES | {"base_url": "http://127.0.0.1:1"}).check()
    assert problem.code == "unreachable"


STATUS = {
    "AccountSid": ACCOUNT,
    "From": "+15017122661",
    "MessageSid": "SM0123456789abcdef0123456789abcdef",
    "MessageStatus": "delivered",
    "To": "+15558675310",
}


def callback(form: dict[str, str], *, signed: str, url: str = "https://example.com/sms/status") -> RawRequest:
    return RawRequest("POST", url, {"x-twilio-signature": signed}, urlencode(form).encode())


def test_signature_of_twilio_is_ours() -> None:
    """The first is printed in Twilio's own description of the scheme."""
    form = [("CallSid", "CA1234567890ABCDE"), ("Caller", "+14158675309"), ("Digits", "1234")]
    form += [("From", "+14158675309"), ("To", "+18005551212")]
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signature("12345", url, form) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    assert signature("12345", "https://example.com/sms/status", STATUS.items()) == "zTJRxXqoZUqfDZok5OQHs1N8dfg="


def test_signed_callback_is_let_in(channel: TwilioChannel) -> None:
    good = "zTJRxXqoZUqfDZok5OQHs1N8dfg="
    channel.verify_webhook(callback(STATUS, signed=good))
    channel.verify_webhook(callback(STATUS, signed=good, url="https://example.com:443/sms/status"))
    behind_proxy = TwilioChannel(VALUES | {"status_callback_url": "https://example.com/sms/status"})
    behind_proxy.verify_webhook(callback(STATUS, signed=good, url="http://127.0.0.1:8000/sms/status"))


@pytest.mark.parametrize(
    ("form", "signed", "url"),
    [
        (STATUS, "", "https://example.com/sms/status"),
        (STATUS, "zTJRxXqoZUqfDZok5OQHs1N8dfh=", "https://example.com/sms/status"),
        (STATUS, "zTJRxXqoZUqfDZok5OQHs1N8dfg=", "https://example.com/other"),
        (STATUS | {"MessageStatus": "failed"}, "zTJRxXqoZUqfDZok5OQHs1N8dfg=", "https://example.com/sms/status"),
        (STATUS, "é", "https://example.com/sms/status"),
    ],
)
def test_other_callback_is_rejected(channel: TwilioChannel, form: dict[str, str], signed: str, url: str) -> None:
    with pytest.raises(WebhookRejected) as caught:
        channel.verify_webhook(callback(form, signed=signed, url=url))
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("status", "code", "kind", "permanent"),
    [
        ("queued", "", DeliveryEventKind.QUEUED, False),
        ("sent", "", DeliveryEventKind.SENT, False),
        ("delivered", "", DeliveryEventKind.DELIVERED, False),
        ("read", "", DeliveryEventKind.OPENED, False),
        ("undelivered", "30003", DeliveryEventKind.BOUNCED, False),
        ("undelivered", "30005", DeliveryEventKind.BOUNCED, True),
        ("failed", "30008", DeliveryEventKind.FAILED, False),
        ("a new word", "", DeliveryEventKind.UNKNOWN, False),
    ],
)
def test_status_becomes_an_event(
    channel: TwilioChannel, status: str, code: str, kind: DeliveryEventKind, permanent: bool
) -> None:
    form = STATUS | {"MessageStatus": status} | ({"ErrorCode": code} if code else {})
    assert channel.parse_events(callback(form, signed="")) == [
        DeliveryEvent(
            provider_event_id=f"SM0123456789abcdef0123456789abcdef:{status}",
            provider_message_id="SM0123456789abcdef0123456789abcdef",
            kind=kind,
            at=datetime(2026, 6, 1, 12, tzinfo=UTC),
            address="+15558675310",
            reason=code,
            permanent=permanent,
            raw=form,
        )
    ]


def test_opted_out_number_gives_both_events(channel: TwilioChannel) -> None:
    form = STATUS | {"MessageStatus": "undelivered", "ErrorCode": "21610"}
    told = [
        (event.provider_event_id.partition(":")[2], event.kind)
        for event in channel.parse_events(callback(form, signed=""))
    ]
    assert told == [("undelivered", DeliveryEventKind.BOUNCED), ("opted_out", DeliveryEventKind.UNSUBSCRIBED)]


@pytest.mark.parametrize("query", ["", "?site=1"])
def test_callback_brings_our_key_back(twilio: responses.RequestsMock, query: str) -> None:
    twilio.post(f"{API}/Messages.json", json=SENT, status=201)
    channel = TwilioChannel(VALUES | {"status_callback_url": f"{CALLBACK}{query}"})
    send(channel, touchpoint_key="lapse:7:0:lapse:2026-01-02 &é")
    called = dict(parse_qsl(twilio.calls[0].request.body))["StatusCallback"]
    signed = signature("12345", called, STATUS.items())
    inside = "http://127.0.0.1:8000/hooks/twilio?" + called.partition("?")[2]
    channel.verify_webhook(callback(STATUS, signed=signed, url=inside))
    [event] = channel.parse_events(callback(STATUS, signed=signed, url=inside))
    assert event.touchpoint_key == "lapse:7:0:lapse:2026-01-02 &é"


@pytest.mark.parametrize(
    ("text", "opt_out_type", "stops"),
    [
        ("STOP", "STOP", True),
        (" Stop. ", "", True),
        ("退订", "", True),
        ("R", "", True),
        ("opt-out", "", True),
        ("Please stop by", "", False),
        ("HELP", "HELP", False),
        ("", "", False),
    ],
)
def test_reply_that_stops(channel: TwilioChannel, text: str, opt_out_type: str, stops: bool) -> None:
    form = {"MessageSid": "SM9", "SmsStatus": "received", "From": "+447700900123", "To": "+15017122661", "Body": text}
    if opt_out_type:
        form["OptOutType"] = opt_out_type
    events = channel.parse_events(callback(form, signed=""))
    found = [(event.provider_event_id, event.kind, event.address) for event in events]
    assert found == ([("SM9:stop", DeliveryEventKind.UNSUBSCRIBED, "+447700900123")] if stops else [])


def test_callback_about_no_message_is_no_event(channel: TwilioChannel) -> None:
    assert channel.parse_events(callback({"MessageStatus": "sent"}, signed="")) == []


# Asked afterwards.


def _listed(sid: str, body: str = MESSAGE.text, made: str = "Mon, 01 Jun 2026 12:00:05 +0000") -> dict[str, Any]:
    return {
        "sid": sid, "body": body, "date_created": made, "date_sent": made, "direction": "outbound-api", "status": "delivered",
        "num_segments": "1", "to": MESSAGE.to, "from": VALUES["from_number"], "error_code": None,
    }  # fmt: skip


def test_text_is_found_by_its_words_and_time(channel: TwilioChannel, twilio: responses.RequestsMock) -> None:
    page = {
        "messages": [
            _listed("SM4", made="Mon, 01 Jun 2026 12:02:01 +0000"),
            _listed("SM3"),
            _listed("SM2", body="Something else"),
            _listed("SM0") | {"status": "undelivered"},
            _listed("SM1", made="Mon, 01 Jun 2026 11:58:59 +0000"),
        ],
        "next_page_uri": None,
        "page_size": 200,
    }
    twilio.get(f"{API}/Messages.json", json=page)
    found = channel.find(MESSAGE, since=NOON)
    assert [(one.provider_message_id, one.parts) for one in found] == [("SM3", 1)]
    [call] = twilio.calls
    assert call.request.params == {"To": MESSAGE.to, "DateSent>": "2026-06-01", "PageSize": "200"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"status": 429, "json": {"code": 20429}}, TransientError),
        ({"status": 401, "json": {"code": 20003}}, ActionRequired),
        ({"json": {"messages": [{"sid": "SM1"}]}}, MalformedResponse),
        ({"json": {"messages": [_listed("SM1", made="yesterday")]}}, MalformedResponse),
        ({"body": requests.ReadTimeout()}, TransientError),
    ],
)
def test_list_that_does_not_come_is_told(
    channel: TwilioChannel, twilio: responses.RequestsMock, answer: dict[str, Any], error: type[AdapterError]
) -> None:
    twilio.get(f"{API}/Messages.json", **answer)
    with pytest.raises(error):
        channel.find(MESSAGE, since=NOON)


def test_what_became_of_texts_is_read_page_by_page(channel: TwilioChannel, twilio: responses.RequestsMock) -> None:
    told = "Mon, 01 Jun 2026 12:03:00 +0000"
    newest = _listed("SM4") | {"status": "undelivered", "error_code": 30005, "date_updated": told}
    page = {"messages": [newest, _listed("SM3") | {"direction": "inbound", "status": "received"}]}
    after = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?PageSize=200&Page=1&PageToken=PA1"
    twilio.get(f"{API}/Messages.json", json=page | {"next_page_uri": after})
    first = channel.events(since=NOON)
    assert (first.next_cursor, len(first.events)) == (after, 1)
    [event] = first.events
    assert (event.provider_event_id, event.kind, event.permanent) == (
        "SM4:undelivered",
        DeliveryEventKind.BOUNCED,
        True,
    )
    assert (event.at, event.reason, event.address) == (datetime(2026, 6, 1, 12, 3, tzinfo=UTC), "30005", MESSAGE.to)
    assert twilio.calls[0].request.params == {"DateSent>": "2026-06-01", "PageSize": "200"}
    old = _listed("SM1", made="Mon, 01 Jun 2026 11:58:59 +0000")
    twilio.replace(
        "GET", f"{API}/Messages.json", json={"messages": [_listed("SM2"), old], "next_page_uri": f"{after}2"}
    )
    last = channel.events(since=NOON, cursor=first.next_cursor)
    assert twilio.calls[1].request.url == f"{BASE}{after}"
    # Once it comes to what was made before, it is over.
    assert ([event.provider_message_id for event in last.events], last.next_cursor) == (["SM2"], "")


@pytest.mark.parametrize(
    "after",
    [
        "https://evil.test/2010-04-01/Messages.json?Page=1",
        "@evil.test/",
        "//evil.test/",
        f"/2010-04-01/Accounts/{ACCOUNT}.json?Page=1",
        f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?same",
    ],
)
def test_next_page_elsewhere_is_never_asked_for(
    channel: TwilioChannel, twilio: responses.RequestsMock, after: str
) -> None:
    twilio.get(f"{API}/Messages.json", json={"messages": [_listed("SM1")], "next_page_uri": after})
    with pytest.raises(MalformedResponse):
        channel.events(since=NOON, cursor=f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?same")
    assert len(twilio.calls) == 1
