"""Webhooks of one store: who sent it, and which record it says to look at again.

A store tells neither that a refund was made (its order is updated) nor which record an error speaks of that it sends in place of one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import datetime

import msgspec

from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.woocommerce.mapping import utc
from crm_plugin.errors import WebhookMalformed, WebhookRejected
from crm_plugin.records import RawRequest, StoreEvent, StoreEventKind, Stream

STREAMS = {"customer": Stream.MEMBERS, "order": Stream.ORDERS, "product": Stream.PRODUCTS}
_KINDS = {
    "created": StoreEventKind.CHANGED,
    "updated": StoreEventKind.CHANGED,
    "restored": StoreEventKind.CHANGED,
    "deleted": StoreEventKind.DELETED,
}
# The store restores no account.
TOPICS = tuple(
    f"{resource}.{event}" for resource in STREAMS for event in _KINDS if (resource, event) != ("customer", "restored")
)
# Sent by a store that makes a webhook, unsigned: it only asks whether somebody answers.
_PING = re.compile(rb"webhook_id=[0-9]{1,12}")


class _Body(msgspec.Struct):
    id: int | None = None
    date_modified_gmt: datetime | None = None
    code: str | int | None = None
    message: str | None = None


class _Question(msgspec.Struct):
    customer: int
    at: int


_BODY = msgspec.json.Decoder(_Body)
_QUESTION = msgspec.json.Decoder(_Question)
# How old a question of the companion plugin may be, and how far ahead its server's clock.
_FRESH_SECONDS = 600


def signing_secret(consumer_secret: str) -> str:
    """The secret that the store signs with, made of the store's own key: nothing more has to be kept, and new keys make a new one."""
    return hmac.new(consumer_secret.strip().encode(), b"crm-plugin webhooks", hashlib.sha256).hexdigest()


def signature(body: bytes, secret: str) -> str:
    """What the store writes into `X-WC-Webhook-Signature`."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def verify(request: RawRequest, consumer_secret: str) -> None:
    """Check that this store sent it; a ping is let in, for it says nothing. Raises: WebhookRejected."""
    if _is_ping(request):
        return
    told = request.headers.get("x-wc-webhook-signature", "").strip()
    if not consumer_secret or not told:
        raise WebhookRejected("It is not signed.")
    right = signature(request.body, signing_secret(consumer_secret))
    if not hmac.compare_digest(told.encode("utf-8", "replace"), right.encode()):
        raise WebhookRejected("Its signature is another.")


def parse(request: RawRequest) -> list[StoreEvent]:
    """The events of a verified request. Raises: WebhookMalformed."""
    if _is_ping(request):
        # Of all pings one is kept, for anybody can send them.
        return [StoreEvent(StoreEventKind.PING, "ping", "ping")]
    topic = request.headers.get("x-wc-webhook-topic", "").strip().lower()
    resource, _, word = topic.partition(".")
    kind = _KINDS.get(word) if resource in STREAMS else None
    told = _read(request.body)
    digest = hashlib.sha256(request.body).hexdigest()[:32]
    if kind is None:
        return [StoreEvent(StoreEventKind.UNKNOWN, f"{topic[:100]}:{digest}", topic or "none")]
    delivery = request.headers.get("x-wc-webhook-delivery-id", "")[:64]
    if told.id is None and told.code:
        # It is gone by now. Which one is not said: the nightly comparison finds it.
        return [StoreEvent(StoreEventKind.DELETED, f"{topic}:{delivery}:{digest}", topic, STREAMS[resource])]
    if told.id is None or told.id <= 0:
        raise WebhookMalformed("It does not say what it is about.")
    at = utc(told.date_modified_gmt)
    # A deletion has no time, and may come again for one that was restored meanwhile.
    when = delivery if at is None else at.isoformat()
    key = f"{topic}:{told.id}:{when}:{digest}"
    return [StoreEvent(kind, key, topic, STREAMS[resource], str(told.id), at)]


def shopper(request: RawRequest, consumer_secret: str, now: float) -> str:
    """The account for which the companion plugin asks; `now` is in seconds since 1970. Raises: WebhookRejected.

    It is signed with the webhooks' secret for this purpose alone, so that no webhook can be taken for a question.
    """
    told = request.headers.get("x-crm-proof", "").strip()
    if not consumer_secret or not told:
        raise WebhookRejected("It is not signed.")
    right = signature(b"shopper\n" + request.body, signing_secret(consumer_secret))
    if not hmac.compare_digest(told.encode("utf-8", "replace"), right.encode()):
        raise WebhookRejected("Its signature is another.")
    try:
        question = _QUESTION.decode(request.body)
    except UNREADABLE as error:
        raise WebhookMalformed("It does not say who is signed in.") from error
    if abs(now - question.at) > _FRESH_SECONDS or question.customer <= 0:
        raise WebhookRejected("It is too old, or of nobody.", status=403)
    return str(question.customer)


def _is_ping(request: RawRequest) -> bool:
    is_bare = "x-wc-webhook-topic" not in request.headers and "x-wc-webhook-signature" not in request.headers
    return is_bare and _PING.fullmatch(request.body) is not None


def _read(body: bytes) -> _Body:
    try:
        return _BODY.decode(body)
    except UNREADABLE as error:
        raise WebhookMalformed("The body is no JSON object with an id.") from error
