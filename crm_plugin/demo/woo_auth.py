"""Lets in who signs as WooCommerce wants it over plain http: OAuth 1.0a without a token, in the query or the header.

Written apart from the adapter that signs, so that a mistake in one does not hide in the other. Basic and keys in the query are refused with
the words that the store uses for somebody who showed nothing, as it does on plain http.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote

_WINDOW_SECONDS = 15 * 60
_ALGORITHMS = {"HMAC-SHA1": "sha1", "HMAC-SHA256": "sha256"}
_WRONG = "woocommerce_rest_authentication_error"


class Refusal(NamedTuple):
    """An answer that is not what was asked for."""

    status: int
    code: str
    message: str


_NOTHING_SHOWN = Refusal(401, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")


class Door:
    """Knows one pair of keys and the nonces seen within the window."""

    def __init__(self, key: str, secret: str, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._secret = secret
        self._now = now
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def refusal(self, method: str, url: str, query: str, header: str) -> Refusal | None:
        """Why this request is not let in; None when it is.

        Args: url: the store's own address and path, without the query. header: Authorization, or empty.
        """
        shown = dict(parse_qsl(query, keep_blank_values=True)) | _from_header(header)
        if "oauth_consumer_key" not in shown:
            return _NOTHING_SHOWN
        if shown["oauth_consumer_key"] != self._key:
            return Refusal(401, _WRONG, "Consumer key is invalid.")
        expected = self._signature(method, url, shown)
        if not hmac.compare_digest(expected.encode(), shown.get("oauth_signature", "").encode()):
            return Refusal(401, _WRONG, "Invalid signature - provided signature does not match.")
        return self._stale(shown.get("oauth_timestamp", ""), shown.get("oauth_nonce", ""))

    def _signature(self, method: str, url: str, shown: dict[str, str]) -> str:
        algorithm = _ALGORITHMS.get(shown.get("oauth_signature_method", ""))
        if algorithm is None:
            return "none"
        pairs = sorted((_percent(name), _percent(value)) for name, value in shown.items() if name != "oauth_signature")
        signed = "&".join(f"{name}={value}" for name, value in pairs)
        text = f"{method}&{_percent(url)}&{_percent(signed)}"
        return b64encode(
            hmac.new(f"{self._secret}&".encode(), text.encode(), getattr(hashlib, algorithm)).digest()
        ).decode()

    def _stale(self, timestamp: str, nonce: str) -> Refusal | None:
        now = self._now()
        if not timestamp.isdigit() or abs(now - int(timestamp)) > _WINDOW_SECONDS:
            return Refusal(401, _WRONG, "Invalid timestamp.")
        with self._lock:
            if not nonce or nonce in self._seen:
                return Refusal(401, _WRONG, "Invalid nonce - nonce has already been used.")
            if len(self._seen) > 10_000:
                self._seen = {old: at for old, at in self._seen.items() if now - at <= 2 * _WINDOW_SECONDS}
            self._seen[nonce] = now
        return None


def _from_header(header: str) -> dict[str, str]:
    scheme, _, rest = header.partition(" ")
    if scheme != "OAuth":
        return {}
    pairs = (part.strip().partition("=") for part in rest.split(","))
    return {unquote(name): unquote(value.strip('"')) for name, _, value in pairs if name and name != "realm"}


def _percent(text: str) -> str:
    return quote(text, safe="~")
