"""What a store's refusal means, in words that tell the merchant what to do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from crm_plugin.adapters.raw import UNREADABLE, any_json, json_part, split_rows
from crm_plugin.adapters.storefronts.unanswered import LATER, unanswered
from crm_plugin.adapters.storefronts.woocommerce.auth import Way
from crm_plugin.errors import ActionRequired, AdapterError, MalformedResponse, PermanentError, TransientError
from crm_plugin.phrases import joined, phrase
from crm_plugin.redaction import excerpt, redact

ADAPTER = "woocommerce"

# Statuses that pass by themselves: 520-524 are what a CDN says for a store that does not answer it.
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
# Of these, the ones that smaller pages may cure.
TOO_HEAVY = frozenset({500, 502, 504, 520, 522, 524})

PERMALINKS = phrase("In WordPress open Settings > Permalinks, choose “Post name” and save, then try again.")
FIREWALL = phrase(
    "A security plugin or the host's firewall answers in the store's place. "
    "Allow requests to /wp-json/wc/ there, or ask the host to."
)
NEW_KEYS = phrase(
    "In WooCommerce open Settings > Advanced > REST API, create a key for an administrator and enter both parts here again."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Where `is_json`, the body is a whole JSON list or object, freed of what stood before it; `rows` are a list's."""

    status: int
    headers: requests.structures.CaseInsensitiveDict[str]
    body: bytes
    is_json: bool
    rows: list[msgspec.Raw] | None = None

    @property
    def is_html(self) -> bool:
        """Whether a page for people came."""
        head = self.body[:2000].lstrip().lower()
        return not self.is_json and (b"<html" in head or head.startswith((b"<!doctype", b"<head", b"<body")))

    def told(self) -> tuple[str, str]:
        """WordPress' error code and message; empty where the answer is none of its own."""
        value: Any = any_json(self.body)
        if not isinstance(value, dict):
            return "", ""
        return str(value.get("code") or ""), redact(str(value.get("message") or ""))


def answer_of(response: requests.Response, body: bytes) -> Answer:
    """The answer as we keep it."""
    status, headers = response.status_code, response.headers
    rows = _rows(body)
    if rows is not None:
        return Answer(status, headers, body, True, rows)
    found = json_part(body)
    return Answer(status, headers, body if found is None else found, found is not None, _rows(found or b""))


def _rows(body: bytes) -> list[msgspec.Raw] | None:
    try:
        return split_rows(body)
    except UNREADABLE:
        return None


def error_inside(answer: Answer) -> Answer:
    """An error of WordPress' own that came under a status of success, under the status that it names; else the answer as it is."""
    told = any_json(answer.body) if 200 <= answer.status < 300 else None
    if not isinstance(told, dict) or "id" in told or not (told.get("code") and told.get("message")):
        return answer
    about = told.get("data")
    status = about.get("status") if isinstance(about, dict) else None
    return replace(answer, status=status if isinstance(status, int) and 400 <= status < 600 else 400)


def for_answer(answer: Answer, operation: str, store: str) -> AdapterError:
    """The error that a refusal stands for; authorisation (401) is judged in `for_unauthorised`."""
    context: dict[str, Any] = {
        "adapter": ADAPTER,
        "operation": operation,
        "status": answer.status,
        "excerpt": excerpt(answer.body),
    }
    code, message = answer.told()
    if 300 <= answer.status < 400:
        return _redirected(answer, store, context)
    if answer.status == 429:
        return TransientError(phrase("The store asks for fewer requests at a time (HTTP 429)."), hint=LATER, **context)
    if answer.status in TRANSIENT:
        return TransientError(
            phrase("The store is busy or down (HTTP %(status)s).", status=answer.status), hint=LATER, **context
        )
    if b"to HTTPS port" in answer.body:
        return ActionRequired(
            phrase("%(host)s answers only to https.", host=urlsplit(store).netloc),
            hint=phrase("Enter https://%(host)s as the store's address.", host=urlsplit(store).netloc),
            code="redirected",
            **context,
        )
    if answer.status == 403 and code:
        return ActionRequired(
            phrase("The store knows the key but does not allow this: %(what)s", what=message or code),
            hint=joined(phrase("The key belongs to a user without the rights of a shop manager."), NEW_KEYS),
            code="scope_missing",
            **context,
        )
    if answer.status == 404 and (code == "rest_no_route" or not code):
        return ActionRequired(
            phrase("There is no WooCommerce REST API at this address (HTTP 404)."),
            hint=joined(phrase("Check the store's address and that WooCommerce is active."), PERMALINKS),
            **context,
        )
    if not code:
        return _not_json(answer, context)
    return PermanentError(
        phrase("The store refused the request: %(message)s (%(code)s).", message=message, code=code), **context
    )


def for_body(answer: Answer, operation: str) -> AdapterError:
    """The error for an answer of 200 whose body is not the list or object asked for."""
    context: dict[str, Any] = {
        "adapter": ADAPTER,
        "operation": operation,
        "status": answer.status,
        "excerpt": excerpt(answer.body),
    }
    if answer.is_html or answer.body.lstrip()[:1] not in (b"[", b"{"):
        return _not_json(answer, context)
    return MalformedResponse(
        phrase("The store's answer has another form than asked for.")
        if answer.is_json
        else phrase("The store's answer breaks off or is not valid JSON."),
        hint=phrase(
            "It began: %(words)r. If this stays, a plugin of the store spoils its REST API.",
            words=excerpt(answer.body)[:80],
        ),
        path="$",
        **context,
    )


def for_unauthorised(answer: Answer, operation: str, ways: tuple[Way, ...]) -> ActionRequired:
    """The error after all ways to show the keys were refused."""
    _, message = answer.told()
    context: dict[str, Any] = {
        "adapter": ADAPTER,
        "operation": operation,
        "status": answer.status,
        "excerpt": excerpt(answer.body),
        "code": "unauthorised",
    }
    said = message.lower()
    if "timestamp" in said:
        return ActionRequired(
            phrase("The store says that this computer's clock is wrong."),
            hint=phrase(
                "The two clocks may differ by 15 minutes at most; set the right time here or on the store's server."
            ),
            **{**context, "code": "wrong_clock"},
        )
    if "permissions" in said:
        return ActionRequired(
            phrase("The key may not do this: %(message)s", message=message),
            hint=phrase(
                "In WooCommerce open Settings > Advanced > REST API and give the key the permission Read/Write."
            ),
            **{**context, "code": "scope_missing"},
        )
    if "secret is invalid" in said:
        return ActionRequired(phrase("The store knows the key, but the secret is wrong."), hint=NEW_KEYS, **context)
    if "key is invalid" in said:
        return ActionRequired(phrase("The store does not know this key."), hint=NEW_KEYS, **context)
    if "signature" in said:
        return ActionRequired(
            phrase(
                "The store does not accept the signature: the secret is wrong, or the store has another address than the one given."
            ),
            hint=joined(
                phrase("Use exactly the address shown in WordPress under Settings > General > Site Address."), NEW_KEYS
            ),
            **context,
        )
    return ActionRequired(
        phrase("The store does not accept the keys, shown with a header, in the query and with a signature.")
        if Way.BASIC in ways
        else phrase("The store does not accept the keys, shown with a signature."),
        hint=joined(
            NEW_KEYS,
            phrase("If they are right, the host may be dropping them: ask it to pass the Authorization header on."),
        ),
        **context,
    )


def for_exception(error: Exception, operation: str, store: str) -> AdapterError:
    """The error for a request that got no answer."""
    return unanswered(error, adapter=ADAPTER, operation=operation, store=store)


def _redirected(answer: Answer, store: str, context: dict[str, Any]) -> ActionRequired:
    target = urlsplit(answer.headers.get("Location", ""))
    here = urlsplit(store)
    if target.netloc and (target.scheme, target.netloc) != (here.scheme, here.netloc):
        path = target.path.split("/wp-json", 1)[0].rstrip("/")
        there = f"{target.scheme or here.scheme}://{target.netloc}{path}"
        return ActionRequired(
            phrase("The store sends us on from %(store)s to %(there)s.", store=store, there=there),
            hint=phrase(
                "Enter %(there)s as the store's address: keys are never sent to another address than the one given.",
                there=there,
            ),
            code="redirected",
            **context,
        )
    if any(word in answer.headers.get("Location", "") for word in ("aiowpsec", "wp-login", "login")):
        return ActionRequired(
            phrase("The store sends its REST API to a sign-in page."), hint=FIREWALL, code="redirected", **context
        )
    return ActionRequired(
        phrase("The store's REST API is not where it should be: it sends us in a circle."),
        hint=PERMALINKS,
        code="redirected",
        **context,
    )


def _not_json(answer: Answer, context: dict[str, Any]) -> ActionRequired:
    words = excerpt(answer.body)[:80]
    hint: str
    if answer.status == 404 or answer.status < 400:
        hint = joined(
            phrase("Check the store's address; it may be the wrong one."),
            PERMALINKS,
            phrase("If that is done already: %(what)s", what=FIREWALL),
        )
    else:
        hint = FIREWALL
    kind = phrase("a web page") if answer.is_html else phrase("something that is not JSON")
    return ActionRequired(
        phrase(
            "The store answered with %(kind)s instead of data (HTTP %(status)s): %(words)r.",
            kind=kind,
            status=answer.status,
            words=words,
        ),
        hint=hint,
        code="not_json",
        **context,
    )


def decoded(answer: Answer, operation: str) -> Any:
    """The answer's JSON as plain Python. Raises: ActionRequired for a web page, MalformedResponse for broken JSON."""
    if not answer.is_json:
        raise for_body(answer, operation)
    try:
        return msgspec.json.decode(answer.body)
    except UNREADABLE as error:
        raise for_body(answer, operation) from error
