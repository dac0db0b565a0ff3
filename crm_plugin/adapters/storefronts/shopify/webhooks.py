"""What a shop tells by itself: each topic and what it means. Pure.

A shop does not say who made a change, so an echo of our own looks like any other: the row is read again, and nothing is new in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from crm_plugin.adapters.storefronts.shopify.mapping import PRODUCT, number_of
from crm_plugin.adapters.storefronts.shopify.signatures import is_signed_body, shop_domain
from crm_plugin.errors import WebhookRejected
from crm_plugin.records import RawRequest, StoreEvent, StoreEventKind, Stream

Json = dict[str, Any]
CHANGED, DELETED = StoreEventKind.CHANGED, StoreEventKind.DELETED
# What a product's webhook does not name in full is told by its id alone.
ITEM = "InventoryItem/"
_DOMAINS = ("shop_domain", "myshopify_domain")


def addressed(request: RawRequest) -> str:
    """Which shop a webhook says that it is of."""
    return shop_domain(request.headers.get("x-shopify-shop-domain", ""))


def verify(request: RawRequest, shop: str, secrets: tuple[str, ...]) -> None:
    """Check who sent it. The signature is over the body alone, so a shop that the body names has to be the one of the header.

    `shop` is the one that it has to be of; empty where that is not known here, or not any more. Raises: WebhookRejected.
    """
    if not is_signed_body(request.body, request.headers.get("x-shopify-hmac-sha256", ""), secrets):
        raise WebhookRejected("the body is not signed by the app's secret")
    named = addressed(request)
    if not named or (shop and named != shop):
        raise WebhookRejected("the webhook is of another shop")
    told = _body(request)
    if any(shop_domain(told[name]) != named for name in _DOMAINS if isinstance(told.get(name), str)):
        raise WebhookRejected("the body is of another shop")


def parse(request: RawRequest) -> list[StoreEvent]:
    """The events of a request. Raises: WebhookRejected with 400 for a body that cannot be read."""
    topic = request.headers.get("x-shopify-topic", "").lower()
    told = _body(request)
    event: Json = {"key": request.headers.get("x-shopify-webhook-id", ""), "topic": topic, "at": _when(request, told)}
    meaning = TOPICS.get(topic)
    found = meaning(told) if meaning else [{"kind": StoreEventKind.UNKNOWN}]
    if len(found) > 1:
        return [StoreEvent(**{**event, "key": f"{event['key']}:{one['external_id']}"}, **one) for one in found]
    return [StoreEvent(**event, **one) for one in found]


def _body(request: RawRequest) -> Json:
    try:
        return msgspec.json.decode(request.body, type=Json)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WebhookRejected("the body cannot be read", status=400) from error


def _when(request: RawRequest, told: Mapping[str, Any]) -> datetime | None:
    """When it happened: the time of the record that is told; of the app that is taken away the body tells the shop's, which is older."""
    own, triggered = told.get("updated_at"), request.headers.get("x-shopify-triggered-at")
    is_of_app = request.headers.get("x-shopify-topic", "").lower().startswith("app/")
    for text in (triggered,) if is_of_app else (own, triggered):
        if text is None:
            continue
        try:
            told_at = datetime.fromisoformat(str(text))
            return (told_at if told_at.tzinfo else told_at.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def _id(value: Any) -> str:
    """A number, or the number of a global id, as text. Raises: WebhookRejected for what is neither."""
    told = number_of(value) if isinstance(value, str) else str(value) if type(value) is int else ""
    if not (told.isascii() and told.isdigit()):
        raise WebhookRejected("the body names no id", status=400)
    return told


def _row(stream: Stream, *names: str, kind: StoreEventKind = CHANGED) -> Callable[[Json], list[Json]]:
    """A topic about one row, whose id stands under the first of these names that is there."""

    def read(told: Json) -> list[Json]:
        value = next((told[name] for name in names if told.get(name) is not None), None)
        return [{"kind": kind, "stream": stream, "external_id": _id(value)}]

    return read


def _part(told: Json, name: str) -> Json:
    value = told.get(name)
    return value if isinstance(value, dict) else {}


def _list(told: Json, name: str) -> list[Any]:
    value = told.get(name)
    return value if isinstance(value, list) else []


def _edited(told: Json) -> list[Json]:
    return _row(Stream.ORDERS, "order_id")(_part(told, "order_edit"))


def _merged(told: Json) -> list[Json]:
    if told.get("status") not in (None, "completed", "COMPLETED"):
        return [{"kind": StoreEventKind.UNKNOWN}]
    gone, kept = (told.get(f"admin_graphql_api_customer_{name}_id") for name in ("deleted", "kept"))
    return [{"kind": StoreEventKind.MERGED, "stream": Stream.MEMBERS, "external_id": _id(gone), "into": _id(kept)}]


def _product(told: Json) -> list[Json]:
    named = [one.get("id") for one in _list(told, "variants") if isinstance(one, dict)]
    further = [one.get("admin_graphql_api_id") for one in _list(told, "variant_gids") if isinstance(one, dict)]
    ids = dict.fromkeys(_id(one) for one in (*named, *further) if one is not None)
    return [{"kind": CHANGED, "stream": Stream.PRODUCTS, "external_id": one} for one in ids] or [
        {"kind": StoreEventKind.UNKNOWN}
    ]


def _item(told: Json) -> list[Json]:
    return [{"kind": CHANGED, "stream": Stream.PRODUCTS, "external_id": f"{ITEM}{_id(told.get('id'))}"}]


def _product_gone(told: Json) -> list[Json]:
    return [{"kind": DELETED, "stream": Stream.PRODUCTS, "external_id": f"{PRODUCT}{_id(told.get('id'))}"}]


def _person(kind: StoreEventKind, orders: str) -> Callable[[Json], list[Json]]:
    def read(told: Json) -> list[Json]:
        person, request = _part(told, "customer"), _part(told, "data_request")
        return [
            {
                "kind": kind,
                "stream": Stream.MEMBERS,
                "external_id": _id(person["id"]) if person.get("id") else "",
                "email": str(person.get("email") or ""),
                "phone": str(person.get("phone") or ""),
                "orders": tuple(_id(one) for one in _list(told, orders)),
                "detail": {"request": request["id"]} if request.get("id") else {},
            }
        ]

    return read


def _plain(kind: StoreEventKind, *names: str) -> Callable[[Json], list[Json]]:
    return lambda told: [{"kind": kind, "detail": {name: told[name] for name in names if name in told}}]


def _bulk(told: Json) -> list[Json]:
    detail = {name: told.get(name) for name in ("status", "error_code")}
    external_id = str(told.get("admin_graphql_api_id") or "")
    return [{"kind": StoreEventKind.BULK_READY, "external_id": external_id, "detail": detail}]


_MEMBER = _row(Stream.MEMBERS, "id")
_MEMBER_OF = _row(Stream.MEMBERS, "customerId", "customer_id", "id")
_ORDER = _row(Stream.ORDERS, "id")
_CHECKOUT = _row(Stream.CHECKOUTS, "id")

TOPICS: dict[str, Callable[[Json], list[Json]]] = {
    **dict.fromkeys(("customers/create", "customers/update", "customers/enable", "customers/disable"), _MEMBER),
    "customers/delete": _row(Stream.MEMBERS, "id", kind=DELETED),
    "customers/merge": _merged,
    **dict.fromkeys(
        (
            "customers/purchasing_summary",
            "customer.tags_added",
            "customer.tags_removed",
            "customer.joined_segment",
            "customer.left_segment",
            "customers_email_marketing_consent/update",
            "customers_marketing_consent/update",
            "customers_whats_app_marketing_consent/update",
        ),
        _MEMBER_OF,
    ),
    **dict.fromkeys(
        (
            "orders/create",
            "orders/updated",
            "orders/paid",
            "orders/cancelled",
            "orders/fulfilled",
            "orders/partially_fulfilled",
        ),
        _ORDER,
    ),
    "orders/edited": _edited,
    "orders/delete": _row(Stream.ORDERS, "id", kind=DELETED),
    "refunds/create": _row(Stream.ORDERS, "order_id"),
    **dict.fromkeys(("checkouts/create", "checkouts/update"), _CHECKOUT),
    "checkouts/delete": _row(Stream.CHECKOUTS, "id", kind=DELETED),
    **dict.fromkeys(("products/create", "products/update"), _product),
    "products/delete": _product_gone,
    "inventory_items/update": _item,
    "bulk_operations/finish": _bulk,
    "app/uninstalled": _plain(StoreEventKind.UNINSTALLED),
    "app/scopes_update": _plain(StoreEventKind.SCOPES, "previous", "current"),
    "shop/update": _plain(StoreEventKind.SHOP),
    "customers/data_request": _person(StoreEventKind.EXPORT, "orders_requested"),
    "customers/redact": _person(StoreEventKind.ERASE, "orders_to_redact"),
    "shop/redact": _plain(StoreEventKind.ERASE_SHOP),
}
COMPLIANCE = ("customers/data_request", "customers/redact", "shop/redact")
# What the app is told in every shop that has it. Carts, segments and discounts are nothing that we look at.
SUBSCRIBED = (
    "app/uninstalled",
    "app/scopes_update",
    "shop/update",
    "bulk_operations/finish",
    "customers/create",
    "customers/update",
    "customers/delete",
    "customers/merge",
    "customer.tags_added",
    "customer.tags_removed",
    "customers_email_marketing_consent/update",
    "customers_marketing_consent/update",
    "orders/create",
    "orders/updated",
    "orders/edited",
    "orders/delete",
    "refunds/create",
    "checkouts/create",
    "checkouts/update",
    "checkouts/delete",
    "products/create",
    "products/update",
    "products/delete",
    "inventory_items/update",
)
