"""What Shopify signs with the app's secret: webhooks, query strings, calls through the app proxy, and ID tokens. Pure functions.

Each takes several secrets, for after a change of the secret the new one may take an hour to be used.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

import msgspec

from crm_plugin.errors import WebhookRejected

# How old a signed query may be, and by how much a clock may be off for an ID token, which lives for a minute only.
QUERY_SECONDS = 90
LEEWAY_SECONDS = 10
_DOMAIN = re.compile(r"[a-z0-9][a-z0-9-]*\.myshopify\.com")
_ONCE = ("shop", "logged_in_customer_id", "path_prefix", "timestamp", "signature")


@dataclass(frozen=True, slots=True)
class ProxyCall:
    """A call through the app proxy: from which shop's storefront, who is signed in there (empty for nobody), and the shop's path to us."""

    shop: str
    customer: str
    path_prefix: str


class IdToken(msgspec.Struct, frozen=True):
    """What an ID token says, checked. `sub` is a member of the shop's staff; `shop` is added by us."""

    iss: str
    dest: str
    aud: str
    exp: float
    nbf: float = 0
    sub: str = ""
    shop: str = ""


class _Header(msgspec.Struct):
    alg: str = ""


def shop_domain(text: str) -> str:
    """The shop's own domain out of this text, in small letters; empty when it is none."""
    told = text.strip().lower()
    return told if _DOMAIN.fullmatch(told) else ""


def is_signed_body(body: bytes, signature: str, secrets: Sequence[str]) -> bool:
    """Whether a webhook's body is signed with one of the secrets: base64 of HMAC-SHA256 over the bytes as they came."""
    return any(_same(base64.b64encode(_digest(secret, body)).decode(), signature) for secret in secrets)


def signed_query(query: str, secrets: Sequence[str], now: float) -> dict[str, str]:
    """The parameters of a query that Shopify signed (`hmac`), such as at the end of an installation.

    Raises: WebhookRejected when it is not signed, says something twice, or is older than `QUERY_SECONDS`.
    """
    pairs = _pairs(query)
    told = dict(pairs)
    if len(told) != len(pairs):
        raise WebhookRejected("a parameter comes twice", status=400)
    message = urlencode(sorted(pair for pair in pairs if pair[0] not in ("hmac", "signature")))
    if not _is_hex(message, told.get("hmac", ""), secrets):
        raise WebhookRejected("the query is not signed by the app's secret")
    _fresh(told.get("timestamp", ""), now)
    return told


def proxy_call(query: str, secrets: Sequence[str], now: float) -> ProxyCall:
    """Whose call through the app proxy this is. The signature covers parameters that Shopify may add later, so none is left out.

    Raises: WebhookRejected when it is not signed, is older than `QUERY_SECONDS`, or says twice who calls.
    """
    values: dict[str, list[str]] = {}
    for name, value in _pairs(query):
        values.setdefault(name, []).append(value)
    if any(len(values.get(name, ())) > 1 for name in _ONCE):
        raise WebhookRejected("a parameter comes twice", status=400)
    signature = values.pop("signature", [""])[0]
    message = "".join(sorted(f"{name}={','.join(told)}" for name, told in values.items()))
    if not _is_hex(message, signature, secrets):
        raise WebhookRejected("the call is not signed by the app's secret")
    _fresh(values.get("timestamp", [""])[0], now)
    shop = shop_domain(values.get("shop", [""])[0])
    if not shop:
        raise WebhookRejected("the call names no shop", status=400)
    customer, prefix = (values.get(name, [""])[0] for name in ("logged_in_customer_id", "path_prefix"))
    return ProxyCall(shop, customer, prefix)


def read_id_token(token: str, client_id: str, secrets: Sequence[str], now: float) -> IdToken:
    """What the token says that Shopify's admin shows for its visitor.

    Raises: WebhookRejected when it is not signed with HS256 by the app's secret, not for this app, not of a shop, or out of its minute.
    """
    head, _, rest = token.partition(".")
    payload, _, signature = rest.partition(".")
    try:
        alg = msgspec.json.decode(_unpadded(head), type=_Header).alg
        told = msgspec.json.decode(_unpadded(payload), type=IdToken, strict=False)
        given = _unpadded(signature)
    except ValueError as error:
        raise WebhookRejected("the ID token cannot be read") from error
    # Only this algorithm: a token that names another, or none, could be made by anybody.
    signed = f"{head}.{payload}".encode()
    if alg != "HS256" or not any(hmac.compare_digest(_digest(secret, signed), given) for secret in secrets):
        raise WebhookRejected("the ID token is not signed by the app's secret")
    shop = shop_domain(told.dest.removeprefix("https://"))
    if not shop or told.iss.rstrip("/") not in (f"https://{shop}/admin", f"https://{shop}"):
        raise WebhookRejected("the ID token is of no shop")
    if told.aud != client_id or not told.nbf - LEEWAY_SECONDS <= now <= told.exp + LEEWAY_SECONDS:
        raise WebhookRejected("the ID token is not for us, or not for now")
    return msgspec.structs.replace(told, shop=shop)


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise WebhookRejected("the query cannot be read", status=400) from error


def _fresh(timestamp: str, now: float) -> None:
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > QUERY_SECONDS:
        raise WebhookRejected("the query is not of now")


def _is_hex(message: str, signature: str, secrets: Sequence[str]) -> bool:
    return any(_same(_digest(secret, message.encode()).hex(), signature) for secret in secrets)


def _digest(secret: str, message: bytes) -> bytes:
    return hmac.new(secret.encode(), message, hashlib.sha256).digest()


def _same(ours: str, theirs: str) -> bool:
    # As bytes: text that is not ASCII cannot be compared in constant time.
    return hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "surrogatepass"))


def _unpadded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars="-_", validate=True)
