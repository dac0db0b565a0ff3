"""Rows of the Admin API to our records. Pure: no network, no clock.

Choices that could be made otherwise, made here once:
- Amounts are in the shop's own currency. A line's total holds its tax, as the order's total does.
- An order is dated by `processedAt`, which is older than `createdAt` for orders that were brought over; a paid one is taken as paid then.
- A product is a variant: that is what lines name, and what has a price and a cost.
- A line's cost is what a piece costs when the order is read, for Shopify does not keep what it cost when it was sold; of an order that is
  known the cost of before holds (`costs_are_of_now`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from crm_plugin.adapters.raw import FieldError, malformed, read_record
from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.birthday_texts import born, read_birthday
from crm_plugin.adapters.storefronts.shopify import payloads
from crm_plugin.adapters.storefronts.shopify.consents import consents
from crm_plugin.adapters.storefronts.shopify.payloads import Address, MoneyBag, UnitCost
from crm_plugin.money import parse_minor
from crm_plugin.phrases import phrase
from crm_plugin.records import (
    CheckoutRecord,
    ConsentRecord,
    ConsentState,
    MemberRecord,
    OrderLineRecord,
    OrderRecord,
    OrderStatus,
    ProductRecord,
    RefundRecord,
)

ADAPTER = "shopify"
# What our own marks are kept under, in the name space that is the app's alone.
MARK_PREFIX = "tier_"
STATUSES = {
    "AUTHORIZED": OrderStatus.ON_HOLD,
    "EXPIRED": OrderStatus.FAILED,
    "PAID": OrderStatus.PAID,
    "PARTIALLY_PAID": OrderStatus.PENDING,
    "PARTIALLY_REFUNDED": OrderStatus.PAID,
    "PENDING": OrderStatus.PENDING,
    "REFUNDED": OrderStatus.REFUNDED,
    "VOIDED": OrderStatus.CANCELLED,
}
_PAID = frozenset({"PAID", "PARTIALLY_REFUNDED", "REFUNDED"})
_NO_ADDRESS = Address()
Raw = bytes | msgspec.Raw


# What a variant calls its product by: a number of its own, which must not be taken for a variant's.
PRODUCT = "Product/"


def number_of(gid: str) -> str:
    """The number at the end of a global id, `gid://shopify/Customer/123`: what the platform's webhooks call it by."""
    return gid.partition("?")[0].rpartition("/")[2]


def member(raw: Raw) -> MemberRecord:
    """An account. Raises: MalformedResponse with the path of what cannot be read; so do the others."""
    row = read_record(payloads.CUSTOMER, raw, adapter=ADAPTER)
    email, phone, address = row.default_email_address, row.default_phone_number, row.default_address or _NO_ADDRESS
    told = row.metafield.value.strip() if row.metafield else ""
    birthday = read_birthday(told) if told else None
    attributes: dict[str, Any] = {"state": (row.state or "").lower()}
    attributes |= {name: value for name in ("company", "city") if (value := text(getattr(address, name)))}
    if postcode := text(address.zip):
        attributes["postcode"] = postcode
    if told and birthday is None:
        attributes["birthday_unread"] = told[:40]
    if row.data_sale_opt_out:
        attributes["data_sale_opt_out"] = True
    try:
        return MemberRecord(
            external_id=number_of(row.id),
            email=text(email.email_address) if email else "",
            phone=text(phone.phone_number) if phone else "",
            first_name=text(row.first_name),
            last_name=text(row.last_name),
            locale=text(row.locale),
            country=text(address.country_code_v2),
            region=text(address.province_code),
            joined_at=_instant(row.created_at, "$.createdAt"),
            updated_at=_instant(row.updated_at, "$.updatedAt"),
            tags=tuple(row.tags),
            consents=consents(email, phone),
            attributes=attributes,
            marks={
                one.key.removeprefix(MARK_PREFIX): one.value
                for one in row.metafields.nodes
                if one.key.startswith(MARK_PREFIX) and one.value
            },
            **born(birthday),
        )
    except FieldError as error:
        raise malformed(error, ADAPTER) from error


def order(raw: Raw) -> OrderRecord:
    """An order with its lines and all its refunds."""
    row = read_record(payloads.ORDER, raw, adapter=ADAPTER)
    try:
        return _order(row)
    except FieldError as error:
        raise malformed(error, ADAPTER) from error


def checkout(raw: Raw) -> CheckoutRecord:
    """A checkout that was left, or finished since."""
    row = read_record(payloads.CHECKOUT, raw, adapter=ADAPTER)
    try:
        currency = _currency(row.total_price_set)
        email = row.customer.default_email_address if row.customer else None
        return CheckoutRecord(
            external_id=number_of(row.id),
            member_external_id=number_of(row.customer.id) if row.customer else "",
            email=email.email_address if email else "",
            currency=currency,
            total_minor=_minor(row.total_price_set, currency, "$.totalPriceSet"),
            url=row.abandoned_checkout_url,
            lines=_lines(row.line_items.nodes, currency, has_tax=True),
            started_at=limits.instant(row.created_at, "$.createdAt"),
            updated_at=_instant(row.updated_at, "$.updatedAt"),
            completed_at=_instant(row.completed_at, "$.completedAt"),
        )
    except FieldError as error:
        raise malformed(error, ADAPTER) from error


def variant(raw: Raw, currency: str) -> ProductRecord:
    """A variant with what its product says of it, in the shop's own currency."""
    row = read_record(payloads.VARIANT, raw, adapter=ADAPTER)
    product = row.product
    category = text(product.category.full_name) if product.category else ""
    # A product without variants of its own has one with this title.
    title = product.title if row.title in ("", "Default Title") else f"{product.title} / {row.title}"
    try:
        return ProductRecord(
            external_id=number_of(row.id),
            sku=text(row.sku),
            title=title,
            category=category.rpartition(" > ")[2] or text(product.product_type),
            url=text(product.online_store_url),
            image_url=_image(product.featured_media),
            price_minor=_amount(row.price, currency, "$.price") if row.price else None,
            cost_minor=_piece(row.inventory_item, currency, "$.inventoryItem.unitCost"),
            currency=currency,
            parent_external_id=f"{PRODUCT}{number_of(product.id)}" if product.id else "",
            updated_at=_latest((row.updated_at, product.updated_at), "$.updatedAt"),
        )
    except FieldError as error:
        raise malformed(error, ADAPTER) from error


def _order(row: payloads.Order) -> OrderRecord:
    currency = _currency(row.total_price_set)
    placed = limits.instant(row.processed_at, "$.processedAt")
    buyer = number_of(row.customer.id) if row.customer else ""
    paid = (row.display_financial_status or "") in _PAID
    sent = [one for one in row.fulfillments if one.status == "SUCCESS"]
    shipped = row.display_fulfillment_status == "FULFILLED" and paid
    delivered = shipped and all(one.delivered_at for one in sent)
    attributes = {"source": row.source_name} if row.source_name else {}
    return OrderRecord(
        external_id=number_of(row.id),
        number=row.name or number_of(row.id),
        status=_status(row, shipped=shipped),
        platform_status=(row.display_financial_status or "").lower(),
        currency=currency,
        total_minor=_minor(row.total_price_set, currency, "$.totalPriceSet"),
        tax_minor=_minor(row.total_tax_set, currency, "$.totalTaxSet"),
        shipping_minor=_minor(row.total_shipping_price_set, currency, "$.totalShippingPriceSet"),
        discount_minor=_minor(row.total_discounts_set, currency, "$.totalDiscountsSet"),
        member_external_id=buyer,
        contact=_contact(row, buyer, placed),
        placed_at=placed,
        paid_at=placed if paid else None,
        shipped_at=_latest((one.created_at for one in sent), "$.fulfillments") if shipped else None,
        delivered_at=_latest((one.delivered_at for one in sent), "$.fulfillments") if delivered else None,
        updated_at=_instant(row.updated_at, "$.updatedAt"),
        coupon_codes=tuple(row.discount_codes),
        lines=_lines(row.line_items.nodes, currency, has_tax=row.taxes_included),
        refunds=tuple(_refund(one, row, buyer, currency) for one in row.refunds),
        attributes={**attributes, **_shipment(sent)},
    )


def _status(row: payloads.Order, *, shipped: bool) -> OrderStatus:
    if row.test:
        return OrderStatus.TEST
    if row.cancelled_at is not None:
        return OrderStatus.CANCELLED
    told = STATUSES.get(row.display_financial_status or "", OrderStatus.UNKNOWN)
    return OrderStatus.SHIPPED if shipped and told is OrderStatus.PAID else told


def _refund(one: payloads.Refund, row: payloads.Order, buyer: str, currency: str) -> RefundRecord:
    return RefundRecord(
        external_id=number_of(one.id),
        amount_minor=_minor(one.total_refunded_set, currency, "$.refunds"),
        currency=currency,
        order_external_id=number_of(row.id),
        member_external_id=buyer,
        refunded_at=_instant(one.processed_at, "$.refunds.processedAt"),
        updated_at=_instant(one.updated_at, "$.refunds.updatedAt"),
        reason=text(one.note),
    )


def _contact(row: payloads.Order, buyer: str, placed: datetime) -> MemberRecord:
    address = row.billing_address or _NO_ADDRESS
    email = text(row.email)
    # Of somebody with an account the account tells what they said, and when.
    said_yes = not buyer and bool(email) and row.customer_accepts_marketing
    yes = ConsentRecord(channel="email", state=ConsentState.GRANTED, at=placed, source=f"{ADAPTER}:order")
    return MemberRecord(
        external_id=buyer,
        email=email,
        phone=text(row.phone) or text(address.phone),
        first_name=text(address.first_name),
        last_name=text(address.last_name),
        locale=text(row.customer_locale),
        country=text(address.country_code_v2),
        region=text(address.province_code),
        consents=(yes,) if said_yes else (),
    )


def _lines(rows: Iterable[payloads.Line], currency: str, *, has_tax: bool) -> tuple[OrderLineRecord, ...]:
    lines: list[OrderLineRecord] = []
    for row in rows:
        path = f"$.lineItems.nodes[{len(lines)}]"
        total = _minor(
            row.discounted_total_set or row.discounted_total_price_set, currency, f"{path}.discountedTotalSet"
        )
        if not has_tax:
            total += sum(_minor(tax.price_set, currency, f"{path}.taxLines") for tax in row.tax_lines)
        quantity = limits.quantity(row.quantity, f"{path}.quantity")
        piece = _piece(row.variant.inventory_item, currency, f"{path}.variant") if row.variant else None
        lines.append(
            OrderLineRecord(
                sku=text(row.sku),
                product_external_id=number_of(row.variant.id) if row.variant else "",
                title=" / ".join(part for part in (text(row.title), text(row.variant_title)) if part),
                quantity=quantity,
                total_minor=total,
                cost_minor=None if piece is None else round(piece * quantity),
            )
        )
    return tuple(lines)


def _shipment(sent: list[payloads.Fulfillment]) -> dict[str, str]:
    told = next((one.tracking_info[0] for one in reversed(sent) if one.tracking_info), None)
    if told is None or not told.number:
        return {}
    link = told.url if (told.url or "").startswith(("https://", "http://")) else ""
    found = {"tracking_number": text(told.number), "tracking_carrier": text(told.company), "tracking_url": link or ""}
    return {name: value for name, value in found.items() if value}


def _image(media: dict[str, Any] | None) -> str:
    told: Any = media
    for name in ("preview", "image", "url"):
        told = told.get(name) if isinstance(told, dict) else None
    return told if isinstance(told, str) else ""


def _piece(item: UnitCost | None, currency: str, path: str) -> int | None:
    return None if item is None or item.unit_cost is None else _amount(item.unit_cost.amount, currency, path)


def _currency(bag: MoneyBag) -> str:
    currency = bag.shop_money.currency_code
    if len(currency) != 3:
        raise FieldError(phrase("%(told)r is no currency", told=currency), "$.totalPriceSet.shopMoney.currencyCode")
    return currency


def _minor(bag: MoneyBag | None, currency: str, path: str) -> int:
    return 0 if bag is None else _amount(bag.shop_money.amount, currency, f"{path}.shopMoney.amount")


def _amount(amount: str, currency: str, path: str) -> int:
    try:
        return _parsed(amount, currency)
    except ValueError as error:
        raise FieldError(phrase("%(told)r is not an amount", told=amount), path) from error


# Prices repeat, and reading a decimal is the dearest step of mapping an order.
_parsed = lru_cache(maxsize=65536)(parse_minor)


def _latest(times: Iterable[datetime | None], path: str) -> datetime | None:
    return max((limits.instant(at, path) for at in times if at is not None), default=None)


def _instant(value: datetime | None, path: str) -> datetime | None:
    return None if value is None else limits.instant(value, path)


def text(value: str | None) -> str:
    """A field as text, stripped; null is empty."""
    return value.strip() if value else ""
