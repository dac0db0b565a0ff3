"""The webhook channel: one signed POST of JSON to an address of the shop's own."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.adapters.channels.webhook.public import Pinned, Resolve, place_of, resolve
from crm_plugin.clock import Clock, SystemClock
from crm_plugin.errors import InvalidInput, PermanentError, TransientError
from crm_plugin.http_client import CONNECT_TIMEOUT, USER_AGENT, distrusted, retry_after
from crm_plugin.phrases import phrase
from crm_plugin.records import Message, SendResult
from crm_plugin.redaction import excerpt

_READ_TIMEOUT = 20.0
_SHORTEST_SECRET = 16
# Of what comes back with a no, no more is read; a yes is one whatever follows it.
_MOST_READ = 10_000
_LOST = (requests.RequestException, HTTPError)
_AGAIN = frozenset({408, 409, 425, 429})
Transport = Callable[[str, str], requests.adapters.BaseAdapter]


class WebhookChannel(ChannelAdapter):
    """Tells another system of a member who came to a step of a journey.

    Each call carries its idempotency key, so one whose answer was lost is made again, and the other side tells the repeat by it.
    """

    name = "webhook"
    label = "Webhook"
    channel = "webhook"
    capabilities = frozenset({Capability.SEND_MESSAGE, Capability.IDEMPOTENCY_KEY})
    settings = (
        Setting(
            "signing_secret",
            "Signing secret",
            SettingType.SECRET,
            "At least 16 characters; whoever is called checks by it that the call is yours.",
        ),
    )

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        clock: Clock | None = None,
        look_up: Resolve = resolve,
        transport: Transport = Pinned,
    ) -> None:
        """`look_up` and `transport` are how names are looked up and calls made."""
        super().__init__(values)
        if len(self.values["signing_secret"]) < _SHORTEST_SECRET:
            raise InvalidInput(
                phrase("The signing secret is too short."),
                field="signing_secret",
                hint=phrase("At least %(least)s characters.", least=_SHORTEST_SECRET),
            )
        self._clock = clock or SystemClock()
        self._look_up = look_up
        self._transport = transport

    def whose(self, address: str) -> str:
        """The other system's host: steps name systems that know nothing of one another."""
        return urlsplit(address).netloc.lower()

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        """Make the call; any answer of 200 to 299 is a yes. No redirect is followed."""
        if not message.text.strip():
            raise PermanentError(phrase("The message is empty."), adapter=self.name, operation="build")
        host, _port, address = place_of(message.to, self._look_up, self.name)
        body = message.text.encode()
        with requests.Session() as session:
            # A proxy would look the name up once more.
            session.trust_env = False
            session.mount("https://", self._transport(host, address))
            try:
                response = session.post(
                    message.to,
                    data=body,
                    headers=self._headers(body, idempotency_key),
                    timeout=(CONNECT_TIMEOUT, _READ_TIMEOUT),
                    allow_redirects=False,
                    stream=True,
                )
            except _LOST as error:
                # With its key it may be made again, whether it came there or not.
                what = (
                    phrase("The certificate of %(host)s cannot be trusted.", host=host)
                    if distrusted(error)
                    else phrase("%(host)s does not answer.", host=host)
                )
                raise TransientError(what, adapter=self.name, operation="send") from error
            with response:
                if not 200 <= response.status_code < 300:
                    raise self._refusal(response, host, _excerpt(response))
        return SendResult(idempotency_key, parts=1, raw={"status": response.status_code})

    def check(self) -> list[Problem]:
        """There is nothing to ask: every step names an address of its own."""
        return []

    def _headers(self, body: bytes, key: str) -> dict[str, str]:
        at = str(int(self._clock.now().timestamp()))
        signed = hmac.new(self.values["signing_secret"].encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": USER_AGENT,
            "Idempotency-Key": key.encode("ascii", "backslashreplace").decode(),
            "X-CRM-Timestamp": at,
            "X-CRM-Signature": f"sha256={signed}",
        }

    def _refusal(self, response: requests.Response, host: str, told: str) -> Exception:
        status = response.status_code
        what = phrase("%(host)s answered %(status)s.", host=host, status=status)
        context: dict[str, Any] = {
            "adapter": self.name,
            "operation": "send",
            "status": status,
            "excerpt": told,
        }
        if status >= 500 or status in _AGAIN:
            return TransientError(what, retry_after=retry_after(response, self._clock.now()), **context)
        return PermanentError(what, **context)


def _excerpt(response: requests.Response) -> str:
    """What came with a no, as far as it is there: asked for once, for a body that drips in would be waited for byte by byte."""
    try:
        return excerpt(response.raw.read1(_MOST_READ, decode_content=False) or b"")
    except _LOST:
        return ""
