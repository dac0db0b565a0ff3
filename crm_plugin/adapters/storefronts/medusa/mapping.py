"""Raw Medusa records to ours. Pure: no network, no clock, no state but the configured keys.

Choices that could be made otherwise, made here once:
- Medusa makes a customer of every guest. An order of a customer without an account is a guest's order, so that an account of the same
  e-mail takes it over later; customers without an account are members of their own only where the merchant says so.
- Customer groups are tags.
- What is sold is the variant.
- An order's total is what was charged, whatever came back since.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crm_plugin.adapters.raw import FieldError, Usable, any_json, read_record
from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.birthday_texts import born
from crm_plugin.adapters.storefronts.medusa import payloads
from crm_plugin.adapters.storefronts.medusa.paid import at_of, charged, latest, minor, paid_at, refunds, returned
from crm_plugin.adapters.storefronts.medusa.payloads import Address, Customer
from crm_plugin.adapters.storefronts.metadata import KnownKeys, Said, consents
from crm_plugin.phrases import phrase
from crm_plugin.records import (
    ConsentRecord,
    MemberRecord,
    OrderLineRecord,
    OrderRecord,
    OrderStatus,
    ProductRecord,
)

ADAPTER = "medusa"
_USABLE = Usable(ADAPTER)
# Our own keys in a customer's metadata: a level for each programme.
MARK_PREFIX = "crm_tier_"
_BY_STATUS = {
    "canceled": OrderStatus.CANCELLED,
    "draft": OrderStatus.DRAFT,
    "requires_action": OrderStatus.ON_HOLD,
    "completed": OrderStatus.COMPLETED,
}
_BY_FULFILLMENT = {
    "delivered": OrderStatus.COMPLETED,
    "partially_delivered": OrderStatus.SHIPPED,
    "shipped": OrderStatus.SHIPPED,
}
_BY_PAYMENT = {
    "captured": OrderStatus.PAID,
    "partially_refunded": OrderStatus.PAID,
    "canceled": OrderStatus.CANCELLED,
    "requires_action": OrderStatus.ON_HOLD,
}
_KNOWN = frozenset({"pending", "archived", *_BY_STATUS})
_NO_ADDRESS = Address()
Raw = bytes | msgspec.Raw


class Mapper:
    """Turns one raw record at a time into ours. Raises: MalformedResponse with the path of what cannot be read."""

    def __init__(self, keys: KnownKeys, *, product_url: str = "", all_members: bool = False) -> None:
        self._keys = keys
        self._product_url = product_url
        # The store's own, in which prices are told where there is one.
        self.currency = ""
        self._all_members = all_members

    def member(self, raw: Raw) -> MemberRecord:
        """A customer."""
        row = read_record(payloads.CUSTOMER, raw, adapter=ADAPTER)
        with _USABLE:
            joined_at, updated_at = at_of(row.created_at, "$.created_at"), at_of(row.updated_at, "$.updated_at")
        meta = row.metadata or {}
        said = self._keys.read(meta)
        place = (row.addresses or [_NO_ADDRESS])[0]
        attributes: dict[str, Any] = {
            name: value
            for name, value in (
                ("company", _text(row.company_name)),
                ("city", _text(place.city)),
                ("postcode", _text(place.postal_code)),
                ("birthday_unread", said.unread),
            )
            if value
        }
        if not row.has_account:
            attributes["has_account"] = False
        return MemberRecord(
            external_id=row.id,
            email=_text(row.email),
            phone=_text(row.phone) or _text(place.phone),
            first_name=_text(row.first_name),
            last_name=_text(row.last_name),
            locale=said.locale,
            joined_at=joined_at,
            updated_at=updated_at,
            tags=None if row.groups is None else tuple(sorted(_text(group.name) for group in row.groups)),
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
        """A variant, priced in the store's own currency, else in the first it has a price in."""
        row = read_record(payloads.VARIANT, raw, adapter=ADAPTER)
        product = row.product or payloads.Product()
        prices = [one for one in row.prices or () if len(one.currency_code) == 3]
        own = [one for one in prices if one.currency_code.upper() == self.currency]
        price = next(iter(own or prices), None)
        currency = price.currency_code.upper() if price else ""
        with _USABLE:
            price_minor = minor(price.raw_amount, price.amount, currency, "$.prices") if price else None
            cost_minor = self._keys.cost((row.metadata or {}).items(), currency)
            updated_at = at_of(row.updated_at, "$.updated_at")
        name, title, handle = _text(product.title), _text(row.title), _text(product.handle)
        return ProductRecord(
            external_id=row.id,
            sku=_text(row.sku),
            title=_titled(name, title),
            category=_text(product.categories[0].name) if product.categories else "",
            url=self._product_url.replace("{handle}", handle) if self._product_url and handle else "",
            image_url=_text(product.thumbnail),
            price_minor=price_minor,
            cost_minor=cost_minor,
            currency=currency,
            updated_at=updated_at,
        )

    def is_member(self, has_account: bool | None) -> bool:
        """Whether a customer stands for themselves."""
        return self._all_members or has_account is not False

    def _order(self, row: payloads.Order) -> OrderRecord:
        currency = row.currency_code.strip().upper()
        if len(currency) != 3:
            raise FieldError(phrase("%(told)r is no currency", told=row.currency_code), "$.currency_code")
        customer = row.customer
        is_account = bool(row.customer_id) and self.is_member(customer.has_account if customer else None)
        member = row.customer_id or "" if is_account else ""
        placed = limits.instant(row.created_at, "$.created_at")
        sent = [one for one in row.fulfillments or () if one.canceled_at is None]
        own, written = (customer.metadata or {}) if customer else {}, row.metadata or {}
        said = self._keys.read({**own, **written})
        spoken = consents(self._keys.read(written), placed, ADAPTER)
        if not member and not spoken:
            # A guest's own entries stand nowhere else; they were not said with this order.
            spoken = consents(self._keys.read(own), None, ADAPTER)
        status = _status(row)
        return OrderRecord(
            external_id=row.id,
            number=str(row.display_id or row.id),
            status=status,
            platform_status="/".join(part for part in (row.status, row.payment_status, row.fulfillment_status) if part),
            currency=currency,
            total_minor=charged(row, currency),
            tax_minor=minor(row.raw_tax_total, row.tax_total, currency, "$.tax_total"),
            shipping_minor=minor(row.raw_shipping_total, row.shipping_total, currency, "$.shipping_total"),
            discount_minor=minor(row.raw_discount_total, row.discount_total, currency, "$.discount_total"),
            member_external_id=member,
            contact=_contact(row, member, said, spoken),
            placed_at=placed,
            paid_at=paid_at(row),
            shipped_at=latest([one.shipped_at for one in sent], "$.fulfillments"),
            delivered_at=latest([one.delivered_at for one in sent], "$.fulfillments"),
            updated_at=at_of(row.updated_at, "$.updated_at"),
            coupon_codes=tuple(
                dict.fromkeys(
                    code for item in row.items or () for one in item.adjustments or () if (code := _text(one.code))
                )
            ),
            lines=_lines(row.items or [], currency),
            refunds=None if row.payment_collections is None else refunds(row, currency, member),
            attributes=_parcel(sent),
        )


def _status(row: payloads.Order) -> OrderStatus:
    if row.is_draft_order:
        return OrderStatus.DRAFT
    if row.payment_status == "refunded" and row.status != "canceled":
        return OrderStatus.REFUNDED
    found = _BY_STATUS.get(row.status) or _BY_FULFILLMENT.get(row.fulfillment_status or "")
    found = found or _BY_PAYMENT.get(row.payment_status or "")
    return found or (OrderStatus.PENDING if row.status in _KNOWN else OrderStatus.UNKNOWN)


def _lines(rows: list[payloads.Item], currency: str) -> tuple[OrderLineRecord, ...]:
    return tuple(
        OrderLineRecord(
            sku=_text(row.variant_sku),
            product_external_id=_text(row.variant_id) or _text(row.product_id),
            title=_titled(_text(row.product_title), _text(row.title)),
            quantity=limits.quantity(row.quantity, f"$.items[{number}].quantity"),
            total_minor=minor(row.raw_total, row.total, currency, f"$.items[{number}].total")
            + returned(row, currency, f"$.items[{number}]"),
        )
        for number, row in enumerate(rows)
    )


def _contact(row: payloads.Order, member: str, said: Said, spoken: tuple[ConsentRecord, ...]) -> MemberRecord:
    place = row.billing_address or row.shipping_address or _NO_ADDRESS
    customer = row.customer or Customer(id="")
    return MemberRecord(
        external_id=member,
        email=_text(row.email) or _text(customer.email),
        phone=_text(place.phone) or _text(customer.phone),
        first_name=_text(place.first_name) or _text(customer.first_name),
        last_name=_text(place.last_name) or _text(customer.last_name),
        locale=said.locale,
        consents=spoken,
        **_where(place),
        **born(said.birthday),
    )


def _parcel(sent: list[payloads.Fulfillment]) -> dict[str, Any]:
    labels = [label for one in sent for label in one.labels or () if label.tracking_number]
    if not labels:
        return {}
    link = _text(labels[-1].tracking_url)
    told = {"tracking_number": _text(labels[-1].tracking_number)}
    return {**told, "tracking_url": link} if link.startswith(("https://", "http://")) else told


def _where(place: Address) -> dict[str, Any]:
    province = _text(place.province).upper()
    country = _text(place.country_code).upper()
    # A state is told as letters, or with the country before it, or by its name.
    province = province.removeprefix(f"{country}-") if country else province
    return {"country": country, "region": province if len(province) <= 3 else ""}


def kept_with(raw: Raw) -> dict[str, Any]:
    """A record's metadata without our own; nothing for what cannot be read."""
    told = any_json(raw)
    kept = told.get("metadata") if isinstance(told, dict) else None
    own = kept.items() if isinstance(kept, dict) else ()
    return {key: value for key, value in own if not key.startswith(MARK_PREFIX)}


def _titled(product: str, variant: str) -> str:
    return f"{product} / {variant}" if product and variant and variant != product else product or variant


def _text(value: str | None) -> str:
    return value.strip() if value else ""
