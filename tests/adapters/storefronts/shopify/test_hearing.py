"""Every topic that a shop may tell, and what it means."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from crm_plugin.adapters.storefronts.shopify import ShopifyStorefront
from crm_plugin.adapters.storefronts.shopify.webhooks import TOPICS
from crm_plugin.errors import WebhookRejected
from crm_plugin.records import RawRequest, StoreEvent, StoreEventKind, Stream
from tests.adapters.storefronts.shopify.fake_shop import CLIENT_ID, SHOP

K = StoreEventKind
STORE = ShopifyStorefront(
    {"shop": SHOP, "access_token": "t", "client_id": CLIENT_ID, "client_secret": "new", "client_secret_before": "hush"}
)
PERSON = {"customer": {"id": 7, "email": "a@example.com", "phone": "+491"}, "shop_domain": SHOP, "shop_id": 1}
MERGE = {
    "admin_graphql_api_customer_kept_id": "gid://shopify/Customer/8",
    "admin_graphql_api_customer_deleted_id": "gid://shopify/Customer/7",
    "status": "completed",
}


def hook(topic: str, payload: Any, secret: str = "hush", shop: str = SHOP) -> RawRequest:
    body = json.dumps(payload).encode()
    signature = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    headers = {
        "x-shopify-topic": topic, "x-shopify-hmac-sha256": signature, "x-shopify-shop-domain": shop, "x-shopify-webhook-id": "w-1",
        "x-shopify-triggered-at": "2026-11-27T10:00:00.5Z",
    }  # fmt: skip
    return RawRequest("POST", "https://crm.example/events/shopify", headers, body)


def heard(topic: str, payload: Any) -> list[StoreEvent]:
    request = hook(topic, payload)
    STORE.verify_webhook(request)
    return STORE.parse_webhook(request)


@pytest.mark.parametrize(
    ("topic", "payload", "kind", "stream", "external_id"),
    [
        ("customers/create", {"id": 7}, K.CHANGED, Stream.MEMBERS, "7"),
        ("customers/delete", {"id": 7}, K.DELETED, Stream.MEMBERS, "7"),
        ("customers/merge", MERGE, K.MERGED, Stream.MEMBERS, "7"),
        ("customers/merge", {**MERGE, "status": "failed"}, K.UNKNOWN, None, ""),
        ("customers/purchasing_summary", {"customerId": "gid://shopify/Customer/7"}, K.CHANGED, Stream.MEMBERS, "7"),
        ("customer.tags_added", {"customerId": "gid://shopify/Customer/7", "tags": ["a"]}, K.CHANGED, Stream.MEMBERS, "7"),
        ("customer.left_segment", {"customer_id": "gid://shopify/Customer/7"}, K.CHANGED, Stream.MEMBERS, "7"),
        ("customers_email_marketing_consent/update", {"customer_id": 7}, K.CHANGED, Stream.MEMBERS, "7"),
        ("customers_marketing_consent/update", {"id": 7, "phone": "+491"}, K.CHANGED, Stream.MEMBERS, "7"),
        ("orders/updated", {"id": 9}, K.CHANGED, Stream.ORDERS, "9"),
        ("orders/edited", {"order_edit": {"id": 1, "order_id": 9}}, K.CHANGED, Stream.ORDERS, "9"),
        ("orders/delete", {"id": 9}, K.DELETED, Stream.ORDERS, "9"),
        ("refunds/create", {"id": 3, "order_id": 9}, K.CHANGED, Stream.ORDERS, "9"),
        ("checkouts/delete", {"id": 5, "token": "x"}, K.DELETED, Stream.CHECKOUTS, "5"),
        ("products/delete", {"id": 4}, K.DELETED, Stream.PRODUCTS, "Product/4"),
        ("inventory_items/update", {"id": 6, "cost": "1.00"}, K.CHANGED, Stream.PRODUCTS, "InventoryItem/6"),
        ("bulk_operations/finish", {"admin_graphql_api_id": "gid://shopify/BulkOperation/1"}, K.BULK_READY, None, "gid://shopify/BulkOperation/1"),
        ("app/uninstalled", {"id": 1, "myshopify_domain": SHOP}, K.UNINSTALLED, None, ""),
        ("app/scopes_update", {"current": ["read_orders"]}, K.SCOPES, None, ""),
        ("shop/update", {"id": 1}, K.SHOP, None, ""),
        ("shop/redact", {"shop_domain": SHOP}, K.ERASE_SHOP, None, ""),
        ("carts/update", {"token": "x"}, K.UNKNOWN, None, ""),
        ("discounts/create", {}, K.UNKNOWN, None, ""),
    ],
)  # fmt: skip
def test_topics(topic: str, payload: Any, kind: K, stream: Stream | None, external_id: str) -> None:
    (event,) = heard(topic, payload)
    assert (event.kind, event.stream, event.external_id, event.topic, event.key) == (
        kind,
        stream,
        external_id,
        topic,
        "w-1",
    )
    assert event.at == datetime(2026, 11, 27, 10, 0, 0, 500000, tzinfo=UTC)
    assert event.into == ("8" if kind is K.MERGED else "")


def test_person_is_named_for_the_law() -> None:
    (export,) = heard("customers/data_request", {**PERSON, "orders_requested": [1, 2], "data_request": {"id": 99}})
    assert (export.kind, export.external_id, export.email, export.orders) == (
        K.EXPORT,
        "7",
        "a@example.com",
        ("1", "2"),
    )
    assert export.detail == {"request": 99}
    (erase,) = heard("customers/redact", {**PERSON, "customer": {"email": "a@example.com"}, "orders_to_redact": [3]})
    assert (erase.kind, erase.external_id, erase.email, erase.phone, erase.orders) == (
        K.ERASE,
        "",
        "a@example.com",
        "",
        ("3",),
    )


def test_product_is_each_of_its_variants() -> None:
    told = {"id": 4, "updated_at": "2026-11-27T11:00:00+01:00", "variants": [{"id": 41}, {"id": 42}]}
    events = heard(
        "products/update", {**told, "variant_gids": [{"admin_graphql_api_id": "gid://shopify/ProductVariant/43"}]}
    )
    assert [event.external_id for event in events] == ["41", "42", "43"]
    assert len({event.key for event in events}) == 3
    assert {event.at for event in events} == {datetime(2026, 11, 27, 10, tzinfo=UTC)}


def test_app_is_taken_away_when_that_was_told_and_not_when_the_shop_changed_last() -> None:
    (event,) = heard("app/uninstalled", {"id": 1, "myshopify_domain": SHOP, "updated_at": "2020-01-01T00:00:00Z"})
    assert event.at is not None
    assert event.at.year > 2020


def test_both_secrets_and_no_other() -> None:
    for secret in ("new", "hush"):
        STORE.verify_webhook(hook("orders/create", {"id": 1}, secret))
    for request in (
        hook("orders/create", {"id": 1}, "other"),
        hook("orders/create", {"id": 1}, shop="other-shop.myshopify.com"),
        hook("shop/redact", {"shop_domain": "other-shop.myshopify.com"}),
        hook("app/uninstalled", {"myshopify_domain": "other-shop.myshopify.com"}),
    ):
        with pytest.raises(WebhookRejected) as caught:
            STORE.verify_webhook(request)
        assert caught.value.status == 401


def test_shop_that_is_gone_is_still_believed() -> None:
    listening = ShopifyStorefront.listening({"client_secret": "hush"})
    listening.verify_webhook(hook("shop/redact", {"shop_domain": SHOP}))
    for topic, payload, secret, shop in (
        ("shop/redact", {"shop_domain": SHOP}, "other", SHOP),
        ("shop/redact", {"shop_domain": "x"}, "hush", SHOP),
        ("shop/redact", {}, "hush", ""),
    ):
        with pytest.raises(WebhookRejected):
            listening.verify_webhook(hook(topic, payload, secret, shop))


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_odd_payloads_are_unknown_or_rejected(topic: str) -> None:
    for payload in (
        {},
        {"id": None},
        {"id": "x"},
        {"id": True},
        {"id": 1.5},
        {"customer": 7},
        {"order_edit": 7},
        {"variants": 7},
    ):
        with suppress(WebhookRejected):
            assert all(event.topic == topic for event in STORE.parse_webhook(hook(topic, payload)))
