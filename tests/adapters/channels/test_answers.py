"""What each channel that calls over HTTP makes of a provider's worst answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from crm_plugin.adapters.channels.twilio import TwilioChannel, calls
from crm_plugin.adapters.channels.webhook import WebhookChannel
from crm_plugin.adapters.channels.webhook.public import Pinned, resolve
from crm_plugin.adapters.channels.woocommerce_note import WooCommerceNoteChannel
from crm_plugin.adapters.storefronts.woocommerce import client as woocommerce
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.clock import FixedClock
from crm_plugin.http_client import make_session
from crm_plugin.records import Message
from tests.contracts.answers import ANSWERS, AnswersContract
from tests.contracts.provider import HOST, Play, says

_BUSY = {
    "429": "again",
    "429 with seconds": "again 7",
    "429 with a date": "again 30",
    "429 with nonsense": "again",
    "429 with a date beyond all": "again",
    "429 without end": "again",
    "503": "again",
}
_KEY = "birthday:7:0:2026-06-01"


class TestTwilio(AnswersContract):
    own: ClassVar[dict[str, Play]] = {
        "taken": says(201, '{"sid": "SM1", "status": "queued", "num_segments": "1"}'),
        "taken in parts beyond all": says(201, '{"sid": "SM1", "num_segments": "%s"}' % ("9" * 5000)),
        "yes with an error inside": says(200, '{"code": 20429, "message": "Too many requests", "status": 429}'),
        "yes with a dead number": says(200, '{"code": 21211, "message": "Invalid number", "status": 400}'),
        "yes to a text that failed": says(201, '{"sid": "SM1", "status": "failed", "error_code": 21610}'),
        "yes with a new error": says(200, '{"code": 29999, "message": "New"}'),
        "500 in its own words": says(500, '{"code": 20500, "message": "Internal error"}'),
        "opted out": says(400, '{"code": 21610, "message": "Unsubscribed"}'),
        "wrong token": says(401, '{"code": 20003, "message": "Authenticate"}'),
    }
    expected: ClassVar[dict[str, str]] = {
        # The text may be on its way: a yes that says nothing, no answer at all, a gateway's.
        **dict.fromkeys(ANSWERS, "unconfirmed"),
        **_BUSY,
        "400 with a page": "message",
        "403": "shop",
        "taken": "taken",
        "taken in parts beyond all": "taken",
        "yes with an error inside": "again",
        "yes with a dead number": "recipient",
        "yes to a text that failed": "recipient",
        "yes with a new error": "message",
        "500 in its own words": "again",
        "opted out": "recipient",
        "wrong token": "shop",
    }

    @pytest.fixture
    def opened(self, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, float], TwilioChannel]:
        told = {"account_sid": "AC1", "auth_token": "token", "from_number": "+15550100123"}

        def made(url: str, whole: float) -> TwilioChannel:
            monkeypatch.setattr(calls, "_CALL_TIMEOUT", whole)
            return TwilioChannel({**told, "base_url": url}, clock=clock)

        return made

    @pytest.fixture
    def message_to(self) -> Callable[[str], Message]:
        return lambda _url: Message("sms", "+447700900123", _KEY, "Happy birthday!")


class TestWebhook(AnswersContract):
    """Each call has its key, so one whose answer was lost is made again. Any status of success is a yes, whatever follows it."""

    scheme = "https"
    distrusted = "again"
    redirected = "message"
    expected: ClassVar[dict[str, str]] = {
        **dict.fromkeys(ANSWERS, "again"),
        **{name: "taken" for name in ANSWERS if name.startswith("yes")},
        **_BUSY,
        "400 with a page": "message",
        "403": "message",
    }

    @pytest.fixture
    def opened(self, clock: FixedClock, pem: Path) -> Callable[[str, float], WebhookChannel]:
        class Here(Pinned):
            """The same, but on this machine, and by a certificate of our own."""

            def __init__(self, host: str, whole: float) -> None:
                super().__init__(host, "127.0.0.1", whole)

            def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
                return super().send(request, **{**options, "verify": str(pem)})

        def made(_url: str, whole: float) -> WebhookChannel:
            return WebhookChannel(
                {"signing_secret": "0123456789abcdef"},
                clock=clock,
                look_up=lambda host, port: ["93.184.215.14"] if host == HOST else resolve(host, port),
                transport=lambda host, _address: Here(host, whole),
            )

        return made

    @pytest.fixture
    def message_to(self) -> Callable[[str], Message]:
        return lambda url: Message("webhook", url.replace("127.0.0.1", HOST), _KEY, "{}")


class TestWooCommerceNote(AnswersContract):
    own: ClassVar[dict[str, Play]] = {
        "taken": says(201, '{"id": 77}'),
        "taken with a warning before it": says(201, '<b>Warning</b>: x\n{"id": 77}'),
        "yes without an id": says(200, '{"note": "Thank you!"}'),
        "202": says(202, "{}"),
        "yes with an error inside": says(200, '{"code": "rest_busy", "message": "Later", "data": {"status": 503}}'),
        "yes with a no inside": says(200, '{"code": "invalid_order", "message": "No such order"}'),
        "no such order": says(404, '{"code": "woocommerce_rest_order_invalid_id", "message": "Invalid ID."}'),
    }
    expected: ClassVar[dict[str, str]] = {
        **dict.fromkeys(ANSWERS, "unconfirmed"),
        **_BUSY,
        # Refused by what stands before the store.
        "400 with a page": "shop",
        "403": "shop",
        "429 without end": "unconfirmed",
        "taken": "taken",
        "taken with a warning before it": "taken",
        "yes without an id": "unconfirmed",
        "202": "unconfirmed",
        "yes with an error inside": "again",
        "yes with a no inside": "message",
        "no such order": "message",
    }

    @pytest.fixture
    def opened(
        self, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[str, float], WooCommerceNoteChannel]:
        now = clock.now().timestamp()

        def made(url: str, whole: float) -> WooCommerceNoteChannel:
            monkeypatch.setattr(woocommerce, "make_session", partial(make_session, whole=whole))
            client = WooCommerceClient(url, "ck_a", "cs_b", now=lambda: now)
            return WooCommerceNoteChannel({"url": url, "key": "ck_a", "secret": "cs_b"}, client=client)

        return made

    @pytest.fixture
    def message_to(self) -> Callable[[str], Message]:
        return lambda _url: Message("note", "a@x.test", _KEY, "Thank you!", order_external_id="42")
