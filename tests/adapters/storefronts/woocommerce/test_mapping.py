"""Raw WooCommerce records to ours: what the store writes in odd ways."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from crm_plugin.adapters.storefronts.woocommerce.mapping import Mapper
from crm_plugin.errors import MalformedResponse
from tests.adapters.storefronts.woocommerce.fake_store import customer, order


def _order(**values: Any) -> Any:
    return Mapper().order(msgspec.json.encode(order(5, **values)))


def test_line_total_holds_its_tax_and_names_the_variation() -> None:
    lines = [
        {
            "name": "Bag",
            "sku": 26,
            "product_id": 37,
            "variation_id": 41,
            "quantity": 2,
            "total": 44.84,
            "total_tax": "",
        },
        {"name": "Fee", "product_id": 0, "quantity": 0.5, "total": "-1.005", "total_tax": "0.00"},
    ]
    record = _order(line_items=lines)
    assert [(x.sku, x.product_external_id, x.quantity, x.total_minor) for x in record.lines] == [
        ("26", "41", 2.0, 4484),
        ("", "", 0.5, -101),
    ]


@pytest.mark.parametrize(
    ("cost", "minor"),
    [({"value": 21.52}, 2152), ({"total_value": "21.52"}, 2152), ({"value": 0}, 0), ([], None), (None, None)],
)
def test_line_cost_is_read_under_either_name(cost: Any, minor: int | None) -> None:
    line = {"name": "Bag", "quantity": 1, "total": "1", "cost_of_goods_sold": cost}
    assert _order(line_items=[line]).lines[0].cost_minor == minor


@pytest.mark.parametrize(("total", "known"), [(0, True), (95.55, True)])
def test_order_cost_needs_a_line_that_knows_its_own(total: float, known: bool) -> None:
    line = {"name": "Bag", "quantity": 1, "total": "1"}
    assert _order(line_items=[line], cost_of_goods_sold={"total_value": total}).cost_minor is None
    told = _order(line_items=[{**line, "cost_of_goods_sold": {"value": 1}}], cost_of_goods_sold={"total_value": total})
    assert (told.cost_minor is not None) is known


def test_times_without_a_zone_are_utc() -> None:
    record = _order(date_paid_gmt="2025-12-01T13:05:49", date_completed_gmt=None)
    assert record.placed_at == datetime(2025, 12, 1, 13, 4, 49, tzinfo=UTC)
    assert (record.paid_at, record.shipped_at) == (datetime(2025, 12, 1, 13, 5, 49, tzinfo=UTC), None)


@pytest.mark.parametrize(
    ("word", "status", "counts"),
    [
        ("processing", "paid", True),
        ("refunded", "refunded", True),
        ("on-hold", "on_hold", True),
        ("wc-completed", "completed", True),
        ("ready-to-collect", "unknown", True),
        ("cancelled", "cancelled", False),
        ("failed", "failed", False),
        ("checkout-draft", "draft", False),
        ("trash", "trash", False),
    ],
)
def test_status_words(word: str, status: str, counts: bool) -> None:
    record = _order(status=word)
    assert (record.status.value, record.status.counts) == (status, counts)


def test_amounts_follow_the_orders_currency() -> None:
    record = _order(currency="jpy", total="1200", refunds=[{"id": 6, "total": "-200", "reason": None}])
    assert (record.currency, record.total_minor, record.refunds[0].amount_minor) == ("JPY", 1200, 200)


def test_empty_objects_come_as_lists() -> None:
    record = _order(billing=[], meta_data=[], customer_id=None)
    assert (record.member_external_id, record.contact.email) == ("", "")
    member = Mapper().member(msgspec.json.encode(customer(7, billing=[], meta_data=None, date_modified_gmt=None)))
    assert (member.email, member.phone, member.updated_at) == ("c7@example.test", "", None)


def test_billing_address_is_another_of_the_same_person() -> None:
    raw = customer(7, billing={"email": "Work@Example.test", "first_name": "Nora", "country": "fr", "state": "us-x"})
    member = Mapper().member(msgspec.json.encode(raw))
    assert (member.email, member.other_emails) == ("c7@example.test", ("Work@Example.test",))
    assert (member.first_name, member.country, member.region) == ("Nora", "FR", "US-X")
    same = Mapper().member(msgspec.json.encode(customer(7, billing={"email": "C7@example.TEST"})))
    assert same.other_emails == ()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"total": "free"}, "$.total"),
        ({"total": "NaN"}, "$.total"),
        ({"currency": "euro"}, "$.currency"),
        ({"date_created_gmt": None}, "$.date_created_gmt"),
        ({"line_items": [{"total": "x"}]}, "$.line_items[0].total"),
        ({"refunds": [{"id": 1, "total": "x"}]}, "$.refunds[0].total"),
        ({"total": "1e30"}, "$.total"),
        ({"total": "99999999999999999999"}, "$.total"),
        ({"total": "1e999999"}, "$.total"),
        ({"refunds": [{"id": 1, "total": "-1e25"}]}, "$.refunds[0].total"),
        ({"line_items": [{"total": "1"}, {"total": "1", "quantity": 1e17}]}, "$.line_items[1].quantity"),
        ({"date_created_gmt": "9999-12-31T23:30:00"}, "$.date_created_gmt"),
        ({"date_paid_gmt": "0001-01-01T00:00:00"}, "$.date_paid_gmt"),
    ],
)
def test_what_cannot_be_read_names_its_place(change: dict[str, Any], path: str) -> None:
    with pytest.raises(MalformedResponse) as caught:
        _order(**change)
    assert caught.value.path == path
