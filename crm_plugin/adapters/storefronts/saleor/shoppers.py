"""Who is signed in in a storefront of one Saleor: the customer's own access token says it, signed by Saleor and good for minutes."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from crm_plugin.adapters.storefronts.saleor.signing import KeyRing, check_token
from crm_plugin.adapters.storefronts.saleor.webhooks import api_address
from crm_plugin.adapters.storefronts.saleor.writing import is_account
from crm_plugin.errors import WebhookRejected
from crm_plugin.records import RawRequest

_BEARER = re.compile(r"bearer\s+(\S+)", re.IGNORECASE)
# Tokens of other kinds renew this one, or are an app's; those of other owners are signed with the same key by plugins of the store.
_KIND, _OWNER = "access", "saleor"


def shopper(request: RawRequest, api_url: str, keys: KeyRing, now: float) -> str:
    """The account that the token in the header is of; `now` is in seconds since 1970. Raises: WebhookRejected."""
    found = _BEARER.fullmatch(request.headers.get("authorization", "").strip())
    if found is None:
        raise WebhookRejected("There is no token.")
    claims = check_token(found[1], keys, now)
    if api_address(claims.iss) != api_url:
        raise WebhookRejected("The token is of another store.")
    if claims.type != _KIND or claims.owner != _OWNER or claims.app:
        raise WebhookRejected("The token is of another kind.")
    if not is_account(claims.user_id):
        raise WebhookRejected("The token names no account.")
    return claims.user_id


def origins_of(told: str) -> frozenset[str]:
    """Origins, as browsers name them, of the web addresses in this text, split at commas and spaces; what is none is passed over."""
    return frozenset(filter(None, map(_origin, re.split(r"[,\s]+", told))))


def _origin(told: str) -> str:
    try:
        parts = urlsplit(told)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.scheme in ("https", "http") and parts.netloc else ""
