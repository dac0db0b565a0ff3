"""What Saleor signs with its RSA key: webhooks as detached JWS over the raw body (RFC 7797), and the dashboard's tokens.

The public keys are published beside the API. They are kept at the installation; a signature by a key that is not known makes them be
fetched again, at most once a minute for each Saleor, for anybody can make up a key's name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from crm_plugin.adapters.raw import UNREADABLE, any_json
from crm_plugin.adapters.storefronts.calls import Calls
from crm_plugin.errors import AdapterError, WebhookRejected

ADAPTER = "saleor"
FRESH_SECONDS = 60.0
# Clocks of two servers differ a little; a token lives for five minutes.
LEEWAY_SECONDS = 10
# Saleor waits eighteen seconds for our answer, and the keys are fetched within it.
_FETCH_SECONDS = 5.0
Jwks = Mapping[str, Any]


class _Header(msgspec.Struct):
    alg: str = ""
    kid: str = ""
    b64: bool = True
    crit: list[str] = []


class Claims(msgspec.Struct):
    """What a token of a person says: `iss` is the API's address. One of the dashboard names us in `app`, and in `permissions` what the
    person and we both may; one of a customer has Saleor as its `owner`.
    """

    iss: str
    exp: float
    app: str = ""
    type: str = ""
    owner: str = ""
    email: str = ""
    user_id: str = ""
    is_staff: bool = False
    permissions: list[str] = []
    user_permissions: list[str] = []


_HEADER = msgspec.json.Decoder(_Header)
_CLAIMS = msgspec.json.Decoder(Claims)


def jwks_address(api_url: str) -> str:
    """Where the keys of this API are published."""
    parts = urlsplit(api_url)
    return f"{parts.scheme}://{parts.netloc}/.well-known/jwks.json"


def fetch_jwks(api_url: str, session: requests.Session | None = None) -> Jwks:
    """The keys as they are now, none where the answer holds none. Raises: AdapterError without an answer."""
    calls = Calls(ADAPTER, attempts=1, whole=_FETCH_SECONDS, session=session)
    try:
        found = calls.send("GET", jwks_address(api_url), operation="jwks").value()
    finally:
        calls.close()
    return found if isinstance(found, dict) and isinstance(found.get("keys"), list) else {"keys": []}


class _Fetched:
    """What one Saleor published when it was asked last; `is_old` when it has not answered since."""

    def __init__(self) -> None:
        # Of one store alone: one that answers slowly keeps no other waiting.
        self.lock = threading.Lock()
        self.at = -FRESH_SECONDS
        self.jwks: Jwks = {}
        self.is_old = False


class KeyRing:
    """The keys of one Saleor: those kept with the store, and behind them what was fetched last by this process."""

    _fetched: dict[str, _Fetched] = {}  # noqa: RUF012  (one for the process on purpose)

    def __init__(
        self,
        api_url: str,
        kept: Jwks | None,
        *,
        fetch: Callable[[str], Jwks] = fetch_jwks,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api_url = api_url
        self._kept = kept or {}
        self._fetch = fetch
        self._now = now

    def find(self, kid: str) -> rsa.RSAPublicKey | None:
        """The key of that name; None where the store has none.

        Raises: WebhookRejected with 503 when the store cannot be asked: Saleor tells again what was answered so, and nothing else.
        """
        known = self._fetched.setdefault(self._api_url, _Fetched())
        # What is here needs no waiting for a store that is being asked for another.
        return _key(self._kept, kid) or _key(known.jwks, kid) or self._newest(known, kid)

    def _newest(self, known: _Fetched, kid: str) -> rsa.RSAPublicKey | None:
        with known.lock:
            if _key(known.jwks, kid) is None and self._now() - known.at >= FRESH_SECONDS:
                try:
                    known.jwks, known.is_old = self._fetch(self._api_url), False
                except AdapterError:
                    known.is_old = True
                known.at = self._now()
            found = _key(known.jwks, kid)
            if found is None and known.is_old:
                raise WebhookRejected("The store's keys cannot be had now.", status=503)
            return found


def check_body(signature: str, body: bytes, keys: KeyRing) -> None:
    """Whether this is Saleor's signature of these very bytes. Raises: WebhookRejected."""
    head, payload, signed = _parts(signature)
    header = _header(head)
    if payload or header.b64 or header.crit != ["b64"]:
        raise WebhookRejected("The signature is no detached JWS.")
    _check(header, f"{head}.".encode() + body, signed, keys)


def check_hmac(signature: str, body: bytes, secret: str) -> None:
    """The old form, of a webhook that was given a secret: HMAC-SHA256 of the body in hex. Raises: WebhookRejected."""
    wanted = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted.encode(), signature.strip().lower().encode()):
        raise WebhookRejected("The signature is not the store's.")


def read_claims(token: str) -> Claims:
    """What a token says, not yet to be believed. Raises: WebhookRejected."""
    _, payload, _ = _parts(token)
    try:
        return _CLAIMS.decode(_bytes(payload))
    except UNREADABLE as error:
        raise WebhookRejected("The token cannot be read.") from error


def check_token(token: str, keys: KeyRing, now: float) -> Claims:
    """What a token says, once its signature and its end are checked; `now` is in seconds since 1970. Raises: WebhookRejected."""
    head, payload, signed = _parts(token)
    header = _header(head)
    if not header.b64 or header.crit:
        raise WebhookRejected("The token has a form of its own.")
    _check(header, f"{head}.{payload}".encode(), signed, keys)
    claims = read_claims(token)
    if not claims.exp > now - LEEWAY_SECONDS:
        raise WebhookRejected("The token has run out.")
    return claims


def _check(header: _Header, signed: bytes, signature: str, keys: KeyRing) -> None:
    if header.alg != "RS256":
        raise WebhookRejected("The signature is of another kind.")
    key = keys.find(header.kid)
    if key is None:
        raise WebhookRejected("The store has no such key.")
    try:
        key.verify(_bytes(signature), signed, padding.PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise WebhookRejected("The signature is not the store's.") from error


def _parts(token: str) -> tuple[str, str, str]:
    parts = token.strip().split(".")
    if len(parts) != 3 or not token.isascii():
        raise WebhookRejected("There is no signature of the store.")
    return parts[0], parts[1], parts[2]


def _header(text: str) -> _Header:
    try:
        return _HEADER.decode(_bytes(text))
    except UNREADABLE as error:
        raise WebhookRejected("The signature cannot be read.") from error


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise WebhookRejected("The signature cannot be read.") from error


def _key(jwks: Jwks, kid: str) -> rsa.RSAPublicKey | None:
    keys = jwks.get("keys")
    for one in keys if isinstance(keys, list) else ():
        if isinstance(one, dict) and one.get("kty") == "RSA" and str(one.get("kid", "")) == kid:
            try:
                exponent, modulus = (int.from_bytes(_bytes(str(one[name])), "big") for name in ("e", "n"))
                return rsa.RSAPublicNumbers(exponent, modulus).public_key()
            except (KeyError, ValueError, WebhookRejected):
                return None
    return None


def jwks_of(told: Any) -> Jwks:
    """The keys as they are kept: an object, or its JSON."""
    found = any_json(told.encode()) if isinstance(told, str) else told
    return found if isinstance(found, Mapping) else {}
