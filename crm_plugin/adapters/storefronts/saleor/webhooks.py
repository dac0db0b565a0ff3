"""Webhooks of one Saleor: who sent it, to whom, and which records it says to look at again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from crm_plugin.adapters.raw import any_json
from crm_plugin.adapters.storefronts.saleor.signing import KeyRing, check_body, check_hmac
from crm_plugin.adapters.storefronts.saleor.topics import TOPICS, Topic
from crm_plugin.errors import WebhookRejected
from crm_plugin.records import RawRequest, StoreEvent, StoreEventKind


def header(request: RawRequest, name: str) -> str:
    """A header of Saleor's, which came with an `X-` before it in former versions."""
    return request.headers.get(name) or request.headers.get(f"x-{name}") or ""


def store_of(request: RawRequest) -> str:
    """The address of the API that the request says it is from."""
    return api_address(header(request, "saleor-api-url"))


def api_address(url: str) -> str:
    """The address as Saleor tells it, in one form: with the slash at its end."""
    return f"{url.strip().rstrip('/')}/" if url.strip() else ""


def verify(request: RawRequest, api_url: str, app_id: str, keys: KeyRing, secret: str) -> None:
    """Check that this Saleor sent it, and to us: its key signs what it sends to any app. Raises: WebhookRejected."""
    if store_of(request) != api_address(api_url):
        raise WebhookRejected("It names another store.")
    signature = header(request, "saleor-signature")
    if secret and "." not in signature:
        check_hmac(signature, request.body, secret)
    else:
        check_body(signature, request.body, keys)
    told = _id(_body(request).get("recipient"))
    if app_id and told != app_id:
        raise WebhookRejected("It was sent to another app.", status=401 if told else 400)


def parse(request: RawRequest) -> list[StoreEvent]:
    """The events of a verified request. Raises: WebhookRejected."""
    body = _body(request)
    word = header(request, "saleor-event").upper()
    topic = TOPICS.get(word)
    issued = str(body.get("issuedAt") or "")
    is_own = bool(_id(body.get("recipient"))) and _id(body.get("issuingPrincipal")) == _id(body.get("recipient"))
    if topic is None:
        return [StoreEvent(StoreEventKind.UNKNOWN, f"{word}:{issued}", word.lower(), at=_instant(issued))]
    told = body.get(topic.field)
    objects = [one for one in (told if isinstance(told, list) else [told]) if isinstance(one, dict) and _id(one)]
    if not objects:
        raise WebhookRejected("It does not say what it is about.", status=400)
    return [
        _event(topic, word, name, one, issued, is_own)
        for one in objects
        if topic.stream is not None or _id(one) == _id(body.get("recipient"))
        for name in _names(topic, one)
    ]


def _event(topic: Topic, word: str, name: str, told: dict[str, Any], issued: str, is_own: bool) -> StoreEvent:
    kind = topic.kind
    if kind is StoreEventKind.SUSPENDED and told.get("isActive"):
        kind = StoreEventKind.RESUMED
    return StoreEvent(
        kind,
        f"{kind}:{word}:{name}:{issued}",
        word.lower(),
        stream=topic.stream,
        external_id=name if topic.stream is not None else "",
        at=_instant(issued),
        is_own=is_own and topic.stream is not None,
    )


def _names(topic: Topic, told: dict[str, Any]) -> list[str]:
    if not topic.within:
        return [_id(told)]
    inner = told.get(topic.within)
    return [_id(one) for one in (inner if isinstance(inner, list) else []) if _id(one)]


def _body(request: RawRequest) -> dict[str, Any]:
    found = any_json(request.body)
    if not isinstance(found, dict):
        raise WebhookRejected("The body is no JSON object.", status=400)
    return found


def _id(value: Any) -> str:
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _instant(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else None
