"""What a provider over HTTP may answer, and what that must mean: each channel's tests subclass `AnswersContract` and say the meaning.

A meaning is who has to act: "taken" nobody, "again" the scheduler (with the seconds asked for), "shop" the merchant, "recipient" and
"message" nobody any more, "unconfirmed" whoever can tell. What may have been done is never "again", unless a key protects it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    OutcomeUnknown,
    PermanentError,
    RecipientRefused,
    TransientError,
)
from crm_plugin.records import Message
from tests.contracts.provider import (
    Play,
    Provider,
    certificate,
    drips,
    endless,
    raw,
    resets,
    says,
    serving,
    silent,
    tls_of,
)

# Seconds of one call in all: where it has to end by itself, and else.
SHORT, LONG = 0.4, 60.0
_YES = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
_CHUNK = b"10000\r\n" + b"x" * 65536 + b"\r\n"
_PAGE = "<!doctype html><html><body>Something is wrong\x00</body></html>"
# What each provider may answer, whatever its own words are. {there} is the address of a server that must never be called.
ANSWERS: dict[str, Play] = {
    "yes with garbage": says(201, b"\x00\xff{[garbage"),
    "yes with a page": says(200, _PAGE, Content_Type="text/html"),
    "yes cut short": raw(_YES + b'Content-Length: 500\r\n\r\n{"sid": "SM'),
    "yes with half a JSON": says(201, '{"sid": "SM1", "id": '),
    "yes without a body": says(201),
    "yes with another form": says(201, '["SM1"]'),
    "yes nested without end": says(201, b"[" * 200_000),
    "yes that is not UTF-8": says(201, b'{"sid": "\xff", "id": "\xff"}'),
    "yes packed wrongly": says(201, b"no gzip", Content_Encoding="gzip"),
    "yes without end": endless(_YES + b"Transfer-Encoding: chunked\r\n\r\n", _CHUNK),
    "yes that drips": drips(_YES + b"Content-Length: 100000\r\n\r\n"),
    "headers that drip": drips(b"HTTP/1.1 201 Created\r\nX-Slow: "),
    "headers without end": endless(b"HTTP/1.1 201 Created\r\n", b"X-More: more\r\n"),
    "no HTTP at all": raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "hung up": raw(b""),
    "reset": resets,
    "silent": silent,
    "429": says(429, "{}"),
    "429 with seconds": says(429, "{}", Retry_After="7"),
    "429 with a date": says(429, "{}", Retry_After="Mon, 01 Jun 2026 12:00:30 GMT"),
    "429 with nonsense": says(429, "{}", Retry_After="\xb2"),
    "429 with a date beyond all": says(429, "{}", Retry_After="Mon, 01 Jun 2026 12:00:30 +99999999999"),
    "429 without end": endless(b"HTTP/1.1 429 Busy\r\nTransfer-Encoding: chunked\r\n\r\n", _CHUNK),
    "503": says(503, _PAGE, Content_Type="text/html"),
    "500": says(500, _PAGE, Content_Type="text/html"),
    "502": says(502, _PAGE, Content_Type="text/html"),
    "504": says(504),
    "400 with a page": says(400, _PAGE, Content_Type="text/html"),
    "403": says(403, _PAGE, Content_Type="text/html"),
}
# These end with the call's own time.
WAITS = ("yes that drips", "headers that drip", "silent")
_WORDS: tuple[tuple[type[AdapterError], str], ...] = (
    (OutcomeUnknown, "unconfirmed"),
    (ActionRequired, "shop"),
    (RecipientRefused, "recipient"),
    (PermanentError, "message"),
)


def meaning(channel: ChannelAdapter, message: Message) -> str:
    """What one call came to, as who has to act. Anything else that is raised is a fault of the adapter."""
    try:
        channel.send(message, idempotency_key=message.touchpoint_key)
    except TransientError as error:
        return "again" if error.retry_after is None else f"again {error.retry_after:g}"
    except AdapterError as error:
        return next(word for kind, word in _WORDS if isinstance(error, kind))
    finally:
        channel.close()
    return "taken"


class AnswersContract:
    """`expected` says what each of ANSWERS means, and what each of the channel's `own` answers does."""

    own: ClassVar[dict[str, Play]] = {}
    expected: ClassVar[dict[str, str]]
    # What a call means that got no connection; "distrusted": one whose other side shows a certificate that nobody vouches for.
    unreached: ClassVar[str] = "again"
    distrusted: ClassVar[str] = "shop"
    redirected: ClassVar[str] = "shop"
    scheme: ClassVar[str] = "http"

    @pytest.fixture
    def opened(self) -> Callable[[str, float], ChannelAdapter]:
        """The channel for an address such as https://127.0.0.1:1234, its calls ending after so many seconds."""
        raise NotImplementedError

    @pytest.fixture
    def message_to(self) -> Callable[[str], Message]:
        """A message it can send, to a provider at that address."""
        raise NotImplementedError

    @pytest.fixture
    def pem(self, tmp_path: Path) -> Path:
        return certificate(tmp_path / "own.pem")

    @pytest.fixture
    def provider(self, pem: Path) -> Iterator[Provider]:
        with serving(Provider(says(500), tls=tls_of(pem) if self.scheme == "https" else None)) as running:
            yield running

    def _at(self, provider: Provider, scheme: str = "") -> str:
        return f"{scheme or self.scheme}://127.0.0.1:{provider.port}"

    @pytest.mark.slow
    def test_every_answer_has_its_meaning(
        self, provider: Provider, opened: Callable[[str, float], Any], message_to: Callable[[str], Message]
    ) -> None:
        url = self._at(provider)
        found, asked = {}, {}
        for name, play in (ANSWERS | self.own).items():
            provider.play, provider.written = play, 0
            provider.requests.clear()
            found[name] = meaning(opened(url, SHORT if name in WAITS else LONG), message_to(url))
            asked[name] = len(provider.requests)
            assert provider.written < 32 * 2**20, name
        assert found == self.expected
        assert asked == dict.fromkeys(found, 1)

    def test_redirect_is_never_followed(
        self, provider: Provider, opened: Callable[[str, float], Any], message_to: Callable[[str], Message]
    ) -> None:
        url = self._at(provider)
        with serving(Provider(says(201, "{}"))) as there:
            for status in (301, 302, 303, 307, 308):
                provider.play = says(status, Location=f"http://127.0.0.1:{there.port}/there")
                assert meaning(opened(url, LONG), message_to(url)) == self.redirected, status
            # Nor is one on the same server.
            provider.play = says(307, Location="/elsewhere")
            assert meaning(opened(url, LONG), message_to(url)) == self.redirected
        assert (len(provider.requests), there.requests) == (6, [])

    def test_self_signed_certificate_gets_nothing(
        self, tmp_path: Path, opened: Callable[[str, float], Any], message_to: Callable[[str], Message]
    ) -> None:
        with serving(Provider(says(201, "{}"), tls=tls_of(certificate(tmp_path / "other.pem")))) as provider:
            url = self._at(provider, "https")
            assert meaning(opened(url, LONG), message_to(url)) == self.distrusted
        assert provider.requests == []

    def test_what_is_not_reached_was_not_told(
        self, monkeypatch: pytest.MonkeyPatch, opened: Callable[[str, float], Any], message_to: Callable[[str], Message]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            refused = f"{self.scheme}://127.0.0.1:{gone.getsockname()[1]}"
        assert meaning(opened(refused, LONG), message_to(refused)) == self.unreached

        def nameless(*_: Any, **__: Any) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", nameless)
        nowhere = f"{self.scheme}://nowhere.test"
        assert meaning(opened(nowhere, LONG), message_to(nowhere)) == self.unreached
