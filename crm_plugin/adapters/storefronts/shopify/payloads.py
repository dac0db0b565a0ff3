"""What the Admin API sends, as far as we ask for it. Only what a record cannot do without is required.

A list below a row has its own rows in `nodes`, whether they came with it or in lines of their own (`bulk.py`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class Struct(msgspec.Struct, rename="camel", gc=False):
    """Names as GraphQL has them."""


class Shop(Struct):
    """The shop itself."""

    name: str
    currency_code: str
    iana_timezone: str = ""


class Ref(Struct):
    """Something else, by its id."""

    id: str


class Money(Struct):
    """An amount as a decimal; the currency where it was asked for."""

    amount: str
    currency_code: str = ""


class MoneyBag(Struct):
    """The same in the shop's own currency."""

    shop_money: Money


class Email(Struct):
    """An address, and whether it may be written to."""

    email_address: str = ""
    marketing_state: str = ""
    marketing_opt_in_level: str | None = None
    marketing_updated_at: datetime | None = None


class SmsConsent(Struct):
    """Whether a number may be written to."""

    state: str = ""
    opt_in_level: str | None = None
    updated_at: datetime | None = None


class Phone(Struct):
    """A number. Before 2026-10 its consent stands beside it."""

    phone_number: str = ""
    sms_marketing_consent: SmsConsent | None = None
    marketing_state: str = ""
    marketing_opt_in_level: str | None = None
    marketing_updated_at: datetime | None = None


class Address(Struct):
    """Where somebody lives."""

    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    city: str | None = None
    zip: str | None = None
    province_code: str | None = None
    country_code_v2: str | None = msgspec.field(name="countryCodeV2", default=None)
    phone: str | None = None


class Metafield(Struct):
    """A value under a key."""

    value: str = ""
    key: str = ""


class Metafields(Struct):
    """Values under several keys."""

    nodes: list[Metafield] = []


class Customer(Struct):
    """An account."""

    id: str
    updated_at: datetime
    created_at: datetime | None = None
    first_name: str | None = None
    last_name: str | None = None
    locale: str | None = None
    state: str | None = None
    tags: list[str] = []
    data_sale_opt_out: bool = False
    default_email_address: Email | None = None
    default_phone_number: Phone | None = None
    default_address: Address | None = None
    metafield: Metafield | None = None
    metafields: Metafields = msgspec.field(default_factory=Metafields)


class UnitCost(Struct):
    """What one piece costs the shop; null where the merchant has not entered it."""

    unit_cost: Money | None = None


class LineVariant(Struct):
    """What a line is of, with what a piece costs today."""

    id: str
    inventory_item: UnitCost | None = None


class TaxLine(Struct):
    """One tax on a line."""

    price_set: MoneyBag


class Line(Struct):
    """A line of an order or a checkout; the variant is null once it is deleted."""

    title: str | None = None
    variant_title: str | None = None
    sku: str | None = None
    quantity: float = 1
    variant: LineVariant | None = None
    discounted_total_set: MoneyBag | None = None
    discounted_total_price_set: MoneyBag | None = None
    tax_lines: list[TaxLine] = []


class Lines(Struct):
    """All lines of an order or a checkout."""

    nodes: list[Line] = []


class Refund(Struct):
    """Money given back."""

    id: str
    total_refunded_set: MoneyBag
    processed_at: datetime | None = None
    updated_at: datetime | None = None
    note: str | None = None


class Tracking(Struct):
    """Where a parcel is."""

    company: str | None = None
    number: str | None = None
    url: str | None = None


class Fulfillment(Struct):
    """A parcel."""

    status: str = ""
    created_at: datetime | None = None
    delivered_at: datetime | None = None
    tracking_info: list[Tracking] = []


class Order(Struct):
    """An order. Amounts are in the shop's own currency, whatever the customer saw."""

    id: str
    processed_at: datetime
    updated_at: datetime
    total_price_set: MoneyBag
    name: str = ""
    cancelled_at: datetime | None = None
    test: bool = False
    display_financial_status: str | None = None
    display_fulfillment_status: str | None = None
    source_name: str | None = None
    customer_locale: str | None = None
    customer_accepts_marketing: bool = False
    email: str | None = None
    phone: str | None = None
    taxes_included: bool = False
    discount_codes: list[str] = []
    customer: Ref | None = None
    billing_address: Address | None = None
    total_tax_set: MoneyBag | None = None
    total_shipping_price_set: MoneyBag | None = None
    total_discounts_set: MoneyBag | None = None
    refunds: list[Refund] = []
    fulfillments: list[Fulfillment] = []
    line_items: Lines = msgspec.field(default_factory=Lines)


class Buyer(Struct):
    """Whose checkout it is."""

    id: str
    default_email_address: Email | None = None


class Checkout(Struct):
    """A checkout that was left."""

    id: str
    created_at: datetime
    total_price_set: MoneyBag
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    abandoned_checkout_url: str = ""
    customer: Buyer | None = None
    line_items: Lines = msgspec.field(default_factory=Lines)


class Category(Struct):
    """A place in Shopify's taxonomy."""

    full_name: str = ""


class Product(Struct):
    """What a variant is one of."""

    id: str = ""
    title: str = ""
    status: str = ""
    product_type: str = ""
    updated_at: datetime | None = None
    online_store_url: str | None = None
    category: Category | None = None
    featured_media: dict[str, Any] | None = None


class Variant(Struct):
    """One thing that can be bought."""

    id: str
    product: Product
    title: str = ""
    sku: str | None = None
    price: str | None = None
    updated_at: datetime | None = None
    inventory_item: UnitCost | None = None


CUSTOMER = msgspec.json.Decoder(Customer)
ORDER = msgspec.json.Decoder(Order)
CHECKOUT = msgspec.json.Decoder(Checkout)
VARIANT = msgspec.json.Decoder(Variant)
