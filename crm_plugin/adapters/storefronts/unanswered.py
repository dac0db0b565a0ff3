"""What it means that a store gave no answer: the name, the certificate, the time, in words that tell the merchant what to do."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from crm_plugin.errors import ActionRequired, AdapterError, TransientError
from crm_plugin.phrases import joined, phrase
from crm_plugin.redaction import excerpt

LATER = phrase("Try again in a few minutes; a sync goes on where it stopped.")
NO_TLS = phrase(
    "Ask the host for a certificate, or enter the address with http:// instead: the keys are then never sent, but members and "
    "orders travel in clear."
)


def unanswered(error: Exception, *, adapter: str, operation: str, store: str) -> AdapterError:
    """The error that it stands for. `store` is the address that was called."""
    context: dict[str, Any] = {"adapter": adapter, "operation": operation}
    host = urlsplit(store).netloc.rpartition("@")[2]  # A password typed before it is nobody's to read.
    if isinstance(error, requests.exceptions.SSLError):
        return _for_certificate(str(error), host, context)
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema)):
        return ActionRequired(
            phrase("%(store)s is not an address.", store=store),
            hint=phrase("Enter it as in the browser: https://shop.example"),
            **context,
        )
    if timed_out(error):
        return TransientError(phrase("%(host)s took too long to answer.", host=host), hint=LATER, **context)
    if "NameResolution" in repr(error) or "getaddrinfo" in repr(error):
        return TransientError(
            phrase("The name %(host)s is not found.", host=host),
            hint=phrase("Check the store's address and this computer's connection."),
            **context,
        )
    return TransientError(
        phrase("%(host)s cannot be reached, or broke off in the middle.", host=host),
        hint=joined(LATER, phrase("Check the store's address if this stays.")),
        excerpt=excerpt(str(error)),
        **context,
    )


def _for_certificate(said: str, host: str, context: dict[str, Any]) -> ActionRequired:
    said = said.lower()
    if not any(word in said for word in ("certificate", "hostname")):
        # No certificate was shown at all: what answers there speaks plain http, or a protocol given up long ago.
        return ActionRequired(
            phrase("%(host)s does not answer to https.", host=host), hint=NO_TLS, code="no_https", **context
        )
    why = next((words for sign, words in _CERTIFICATE if sign in said), phrase("is not valid"))
    return ActionRequired(
        phrase("The certificate of %(host)s %(why)s.", host=host, why=why),
        hint=phrase("Check the store's address, or ask the host to put this right. Keys are not sent before."),
        code="certificate",
        **context,
    )


_CERTIFICATE = (
    ("expired", phrase("has expired")),
    ("hostname mismatch", phrase("is for another name")),
    ("doesn't match", phrase("is for another name")),
    ("self-signed", phrase("is self-signed, so nobody vouches for it")),
    ("self signed", phrase("is self-signed, so nobody vouches for it")),
    (
        "unable to get local issuer",
        phrase("is not signed by anybody this computer knows, or its chain is not complete"),
    ),
)


def timed_out(error: Exception) -> bool:
    """Whether the other side was too slow; reading a body wraps the time-out in a ConnectionError."""
    if isinstance(error, requests.exceptions.Timeout):
        return True
    return any(isinstance(inner, urllib3.exceptions.ReadTimeoutError) for inner in error.args)
