"""Webhooks as the store sends them and keeps them, and coupons with their terms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
import responses

from crm_plugin.adapters.storefronts.woocommerce import WooCommerceStorefront
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.adapters.storefronts.woocommerce.webhooks import TOPICS, signature, signing_secret
from crm_plugin.adapters.testing import Sale, Told
from crm_plugin.demo import woo_lists
from crm_plugin.errors import PermanentError, UnsupportedFeature, WebhookRejected
from crm_plugin.records import CouponOrder, OrderRecord, StoreEventKind, Stream
from tests.adapters.storefronts.woocommerce.kit_store import HOOK, KEY, SECRET, URL, WooStore


@pytest.fixture
def store() -> Iterator[WooStore]:
    made = WooStore()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST"):
            mock.add_callback(method, re.compile(rf"{re.escape(URL)}/.*"), made.respond, content_type=None)
        yield made


@pytest.fixture
def storefront(store: WooStore) -> WooCommerceStorefront:
    client = WooCommerceClient(URL, KEY, SECRET, sleep=lambda _: None, now=lambda: store.now.timestamp())
    return WooCommerceStorefront({"url": URL, "key": KEY, "secret": SECRET}, client=client)


def test_signature_is_that_of_the_platform() -> None:
    # base64(HMAC-SHA256(body, secret)), made with `openssl dgst -sha256 -hmac ... -binary | base64`.
    assert signature(b'{"id":7}', 'a & < " \xe9') == "0pOYlDFqB8CPiy8HsOzgOsx5mwybm5YL7gtA2upBs44="


def test_ping_says_nothing_whoever_sends_it(storefront: WooCommerceStorefront, store: WooStore) -> None:
    ping = store.hook(Told(kind=StoreEventKind.PING))
    storefront.verify_webhook(ping)
    other = replace(ping, body=b"webhook_id=77")
    assert storefront.parse_webhook(ping) == storefront.parse_webhook(other)
    for body in (b"webhook_id=1&order=2", b"webhook_id=", b"webhook_id=" + b"1" * 13):
        with pytest.raises(WebhookRejected):
            storefront.verify_webhook(replace(ping, body=body))


def test_what_is_gone_by_the_time_of_sending_names_nobody(storefront: WooCommerceStorefront, store: WooStore) -> None:
    body = b'{"code":"wc_user_invalid_id","message":"Invalid user ID.","data":{"status":404}}'
    request = store.signed(body)
    storefront.verify_webhook(request)
    (event,) = storefront.parse_webhook(request)
    assert (event.kind, event.stream, event.external_id) == (StoreEventKind.DELETED, Stream.ORDERS, "")


def test_order_put_into_the_trash_twice_is_told_twice(storefront: WooCommerceStorefront, store: WooStore) -> None:
    told = Told(kind=StoreEventKind.DELETED, stream=Stream.ORDERS, external_id="5")
    keys = {storefront.parse_webhook(store.hook(replace(told, number=number)))[0].key for number in (1, 2, 2)}
    assert len(keys) == 2


def test_webhook_of_former_keys_is_refused(store: WooStore) -> None:
    request = store.hook(Told(kind=StoreEventKind.CHANGED, stream=Stream.ORDERS, external_id="1"))
    for secret in ("cs_" + "c" * 40, ""):
        with pytest.raises(WebhookRejected):
            WooCommerceStorefront.listening({"secret": secret}).verify_webhook(request)


def test_webhooks_are_made_and_those_switched_off_made_anew(storefront: WooCommerceStorefront, store: WooStore) -> None:
    others = {"name": "ERP", "topic": "order.created", "delivery_url": "https://erp.example/", "secret": "x"}
    store.written.batch("webhooks", {"create": [others]})
    assert storefront.subscribe(HOOK) == []
    hooks = store.written.webhooks
    assert {store.written.secrets[row["id"]] for row in hooks.rows() if row["name"] != "ERP"} == {
        signing_secret(SECRET)
    }
    mine = [row for row in hooks.rows() if row["delivery_url"] == HOOK]
    assert sorted(row["topic"] for row in mine) == sorted(TOPICS)
    hooks.put({**mine[0], "status": "disabled"})
    hooks.put({**mine[1], "status": "paused"})
    hooks.put({**mine[2], "id": 900})
    told = storefront.subscribe(HOOK)
    assert sorted(problem.code for problem in told) == ["webhook_paused", "webhooks_renewed"]
    now = {row["id"]: row for row in hooks.rows() if row["delivery_url"] == HOOK}
    assert len(now) == len(TOPICS)
    assert mine[0]["id"] not in now
    assert now[mine[1]["id"]]["status"] == "paused"
    storefront.unsubscribe(HOOK)
    assert [row["name"] for row in hooks.rows()] == ["ERP"]


def test_new_keys_make_new_webhooks(storefront: WooCommerceStorefront, store: WooStore) -> None:
    storefront.subscribe(HOOK)
    before = {row["id"] for row in store.written.webhooks.rows()}
    for number in before:
        row = store.written.webhooks.one(number)
        assert row is not None
        store.written.webhooks.put({**row, "name": "crm-plugin of another key"})
    storefront.subscribe(HOOK)
    after = {row["id"] for row in store.written.webhooks.rows()}
    assert len(after) == len(TOPICS)
    assert not before & after


def test_many_are_reread_in_few_calls(storefront: WooCommerceStorefront, store: WooStore) -> None:
    names = [store.put(Sale(email="a@store.example")) for _ in range(120)]
    trashed = store.tables["orders"].one(int(names[0]))
    assert trashed is not None
    store.tables["orders"].put({**trashed, "status": "trash"})
    assert {name for name, record in storefront.reread_many(Stream.ORDERS, names) if record is not None} == set(names)
    assert store.calls == 3
    assert storefront.count(Stream.ORDERS) == 120


def test_who_has_not_ordered_yet_is_read_where_the_store_knows_drafts(
    storefront: WooCommerceStorefront, store: WooStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = int(store.put(Sale(email="a@store.example")))
    store.put(Sale(email="b@store.example"))
    held = store.tables["orders"].one(number)
    assert held is not None
    store.tables["orders"].put({**held, "status": "checkout-draft"})

    def statuses() -> list[str]:
        read = [record for page in storefront.pages(Stream.ORDERS, "") for record in page.records]
        return sorted(record.status.value for record in read if isinstance(record, OrderRecord))

    assert statuses() == ["draft", "paid"]
    # A store of before the block checkout refuses the word.
    monkeypatch.setattr(woo_lists, "_STATUSES", tuple(word for word in woo_lists._STATUSES if word != "checkout-draft"))
    assert statuses() == ["paid"]
    assert set(storefront.external_ids(Stream.ORDERS) or ()) == {str(number + 1)}


def test_coupon_has_its_terms_and_a_foreign_code_is_refused(storefront: WooCommerceStorefront, store: WooStore) -> None:
    ends = store.now + timedelta(days=7)
    order = CouponOrder(
        "step:1", "Birthday", ("Y-1",), amount_minor=1250, currency="EUR", least_minor=4000, ends_at=ends,
        references=("1",), emails=("ada@store.example",),
    )  # fmt: skip
    (made,) = storefront.create_coupons(order)
    (row,) = store.written.coupons.rows()
    assert made.is_restricted
    assert (row["amount"], row["discount_type"], row["minimum_amount"]) == ("12.50", "fixed_cart", "40.00")
    assert (row["usage_limit"], row["email_restrictions"]) == (1, ["ada@store.example"])
    assert row["date_expires_gmt"] == f"{ends:%Y-%m-%dT%H:%M:%S}"
    (other,) = storefront.create_coupons(replace(order, reference="step:2"))
    assert isinstance(other.error, PermanentError)
    free = CouponOrder("step:3", "Ten", ("Y-3",), percent=Decimal(10))
    for odd in (replace(order, currency="USD"), replace(free, starts_at=ends)):
        with pytest.raises(UnsupportedFeature):
            storefront.create_coupons(odd)
