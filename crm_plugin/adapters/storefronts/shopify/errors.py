"""What Shopify's refusals mean: three layers of them (status, `errors`, `userErrors`), in words that tell the merchant what to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import requests

from crm_plugin.adapters.storefronts.unanswered import LATER
from crm_plugin.errors import ActionRequired, AdapterError, MalformedResponse, PermanentError, TransientError
from crm_plugin.http_client import retry_after
from crm_plugin.phrases import phrase
from crm_plugin.redaction import excerpt, redact

ADAPTER = "shopify"
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
UPGRADE = phrase("Bring crm-plugin up to date: it asks the shop in words that Shopify no longer knows.")
REOPEN = phrase("Open the app once in the shop's admin: it then gets new keys by itself.")
SCOPES = phrase(
    "Open the app in the shop's admin and agree to what it asks for; an app of your own gets its scopes where it was made. "
    "Data of customers needs Shopify's approval of the app as well."
)


class GraphError(msgspec.Struct):
    """One entry of `errors`; `code` is the word in its extensions, empty for a query that is no good."""

    message: str = ""
    extensions: dict[str, Any] = {}

    @property
    def code(self) -> str:
        return str(self.extensions.get("code") or "")


class UserError(msgspec.Struct, kw_only=True):
    """One entry of `userErrors`: the call was understood, and refused."""

    message: str = ""
    code: str | None = None
    field: list[str] | None = None
    element_index: int | None = msgspec.field(name="elementIndex", default=None)


class TooCostly(Exception):
    """The query asks for more than one query may cost."""


def for_status(response: requests.Response, body: bytes, operation: str, shop: str, now: datetime) -> AdapterError:
    """The error that an HTTP status stands for; 401 is judged by who holds the keys."""
    status = response.status_code
    context: dict[str, Any] = {"adapter": ADAPTER, "operation": operation, "status": status, "excerpt": excerpt(body)}
    if status in TRANSIENT:
        said = (
            phrase("The store asks for fewer requests at a time (HTTP 429).")
            if status == 429
            else phrase("The store is busy or down (HTTP %(status)s).", status=status)
        )
        return TransientError(said, hint=LATER, retry_after=retry_after(response, now), **context)
    if status == 402:
        said, hint = phrase("The shop is frozen."), phrase("Shopify lets nobody in until its bill is paid.")
        return ActionRequired(said, hint=hint, code="frozen", **context)
    if status == 423:
        said, hint = phrase("The shop is locked."), phrase("Ask Shopify's support why, and to open it again.")
        return ActionRequired(said, hint=hint, code="locked", **context)
    if status == 403:
        return ActionRequired(phrase("The shop does not allow this."), hint=SCOPES, code="scope", **context)
    if status == 404 or 300 <= status < 400:
        said = phrase("There is no shop %(shop)s, or it has been closed.", shop=shop)
        return ActionRequired(said, hint=phrase("Check the shop's domain."), code="no_shop", **context)
    return PermanentError(
        phrase("The store refused the request (HTTP %(status)s).", status=status), hint=UPGRADE, **context
    )


def for_keys(operation: str, *, renewable: bool) -> ActionRequired:
    """The error for keys that are no longer taken."""
    if renewable:
        said = phrase("The shop no longer takes our keys: they ran out unused, or the app was taken away.")
        return ActionRequired(said, hint=REOPEN, code="reopen", adapter=ADAPTER, operation=operation, status=401)
    said = phrase("The shop does not take this access token.")
    hint = phrase("Copy the Admin API access token of the app again and enter it here.")
    return ActionRequired(said, hint=hint, code="unauthorised", adapter=ADAPTER, operation=operation, status=401)


def for_errors(errors: Sequence[GraphError], operation: str) -> AdapterError:
    """The error for the first of `errors` that says who must act. Part of the data may have come beside them; it is not used."""
    codes = {error.code for error in errors}
    words = redact("; ".join(error.message for error in errors))[:300]
    context: dict[str, Any] = {"adapter": ADAPTER, "operation": operation, "status": 200, "excerpt": words}
    if "ACCESS_DENIED" in codes:
        said = phrase("The shop does not allow this: %(what)s", what=words)
        return ActionRequired(said, hint=SCOPES, code="scope", **context)
    if "SHOP_INACTIVE" in codes:
        said, hint = phrase("The shop is not active."), phrase("Shopify lets nobody in until its bill is paid.")
        return ActionRequired(said, hint=hint, code="frozen", **context)
    if codes & {"THROTTLED", "INTERNAL_SERVER_ERROR", "TIMEOUT"}:
        return TransientError(phrase("The store is busy or down (HTTP %(status)s).", status=200), hint=LATER, **context)
    said = phrase(
        "The store refused the request: %(message)s (%(code)s).", message=words, code=", ".join(sorted(codes))
    )
    return PermanentError(said, hint=UPGRADE, **context)


def for_user_errors(errors: Sequence[UserError], operation: str) -> PermanentError:
    """The error for what a mutation refused; "gone" where it is the account that it cannot find."""
    context: dict[str, Any] = {"adapter": ADAPTER, "operation": operation, "status": 200}
    if any(is_gone(error) for error in errors):
        return PermanentError(phrase("This account is no longer in the store."), code="gone", **context)
    words = redact("; ".join(error.message for error in errors))[:300]
    code = ", ".join(sorted({error.code for error in errors if error.code})) or "userErrors"
    return PermanentError(
        phrase("The store refused the request: %(message)s (%(code)s).", message=words, code=code), **context
    )


# How the absence of an account is told differs from mutation to mutation, and is documented for none.
_GONE = ("does not exist", "doesn't exist", "not found", "could not be found", "invalid customer")
_OF_THE_ACCOUNT = ("id", "customerId", "ownerId")


def is_gone(error: UserError) -> bool:
    """Whether the refusal is that there is no such account."""
    said = error.message.lower()
    return any(words in said for words in _GONE) or (error.field or [""])[-1] in _OF_THE_ACCOUNT


def for_body(body: bytes, operation: str, path: str = "$") -> MalformedResponse:
    """The error for an answer of 200 that is not what was asked for."""
    return MalformedResponse(
        phrase("The store's answer has another form than asked for."),
        hint=LATER,
        adapter=ADAPTER,
        operation=operation,
        status=200,
        excerpt=excerpt(body),
        path=path or "$",
    )


def for_text(body: bytes, operation: str) -> AdapterError:
    """The error for an answer of 200 that is no JSON: a page for people, or one that broke off."""
    if body.lstrip()[:1] == b"<":
        return for_body(body, operation)
    return TransientError(
        phrase("The store's answer breaks off or is not valid JSON."),
        hint=LATER,
        adapter=ADAPTER,
        operation=operation,
        status=200,
        excerpt=excerpt(body),
    )
