"""Reading a Saleor: pages in order of change, what its records say, and what its refusals mean."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from crm_plugin.adapters.storefronts.saleor import SaleorStorefront
from crm_plugin.errors import ActionRequired, MalformedResponse, PermanentError, TransientError
from crm_plugin.records import (
    CheckoutRecord,
    ConsentState,
    CouponOrder,
    MemberRecord,
    OrderRecord,
    OrderStatus,
    ProductRecord,
    Stream,
)
from tests.adapters.storefronts.saleor.fake_saleor import FakeSaleor, user

ORDER: dict[str, Any] = json.loads((Path(__file__).parent / "payloads" / "order.json").read_text(encoding="utf-8"))


def _order(storefront: SaleorStorefront, **values: Any) -> OrderRecord:
    record = storefront.parse(Stream.ORDERS, json.dumps({**ORDER, **values}))
    assert isinstance(record, OrderRecord)
    return record


def _read(storefront: SaleorStorefront, stream: Stream, cursor: str = "") -> tuple[list[str], str]:
    pages = list(storefront.pages(stream, cursor))
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    return [record.external_id for page in pages for record in page.records], pages[-1].next_cursor


def test_order_says_what_was_paid_sent_and_given_back(storefront: SaleorStorefront) -> None:
    order = _order(storefront)
    assert (order.status, order.currency, order.total_minor) == (OrderStatus.SHIPPED, "PLN", 48986)
    assert (order.tax_minor, order.shipping_minor, order.discount_minor) == (9160, 2000, 1000)
    assert [(one.external_id, one.amount_minor, one.refunded_at) for one in order.refunds or ()] == [
        ("VHJhbnNhY3Rpb25FdmVudDoy", 6005, datetime(2026, 11, 22, 5, 50, tzinfo=UTC)),
        ("T3JkZXI6ZTQ1:rest", 4005, None),
    ]
    assert order.paid_at == datetime(2026, 11, 22, 5, 6, tzinfo=UTC)
    assert order.shipped_at == datetime(2026, 11, 22, 5, 30, tzinfo=UTC)
    assert order.member_external_id == ""
    assert order.contact is not None
    assert (order.contact.email, order.contact.country, order.contact.region) == ("v@example.com", "TW", "")
    assert order.contact.locale == "zh-Hant"
    assert [one.state for one in order.contact.consents] == [ConsentState.GRANTED]
    assert [(one.title, one.quantity, one.total_minor) for one in order.lines] == [("Tea / 100 g", 2, 47986)]
    assert order.coupon_codes == ("HELLO",)
    assert order.attributes == {"channel": "channel-pln", "origin": "checkout", "tracking_number": "TW123"}


def test_refund_that_was_taken_back_is_none(storefront: SaleorStorefront) -> None:
    def event(number: int, kind: str, amount: float) -> dict[str, Any]:
        return {
            "id": f"e{number}",
            "type": kind,
            "createdAt": "2026-11-22T05:50:00+00:00",
            "amount": {"amount": amount},
        }

    events = [event(1, "REFUND_SUCCESS", 10), event(2, "REFUND_SUCCESS", 20), event(3, "REFUND_REVERSE", 10)]
    order = _order(storefront, transactions=[{"events": events}], payments=[], totalRefunded={"amount": 20})
    assert [(one.external_id, one.amount_minor) for one in order.refunds or ()] == [("e2", 2000)]
    # What a bank took back is beside what the store gave back.
    told = [{"events": [*events, event(4, "CHARGE_BACK", 30)]}]
    order = _order(storefront, transactions=told, payments=[], totalRefunded={"amount": 25})
    assert [(one.external_id, one.amount_minor) for one in order.refunds or ()] == [
        ("e2", 2000),
        ("e4", 3000),
        (f"{order.external_id}:rest", 500),
    ]


@pytest.mark.parametrize(
    ("status", "charge", "refunded", "ours"),
    [
        ("UNFULFILLED", "FULL", 0, OrderStatus.PAID),
        ("UNFULFILLED", "PARTIAL", 0, OrderStatus.PENDING),
        ("UNCONFIRMED", "NONE", 0, OrderStatus.ON_HOLD),
        ("PARTIALLY_FULFILLED", "FULL", 0, OrderStatus.PAID),
        ("PARTIALLY_FULFILLED", "NONE", 0, OrderStatus.PENDING),
        ("RETURNED", "FULL", 489.86, OrderStatus.REFUNDED),
        ("CANCELED", "NONE", 489.86, OrderStatus.CANCELLED),
        ("EXPIRED", "NONE", 0, OrderStatus.CANCELLED),
        ("DRAFT", "NONE", 0, OrderStatus.DRAFT),
        ("NEW_WORD", "FULL", 0, OrderStatus.UNKNOWN),
    ],
)
def test_status_is_one_of_ours(
    storefront: SaleorStorefront, status: str, charge: str, refunded: float, ours: OrderStatus
) -> None:
    order = _order(storefront, status=status, chargeStatus=charge, transactions=[], totalRefunded={"amount": refunded})
    assert order.status is ours
    assert order.platform_status == status


@pytest.mark.parametrize(
    ("currency", "amount", "minor"),
    [("TWD", "360", 36000), ("JPY", "360.0", 360), ("KWD", "1.2345", 1235), ("USD", "0.1", 10)],
)
def test_money_is_exact(storefront: SaleorStorefront, currency: str, amount: str, minor: int) -> None:
    text = json.dumps(
        {**ORDER, "transactions": [], "totalRefunded": None, "lines": [], "discounts": [], "shippingPrice": None}
    )
    told = text.replace('"amount": 489.86, "currency": "PLN"', f'"amount": {amount}, "currency": "{currency}"')
    record = storefront.parse(Stream.ORDERS, told)
    assert isinstance(record, OrderRecord)
    assert record.total_minor == minor


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"total": {"gross": {"amount": "much", "currency": "PLN"}}}, "$.total.gross.amount"),
        ({"total": {"gross": {"amount": 1, "currency": "zloty"}}}, "$.total.gross.currency"),
        ({"created": "0001-01-01T00:00:00+00:00"}, "$.created"),
        ({"lines": [{"quantity": 1}]}, "$.lines[0]"),
    ],
)
def test_bad_record_names_the_place(storefront: SaleorStorefront, values: dict[str, Any], path: str) -> None:
    with pytest.raises(MalformedResponse) as caught:
        _order(storefront, **values)
    assert caught.value.path == path


def test_member_says_birthday_consent_tags_and_levels(storefront: SaleorStorefront) -> None:
    meta = {"birthday": "1990-01-05", "newsletter": "no", "crm.tier.main": "gold", "crm.tag.vip": "yes", "other": "x"}
    told = user(1, metadata=[{"key": key, "value": value} for key, value in meta.items()], isActive=False)
    record = storefront.parse(Stream.MEMBERS, json.dumps(told))
    assert isinstance(record, MemberRecord)
    assert (record.birth_year, record.birth_month, record.birth_day) == (1990, 1, 5)
    assert [one.state for one in record.consents] == [ConsentState.WITHDRAWN]
    assert (record.tags, record.marks, record.attributes) == (("vip",), {"main": "gold"}, {"active": False})


def test_product_is_a_variant_with_its_cost(storefront: SaleorStorefront) -> None:
    told = {
        "id": "UHJvZHVjdFZhcmlhbnQ6MQ==", "sku": "TEA", "name": "100 g", "updatedAt": "2026-11-22T05:00:00+00:00",
        "channelListings": [
            {"channel": {"slug": "a", "currencyCode": "TWD"}, "price": None, "costPrice": None},
            {"channel": {"slug": "tw", "currencyCode": "TWD"}, "price": {"amount": 300.0, "currency": "TWD"},
             "costPrice": {"amount": 120, "currency": "TWD"}},
        ],
        "product": {"name": "Tea", "slug": "tea", "category": {"name": "Drinks"}, "thumbnail": {"url": "https://shop.example/t.png"}},
    }  # fmt: skip
    record = storefront.parse(Stream.PRODUCTS, json.dumps(told))
    assert isinstance(record, ProductRecord)
    assert (record.title, record.category, record.url) == ("Tea / 100 g", "Drinks", "https://shop.example/p/tea")
    assert (record.price_minor, record.cost_minor, record.currency) == (30000, 12000, "TWD")


def test_every_change_comes_once_in_pages_and_then_only_what_is_new(
    storefront: SaleorStorefront, saleor: FakeSaleor
) -> None:
    # Five of eight changed at one instant: more than a page holds.
    saleor.rows["users"] = [user(n, f"2026-11-22T05:0{0 if n < 6 else n}:00+00:00") for n in range(1, 9)]
    found, cursor = _read(storefront, Stream.MEMBERS)
    assert sorted(found) == sorted(row["id"] for row in saleor.rows["users"])
    saleor.rows["users"][0]["updatedAt"] = "2026-11-23T00:00:00+00:00"
    saleor.rows["users"].append(user(9, "2026-11-22T05:04:00+00:00"))
    again, later = _read(storefront, Stream.MEMBERS, cursor)
    assert {saleor.rows["users"][0]["id"], user(9)["id"]} <= set(again)
    assert len(again) < len(saleor.rows["users"])
    assert _read(storefront, Stream.MEMBERS, later)[0] == [saleor.rows["users"][0]["id"]]


def test_rows_that_change_meanwhile_are_met_ahead(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    saleor.rows["users"] = [user(n, f"2026-11-22T05:{n:02}:00+00:00") for n in range(1, 10)]
    turns = iter(range(9))

    def change(fake: FakeSaleor) -> None:
        turn = next(turns)
        if turn in (1, 2):
            fake.rows["users"][turn - 1]["updatedAt"] = f"2026-11-23T00:0{turn}:00+00:00"

    saleor.before_list = change
    pages = list(storefront.pages(Stream.MEMBERS, ""))
    assert {record.external_id for page in pages for record in page.records} == {
        row["id"] for row in saleor.rows["users"]
    }


def test_walk_goes_on_in_another_process(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    saleor.rows["users"] = [user(n, f"2026-11-22T05:{n:02}:00+00:00") for n in range(1, 8)]
    whole, _ = _read(storefront, Stream.MEMBERS)
    first = next(iter(storefront.pages(Stream.MEMBERS, "")))
    rest, _ = _read(storefront, Stream.MEMBERS, first.next_cursor)
    assert [record.external_id for record in first.records] + rest == whole
    # A cursor that Saleor no longer understands begins a little before what was seen last.
    state = json.loads(first.next_cursor) | {"after": "no-cursor"}
    again, _ = _read(storefront, Stream.MEMBERS, json.dumps(state))
    assert set(rest) <= set(again)


def test_change_dated_far_ahead_hides_nothing(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    saleor.rows["users"] = [user(1, "2026-11-22T05:00:00+00:00"), user(2, "2199-01-01T00:00:00+00:00")]
    _, cursor = _read(storefront, Stream.MEMBERS)
    saleor.rows["users"].append(user(3, "2026-11-22T06:00:00+00:00"))
    assert user(3)["id"] in _read(storefront, Stream.MEMBERS, cursor)[0]


def test_bad_record_is_set_aside_alone(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    saleor.rows["users"] = [user(1), user(2, email={"not": "text"}), user(3)]
    (page,) = storefront.pages(Stream.MEMBERS, "")
    assert [record.external_id for record in page.records] == [user(1)["id"], user(3)["id"]]
    (problem,) = page.problems
    assert (problem.external_id, problem.path) == (user(2)["id"], "$.email")
    assert msgspec.json.decode(problem.raw)["id"] == user(2)["id"]


def test_checkouts_are_open_until_they_are_orders(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    cart = {
        "id": "Q2hlY2tvdXQ6MQ==", "token": "t1", "created": "2026-11-23T10:00:00+00:00", "updatedAt": "2026-11-23T10:05:00+00:00",
        "email": "a@example.com", "user": None, "totalPrice": {"gross": {"amount": 300, "currency": "TWD"}}, "lines": [],
    }  # fmt: skip
    saleor.rows["checkouts"] = [cart]
    pages = list(storefront.pages(Stream.CHECKOUTS, ""))
    (record,) = (record for page in pages for record in page.records)
    assert isinstance(record, CheckoutRecord)
    assert record.completed_at is None
    assert record.url == "https://shop.example/checkout?checkout=Q2hlY2tvdXQ6MQ=="
    saleor.rows["checkouts"] = []
    at = "2026-11-24T00:00:00+00:00"
    saleor.rows["orders"] = [
        {**ORDER, "checkoutId": cart["id"], "created": at, "updatedAt": at},
        {**ORDER, "id": "T3JkZXI6ZTQ2", "checkoutId": None, "updatedAt": at},
    ]
    pages = list(storefront.pages(Stream.CHECKOUTS, pages[-1].next_cursor))
    assert [page.problems for page in pages] == [()] * len(pages)
    (record,) = (record for page in pages for record in page.records)
    assert isinstance(record, CheckoutRecord)
    assert (record.external_id, record.completed_at) == (cart["id"], datetime(2026, 11, 24, tzinfo=UTC))
    assert storefront.reread(Stream.CHECKOUTS, str(cart["id"])) is None


def test_variants_of_changed_products_are_read_again(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    variant = {"id": "UHJvZHVjdFZhcmlhbnQ6MQ==", "product": {"name": "New name"}}
    saleor.rows["products"] = [{"id": "UDox", "updatedAt": "2026-11-23T00:00:00+00:00", "variants": [variant]}]
    (page,) = storefront.second_pass(datetime(2026, 11, 22, tzinfo=UTC))
    assert [(one.external_id, one.title) for one in page.records if isinstance(one, ProductRecord)] == [
        (variant["id"], "New name")
    ]


def test_check_tells_what_is_wrong(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    assert storefront.check() == []
    info = storefront.shop_info()
    assert (info.name, info.currency, info.timezone, info.version) == ("Teas", "TWD", "Asia/Taipei", "3.24.0")
    saleor.permissions.remove("MANAGE_ORDERS")
    assert [problem.code for problem in storefront.check()] == ["scope_missing"]
    saleor.token = None
    assert [problem.code for problem in storefront.check()] == ["unauthorised"]


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ((401, {}, ""), ActionRequired, "unauthorised"),
        ((404, {}, "<html>"), ActionRequired, "not_json"),
        ((200, {}, "<html>"), ActionRequired, "not_json"),
        ((200, {}, '{"data": {"page": 1'), MalformedResponse, "malformed_response"),
        ((200, {}, '{"data": {"page": {}}}'), MalformedResponse, "malformed_response"),
        ((200, {}, "{}"), MalformedResponse, "malformed_response"),
        ((302, {"Location": "https://elsewhere.example/graphql/"}, ""), ActionRequired, "redirected"),
        ((429, {"Retry-After": "120"}, ""), TransientError, "transient"),
        ((400, {}, '{"errors":[{"message":"Syntax","extensions":{"exception":{"code":"GraphQLError"}}}]}'), PermanentError, "permanent"),
        ((200, {}, '{"errors":[{"extensions":{"exception":{"code":"InvalidTokenError"}}}]}'), ActionRequired, "unauthorised"),
    ],
)  # fmt: skip
def test_refusals_say_who_must_act(
    storefront: SaleorStorefront, saleor: FakeSaleor, fault: Any, kind: type[Exception], code: str
) -> None:
    saleor.faults = [fault] * 5
    with pytest.raises(kind) as caught:
        list(storefront.pages(Stream.MEMBERS, ""))
    assert caught.value.code == code  # type: ignore[attr-defined]


def test_passing_trouble_is_waited_out(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    saleor.rows["users"] = [user(1)]
    saleor.faults = [(502, {}, ""), requests.ConnectionError("reset"), (429, {"Retry-After": "3"}, "")]
    assert _read(storefront, Stream.MEMBERS)[0] == [user(1)["id"]]


def test_permission_missing_is_not_an_app_gone(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    saleor.permissions.remove("MANAGE_ORDERS")
    with pytest.raises(ActionRequired) as caught:
        list(storefront.pages(Stream.ORDERS, ""))
    assert caught.value.code == "scope_missing"
    saleor.token = None
    with pytest.raises(ActionRequired) as caught:
        list(storefront.pages(Stream.ORDERS, ""))
    assert caught.value.code == "unauthorised"


def _coupons(*codes: str, **values: Any) -> CouponOrder:
    return CouponOrder("birthday-2026-11", "Birthday", codes, **values)


def test_coupons_are_one_voucher_made_once(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    order = _coupons("A1", "A2", percent=Decimal("12.5"))
    for _ in range(2):
        made = storefront.create_coupons(order)
        assert [(one.code, one.is_restricted, one.error) for one in made] == [("A1", False, None), ("A2", False, None)]
        assert {one.external_id for one in made} == {saleor.vouchers[0]["id"]}
    assert len(saleor.vouchers) == 1
    assert (saleor.vouchers[0]["singleUse"], saleor.vouchers[0]["discountValueType"]) == (True, "PERCENTAGE")
    (listed,) = saleor.listings.values()
    assert [(one["channelId"], one["discountValue"]) for one in listed] == [("Q2g6Mg==", "12.5"), ("Q2g6Mw==", "12.5")]


def test_amount_is_good_in_its_own_currency(storefront: SaleorStorefront, saleor: FakeSaleor) -> None:
    storefront.create_coupons(_coupons("B1", amount_minor=5000, currency="USD", least_minor=20000))
    assert list(saleor.listings.values()) == [
        [{"channelId": "Q2g6Mw==", "discountValue": "50.00", "minAmountSpent": "200.00"}]
    ]
    with pytest.raises(PermanentError):
        storefront.create_coupons(_coupons("B2", amount_minor=5000, currency="JPY"))
    (made,) = storefront.create_coupons(CouponOrder("another", "Other", ("B1",), percent=Decimal(5)))
    assert made.error is not None
    assert made.error.code == "code_taken"


def test_what_is_kept_with_the_newest_is_shown_without_our_own(
    storefront: SaleorStorefront, saleor: FakeSaleor
) -> None:
    kept = [{"key": key, "value": "x"} for key in ("geburtstag", "crm.tier.main", "crm.tag.vip")]
    saleor.rows["users"] = [user(1), user(2, "2026-11-23T05:00:00+00:00", metadata=kept)]
    assert storefront.recent_fields(Stream.MEMBERS) == [{"geburtstag": "x"}, {}]
    saleor.permissions.remove("MANAGE_ORDERS")
    with pytest.raises(ActionRequired):
        storefront.recent_fields(Stream.ORDERS)


def test_cursor_that_is_no_longer_known_passes(saleor: FakeSaleor, storefront: SaleorStorefront) -> None:
    """Where a list is not walked by time it is asked for again later, as after any trouble that passes."""
    told = {"data": None, "errors": [{"message": "Received cursor is invalid."}]}
    saleor.faults = [(200, {}, json.dumps(told))]
    ids = storefront.external_ids(Stream.MEMBERS)
    assert ids is not None
    with pytest.raises(TransientError, match="left off"):
        list(ids)
