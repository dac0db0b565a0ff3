"""Reading a Medusa: pages by time of change, guests beside accounts, exact money, captures, coupons, and what refusals mean."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from crm_plugin.adapters.storefronts.medusa import MedusaStorefront
from crm_plugin.errors import ActionRequired, MalformedResponse, PermanentError, TransientError, UnsupportedFeature
from crm_plugin.records import (
    ConsentState,
    CouponOrder,
    MemberRecord,
    OrderRecord,
    OrderStatus,
    ProductRecord,
    Stream,
)
from tests.adapters.storefronts.medusa.fake_medusa import FakeMedusa, customer

ORDER: dict[str, Any] = json.loads((Path(__file__).parent / "payloads" / "order.json").read_text(encoding="utf-8"))


def _order(storefront: MedusaStorefront, **values: Any) -> OrderRecord:
    record = storefront.parse(Stream.ORDERS, json.dumps({**ORDER, **values}))
    assert isinstance(record, OrderRecord)
    return record


def _read(storefront: MedusaStorefront, stream: Stream, cursor: str = "") -> tuple[set[str], str]:
    pages = list(storefront.pages(stream, cursor))
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    return {record.external_id for page in pages for record in page.records}, pages[-1].next_cursor


def test_order_says_what_was_paid_and_given_back(storefront: MedusaStorefront) -> None:
    order = _order(storefront)
    assert (order.number, order.currency, order.total_minor, order.shipping_minor) == ("1", "TWD", 36000, 6000)
    assert order.status is OrderStatus.SHIPPED
    assert order.platform_status == "pending/partially_refunded/shipped"
    assert order.paid_at == datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
    assert order.shipped_at == datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
    assert [(one.external_id, one.amount_minor, one.reason) for one in order.refunds or ()] == [
        ("ref_1", 6050, "broken")
    ]
    assert [(one.title, one.sku, one.product_external_id, one.total_minor) for one in order.lines] == [
        ("Tea", "TEA", "variant_1", 30000)
    ]
    assert order.coupon_codes == ("HELLO",)
    assert order.attributes == {"tracking_number": "TW123", "tracking_url": "https://post.example/TW123"}


def _exact(value: int) -> dict[str, Any]:
    return {"value": str(value), "precision": 20}


def test_what_was_charged_stays_whatever_comes_back(storefront: MedusaStorefront) -> None:
    """As a real store tells it: of 360 an item of 300 came back and was given back, and 20 more; its own total is 40 by then."""
    detail = {"return_received_quantity": 1, "return_dismissed_quantity": 0}
    item = {
        **ORDER["items"][0],
        "total": 0,
        "raw_total": _exact(0),
        "raw_return_received_total": _exact(300),
        "detail": detail,
    }
    credit = {"reference": "payment_collection", "raw_amount": _exact(20)}
    capture = {"created_at": "2026-11-22T05:00:00.000Z", "raw_amount": _exact(360)}
    refunds = [{"id": f"ref_{amount}", "raw_amount": _exact(amount)} for amount in (300, 20)]
    payments = [{"payments": [{"id": "pay_1", "captures": [capture], "refunds": refunds}]}]
    told = {
        "total": 40,
        "raw_total": _exact(40),
        "items": [item],
        "credit_lines": [credit],
        "payment_collections": payments,
    }
    order = _order(storefront, **told)
    assert (order.total_minor, [one.total_minor for one in order.lines]) == (36000, [30000])
    assert sum(one.amount_minor for one in order.refunds or ()) == 32000
    # Two of three came back, one of them damaged; a store that takes nothing off tells the same.
    detail = {"return_received_quantity": 1, "return_dismissed_quantity": 1}
    of_three = {
        "quantity": 3,
        "raw_return_received_total": _exact(100),
        "raw_return_dismissed_total": _exact(100),
        "detail": detail,
    }
    for left, total in ((100, 160), (300, 360)):
        item = {**ORDER["items"][0], **of_three, "total": left, "raw_total": _exact(left)}
        payments = [{"payments": [{"id": "pay_1"}]}]
        order = _order(storefront, total=total, raw_total=_exact(total), items=[item], payment_collections=payments)
        assert (order.total_minor, [one.total_minor for one in order.lines]) == (36000, [30000])
    # Not captured, so nothing was given back; credit of another kind was never charged.
    unpaid = [{"payments": [{"id": "pay_1"}]}]
    spent = {"reference": "gift_card", "raw_amount": _exact(50)}
    told |= {"payment_collections": unpaid, "credit_lines": [spent], "total": 310, "raw_total": _exact(310)}
    assert _order(storefront, **{**told, "items": ORDER["items"]}).total_minor == 31000


def test_order_of_a_guest_is_nobodys_until_there_is_an_account(storefront: MedusaStorefront) -> None:
    guest = _order(storefront)
    assert guest.member_external_id == ""
    assert guest.contact is not None
    assert (guest.contact.email, guest.contact.country, guest.contact.birth_month) == ("c0@example.com", "TW", 1)
    account = _order(storefront, customer={**ORDER["customer"], "has_account": True})
    assert account.member_external_id == ORDER["customer_id"]
    whole = MedusaStorefront({"url": "https://x.example", "key": "k", "guests_are_members": True})
    assert _order(whole).member_external_id == ORDER["customer_id"]


@pytest.mark.parametrize(
    ("status", "payment", "fulfillment", "ours"),
    [
        ("pending", "authorized", "not_fulfilled", OrderStatus.PENDING),
        ("pending", "captured", "not_fulfilled", OrderStatus.PAID),
        ("archived", "captured", "delivered", OrderStatus.COMPLETED),
        ("completed", "captured", "not_fulfilled", OrderStatus.COMPLETED),
        ("pending", "refunded", "shipped", OrderStatus.REFUNDED),
        ("canceled", "refunded", "canceled", OrderStatus.CANCELLED),
        ("requires_action", "authorized", "not_fulfilled", OrderStatus.ON_HOLD),
        ("draft", "not_paid", "not_fulfilled", OrderStatus.DRAFT),
        ("tomorrow", "tomorrow", "tomorrow", OrderStatus.UNKNOWN),
    ],
)
def test_status_is_one_of_ours(
    storefront: MedusaStorefront, status: str, payment: str, fulfillment: str, ours: OrderStatus
) -> None:
    assert _order(storefront, status=status, payment_status=payment, fulfillment_status=fulfillment).status is ours


@pytest.mark.parametrize(
    ("currency", "amount", "exact", "minor"),
    [
        ("eur", 0.1, None, 10),
        ("eur", 0.30000000000000004, {"value": "0.3", "precision": 20}, 30),
        ("jpy", 360, {"value": "360", "precision": 20}, 360),
        ("kwd", 1.5, {"value": "1.2345", "precision": 20}, 1235),
        ("eur", 5, {"value": 5.25, "precision": 20}, 525),
    ],
)
def test_money_is_exact(storefront: MedusaStorefront, currency: str, amount: float, exact: Any, minor: int) -> None:
    order = _order(storefront, currency_code=currency, total=amount, raw_total=exact, items=[], payment_collections=[])
    assert order.total_minor == minor


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"total": "much"}, "$.total"),
        ({"currency_code": "taiwan"}, "$.currency_code"),
        ({"created_at": "0001-01-01T00:00:00Z"}, "$.created_at"),
        ({"items": [{"quantity": 1e12}]}, "$.items[0].quantity"),
        ({"raw_total": {"value": "1e99"}}, "$.total"),
    ],
)
def test_bad_record_names_the_place(storefront: MedusaStorefront, values: dict[str, Any], path: str) -> None:
    with pytest.raises(MalformedResponse) as caught:
        _order(storefront, **values)
    assert caught.value.path == path


def test_every_change_comes_in_pages_and_then_only_what_is_new(
    storefront: MedusaStorefront, medusa: FakeMedusa
) -> None:
    # Seven of ten changed at one instant: more than a page holds.
    medusa.rows["customers"] = [customer(n, f"2026-11-22T05:{0 if n < 8 else n:02}:00.000Z") for n in range(1, 11)]
    found, cursor = _read(storefront, Stream.MEMBERS)
    assert found == {row["id"] for row in medusa.rows["customers"]}
    medusa.rows["customers"][0]["updated_at"] = "2026-11-23T00:00:00.000Z"
    again, later = _read(storefront, Stream.MEMBERS, cursor)
    assert "cus_0001" in again
    assert len(again) < 5
    assert _read(storefront, Stream.MEMBERS, later)[0] == {"cus_0001"}


def test_rows_that_change_meanwhile_are_met_ahead(storefront: MedusaStorefront, medusa: FakeMedusa) -> None:
    medusa.rows["customers"] = [customer(n, f"2026-11-22T05:{n:02}:00.000Z") for n in range(1, 12)]
    turns = iter(range(99))

    def change() -> None:
        turn = next(turns)
        if 0 < turn < 4:
            medusa.rows["customers"][turn]["updated_at"] = f"2026-11-23T00:0{turn}:00.000Z"

    medusa.before_list = change
    assert _read(storefront, Stream.MEMBERS)[0] == {row["id"] for row in medusa.rows["customers"]}


def test_walk_goes_on_in_another_process(storefront: MedusaStorefront, medusa: FakeMedusa) -> None:
    medusa.rows["customers"] = [customer(n, f"2026-11-22T05:{n:02}:00.000Z") for n in range(1, 8)]
    first = next(iter(storefront.pages(Stream.MEMBERS, "")))
    rest, _ = _read(storefront, Stream.MEMBERS, first.next_cursor)
    assert {record.external_id for record in first.records} | rest == {row["id"] for row in medusa.rows["customers"]}


def test_change_dated_far_ahead_hides_nothing(storefront: MedusaStorefront, medusa: FakeMedusa) -> None:
    medusa.rows["customers"] = [customer(1), customer(2, "2199-01-01T00:00:00.000Z")]
    _, cursor = _read(storefront, Stream.MEMBERS)
    medusa.rows["customers"].append(customer(3, "2026-11-22T06:00:00.000Z"))
    assert "cus_0003" in _read(storefront, Stream.MEMBERS, cursor)[0]


def test_guests_are_left_out_of_the_accounts(storefront: MedusaStorefront, medusa: FakeMedusa) -> None:
    medusa.rows["customers"] = [customer(1), customer(2, has_account=False, email="c1@example.com")]
    assert _read(storefront, Stream.MEMBERS)[0] == {"cus_0001"}
    assert storefront.count(Stream.MEMBERS) == 1
    assert list(storefront.external_ids(Stream.MEMBERS) or ()) == ["cus_0001"]
    assert dict(storefront.reread_many(Stream.MEMBERS, ["cus_0002", "cus_0001", "x' or 1"])).keys() == {
        "cus_0001",
        "cus_0002",
        "x' or 1",
    }
    assert storefront.reread(Stream.MEMBERS, "cus_0002") is None


def test_member_says_birthday_groups_and_levels(storefront: MedusaStorefront) -> None:
    told = customer(
        1,
        metadata={"birthday": "1990-01-05", "newsletter": True, "crm_tier_main": "gold"},
        groups=[{"id": "g", "name": "vip"}],
    )
    record = storefront.parse(Stream.MEMBERS, json.dumps(told))
    assert isinstance(record, MemberRecord)
    assert (record.birth_year, record.birth_month, record.birth_day) == (1990, 1, 5)
    assert (record.tags, record.marks, len(record.consents)) == (("vip",), {"main": "gold"}, 1)


def test_product_is_a_variant_in_the_stores_currency(storefront: MedusaStorefront, medusa: FakeMedusa) -> None:
    medusa.rows["variants"] = [{
        "id": "variant_1", "sku": "TEA", "title": "100 g", "updated_at": "2026-11-22T05:00:00.000Z", "metadata": {"cost": "120.5"},
        "prices": [{"currency_code": "eur", "amount": 9.95}, {"currency_code": "twd", "amount": 300, "raw_amount": {"value": "300"}}],
        "product": {"title": "Tea", "handle": "tea", "thumbnail": None, "categories": [{"name": "Drinks"}]},
    }]  # fmt: skip
    (page,) = storefront.pages(Stream.PRODUCTS, "")
    (record,) = page.records
    assert isinstance(record, ProductRecord)
    assert (record.title, record.category, record.price_minor, record.cost_minor, record.currency) == (
        "Tea / 100 g", "Drinks", 30000, 12050, "TWD"
    )  # fmt: skip


def test_captures_are_found_by_their_payments(storefront: MedusaStorefront, medusa: FakeMedusa) -> None:
    medusa.rows["orders"] = [ORDER, {**ORDER, "id": "order_2"}]
    medusa.rows["payments"] = [
        {"id": "p1", "updated_at": "2026-11-23T00:00:00.000Z", "payment_collection": {"order": {"id": "order_2"}}},
        {"id": "p2", "updated_at": "2026-11-23T00:00:00.000Z", "payment_collection": {"order": None}},
        {"id": "p3", "updated_at": "2026-11-01T00:00:00.000Z", "payment_collection": {"order": {"id": ORDER["id"]}}},
    ]
    pages = list(storefront.second_pass(datetime(2026, 11, 22, tzinfo=UTC)))
    assert [record.external_id for page in pages for record in page.records] == ["order_2"]


def test_captures_are_found_though_others_change_meanwhile(storefront: MedusaStorefront, medusa: FakeMedusa) -> None:
    """Rows that leave the beginning of a list move all others up."""
    at = "2026-11-22T05:0{}:00.000Z"
    for number in range(8):
        medusa.rows["orders"].append({**ORDER, "id": f"order_{number}", "updated_at": "2026-01-01T00:00:00.000Z"})
        collection = {"order": {"id": f"order_{number}"}}
        medusa.rows["payments"].append(
            {"id": f"p{number}", "updated_at": at.format(number), "payment_collection": collection}
        )
    asked = []

    def change() -> None:
        asked.append(1)
        if len(asked) in (3, 5):
            medusa.rows["payments"][len(asked) - 3]["updated_at"] = "2026-11-23T00:00:00.000Z"

    medusa.before_list = change
    pages = list(storefront.second_pass(datetime(2026, 11, 22, tzinfo=UTC)))
    assert {record.external_id for page in pages for record in page.records} >= {f"order_{n}" for n in range(8)}
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]


def test_consent_is_dated_by_what_said_it(storefront: MedusaStorefront) -> None:
    """An account's metadata is what it says now: an order that is read again must not date it back to its own day."""
    customer = {**ORDER["customer"], "has_account": True, "metadata": {"newsletter": "yes", "birthday": "1990-01-05"}}
    account = _order(storefront, customer=customer, metadata=None).contact
    guest = _order(storefront, customer={**customer, "has_account": False}, metadata=None).contact
    ordered = _order(storefront, customer=customer, metadata={"newsletter": "no"})
    assert account is not None
    assert guest is not None
    assert ordered.contact is not None
    assert (account.consents, account.birth_month) == ((), 1)
    assert [(one.state, one.at) for one in guest.consents] == [(ConsentState.GRANTED, None)]
    assert [(one.state, one.at) for one in ordered.contact.consents] == [(ConsentState.WITHDRAWN, ordered.placed_at)]


def test_coupons_are_promotions_made_once(storefront: MedusaStorefront, medusa: FakeMedusa) -> None:
    ends = datetime(2026, 12, 24, tzinfo=UTC)
    order = CouponOrder(
        "b-1", "Birthday", ("A1", "A2"), percent=Decimal("12.5"), ends_at=ends, references=("cus_0001",)
    )
    for _ in range(2):
        made = storefront.create_coupons(order)
        assert [(one.code, one.is_restricted, one.error) for one in made] == [("A1", True, None), ("A2", True, None)]
    assert [one["code"] for one in medusa.rows["promotions"]] == ["A1", "A2"]
    first = medusa.rows["promotions"][0]
    assert first["application_method"]["value"] == 12.5
    assert (first["limit"], first["is_automatic"], first["status"]) == (1, False, "active")
    assert first["rules"] == [{"attribute": "customer.id", "operator": "in", "values": ["cus_0001"]}]
    assert [one["ends_at"] for one in medusa.rows["campaigns"]] == [ends.isoformat()]
    (taken,) = storefront.create_coupons(CouponOrder("b-2", "Other", ("A1",), amount_minor=5050, currency="TWD"))
    assert taken.error is not None
    assert taken.error.code == "code_taken"
    with pytest.raises(UnsupportedFeature):
        storefront.create_coupons(
            CouponOrder("b-3", "Least", ("A3",), percent=Decimal(5), least_minor=100, currency="TWD")
        )


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ((401, {}, '{"message":"Unauthorized"}'), ActionRequired, "unauthorised"),
        ((403, {}, '{"type":"forbidden","message":"no"}'), ActionRequired, "scope_missing"),
        ((404, {}, "<html>"), ActionRequired, "not_json"),
        ((200, {}, "<html>"), ActionRequired, "not_json"),
        ((400, {}, '{"type":"invalid_data","message":"Unrecognized fields"}'), PermanentError, "permanent"),
        ((200, {}, '{"customers": ['), MalformedResponse, "malformed_response"),
        ((200, {}, '{"customers": {}, "count": 1}'), MalformedResponse, "malformed_response"),
        ((301, {"Location": "https://www.shop.example/admin/customers"}, ""), ActionRequired, "redirected"),
        ((429, {"Retry-After": "120"}, ""), TransientError, "transient"),
    ],
)
def test_refusals_say_who_must_act(
    storefront: MedusaStorefront, medusa: FakeMedusa, fault: Any, kind: type[Exception], code: str
) -> None:
    medusa.faults = [fault] * 5
    with pytest.raises(kind) as caught:
        list(storefront.pages(Stream.MEMBERS, ""))
    assert caught.value.code == code  # type: ignore[attr-defined]


def test_check_and_passing_trouble(storefront: MedusaStorefront, medusa: FakeMedusa) -> None:
    assert storefront.check() == []
    info = storefront.shop_info()
    assert (info.name, info.currency, info.timezone) == ("Teas", "TWD", "Asia/Taipei")
    medusa.rows["customers"] = [customer(1)]
    medusa.faults = [(502, {}, ""), requests.ConnectionError("reset"), (429, {"Retry-After": "3"}, "")]
    assert _read(storefront, Stream.MEMBERS)[0] == {"cus_0001"}


def test_what_is_kept_with_the_newest_is_shown_without_our_own(
    storefront: MedusaStorefront, medusa: FakeMedusa
) -> None:
    kept = {"geburtstag": "05/06/1985", "crm_tier_main": "gold"}
    medusa.rows["customers"] = [customer(n, updated_at=f"2026-11-2{n}T00:00:00.000Z", metadata=kept) for n in (1, 2)]
    medusa.rows["customers"].append(customer(3, metadata=None))
    assert sorted(storefront.recent_fields(Stream.MEMBERS), key=len) == [
        {},
        {"geburtstag": "05/06/1985"},
        {"geburtstag": "05/06/1985"},
    ]
    assert storefront.recent_fields(Stream.PRODUCTS) == []
