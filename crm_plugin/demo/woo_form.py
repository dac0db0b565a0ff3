"""The shop's people, goods, orders and refunds as WooCommerce's REST API writes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from crm_plugin.clock import zone
from crm_plugin.demo.catalogue import Item, Product
from crm_plugin.demo.people import Person
from crm_plugin.demo.sales import Line, Order, Refund

Row = dict[str, Any]
# Nobody can own a name under .example; the server under which the demo runs is known to nobody but this machine.
SHOP_ADDRESS = "https://lantern-and-leaf.example"
_BILLING = ("first_name", "last_name", "company", "address_1", "address_2", "city", "state", "postcode", "country")
_NO_ADDRESS = dict.fromkeys((*_BILLING, "email", "phone"), "")


class Form:
    """Writes rows; keeps the counters of ids that WooCommerce draws for lines and meta data."""

    def __init__(self, currency: str, symbol: str, timezone: str) -> None:
        self._currency = currency
        self._symbol = symbol
        self._zone = zone(timezone)
        self._line_id = 0
        self._meta_id = 0

    def customer(self, person: Person, modified_at: datetime | None) -> Row:
        """An account; one that WooCommerce never saved has no date of change."""
        meta = {"birthday": person.birthday, "marketing_opt_in": person.consent, "locale": person.locale}
        billing = _address(person, person.email) if person.days else dict(_NO_ADDRESS)
        return {
            "id": person.customer_id,
            **self._dates("created", person.joined_at),
            **self._dates("modified", modified_at),
            "email": person.email,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "role": person.role,
            "username": person.email.partition("@")[0],
            "billing": billing,
            "shipping": {name: value for name, value in billing.items() if name != "email"},
            "is_paying_customer": bool(person.days),
            "avatar_url": "",
            "meta_data": self._meta(meta),
        }

    def product(self, product: Product, at: datetime) -> Row:
        """A product; one with variants has no cost of its own and the lowest price of them."""
        only = None if product.has_variants else product.items[0]
        price = min(item.price for item in product.items)
        return {
            "id": product.product_id,
            "name": product.title,
            "slug": product.slug,
            "permalink": f"{SHOP_ADDRESS}/product/{product.slug}/",
            **self._dates("created", at),
            **self._dates("modified", at),
            "type": "simple" if only else "variable",
            "status": "publish",
            "sku": product.sku,
            "price": money(price),
            "regular_price": money(price) if only else "",
            "parent_id": 0,
            "categories": [{"id": 0, "name": product.category, "slug": product.category.lower().replace(" ", "-")}],
            "images": [],
            "attributes": [] if only else [{"id": 0, "name": "Choice", "options": [i.option for i in product.items]}],
            "variations": [] if only else [item.variation_id for item in product.items],
            "meta_data": [],
            "cost_of_goods_sold": _cost(only),
        }

    def variation(self, product: Product, item: Item, at: datetime) -> Row:
        """One variant."""
        return {
            "id": item.variation_id,
            "type": "variation",
            "name": item.option,
            **self._dates("created", at),
            **self._dates("modified", at),
            "status": "publish",
            "permalink": f"{SHOP_ADDRESS}/product/{product.slug}/?attribute_choice={item.variation_id}",
            "sku": item.sku,
            "price": money(item.price),
            "regular_price": money(item.price),
            "parent_id": product.product_id,
            "image": None,
            "attributes": [{"id": 0, "name": "Choice", "slug": "choice", "option": item.option}],
            "meta_data": [],
            "cost_of_goods_sold": _cost(item),
        }

    def order(self, order: Order) -> Row:
        """An order with its lines, its coupon and the sums of its refunds."""
        person = order.person
        before = sum(line.net_before for line in order.lines)
        discount = before - sum(line.net for line in order.lines)
        discount_tax = sum(line.tax_before for line in order.lines) - order.tax
        method, method_title = order.payment
        coupons = [{"code": order.coupon, "discount": money(discount), "discount_tax": money(discount_tax)}]
        return {
            "id": order.order_id,
            "parent_id": 0,
            "number": str(order.order_id),
            "status": order.status,
            "currency": self._currency,
            "currency_symbol": self._symbol,
            "prices_include_tax": True,
            **self._dates("created", order.placed_at),
            **self._dates("modified", order.modified_at),
            **self._dates("paid", order.paid_at),
            **self._dates("completed", order.completed_at),
            "discount_total": money(discount),
            "discount_tax": money(discount_tax),
            "shipping_total": money(order.shipping),
            "shipping_tax": money(order.shipping_tax),
            "cart_tax": money(order.tax),
            "total": money(order.total),
            "total_tax": money(order.tax + order.shipping_tax),
            "customer_id": person.customer_id if person and not order.as_guest else 0,
            "billing": _order_address(order),
            "shipping": dict.fromkeys((*_BILLING, "phone"), ""),
            "payment_method": method,
            "payment_method_title": method_title,
            "created_via": "checkout" if person else "admin",
            "customer_note": "",
            "meta_data": self._meta(_order_meta(order)),
            "line_items": [self._line(line) for line in order.lines],
            "tax_lines": [],
            "shipping_lines": [],
            "fee_lines": [],
            "coupon_lines": coupons if order.coupon else [],
            "refunds": [
                {"id": x.refund_id, "reason": x.reason, "total": money(-x.amount), "total_tax": money(-x.tax)}
                for x in order.refunds
            ],
            "cost_of_goods_sold": {"total_value": _order_cost(order) / 100},
        }

    def refund(self, order: Order, refund: Refund) -> Row:
        """A refund of its own: a positive amount, negative lines."""
        line = refund.line
        return {
            "id": refund.refund_id,
            "parent_id": order.order_id,
            **self._dates("created", refund.at),
            **self._dates("modified", refund.at),
            "amount": money(refund.amount),
            "reason": refund.reason,
            "refunded_by": 1,
            "refunded_payment": False,
            "meta_data": self._meta({"_refund_type": "full" if refund.whole else "partial"}),
            "line_items": [] if line is None else [self._returned(line, refund)],
        }

    def _line(self, line: Line) -> Row:
        self._line_id += 1
        row = {
            "id": self._line_id,
            "name": line.item.title,
            "product_id": line.item.product_id,
            "variation_id": line.item.variation_id,
            "quantity": line.quantity,
            "subtotal": money(line.net_before),
            "subtotal_tax": money(line.tax_before),
            "total": money(line.net),
            "total_tax": money(line.tax),
            "sku": line.item.sku,
            "price": line.net / 100 / line.quantity,
            "meta_data": [],
        }
        if line.item.cost is None:
            return {**row, "cogs_value": None}
        return {**row, "cost_of_goods_sold": {"value": line.item.cost * line.quantity / 100}}

    def _returned(self, line: Line, refund: Refund) -> Row:
        return {
            "name": line.item.title,
            "product_id": line.item.product_id,
            "variation_id": line.item.variation_id,
            "quantity": -1,
            "total": money(refund.tax - refund.amount),
            "total_tax": money(-refund.tax),
            "sku": line.item.sku,
        }

    def _meta(self, values: dict[str, str]) -> list[Row]:
        rows = []
        for key, value in values.items():
            if value:
                self._meta_id += 1
                rows.append({"id": self._meta_id, "key": key, "value": value})
        return rows

    def _dates(self, what: str, at: datetime | None) -> Row:
        """The instant twice, as WooCommerce gives it: in the shop's time and in UTC, both without saying so."""
        if at is None:
            return {f"date_{what}": None, f"date_{what}_gmt": None}
        local = at.astimezone(self._zone)
        return {f"date_{what}": f"{local:%Y-%m-%dT%H:%M:%S}", f"date_{what}_gmt": f"{at:%Y-%m-%dT%H:%M:%S}"}


def money(minor: int) -> str:
    """Minor units as the API writes them: -5 is "-0.05"."""
    whole, part = divmod(abs(minor), 100)
    return f"{'-' if minor < 0 else ''}{whole}.{part:02}"


def _address(person: Person, email: str) -> Row:
    return {
        **_NO_ADDRESS,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "address_1": person.street,
        "city": person.place.city,
        "postcode": person.place.postcode,
        "country": person.country.code,
        "email": email,
        "phone": person.phone,
    }


def _order_address(order: Order) -> Row:
    if order.person is None:
        return dict(_NO_ADDRESS)
    # Who types an address at the till does not always mind capitals.
    shout = order.as_guest and order.order_id % 5 == 0
    return _address(order.person, order.person.email.title() if shout else order.person.email)


def _order_meta(order: Order) -> dict[str, str]:
    """What the checkout asked: guests for language and consent, everybody came from somewhere."""
    told = {"_wc_order_attribution_utm_source": order.source}
    if order.person and not order.person.customer_id:
        told |= {"locale": order.person.locale, "marketing_opt_in": order.person.consent}
    return told


def _order_cost(order: Order) -> int:
    """The cost of the goods that stayed with the customer, as far as it is known."""
    if order.status == "refunded":
        return 0
    sold = sum((line.item.cost or 0) * line.quantity for line in order.lines)
    return sold - sum(refund.line.item.cost or 0 for refund in order.refunds if refund.line)


def _cost(item: Item | None) -> Row:
    cost = item.cost if item else None
    value = None if cost is None else cost / 100
    return {"values": [{"defined_value": value, "effective_value": value or 0}], "total_value": value or 0}
