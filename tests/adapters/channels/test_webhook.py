"""The webhook channel: signed, once for each key, never into a private network."""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from crm_plugin.adapters.channels.webhook import WebhookChannel
from crm_plugin.adapters.channels.webhook.public import Pinned
from crm_plugin.clock import FixedClock
from crm_plugin.errors import InvalidInput, PermanentError, TransientError
from crm_plugin.records import Message
from tests.contracts.channel import ChannelContract

SECRET = "0123456789abcdef"
URL = "https://erp.example/hook?list=a%20b"
PUBLIC = "93.184.215.14"


class Far(BaseAdapter):
    """Another system that takes each key once; `answers` with a status, and what its calls looked like."""

    def __init__(self) -> None:
        super().__init__()
        self.status, self.fails = 200, False
        self.body: Any = io.BytesIO(b"no" * 50_000)
        self.headers: dict[str, str] = {}
        self.calls: list[requests.PreparedRequest] = []
        self.taken: set[str] = set()

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:  # type: ignore[override]
        if self.fails:
            raise requests.ReadTimeout
        self.calls.append(request)
        if self.status == 200:
            self.taken.add(request.headers["Idempotency-Key"])
        response = requests.Response()
        response.status_code = self.status
        response.headers.update(self.headers)
        response.raw = HTTPResponse(body=self.body, preload_content=False)
        return response

    def close(self) -> None: ...


@pytest.fixture
def far() -> Far:
    return Far()


def _channel(far: Far, *addresses: str, secret: str = SECRET) -> WebhookChannel:
    clock = FixedClock(datetime(2026, 6, 1, 8, tzinfo=UTC))
    found = list(addresses or (PUBLIC,))
    return WebhookChannel(
        {"signing_secret": secret},
        clock=clock,
        look_up=lambda _host, _port: found,
        transport=lambda _host, _address: far,
    )


def _message(**told: Any) -> Message:
    return Message(**{"channel": "webhook", "to": URL, "touchpoint_key": "j:7:2:once", "text": '{"a":"é"}', **told})


class TestContract(ChannelContract):
    @pytest.fixture
    def values(self) -> dict[str, Any]:
        return {"signing_secret": SECRET}

    @pytest.fixture
    def channel(self, far: Far) -> WebhookChannel:
        return _channel(far)

    @pytest.fixture
    def message(self) -> Message:
        return _message()

    @pytest.fixture
    def sent(self, far: Far) -> Callable[[], int]:
        return lambda: len(far.taken)


def test_a_call_is_signed_and_carries_its_key(far: Far) -> None:
    _channel(far).send(_message(), idempotency_key="j:7:2:lapse:2026-03-01:é")
    [call] = far.calls
    body = '{"a":"é"}'.encode()
    signed = hmac.new(SECRET.encode(), b"1780300800." + body, hashlib.sha256).hexdigest()
    assert (call.method, call.url, call.body) == ("POST", URL, body)
    assert call.headers["X-CRM-Timestamp"] == "1780300800"
    assert call.headers["X-CRM-Signature"] == f"sha256={signed}"
    assert call.headers["Idempotency-Key"] == "j:7:2:lapse:2026-03-01:\\xe9"


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.8",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.8", "2002:0a00:0008::1", "not an address"),
        # IPv4 behind a gateway (NAT64), in the last bits, and what once was local to a site.
        *("64:ff9b::a00:8", "64:ff9b::7f00:1", "64:ff9b:1::a00:8", "::127.0.0.1", "::8.8.8.8", "fec0::1", "4000::1"),
    ],
)
def test_private_addresses_are_never_called(far: Far, address: str) -> None:
    for addresses in ((address,), (PUBLIC, address)):
        with pytest.raises(PermanentError, match="public internet"):
            _channel(far, *addresses).send(_message(), idempotency_key="k")
    assert far.calls == []


@pytest.mark.parametrize(
    "url",
    [
        "http://erp.example/",
        "https://me:you@erp.example/",
        "https:///x",
        "https://erp.example:99999/",
        "file:///etc/passwd",
    ],
)
def test_only_plain_https_is_called(far: Far, url: str) -> None:
    with pytest.raises(PermanentError, match="cannot be called"):
        _channel(far).send(_message(to=url), idempotency_key="k")
    assert far.calls == []


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 410, 422])
def test_a_no_is_not_asked_again(far: Far, status: int) -> None:
    far.status = status
    with pytest.raises(PermanentError) as caught:
        _channel(far).send(_message(), idempotency_key="k")
    assert (caught.value.status, len(caught.value.excerpt) <= 300, len(far.calls)) == (status, True, 1)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
def test_a_busy_system_is_asked_again(far: Far, status: int) -> None:
    far.status, far.headers = status, {"Retry-After": "90"}
    with pytest.raises(TransientError) as caught:
        _channel(far).send(_message(), idempotency_key="k")
    assert caught.value.retry_after == 90


def test_no_answer_and_no_name_are_asked_again(far: Far) -> None:
    far.fails = True
    with pytest.raises(TransientError, match="does not answer"):
        _channel(far).send(_message(), idempotency_key="k")

    def lost(_host: str, _port: int) -> list[str]:
        raise OSError

    channel = WebhookChannel({"signing_secret": SECRET}, look_up=lost)
    with pytest.raises(TransientError, match="cannot be found"):
        channel.send(_message(), idempotency_key="k")


class Dripping(io.RawIOBase):
    """A body that comes a byte at a time, and then not at all; counts how often more of it was waited for."""

    def __init__(self, *told: bytes | Exception) -> None:
        super().__init__()
        self.left, self.asked = list(told), 0

    def readable(self) -> bool:
        return True

    def read(self, _most: int = -1) -> bytes:
        self.asked += 1
        told = self.left.pop(0) if self.left else b""
        if isinstance(told, Exception):
            raise told
        return told

    read1 = read


def test_a_yes_is_a_yes_before_its_body_came(far: Far) -> None:
    far.body = Dripping(TimeoutError())
    sent = _channel(far).send(_message(), idempotency_key="k")
    assert (sent.raw, far.body.asked, far.body.closed) == ({"status": 200}, 0, True)


@pytest.mark.parametrize(
    ("told", "kept"),
    [([b"n", b"o"], "n"), ([TimeoutError()], ""), ([ConnectionResetError()], "")],
)
def test_of_a_no_only_what_is_there_is_read(far: Far, told: list[bytes | Exception], kept: str) -> None:
    far.status, far.body = 422, Dripping(*told)
    with pytest.raises(PermanentError) as caught:
        _channel(far).send(_message(), idempotency_key="k")
    assert (caught.value.status, caught.value.excerpt, far.body.asked, far.body.closed) == (422, kept, 1, True)


@pytest.mark.parametrize("error", [ReadTimeoutError(None, URL, "late"), ProtocolError("gone")])  # type: ignore[arg-type]
def test_whatever_goes_wrong_on_the_way_is_asked_again(
    far: Far, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def lost(*_args: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(far, "send", lost)
    with pytest.raises(TransientError, match="does not answer"):
        _channel(far).send(_message(), idempotency_key="k")


def test_hosts_fail_apart(far: Far) -> None:
    channel = _channel(far)
    assert [channel.whose(url) for url in ("https://ERP.example/a?b", "https://erp.example:8443/")] == [
        "erp.example",
        "erp.example:8443",
    ]


def test_a_short_secret_is_refused(far: Far) -> None:
    with pytest.raises(InvalidInput) as caught:
        _channel(far, secret="short")
    assert caught.value.field == "signing_secret"


@pytest.mark.parametrize(("address", "host"), [(PUBLIC, PUBLIC), ("2606:4700::1111", "[2606:4700::1111]")])
def test_the_address_that_was_looked_at_is_the_one_called(
    monkeypatch: pytest.MonkeyPatch, address: str, host: str
) -> None:
    seen: list[tuple[str | None, str | None]] = []

    def send(_self: Any, request: requests.PreparedRequest, **_options: Any) -> requests.Response:
        seen.append((request.url, request.headers.get("Host")))
        raise requests.ConnectionError

    pinned = Pinned("erp.example", address)
    assert pinned.poolmanager.connection_pool_kw["server_hostname"] == "erp.example"
    assert pinned.poolmanager.connection_pool_kw["assert_hostname"] == "erp.example"
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    request = requests.Request("POST", "https://erp.example:8443/hook?x=1", data=b"x").prepare()
    with pytest.raises(requests.ConnectionError):
        pinned.send(request)
    assert seen == [(f"https://{host}:8443/hook?x=1", "erp.example:8443")]
