"""Raw Saleor records to ours. Pure: no network, no clock, no state but the configured keys.

Choices that could be made otherwise, made here once:
- What is sold is the variant, for order lines name it and prices hang on it.
- An order of which nothing is left to send is "shipped"; one that is paid and not sent is "paid", one that is neither "pending".
- What was refunded and no payment tells of (a refund noted by hand) is one refund more, without a day.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from crm_plugin.adapters.raw import UNREADABLE, FieldError, Usable, read_record
from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.birthday_texts import born
from crm_plugin.adapters.storefronts.metadata import KnownKeys, Said, consents, read_locale
from crm_plugin.adapters.storefronts.saleor import payloads
from crm_plugin.adapters.storefronts.saleor.paid import PAID, at_of, minor, paid_at, refunds
from crm_plugin.adapters.storefronts.saleor.payloads import Address, Entry, Money
from crm_plugin.phrases import phrase
from crm_plugin.records import (
    CheckoutRecord,
    MemberRecord,
    OrderLineRecord,
    OrderRecord,
    OrderStatus,
    ProductRecord,
)

ADAPTER = "saleor"
_USABLE = Usable(ADAPTER)
# Our own keys in an account's public metadata: a level for each programme, and one entry for each tag.
MARK_PREFIX = "crm.tier."
TAG_PREFIX = "crm.tag."
STATUSES = {
    "DRAFT": OrderStatus.DRAFT,
    "UNCONFIRMED": OrderStatus.ON_HOLD,
    "FULFILLED": OrderStatus.SHIPPED,
    "PARTIALLY_RETURNED": OrderStatus.SHIPPED,
    "RETURNED": OrderStatus.SHIPPED,
    "CANCELED": OrderStatus.CANCELLED,
    "EXPIRED": OrderStatus.CANCELLED,
}
# Of which something is left to send: what was paid decides.
_OPEN = frozenset({"UNFULFILLED", "PARTIALLY_FULFILLED"})
_NO_ADDRESS = Address()
Raw = bytes | msgspec.Raw


class Mapper:
    """Turns one raw record at a time into ours. Raises: MalformedResponse with the path of what cannot be read.

    `checkout_url` leads back into a checkout, with `{id}` and `{token}` in it; `product_url` to a product, with `{slug}`.
    """

    def __init__(self, keys: KnownKeys, checkout_url: str = "", product_url: str = "", channel: str = "") -> None:
        self._keys = keys
        self._checkout_url = checkout_url
        self._product_url = product_url
        self._channel = channel

    def member(self, raw: Raw) -> MemberRecord:
        """An account."""
        row = read_record(payloads.USER, raw, adapter=ADAPTER)
        with _USABLE:
            joined_at, updated_at = at_of(row.date_joined, "$.dateJoined"), at_of(row.updated_at, "$.updatedAt")
        meta = _entries(row.metadata)
        said = self._keys.read(meta)
        place = row.default_billing_address or row.default_shipping_address or _NO_ADDRESS
        attributes: dict[str, Any] = {
            name: value
            for name, value in (
                ("company", _text(place.company_name)),
                ("city", _text(place.city)),
                ("postcode", _text(place.postal_code)),
                ("birthday_unread", said.unread),
            )
            if value
        }
        if not row.is_active:
            attributes["active"] = False
        return MemberRecord(
            external_id=row.id,
            email=_text(row.email),
            phone=_text(place.phone),
            first_name=_text(row.first_name) or _text(place.first_name),
            last_name=_text(row.last_name) or _text(place.last_name),
            locale=said.locale or read_locale(_text(row.language_code)),
            joined_at=joined_at,
            updated_at=updated_at,
            tags=tuple(sorted(key.removeprefix(TAG_PREFIX) for key in meta if key.startswith(TAG_PREFIX))),
            consents=consents(said, None, ADAPTER),
            attributes=attributes,
            marks={
                key.removeprefix(MARK_PREFIX): str(level)
                for key, level in meta.items()
                if key.startswith(MARK_PREFIX) and level
            },
            **_where(place),
            **born(said.birthday),
        )

    def order(self, raw: Raw) -> OrderRecord:
        """An order with its lines and refunds."""
        row = read_record(payloads.ORDER, raw, adapter=ADAPTER)
        with _USABLE:
            return self._order(row)

    def product(self, raw: Raw) -> ProductRecord:
        """A variant, priced in the chosen channel, else in the first that sells it."""
        row = read_record(payloads.SOLD, raw, adapter=ADAPTER)
        product = row.product or payloads.Product()
        listing = self._listing(row.channel_listings or ())
        currency = listing.price.currency.upper() if listing.price else ""
        with _USABLE:
            if currency:
                _currency(currency, "$.channelListings")
            price = minor(listing.price, currency, "$.channelListings.price") if listing.price else None
            cost = minor(listing.cost_price, currency, "$.channelListings.costPrice") if listing.cost_price else None
            updated_at = at_of(row.updated_at, "$.updatedAt")
        name, slug = _text(product.name), _text(product.slug)
        return ProductRecord(
            external_id=row.id,
            sku=_text(row.sku),
            title=_titled(name, _text(row.name)),
            category=_text(product.category.name) if product.category else "",
            url=self._product_url.replace("{slug}", slug) if self._product_url and slug else "",
            image_url=_text(product.thumbnail.url) if product.thumbnail else "",
            price_minor=price,
            cost_minor=cost,
            currency=currency,
            updated_at=updated_at,
        )

    def checkout(self, raw: Raw) -> CheckoutRecord:
        """A checkout that is open, or the order that came of one."""
        if payloads.HEAD.decode(raw).checkout_id:
            return self._finished(raw)
        row = read_record(payloads.CHECKOUT, raw, adapter=ADAPTER)
        currency = row.total_price.gross.currency.upper() if row.total_price else ""
        with _USABLE:
            return CheckoutRecord(
                external_id=row.id,
                member_external_id=row.user.id if row.user else "",
                email=_text(row.email),
                currency=currency,
                total_minor=minor(_gross(row.total_price), currency, "$.totalPrice"),
                url=self._checkout_url.replace("{id}", row.id).replace("{token}", _text(row.token)),
                lines=_lines(row.lines, currency),
                started_at=limits.instant(row.created, "$.created"),
                updated_at=at_of(row.updated_at, "$.updatedAt"),
            )

    def _finished(self, raw: Raw) -> CheckoutRecord:
        row = read_record(payloads.FINISHED, raw, adapter=ADAPTER)
        with _USABLE:
            placed = limits.instant(row.created, "$.created")
            currency = _currency(row.total.gross.currency, "$.total.gross.currency")
            return CheckoutRecord(
                external_id=row.checkout_id,
                member_external_id=row.user.id if row.user else "",
                email=_text(row.user_email),
                currency=currency,
                total_minor=minor(row.total.gross, currency, "$.total"),
                started_at=placed,
                updated_at=placed,
                completed_at=placed,
            )

    def _order(self, row: payloads.Order) -> OrderRecord:
        currency = _currency(row.total.gross.currency, "$.total.gross.currency")
        member = row.user.id if row.user else ""
        placed = limits.instant(row.created, "$.created")
        total = minor(row.total.gross, currency, "$.total.gross")
        given_back = refunds(row, currency, member)
        said = self._keys.read(_entries(row.metadata))
        sent = [one for one in row.fulfillments or () if one.status == "FULFILLED"]
        tracking = next((_text(one.tracking_number) for one in reversed(sent) if one.tracking_number), "")
        status = _status(row, total, sum(one.amount_minor for one in given_back))
        attributes = {"channel": row.channel.slug if row.channel else "", "origin": _text(row.origin).lower()}
        if tracking:
            attributes["tracking_number"] = tracking
        return OrderRecord(
            external_id=row.id,
            number=_text(row.number) or row.id,
            status=status,
            platform_status=row.status,
            currency=currency,
            total_minor=total,
            tax_minor=minor(row.total.tax, currency, "$.total.tax"),
            shipping_minor=minor(_gross(row.shipping_price), currency, "$.shippingPrice"),
            discount_minor=sum(minor(one.total, currency, "$.discounts") for one in row.discounts or ()),
            member_external_id=member,
            contact=_contact(row, member, said, placed),
            placed_at=placed,
            paid_at=paid_at(row),
            shipped_at=at_of(sent[-1].created, "$.fulfillments") if sent and status is OrderStatus.SHIPPED else None,
            updated_at=at_of(row.updated_at, "$.updatedAt"),
            coupon_codes=(_text(row.voucher_code),) if row.voucher_code else (),
            lines=_lines(row.lines, currency),
            refunds=given_back,
            attributes={name: value for name, value in attributes.items() if value},
        )

    def _listing(self, listings: Iterable[payloads.Listing]) -> payloads.Listing:
        sold = [one for one in listings if one.price is not None]
        chosen = [one for one in sold if one.channel is not None and one.channel.slug == self._channel]
        return (chosen or sold or [payloads.Listing()])[0]


def _status(row: payloads.Order, total: int, refunded: int) -> OrderStatus:
    found = STATUSES.get(row.status)
    if found is None and row.status in _OPEN:
        found = OrderStatus.PAID if row.charge_status in PAID else OrderStatus.PENDING
    if found in (OrderStatus.PAID, OrderStatus.SHIPPED) and 0 < total <= refunded:
        return OrderStatus.REFUNDED
    return found or OrderStatus.UNKNOWN


def _lines(rows: list[payloads.Line], currency: str) -> tuple[OrderLineRecord, ...]:
    return tuple(
        OrderLineRecord(
            sku=_text(row.product_sku) or _text(row.variant.sku if row.variant else ""),
            product_external_id=row.variant.id if row.variant else "",
            title=_line_title(row),
            quantity=limits.quantity(row.quantity, f"$.lines[{number}].quantity"),
            total_minor=minor(row.total_price.gross, currency, f"$.lines[{number}].totalPrice"),
        )
        for number, row in enumerate(rows)
    )


def _line_title(row: payloads.Line) -> str:
    variant = row.variant
    product = variant.product.name if variant and variant.product else ""
    return _titled(
        _text(row.product_name) or _text(product), _text(row.variant_name) or _text(variant.name if variant else "")
    )


def kept_with(raw: Raw) -> dict[str, Any]:
    """A record's public metadata without our own; nothing for what cannot be read."""
    try:
        told = _entries(payloads.KEPT.decode(raw).metadata)
    except UNREADABLE:
        return {}
    return {key: value for key, value in told.items() if not key.startswith((MARK_PREFIX, TAG_PREFIX))}


def _titled(product: str, variant: str) -> str:
    return f"{product} / {variant}" if product and variant and variant != product else product or variant


def _contact(row: payloads.Order, member: str, said: Said, placed: datetime) -> MemberRecord:
    place = row.billing_address or row.shipping_address or _NO_ADDRESS
    return MemberRecord(
        external_id=member,
        email=_text(row.user_email),
        phone=_text(place.phone),
        first_name=_text(place.first_name),
        last_name=_text(place.last_name),
        locale=said.locale or read_locale(_text(row.language_code_enum)),
        consents=consents(said, placed, ADAPTER),
        **_where(place),
        **born(said.birthday),
    )


def _where(place: Address) -> dict[str, Any]:
    area = _text(place.country_area)
    # Where a country has letters for its states the address holds them, elsewhere it holds a name.
    region = area.upper() if len(area) <= 3 else ""
    return {"country": _text(place.country.code).upper() if place.country else "", "region": region}


def _entries(rows: list[Entry] | None) -> dict[str, str]:
    return {entry.key: entry.value or "" for entry in rows or ()}


def _currency(told: str, path: str) -> str:
    currency = told.strip().upper()
    if len(currency) != 3:
        raise FieldError(phrase("%(told)r is no currency", told=told), path)
    return currency


def _gross(price: payloads.Taxed | None) -> Money | None:
    return None if price is None else price.gross


def _text(value: str | None) -> str:
    return value.strip() if value else ""
