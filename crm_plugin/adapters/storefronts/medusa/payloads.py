"""What Medusa sends, as far as we read it. An amount comes as a number in major units and, exactly, as `raw_<name>` with a decimal text."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec


class Exact(msgspec.Struct, gc=False):
    """The exact twin of an amount."""

    value: Decimal


class Address(msgspec.Struct, gc=False):
    first_name: str | None = ""
    last_name: str | None = ""
    company: str | None = ""
    phone: str | None = ""
    city: str | None = ""
    postal_code: str | None = ""
    province: str | None = ""
    country_code: str | None = ""


class Group(msgspec.Struct, gc=False):
    id: str
    name: str | None = ""


class Customer(msgspec.Struct, gc=False):
    id: str
    email: str | None = ""
    first_name: str | None = ""
    last_name: str | None = ""
    company_name: str | None = ""
    phone: str | None = ""
    has_account: bool = False
    metadata: dict[str, Any] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    groups: list[Group] | None = None
    addresses: list[Address] | None = None


class Adjustment(msgspec.Struct, gc=False):
    code: str | None = ""


class Detail(msgspec.Struct, gc=False):
    """How many pieces of a line came back."""

    return_received_quantity: float | None = 0.0
    return_dismissed_quantity: float | None = 0.0


class Item(msgspec.Struct, gc=False):
    title: str | None = ""
    product_title: str | None = ""
    variant_sku: str | None = ""
    variant_id: str | None = ""
    product_id: str | None = ""
    quantity: float = 1.0
    total: Decimal | None = None
    raw_total: Exact | None = None
    # What came back, whole or damaged: newer versions of Medusa take it off `total`.
    return_received_total: Decimal | None = None
    raw_return_received_total: Exact | None = None
    return_dismissed_total: Decimal | None = None
    raw_return_dismissed_total: Exact | None = None
    detail: Detail | None = None
    adjustments: list[Adjustment] | None = None


class Refund(msgspec.Struct, gc=False):
    id: str
    amount: Decimal | None = None
    raw_amount: Exact | None = None
    note: str | None = ""
    created_at: datetime | None = None


class Credit(msgspec.Struct, gc=False):
    """What lowers an order's total: money given back, where its `reference` is the payment."""

    reference: str | None = ""
    amount: Decimal | None = None
    raw_amount: Exact | None = None


class Capture(msgspec.Struct, gc=False):
    amount: Decimal | None = None
    raw_amount: Exact | None = None
    created_at: datetime | None = None


class Payment(msgspec.Struct, gc=False):
    id: str
    captured_at: datetime | None = None
    captures: list[Capture] | None = None
    refunds: list[Refund] | None = None


class Collection(msgspec.Struct, gc=False):
    payments: list[Payment] | None = None


class Label(msgspec.Struct, gc=False):
    tracking_number: str | None = ""
    tracking_url: str | None = ""


class Fulfillment(msgspec.Struct, gc=False):
    packed_at: datetime | None = None
    shipped_at: datetime | None = None
    delivered_at: datetime | None = None
    canceled_at: datetime | None = None
    labels: list[Label] | None = None


class Order(msgspec.Struct, gc=False):
    id: str
    status: str
    currency_code: str
    created_at: datetime
    total: Decimal | None = None
    raw_total: Exact | None = None
    tax_total: Decimal | None = None
    raw_tax_total: Exact | None = None
    shipping_total: Decimal | None = None
    raw_shipping_total: Exact | None = None
    discount_total: Decimal | None = None
    raw_discount_total: Exact | None = None
    display_id: int | str | None = None
    email: str | None = ""
    customer_id: str | None = ""
    customer: Customer | None = None
    is_draft_order: bool | None = False
    payment_status: str | None = ""
    fulfillment_status: str | None = ""
    updated_at: datetime | None = None
    metadata: dict[str, Any] | None = None
    items: list[Item] | None = None
    billing_address: Address | None = None
    shipping_address: Address | None = None
    payment_collections: list[Collection] | None = None
    credit_lines: list[Credit] | None = None
    fulfillments: list[Fulfillment] | None = None


class Price(msgspec.Struct, gc=False):
    currency_code: str = ""
    amount: Decimal | None = None
    raw_amount: Exact | None = None


class Category(msgspec.Struct, gc=False):
    name: str | None = ""


class Product(msgspec.Struct, gc=False):
    title: str | None = ""
    handle: str | None = ""
    thumbnail: str | None = ""
    status: str | None = ""
    categories: list[Category] | None = None


class Variant(msgspec.Struct, gc=False):
    id: str
    sku: str | None = ""
    title: str | None = ""
    updated_at: datetime | None = None
    metadata: dict[str, Any] | None = None
    prices: list[Price] | None = None
    product: Product | None = None


class Head(msgspec.Struct, gc=False):
    """What a walk needs of any record."""

    id: Any = None
    updated_at: datetime | None = None
    has_account: bool | None = None


CUSTOMER = msgspec.json.Decoder(Customer)
ORDER = msgspec.json.Decoder(Order)
VARIANT = msgspec.json.Decoder(Variant)
HEAD = msgspec.json.Decoder(Head)
