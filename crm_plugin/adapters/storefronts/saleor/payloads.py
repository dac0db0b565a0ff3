"""What Saleor sends, as far as our operations ask for it. Amounts are decimal numbers in major units, read without a float."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec


class Node(msgspec.Struct, rename="camel", gc=False):
    """Another record, by its id."""

    id: str


class Money(msgspec.Struct, gc=False):
    """An amount; the currency only where it was asked for."""

    amount: Decimal
    currency: str = ""


class Taxed(msgspec.Struct, gc=False):
    """A price with its tax."""

    gross: Money
    tax: Money | None = None


class Entry(msgspec.Struct, gc=False):
    """One entry of public metadata."""

    key: str
    value: str | None = ""


class Country(msgspec.Struct, gc=False):
    code: str = ""


class Address(msgspec.Struct, rename="camel", gc=False):
    first_name: str | None = ""
    last_name: str | None = ""
    company_name: str | None = ""
    phone: str | None = ""
    city: str | None = ""
    postal_code: str | None = ""
    country_area: str | None = ""
    country: Country | None = None


class User(msgspec.Struct, rename="camel", gc=False):
    id: str
    email: str | None = ""
    first_name: str | None = ""
    last_name: str | None = ""
    is_active: bool = True
    date_joined: datetime | None = None
    updated_at: datetime | None = None
    language_code: str | None = ""
    metadata: list[Entry] | None = None
    default_billing_address: Address | None = None
    default_shipping_address: Address | None = None


class Variant(msgspec.Struct, rename="camel", gc=False):
    """The variant that a line is about; None in the line once it is deleted."""

    id: str
    sku: str | None = ""
    name: str | None = ""
    product: Named | None = None


class Named(msgspec.Struct, gc=False):
    name: str | None = ""


class Line(msgspec.Struct, rename="camel", gc=False):
    total_price: Taxed
    quantity: float = 1.0
    product_name: str | None = ""
    variant_name: str | None = ""
    product_sku: str | None = ""
    variant: Variant | None = None


class Discount(msgspec.Struct, gc=False):
    total: Money | None = None


class Fulfillment(msgspec.Struct, rename="camel", gc=False):
    status: str = ""
    created: datetime | None = None
    tracking_number: str | None = ""


class Event(msgspec.Struct, rename="camel", gc=False):
    """One step of a transaction."""

    id: str
    type: str | None = ""
    created_at: datetime | None = None
    message: str | None = ""
    amount: Money | None = None


class Transaction(msgspec.Struct, gc=False):
    events: list[Event] | None = None


class Payment(msgspec.Struct, rename="camel", gc=False):
    """One step of a payment of the older kind."""

    id: str
    kind: str = ""
    created: datetime | None = None
    is_success: bool = False
    amount: Money | None = None


class Payments(msgspec.Struct, gc=False):
    transactions: list[Payment] | None = None


class Channel(msgspec.Struct, rename="camel", gc=False):
    slug: str = ""
    currency_code: str = ""


class Order(msgspec.Struct, rename="camel", gc=False):
    id: str
    status: str
    created: datetime
    total: Taxed
    number: str | None = ""
    charge_status: str | None = ""
    origin: str | None = ""
    updated_at: datetime | None = None
    user_email: str | None = ""
    user: Node | None = None
    language_code_enum: str | None = ""
    channel: Channel | None = None
    metadata: list[Entry] | None = None
    voucher_code: str | None = ""
    shipping_price: Taxed | None = None
    discounts: list[Discount] | None = None
    total_refunded: Money | None = None
    billing_address: Address | None = None
    shipping_address: Address | None = None
    lines: list[Line] = []
    fulfillments: list[Fulfillment] | None = None
    transactions: list[Transaction] | None = None
    payments: list[Payments] | None = None


class Listing(msgspec.Struct, rename="camel", gc=False):
    """What a variant costs in one channel; without a price it is not sold there."""

    channel: Channel | None = None
    price: Money | None = None
    cost_price: Money | None = None


class Picture(msgspec.Struct, gc=False):
    url: str | None = ""


class Product(msgspec.Struct, gc=False):
    name: str | None = ""
    slug: str | None = ""
    category: Named | None = None
    thumbnail: Picture | None = None


class Sold(msgspec.Struct, rename="camel", gc=False):
    """A variant with its product: what is sold."""

    id: str
    sku: str | None = ""
    name: str | None = ""
    updated_at: datetime | None = None
    channel_listings: list[Listing] | None = None
    product: Product | None = None


class Checkout(msgspec.Struct, rename="camel", gc=False):
    id: str
    created: datetime
    token: str | None = ""
    updated_at: datetime | None = None
    email: str | None = ""
    user: Node | None = None
    total_price: Taxed | None = None
    lines: list[Line] = []


class Finished(msgspec.Struct, rename="camel", gc=False):
    """An order as the end of its checkout, which is no longer there."""

    checkout_id: str
    created: datetime
    total: Taxed
    updated_at: datetime | None = None
    user_email: str | None = ""
    user: Node | None = None


class Head(msgspec.Struct, rename="camel", gc=False):
    """What a walk needs of any record."""

    updated_at: datetime | None = None
    checkout_id: str | None = None


class Kept(msgspec.Struct, gc=False):
    """A record with nothing but its public metadata."""

    metadata: list[Entry] | None = None


USER = msgspec.json.Decoder(User)
ORDER = msgspec.json.Decoder(Order)
SOLD = msgspec.json.Decoder(Sold)
CHECKOUT = msgspec.json.Decoder(Checkout)
FINISHED = msgspec.json.Decoder(Finished)
HEAD = msgspec.json.Decoder(Head)
KEPT = msgspec.json.Decoder(Kept)
