"""Rows of the Admin API as records, and files of bulk queries in any order, across processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_plugin.adapters.storefronts.shopify import ShopifyStorefront, mapping
from crm_plugin.adapters.storefronts.shopify import walk as walking
from crm_plugin.adapters.storefronts.shopify.client import ShopifyClient
from crm_plugin.adapters.storefronts.shopify.oauth import OAuth
from crm_plugin.adapters.storefronts.shopify.tokens import Tokens
from crm_plugin.adapters.testing.cases import walk
from crm_plugin.errors import TransientError
from crm_plugin.records import (
    CheckoutRecord,
    ConsentState,
    MemberRecord,
    OrderRecord,
    OrderStatus,
    ProductRecord,
    Stream,
)
from tests.adapters.storefronts.shopify import shop_rows
from tests.adapters.storefronts.shopify.fake_shop import NOW, SHOP, FakeShop

KEYS = {"access_token": "shpat_1"}


def open_shop(*, version: str = "2026-10", rows: int = 250, birthday: str = "facts.birth_date") -> ShopifyStorefront:
    """The adapter as a process opens it, with pauses that take no time."""
    tokens = Tokens(SHOP, KEYS, OAuth({}), lambda: None)
    client = ShopifyClient(
        SHOP, tokens, version=version, birthday=birthday, sleep=lambda _seconds: None, now=lambda: NOW, rows=rows
    )
    return ShopifyStorefront({"shop": SHOP, **KEYS, "api_version": version}, client=client)


@pytest.fixture
def storefront(shop: FakeShop) -> Iterator[ShopifyStorefront]:
    opened = open_shop()
    yield opened
    opened.close()


def _raw(row: dict[str, Any]) -> bytes:
    lists = {name: {"nodes": row[name]} for name in ("lineItems", "metafields") if name in row}
    return json.dumps({**row, **lists}).encode()


def _order(**changed: Any) -> OrderRecord:
    return mapping.order(_raw(shop_rows.order(1, **changed)))


def test_account(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    shop.rows["customers"] = [shop_rows.customer(1)]
    record = storefront.reread(Stream.MEMBERS, "1")
    assert isinstance(record, MemberRecord)
    assert (record.email, record.phone, record.country, record.region) == ("c1@example.com", "+4930123456", "DE", "BE")
    assert (record.birth_year, record.birth_month, record.birth_day) == (1990, 2, 28)
    assert (record.tags, record.marks) == (("vip",), {})
    # Nobody asked about texts, so nothing is known of them.
    (consent,) = record.consents
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (consent.channel, consent.state, consent.at) == ("email", ConsentState.GRANTED, at)
    assert consent.proof == {"opt_in_level": "single_opt_in"}


@pytest.mark.parametrize("version", ["2026-10", "2026-07"])
def test_consent_to_texts_in_both_versions(version: str) -> None:
    row = shop_rows.customer(1)
    told = {"state": "UNSUBSCRIBED", "optInLevel": "CONFIRMED_OPT_IN", "updatedAt": "2026-05-06T07:08:09Z"}
    before = {
        "marketingState": told["state"], "marketingOptInLevel": told["optInLevel"], "marketingUpdatedAt": told["updatedAt"],
    }  # fmt: skip
    row["defaultPhoneNumber"] = {
        "phoneNumber": "+491",
        **(before if version == "2026-07" else {"smsMarketingConsent": told}),
    }
    sms = mapping.member(_raw(row)).consents[1]
    assert (sms.channel, sms.state, sms.at) == (
        "sms",
        ConsentState.WITHDRAWN,
        datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC),
    )


def test_birthday_is_kept_elsewhere(shop: FakeShop) -> None:
    row = shop_rows.customer(1)
    row["metafields"][0] |= {"namespace": "custom", "key": "dob"}
    shop.rows["customers"] = [row]
    for opened, month in ((open_shop(birthday="custom.dob"), 2), (open_shop(), None)):
        record = opened.reread(Stream.MEMBERS, "1")
        assert getattr(record, "birth_month", 0) == month
        opened.close()


def test_order() -> None:
    record = _order(refunds=[shop_rows.refund(7)])
    assert (record.total_minor, record.tax_minor, record.shipping_minor, record.discount_minor) == (2500, 399, 500, 250)
    (line,) = record.lines
    assert (line.title, line.total_minor, line.cost_minor, line.product_external_id) == ("Rose / Red", 2000, 700, "11")
    assert (record.member_external_id, record.number, record.coupon_codes) == ("1", "#1", ("TEN",))
    assert record.contact is not None
    # What a person with an account said, the account tells.
    assert record.contact.consents == ()
    (refund,) = record.refunds or ()
    assert (refund.external_id, refund.amount_minor, refund.reason) == ("7", 1000, "broken")
    assert refund.refunded_at == datetime(2026, 10, 5, 10, tzinfo=UTC)


def test_guest_may_have_said_yes() -> None:
    record = _order(customer=None)
    assert record.contact is not None
    assert (record.contact.external_id, record.contact.email) == ("", "c1@example.com")
    assert [(one.channel, one.at) for one in record.contact.consents] == [("email", record.placed_at)]
    assert _order(customer=None, customerAcceptsMarketing=False).contact.consents == ()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"test": True}, OrderStatus.TEST),
        ({"cancelledAt": "2026-10-02T00:00:00Z"}, OrderStatus.CANCELLED),
        ({"displayFinancialStatus": "AUTHORIZED"}, OrderStatus.ON_HOLD),
        ({"displayFinancialStatus": "PARTIALLY_REFUNDED"}, OrderStatus.PAID),
        ({"displayFinancialStatus": "REFUNDED"}, OrderStatus.REFUNDED),
        ({"displayFinancialStatus": "VOIDED"}, OrderStatus.CANCELLED),
        ({"displayFinancialStatus": "TOMORROW"}, OrderStatus.UNKNOWN),
        ({"displayFulfillmentStatus": "FULFILLED"}, OrderStatus.SHIPPED),
        ({"displayFulfillmentStatus": "FULFILLED", "displayFinancialStatus": "PENDING"}, OrderStatus.PENDING),
    ],
)
def test_states_of_orders(changed: dict[str, Any], status: OrderStatus) -> None:
    assert _order(**changed).status is status


def test_parcel_is_told() -> None:
    parcel = {
        "status": "SUCCESS", "createdAt": "2026-10-02T09:00:00Z", "deliveredAt": "2026-10-04T12:00:00Z",
        "trackingInfo": [{"company": "DHL", "number": "00340", "url": "https://dhl.example/00340"}],
    }  # fmt: skip
    record = _order(displayFulfillmentStatus="FULFILLED", fulfillments=[parcel, {**parcel, "status": "CANCELLED"}])
    assert record.shipped_at == datetime(2026, 10, 2, 9, tzinfo=UTC)
    assert record.delivered_at == datetime(2026, 10, 4, 12, tzinfo=UTC)
    assert record.attributes["tracking_number"] == "00340"
    waiting = _order(displayFulfillmentStatus="FULFILLED", fulfillments=[parcel, {**parcel, "deliveredAt": None}])
    assert waiting.delivered_at is None


def test_products_are_variants_and_checkouts_lead_back(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    shop.rows["products"] = [shop_rows.product(1, 2)]
    shop.rows["abandonedCheckouts"] = [
        shop_rows.checkout(5, completedAt="2026-11-21T00:00:00Z"),
        shop_rows.checkout(6, None),
    ]
    first, second = walk(storefront, Stream.PRODUCTS).records
    assert isinstance(first, ProductRecord)
    assert (first.external_id, first.title, first.category, first.price_minor, first.cost_minor) == (
        "11", "Rose / Size 1", "Flowers", 850, 350,
    )  # fmt: skip
    assert storefront.reread(Stream.PRODUCTS, "InventoryItem/12") == second
    told = walk(storefront, Stream.CHECKOUTS).latest
    done, left = told["5"], told["6"]
    assert isinstance(done, CheckoutRecord)
    assert isinstance(left, CheckoutRecord)
    assert (done.member_external_id, done.email, done.completed_at) == (
        "1",
        "c1@example.com",
        datetime(2026, 11, 21, tzinfo=UTC),
    )
    assert (left.member_external_id, left.url, left.lines[0].total_minor) == (
        "",
        "https://flowers.example/checkouts/6",
        1000,
    )


def test_further_pages_of_lines_are_fetched(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    shop.rows["orders"] = [shop_rows.order(1, lineItems=[shop_rows.line(number) for number in range(300)])]
    shop.rows["products"] = [shop_rows.product(1, 120)]
    record = storefront.reread(Stream.ORDERS, "1")
    assert isinstance(record, OrderRecord)
    assert len(record.lines) == 300
    assert len(shop.asked("OrderLines")) == 2
    assert len(walk(storefront, Stream.PRODUCTS).latest) == 120


def test_children_stand_anywhere_in_the_file(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    lines = {number: [shop_rows.line(number * 10 + at) for at in range(3)] for number in range(1, 40)}
    shop.rows["orders"] = [shop_rows.order(number, lineItems=lines[number]) for number in lines]
    in_order = walk(storefront, Stream.ORDERS).latest
    shop.shuffle = lambda lines: sorted(lines, key=lambda line: str(line["id"])[::-1])
    assert walk(storefront, Stream.ORDERS).latest == in_order
    assert all(len(getattr(record, "lines", ())) == 3 for record in in_order.values())


def test_another_process_goes_on_with_the_same_file(shop: FakeShop) -> None:
    shop.rows["orders"] = [shop_rows.order(number) for number in range(1, 8)]
    shop.bulk_states = ["RUNNING"]
    first = open_shop(rows=3)
    pages = first.pages(Stream.ORDERS, "")
    begun = next(pages)
    with pytest.raises(TransientError, match="preparing") as caught:
        next(pages)
    assert (begun.records, caught.value.retry_after) == ((), 60)
    shop.bulk["gid://shopify/BulkOperation/1"]["states"] = ["COMPLETED"]
    told, cursor = [], begun.next_cursor
    while True:
        page = next(iter(open_shop(rows=3).pages(Stream.ORDERS, cursor)))
        told += [record.external_id for record in page.records]
        cursor = page.next_cursor
        if page.last:
            break
    assert sorted(set(told)) == [str(number) for number in range(1, 8)]
    assert len(shop.bulk) == 1


def test_file_that_will_not_come_is_asked_for_anew(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    shop.rows["orders"] = [shop_rows.order(1)]
    shop.bulk_states = ["FAILED"]
    with pytest.raises(TransientError, match="internal_server_error"):
        walk(storefront, Stream.ORDERS)
    assert len(shop.bulk) == 2
    cursor = json.dumps({"bulk": "gid://shopify/BulkOperation/2", "done": 0})
    shop.bulk_states = ["COMPLETED"]
    assert set(walk(storefront, Stream.ORDERS, cursor).latest) == {"1"}


def test_file_that_breaks_off_is_no_history(
    shop: FakeShop, storefront: ShopifyStorefront, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.rows["orders"] = [shop_rows.order(number) for number in range(1, 4)]
    whole = shop.reply

    def half(url: str, *asked: Any) -> tuple[int, dict[str, Any], str]:
        status, headers, body = whole(url, *asked)
        return status, headers, body[:-9] if "/bulk/" in url else body

    monkeypatch.setattr(shop, "reply", half)
    with pytest.raises(TransientError, match="broke off"):
        walk(storefront, Stream.ORDERS)


def test_rows_without_a_file_are_no_history(
    shop: FakeShop, storefront: ShopifyStorefront, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.rows["orders"] = [shop_rows.order(1)]
    state = shop.do_bulkOperation

    monkeypatch.setattr(shop, "do_bulkOperation", lambda **asked: {**state(**asked), "url": None, "fileSize": None})
    with pytest.raises(TransientError, match="broke off"):
        walk(storefront, Stream.ORDERS)


@pytest.mark.slow
def test_many_changes_are_read_in_bulk(shop: FakeShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "LONGEST_LIST", 40)
    opened = open_shop(rows=30)
    cursor = walk(opened, Stream.ORDERS).cursor
    shop.rows["orders"] = [shop_rows.order(number, updatedAt="2026-11-27T12:30:00Z") for number in range(1, 100)]
    shop.now += timedelta(hours=1)
    assert len(walk(opened, Stream.ORDERS, cursor).latest) == 99
    assert len(shop.asked("Orders")) == 1 + 2 + 1
    assert len(shop.bulk) == 2


def test_changes_of_accounts_are_asked_for_a_day_early(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    shop.rows["customers"] = [
        shop_rows.customer(1, updatedAt="2026-11-27T11:00:00Z"), shop_rows.customer(2, updatedAt="2026-11-27T11:50:00Z"),
    ]  # fmt: skip
    cursor = json.dumps({"since": "2026-11-27T12:00:00+00:00"})
    assert set(walk(storefront, Stream.MEMBERS, cursor).latest) == {"2"}
    walk(storefront, Stream.PRODUCTS, cursor)
    assert [asked["query"] for asked in (*shop.asked("Members"), *shop.asked("Products"))] == [
        "updated_at:>='2026-11-26T11:45:00Z'",
        "updated_at:>='2026-11-27T11:45:00Z' status:active,draft,archived,unlisted",
    ]


def test_orders_are_not_all_there_without_the_scope(shop: FakeShop, storefront: ShopifyStorefront) -> None:
    shop.rows["orders"] = [shop_rows.order(1)]
    assert (storefront.count(Stream.ORDERS), list(storefront.external_ids(Stream.ORDERS) or ())) == (1, ["1"])
    shop.scopes.remove("read_all_orders")
    assert (storefront.count(Stream.ORDERS), storefront.external_ids(Stream.ORDERS)) == (None, None)
    assert [problem.code for problem in storefront.check()] == ["sixty_days"]
    shop.scopes.remove("read_products")
    shop.answers_as = "2027-01"
    assert [problem.code for problem in storefront.check()] == ["scope", "sixty_days", "version"]
