"""What WooCommerce sends, as far as we read it: fields we do not use are skipped by the decoder.

Only `id` and what an order cannot do without are required. Amounts are strings in WooCommerce's own answers; some plugins send numbers, so
both are taken. PHP writes an empty object as `[]`, hence the lists beside the structs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

Amount = str | int | float
_NULL = msgspec.Raw(b"null")


class Meta(msgspec.Struct, gc=False):
    """One entry of `meta_data`; the value stays raw until its key is one that we look for."""

    key: str | int = ""
    value: msgspec.Raw = _NULL


class Billing(msgspec.Struct, gc=False):
    """Who pays: for a guest all that is known of them."""

    first_name: str | None = ""
    last_name: str | None = ""
    company: str | None = ""
    city: str | None = ""
    postcode: str | int | None = ""
    country: str | None = ""
    state: str | int | None = ""
    email: str | None = ""
    phone: str | int | None = ""


class Customer(msgspec.Struct, gc=False):
    """One account. `meta_data` is absent for the key of a shop manager."""

    id: int
    email: str | None = ""
    first_name: str | None = ""
    last_name: str | None = ""
    role: str | None = ""
    date_created_gmt: datetime | None = None
    date_modified_gmt: datetime | None = None
    billing: Billing | list[Any] | None = None
    meta_data: list[Meta] | None = None


class Cost(msgspec.Struct, gc=False):
    """Cost of goods: `total_value` on orders and products, `value` on lines."""

    total_value: Amount | None = None
    value: Amount | None = None
    values: list[dict[str, Any]] | None = None


class Line(msgspec.Struct, gc=False):
    """One line of an order; `total` is without tax."""

    name: str | None = ""
    sku: str | int | None = ""
    product_id: int | None = 0
    variation_id: int | None = 0
    quantity: float = 1.0
    total: Amount = "0"
    total_tax: Amount = "0"
    cost_of_goods_sold: Cost | list[Any] | None = None


class OrderRefund(msgspec.Struct, gc=False):
    """A refund as the order lists it: a negative total and no date."""

    id: int
    total: Amount
    reason: str | None = ""


class Coupon(msgspec.Struct, gc=False):
    """A coupon used on an order."""

    code: str | int = ""


class Order(msgspec.Struct, gc=False):
    """One order."""

    id: int
    status: str
    currency: str
    total: Amount
    date_created_gmt: datetime
    number: str | int | None = ""
    total_tax: Amount = "0"
    shipping_total: Amount = "0"
    shipping_tax: Amount = "0"
    discount_total: Amount = "0"
    discount_tax: Amount = "0"
    customer_id: int | None = 0
    created_via: str | None = ""
    payment_method: str | None = ""
    date_modified_gmt: datetime | None = None
    date_paid_gmt: datetime | None = None
    date_completed_gmt: datetime | None = None
    billing: Billing | list[Any] | None = None
    line_items: list[Line] | None = None
    refunds: list[OrderRefund] | None = None
    coupon_lines: list[Coupon] | None = None
    meta_data: list[Meta] | None = None
    cost_of_goods_sold: Cost | list[Any] | None = None


class Refund(msgspec.Struct, gc=False):
    """A refund of its own: a positive amount, a date, the order in `parent_id`, and no currency."""

    id: int
    amount: Amount
    parent_id: int | None = 0
    reason: str | None = ""
    date_created_gmt: datetime | None = None


class Named(msgspec.Struct, gc=False):
    """A category, or an attribute of a variation."""

    name: str | None = ""
    option: str | None = ""


class Image(msgspec.Struct, gc=False):
    """A picture's address."""

    src: str | None = ""


class Product(msgspec.Struct, gc=False):
    """A product or a variation; a variable parent has no price of its own but tells the lowest of its variations."""

    id: int
    name: str | None = ""
    sku: str | int | None = ""
    type: str | None = ""
    status: str | None = ""
    permalink: str | None = ""
    price: Amount | None = None
    parent_id: int | None = 0
    date_modified_gmt: datetime | None = None
    categories: list[Named] | None = None
    attributes: list[Named] | None = None
    images: list[Image] | None = None
    image: Image | list[Any] | None = None
    meta_data: list[Meta] | None = None
    cost_of_goods_sold: Cost | list[Any] | None = None


class Fields(msgspec.Struct, gc=False):
    """The part of any record under keys of plugins; None where the key is not shown it."""

    meta_data: list[Meta] | None = None


class Head(msgspec.Struct, gc=False):
    """The part of any record that paging needs."""

    id: int | None = None
    parent_id: int | None = None
    date_created_gmt: datetime | None = None
    date_modified_gmt: datetime | None = None
    currency: str = ""
    type: str = ""
    status: str = ""
    variations: list[int] = []
    refunds: list[dict[str, Any]] = []


CUSTOMER = msgspec.json.Decoder(Customer, strict=False)
ORDER = msgspec.json.Decoder(Order, strict=False)
REFUND = msgspec.json.Decoder(Refund, strict=False)
PRODUCT = msgspec.json.Decoder(Product, strict=False)
FIELDS = msgspec.json.Decoder(Fields, strict=False)
HEAD = msgspec.json.Decoder(Head, strict=False)
