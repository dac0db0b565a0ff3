"""The ways to show a WooCommerce store its keys, and which of them may be tried where.

Over plain http only OAuth 1.0a is used: it signs with the secret and never sends it. Over https the order is Basic, keys in the query
(for hosts that drop the Authorization header), OAuth 1.0a, and OAuth 1.0a signed as http (for stores that do not know that a proxy ends
TLS before them).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from enum import StrEnum
from urllib.parse import quote

_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")


class Way(StrEnum):
    """How a request is authorised."""

    BASIC = "basic"
    QUERY = "query"
    OAUTH = "oauth"
    OAUTH_AS_HTTP = "oauth_as_http"
    OAUTH_HOME = "oauth_home"


def ways_for(url: str) -> tuple[Way, ...]:
    """What may be tried at this address, best first."""
    if url.startswith("https://"):
        return (Way.BASIC, Way.QUERY, Way.OAUTH, Way.OAUTH_AS_HTTP, Way.OAUTH_HOME)
    return (Way.OAUTH, Way.OAUTH_HOME)


def encode(value: str) -> str:
    """RFC 3986 percent encoding, as OAuth wants it."""
    return value if _UNRESERVED.fullmatch(value) else quote(value, safe="-._~")


def query_string(pairs: Iterable[tuple[str, str]]) -> str:
    """The pairs as a query, encoded exactly as they are signed."""
    return "&".join(f"{encode(name)}={encode(value)}" for name, value in pairs)


def signature(method: str, url: str, params: Mapping[str, str], secret: str) -> str:
    """The HMAC-SHA256 signature of a one-legged OAuth 1.0a request; `url` is without its query."""
    normalised = "&".join(sorted(f"{encode(name)}={encode(value)}" for name, value in params.items()))
    base = "&".join((method.upper(), encode(url), encode(normalised)))
    digest = hmac.new(f"{encode(secret)}&".encode(), base.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def oauth_params(
    method: str, url: str, params: Mapping[str, str], key: str, secret: str, *, at: float, nonce: str = ""
) -> dict[str, str]:
    """The request's parameters with those of OAuth. Each call makes a new nonce, for the store refuses one that it has seen."""
    signed = {
        **params,
        "oauth_consumer_key": key,
        "oauth_nonce": nonce or secrets.token_hex(16),
        "oauth_signature_method": "HMAC-SHA256",
        "oauth_timestamp": str(int(at)),
    }
    return {**signed, "oauth_signature": signature(method, url, signed, secret)}
