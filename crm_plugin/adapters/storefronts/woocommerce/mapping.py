"""Raw WooCommerce records to ours. Pure: no network, no clock, no state but the configured meta keys.

Choices that could be made otherwise, made here once:
- A line's total, the discount and the shipping hold their tax, because the order's total does.
- A line names the variation where there is one, else the product.
- `completed` is when the merchant closed the order, the nearest WooCommerce comes to "shipped".
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from crm_plugin.adapters.raw import FieldError, any_json, malformed, read_record
from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.birthday_texts import born
from crm_plugin.adapters.storefronts.metadata import Said, consents
from crm_plugin.adapters.storefronts.woocommerce import payloads
from crm_plugin.adapters.storefronts.woocommerce.meta import MetaKeys, Told, marks_of
from crm_plugin.adapters.storefronts.woocommerce.payloads import Amount, Billing, Cost
from crm_plugin.money import parse_minor
from crm_plugin.phrases import phrase
from crm_plugin.records import (
    ConsentRecord,
    MemberRecord,
    OrderLineRecord,
    OrderRecord,
    OrderStatus,
    ProductRecord,
    RefundRecord,
)

ADAPTER = "woocommerce"

STATUSES = {
    "pending": OrderStatus.PENDING,
    "on-hold": OrderStatus.ON_HOLD,
    "processing": OrderStatus.PAID,
    "completed": OrderStatus.COMPLETED,
    "refunded": OrderStatus.REFUNDED,
    "cancelled": OrderStatus.CANCELLED,
    "failed": OrderStatus.FAILED,
    "checkout-draft": OrderStatus.DRAFT,
    "auto-draft": OrderStatus.DRAFT,
    "draft": OrderStatus.DRAFT,
    "trash": OrderStatus.TRASH,
}

_NO_BILLING = Billing()
Raw = bytes | msgspec.Raw


class Mapper:
    """Turns one raw record at a time into ours. Raises: MalformedResponse with the path of what cannot be read."""

    def __init__(self, keys: MetaKeys | None = None) -> None:
        self.keys = keys or MetaKeys()

    def member(self, raw: Raw) -> MemberRecord:
        """An account."""
        row = read_record(payloads.CUSTOMER, raw, adapter=ADAPTER)
        try:
            joined_at = _instant(row.date_created_gmt, "$.date_created_gmt")
            updated_at = _instant(row.date_modified_gmt, "$.date_modified_gmt")
        except FieldError as error:
            raise malformed(error, ADAPTER) from error
        billing = row.billing if isinstance(row.billing, Billing) else _NO_BILLING
        told = self.keys.read_meta(row.meta_data)
        email, billing_email = text(row.email), text(billing.email)
        attributes: dict[str, Any] = {"role": text(row.role)}
        for name in ("company", "city", "postcode"):
            if value := text(getattr(billing, name)):
                attributes[name] = value
        if told.unread:
            attributes["birthday_unread"] = told.unread
        return MemberRecord(
            external_id=str(row.id),
            email=email,
            other_emails=(billing_email,) if billing_email and billing_email.lower() != email.lower() else (),
            phone=text(billing.phone),
            first_name=text(row.first_name) or text(billing.first_name),
            last_name=text(row.last_name) or text(billing.last_name),
            locale=told.locale,
            country=text(billing.country).upper(),
            region=text(billing.state).upper(),
            joined_at=joined_at,
            updated_at=updated_at,
            # The store does not say when the box was ticked: `date_modified_gmt` stands still when a plugin writes its key.
            consents=_consents(told, None),
            attributes=attributes,
            marks=marks_of(row.meta_data),
            **born(told.birthday),
        )

    def order(self, raw: Raw) -> OrderRecord:
        """An order with its lines and the sums of its refunds."""
        row = read_record(payloads.ORDER, raw, adapter=ADAPTER)
        try:
            return self._order(row)
        except FieldError as error:
            raise malformed(error, ADAPTER) from error

    def refund(self, raw: Raw, currency: str, order_id: int | None = None) -> RefundRecord:
        """A refund with its day; the currency is the order's, for a refund does not tell it."""
        row = read_record(payloads.REFUND, raw, adapter=ADAPTER)
        order = row.parent_id or order_id
        try:
            amount = abs(minor(row.amount, currency, "$.amount"))
            created = _instant(row.date_created_gmt, "$.date_created_gmt")
        except FieldError as error:
            raise malformed(error, ADAPTER) from error
        return RefundRecord(
            external_id=str(row.id),
            amount_minor=amount,
            currency=currency,
            order_external_id=str(order) if order else "",
            refunded_at=created,
            updated_at=created,
            reason=text(row.reason),
        )

    def product(self, raw: Raw, currency: str) -> ProductRecord:
        """A product or a variation, in the store's own currency."""
        row = read_record(payloads.PRODUCT, raw, adapter=ADAPTER)
        options = " / ".join(text(item.option) for item in row.attributes or () if item.option)
        image = row.image if isinstance(row.image, payloads.Image) else row.images[0] if row.images else None
        try:
            price = minor(row.price, currency, "$.price") if row.price not in (None, "") else None
            cost = _piece_cost(row.cost_of_goods_sold, currency)
            if cost is None:
                cost = self.keys.cost(((one.key, any_json(one.value)) for one in row.meta_data or ()), currency)
            updated_at = _instant(row.date_modified_gmt, "$.date_modified_gmt")
        except FieldError as error:
            raise malformed(error, ADAPTER) from error
        return ProductRecord(
            external_id=str(row.id),
            sku=text(row.sku),
            title=text(row.name) or options,
            category=text(row.categories[0].name) if row.categories else "",
            url=text(row.permalink),
            image_url=text(image.src) if image else "",
            price_minor=price,
            cost_minor=cost,
            currency=currency,
            parent_external_id=str(row.parent_id) if row.parent_id else "",
            updated_at=updated_at,
            deleted=row.status == "trash",
        )

    def _order(self, row: payloads.Order) -> OrderRecord:
        currency = row.currency.strip().upper()
        if len(currency) != 3:
            raise FieldError(phrase("%(told)r is no currency", told=row.currency), "$.currency")
        order_id = str(row.id)
        status = row.status.strip().removeprefix("wc-")
        placed = limits.instant(row.date_created_gmt, "$.date_created_gmt")
        told = self.keys.read_meta(row.meta_data)
        member = str(row.customer_id) if row.customer_id else ""
        lines = _lines(row.line_items or (), currency)
        cost = row.cost_of_goods_sold
        # A total cost of zero over lines that know none is not "free of cost" but "not told".
        known_cost = (
            isinstance(cost, Cost)
            and cost.total_value is not None
            and [line.cost_minor for line in lines].count(None) < len(lines)
        )
        attributes: dict[str, Any] = {}
        if row.created_via:
            attributes["created_via"] = row.created_via
        if row.payment_method:
            attributes["payment_method"] = row.payment_method
        if told.source:
            attributes["utm_source"] = told.source
        attributes |= told.shipment
        total, tax, shipping, shipping_tax, discount, discount_tax = _amounts(row, currency)
        paid, shipped, updated = row.date_paid_gmt, row.date_completed_gmt, row.date_modified_gmt
        return OrderRecord(
            external_id=order_id,
            number=text(row.number) or order_id,
            status=STATUSES.get(status, OrderStatus.UNKNOWN),
            platform_status=status,
            currency=currency,
            total_minor=total,
            tax_minor=tax,
            shipping_minor=shipping + shipping_tax,
            discount_minor=discount + discount_tax,
            cost_minor=minor(cost.total_value, currency, "$.cost_of_goods_sold") if known_cost else None,  # type: ignore[union-attr]
            member_external_id=member,
            contact=_contact(row.billing, member, told, placed),
            placed_at=placed,
            paid_at=paid and limits.instant(paid, "$.date_paid_gmt"),
            shipped_at=shipped and limits.instant(shipped, "$.date_completed_gmt"),
            updated_at=updated and limits.instant(updated, "$.date_modified_gmt"),
            coupon_codes=tuple(text(coupon.code) for coupon in row.coupon_lines) if row.coupon_lines else (),
            lines=lines,
            refunds=None if row.refunds is None else _refunds(row.refunds, order_id, member, currency),
            attributes=attributes,
        )


_AMOUNTS = ("total", "total_tax", "shipping_total", "shipping_tax", "discount_total", "discount_tax")
_amounts_of = attrgetter(*_AMOUNTS)


def _amounts(row: payloads.Order, currency: str) -> list[int]:
    told = _amounts_of(row)
    try:
        return [_minor(amount, currency) for amount in told]
    except ValueError:
        # Only now it matters which one it was.
        return [minor(amount, currency, f"$.{name}") for name, amount in zip(_AMOUNTS, told, strict=True)]


def _lines(rows: Any, currency: str) -> tuple[OrderLineRecord, ...]:
    lines: list[OrderLineRecord] = []
    for row in rows:
        cost = row.cost_of_goods_sold
        # The schema says `total_value`; the store sends `value`.
        cost_value = (cost.value if cost.value is not None else cost.total_value) if isinstance(cost, Cost) else None
        try:
            total, piece = _minor(row.total, currency) + _minor(row.total_tax, currency), _minor(cost_value, currency)
        except ValueError:
            total, tax, piece = (
                minor(amount, currency, f"$.line_items[{len(lines)}].total")
                for amount in (row.total, row.total_tax, cost_value)
            )
            total += tax
        quantity = row.quantity
        if not abs(quantity) <= limits.LARGEST_QUANTITY:
            limits.quantity(quantity, f"$.line_items[{len(lines)}].quantity")
        lines.append(
            OrderLineRecord(
                sku=text(row.sku),
                product_external_id=str(row.variation_id or row.product_id or ""),
                title=text(row.name),
                quantity=quantity,
                total_minor=total,
                cost_minor=None if cost_value is None else piece,
            )
        )
    return tuple(lines)


def _refunds(rows: list[payloads.OrderRefund], order_id: str, member: str, currency: str) -> tuple[RefundRecord, ...]:
    return tuple(
        RefundRecord(
            external_id=str(row.id),
            amount_minor=-minor(row.total, currency, f"$.refunds[{number}].total"),
            currency=currency,
            order_external_id=order_id,
            member_external_id=member,
            reason=text(row.reason),
        )
        for number, row in enumerate(rows)
    )


def _contact(billing: Billing | list[Any] | None, member: str, told: Told, placed: datetime) -> MemberRecord:
    if not isinstance(billing, Billing):
        billing = _NO_BILLING
    return MemberRecord(
        external_id=member,
        email=text(billing.email),
        phone=text(billing.phone),
        first_name=text(billing.first_name),
        last_name=text(billing.last_name),
        locale=told.locale,
        country=text(billing.country).upper(),
        region=text(billing.state).upper(),
        consents=_consents(told, placed),
        **born(told.birthday),
    )


def _consents(told: Told, at: datetime | None) -> tuple[ConsentRecord, ...]:
    said = Said(consent=told.consent, consent_key=told.consent_key, sms=told.sms, sms_key=told.sms_key)
    return consents(said, at, ADAPTER, proof="meta_key")


def _piece_cost(cost: Cost | list[Any] | None, currency: str) -> int | None:
    if not isinstance(cost, Cost) or cost.total_value is None:
        return None
    value = minor(cost.total_value, currency, "$.cost_of_goods_sold.total_value")
    defined = any(item.get("defined_value") is not None for item in cost.values or ())
    # Zero with nothing typed in is how the store says that no cost is known.
    return value if value or defined else None


# Prices repeat, and reading a decimal is the dearest step of mapping an order.
@lru_cache(maxsize=65536)
def _minor(amount: Amount | None, currency: str) -> int:
    return 0 if amount is None or amount == "" else parse_minor(str(amount), currency)


def minor(amount: Amount | None, currency: str, path: str) -> int:
    """The amount in minor units; an empty one is zero. Raises: FieldError naming the path."""
    try:
        return _minor(amount, currency)
    except ValueError as error:
        raise FieldError(phrase("%(told)r is not an amount", told=amount), path) from error


def text(value: str | int | float | None) -> str:
    """A field as text, stripped; null is empty."""
    if isinstance(value, str):
        return value.strip()
    return "" if value is None else str(value)


def utc(value: datetime | None) -> datetime | None:
    """WooCommerce's `_gmt` fields carry no zone; they are UTC. A time at the very end of the calendar is none."""
    try:
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))
    except OverflowError:
        return None


def _instant(value: datetime | None, path: str) -> datetime | None:
    return None if value is None else limits.instant(value, path)
