"""What the companion package forwards: Medusa's events with their ids, signed by us with a secret that both sides keep.

Signed is `<time stamp>.<delivery id>.<body>` with HMAC-SHA256, in hex. One delivery is told again under the same id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import msgspec

from crm_plugin.adapters.raw import UNREADABLE, any_json
from crm_plugin.errors import WebhookMalformed, WebhookRejected
from crm_plugin.records import RawRequest, StoreEvent, StoreEventKind, Stream

# How far the clocks of the two servers may be apart, and how long a delivery may be on its way.
TOLERANCE_SECONDS = 300
_CHANGED, _DELETED = StoreEventKind.CHANGED, StoreEventKind.DELETED
# Medusa's event → what it means, whose it is, and the entries of its data that name the record, the first that is there.
TOPICS: dict[str, tuple[StoreEventKind, Stream, tuple[str, ...]]] = {
    "customer.created": (_CHANGED, Stream.MEMBERS, ("id",)),
    "customer.updated": (_CHANGED, Stream.MEMBERS, ("id",)),
    "customer.deleted": (_DELETED, Stream.MEMBERS, ("id",)),
    "order.placed": (_CHANGED, Stream.ORDERS, ("id",)),
    "order.updated": (_CHANGED, Stream.ORDERS, ("id",)),
    "order.completed": (_CHANGED, Stream.ORDERS, ("id",)),
    "order.canceled": (_CHANGED, Stream.ORDERS, ("id",)),
    "order.archived": (_CHANGED, Stream.ORDERS, ("id",)),
    "order.fulfillment_created": (_CHANGED, Stream.ORDERS, ("order_id",)),
    "order.fulfillment_canceled": (_CHANGED, Stream.ORDERS, ("order_id",)),
    "order.return_received": (_CHANGED, Stream.ORDERS, ("order_id",)),
    "payment.captured": (_CHANGED, Stream.ORDERS, ("order_id",)),
    "payment.refunded": (_CHANGED, Stream.ORDERS, ("order_id",)),
    "shipment.created": (_CHANGED, Stream.ORDERS, ("order_id",)),
    "delivery.created": (_CHANGED, Stream.ORDERS, ("order_id",)),
    "product-variant.created": (_CHANGED, Stream.PRODUCTS, ("id",)),
    "product-variant.updated": (_CHANGED, Stream.PRODUCTS, ("id",)),
    "product-variant.deleted": (_DELETED, Stream.PRODUCTS, ("id",)),
}


class _Question(msgspec.Struct):
    customer: str
    at: int


class Pass(msgspec.Struct):
    """Who opened our page in Medusa's admin, as the companion vouches for it; `store` is the store's name for itself."""

    store: str
    actor: str
    exp: float


def verify(request: RawRequest, secret: str, now: float) -> None:
    """Raises: WebhookRejected for what is not signed, or is too old."""
    stamp, delivery, told = (
        request.headers.get(f"x-crm-{name}", "") for name in ("timestamp", "delivery", "signature")
    )
    if not secret or not delivery or not stamp.isascii() or not stamp.isdigit():
        raise WebhookRejected("It is not signed.")
    signed = f"{stamp}.{delivery}.".encode() + request.body
    if not hmac.compare_digest(_hex(secret, signed).encode(), told.strip().lower().encode()):
        raise WebhookRejected("The signature is not the store's.")
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        raise WebhookRejected("It is too old.")


def parse(request: RawRequest) -> list[StoreEvent]:
    """The event of a verified request. Raises: WebhookRejected."""
    body = any_json(request.body)
    name, data = (body.get("name"), body.get("data")) if isinstance(body, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(data, dict):
        raise WebhookRejected("The body is no event.", status=400)
    delivery = request.headers.get("x-crm-delivery", "")
    at = _instant(body.get("at"))
    if name == "ping":
        return [StoreEvent(StoreEventKind.PING, delivery, name, at=at)]
    kind, stream, keys = TOPICS.get(name, (StoreEventKind.UNKNOWN, None, ()))
    external_id = next((data[key] for key in keys if isinstance(data.get(key), str) and data[key]), "")
    if stream is not None and not external_id:
        # Without an id there is nothing to look at; the second pass finds it.
        return [StoreEvent(StoreEventKind.UNKNOWN, delivery, name, at=at)]
    return [StoreEvent(kind, delivery, name, stream=stream, external_id=external_id, at=at)]


def shopper(request: RawRequest, secret: str, now: float) -> str:
    """The account for which the companion asks; `now` is in seconds since 1970. Raises: WebhookRejected.

    It is signed for this purpose alone, so that no event and no pass can be taken for a question.
    """
    right, told = _hex(secret, b"shopper\n" + request.body), request.headers.get("x-crm-proof", "")
    if not secret or not hmac.compare_digest(right.encode(), told.strip().lower().encode()):
        raise WebhookRejected("The signature is not the store's.")
    try:
        question = msgspec.json.decode(request.body, type=_Question)
    except UNREADABLE as error:
        raise WebhookMalformed("It does not say who is signed in.") from error
    if abs(now - question.at) > TOLERANCE_SECONDS or not question.customer:
        raise WebhookRejected("It is too old, or of nobody.", status=403)
    return question.customer


def read_pass(token: str) -> Pass:
    """What a pass says, not yet to be believed. Raises: WebhookRejected."""
    try:
        payload = token.split(".")[0]
        return msgspec.json.decode(base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_"), type=Pass)
    except (binascii.Error, ValueError, *UNREADABLE) as error:
        raise WebhookRejected("The pass cannot be read.") from error


def check_pass(token: str, secret: str, now: float) -> Pass:
    """What a pass says, once its signature and its end are checked. Raises: WebhookRejected."""
    payload, _, told = token.partition(".")
    if not secret or not hmac.compare_digest(_hex(secret, payload.encode()).encode(), told.encode()):
        raise WebhookRejected("The pass is not the store's.")
    found = read_pass(token)
    if not now < found.exp <= now + TOLERANCE_SECONDS:
        raise WebhookRejected("The pass has run out.")
    return found


def _hex(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def _instant(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at.astimezone(UTC) if at.tzinfo else None
