"""What happened in the shop, before it is put into a platform's form: orders with their baskets, what became of them, refunds.

All money is in minor units of the shop's currency.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random

from crm_plugin.demo.calendar import Calendar
from crm_plugin.demo.catalogue import Item, Product
from crm_plugin.demo.people import Person

HOME_TAX = 20
_SHIPPING, _SHIPPING_ABROAD, _FREE_FROM = 395, 990, 4500
_COUPONS = (("welcome10", 10), ("tea15", 15), ("birthday20", 20))
_PAYMENTS = (("cod", "Cash on delivery", 10), ("bacs", "Bank transfer", 15), ("card", "Card", 75))
_SOURCES = ("(direct)", "newsletter", "search", "social", "friends")
_REASONS = ("Arrived broken", "Changed my mind", "Not as pictured", "Lost in the post", "茶杯有裂纹", "Goodwill")
_QUANTITIES = ((1, 2, 3, 4), (70, 20, 6, 4))
# Orders change by hand in one go once in the shop's life, so that one second holds many changes.
_BULK_SHARE = 50


@dataclass(slots=True)
class Line:
    """One line; `net` and `tax` are what was paid, `net_before` and `tax_before` what it was before a coupon."""

    item: Item
    quantity: int
    net_before: int
    tax_before: int
    net: int
    tax: int


@dataclass(slots=True)
class Refund:
    """Money given back, tax included; of one piece of a line, or of an amount without a line."""

    at: datetime
    amount: int
    tax: int
    reason: str
    line: Line | None = None
    whole: bool = False
    refund_id: int = 0


@dataclass(slots=True)
class Order:
    """One order. `person` None is a sale over the counter to somebody who left no name; `as_guest` was placed without signing in."""

    placed_at: datetime
    person: Person | None
    as_guest: bool
    lines: list[Line]
    shipping: int
    shipping_tax: int
    coupon: str
    payment: tuple[str, str]
    source: str
    status: str = "completed"
    paid_at: datetime | None = None
    completed_at: datetime | None = None
    modified_at: datetime | None = None
    refunds: list[Refund] = field(default_factory=list)
    order_id: int = 0

    @property
    def tax(self) -> int:
        return sum(line.tax for line in self.lines)

    @property
    def total(self) -> int:
        return sum(line.net for line in self.lines) + self.tax + self.shipping + self.shipping_tax


class Till:
    """Makes orders; one source of chance for all of them."""

    def __init__(self, rng: Random, calendar: Calendar, catalogue: tuple[Product, ...]) -> None:
        self._rng = rng
        self._calendar = calendar
        self._items = [item for product in catalogue for item in product.items]
        self._weights = list(accumulate(item.weight for item in self._items))

    def orders_of(self, person: Person) -> list[Order]:
        """All orders of a person, with what became of them."""
        orders = []
        for number, day in enumerate(person.days):
            order = self._sell(day, person, first=number == 0)
            if day == person.fixed_day:
                order.as_guest = False
                self._complete(order, safe=True)
            else:
                self._settle(order)
            orders.append(order)
        if not person.customer_id and orders[0].status == "trash":
            # A guest is known by an order alone, so that one stays.
            orders[0].status = "cancelled"
        return orders

    def counter_sale(self) -> Order:
        """A sale in the shop itself: paid at once, nobody's name."""
        order = self._sell(self._calendar.pick(self._rng, 0, self._calendar.days - 1), None, first=False)
        order.shipping = order.shipping_tax = 0
        order.paid_at = order.completed_at = order.modified_at = order.placed_at
        return order

    def edit_in_bulk(self, orders: list[Order]) -> None:
        """Let the oldest completed orders have been changed in one second of the middle of the history."""
        at = self._calendar.order_time(self._rng, self._calendar.days // 2)
        old = [
            order for order in orders if order.modified_at and order.modified_at < at and order.status == "completed"
        ]
        for order in old[: len(orders) // _BULK_SHARE]:
            order.modified_at = at

    def _sell(self, day: int, person: Person | None, *, first: bool) -> Order:
        rng = self._rng
        tax = HOME_TAX if person is None else person.country.tax
        coupon, percent = "", 0
        if person and rng.random() < (0.3 if first else 0.1):
            coupon, percent = _COUPONS[0] if first else rng.choice(_COUPONS[1:])
        lines: dict[str, Line] = {}
        for _ in range(min(8, 1 + int(rng.expovariate(0.7)))):
            item = rng.choices(self._items, cum_weights=self._weights)[0]
            quantity = rng.choices(*_QUANTITIES)[0]
            lines[item.sku] = _line(item, quantity, tax, percent)
        goods = sum(line.net + line.tax for line in lines.values())
        abroad = person is not None and person.country.code != "GB"
        shipping = 0 if goods >= _FREE_FROM else _SHIPPING_ABROAD if abroad else _SHIPPING
        net = _net(shipping, tax)
        method, title, _ = rng.choices(_PAYMENTS, [share for *_, share in _PAYMENTS])[0]
        return Order(
            placed_at=self._calendar.order_time(rng, day),
            person=person,
            as_guest=person is not None and (not person.customer_id or rng.random() < 0.06),
            lines=list(lines.values()),
            shipping=net,
            shipping_tax=shipping - net if tax else 0,
            coupon=coupon,
            payment=(method, title),
            source=rng.choice(_SOURCES) if person and rng.random() < 0.6 else "",
        )

    def _settle(self, order: Order) -> None:
        """Decide what became of an order."""
        rng, age = self._rng, self._calendar.end - order.placed_at
        fate = rng.random()
        order.modified_at = self._later(order.placed_at, 0.2, 3)
        if fate < 0.03:
            order.status = "cancelled"
        elif fate < 0.05:
            order.status = "failed"
        elif fate < 0.053:
            order.status = "trash"
        elif age < timedelta(days=4) and fate < 0.15:
            order.status = "pending" if fate < 0.1 else "on-hold"
        elif fate < 0.06:
            order.status = "pending"
        else:
            self._complete(order, safe=False)

    def _complete(self, order: Order, *, safe: bool) -> None:
        rng = self._rng
        order.paid_at = min(self._calendar.end, order.placed_at + timedelta(minutes=rng.randint(1, 9)))
        closed = order.placed_at + timedelta(hours=rng.randint(12, 80))
        if closed > self._calendar.end:
            order.status, order.modified_at = "processing", order.paid_at
            return
        order.completed_at = order.modified_at = closed
        if not safe:
            self._refund(order, closed)

    def _refund(self, order: Order, closed: datetime) -> None:
        rng = self._rng
        fate = rng.random()
        at = self._later(closed, 2, 25)
        if fate >= 0.1 or at >= self._calendar.end or order.total == 0:
            return
        reason = rng.choice(_REASONS)
        if fate < 0.035:
            order.refunds.append(Refund(at, order.total, order.tax + order.shipping_tax, reason, whole=True))
        elif fate < 0.08:
            # Now and then two things come back, a day apart.
            for number, line in enumerate(rng.sample(order.lines, min(len(order.lines), 2 if fate < 0.042 else 1))):
                tax = line.tax // line.quantity
                when = min(self._calendar.end, at + timedelta(days=number))
                order.refunds.append(Refund(when, line.net // line.quantity + tax, tax, reason, line))
        else:
            amount = max(50, order.total * rng.randint(5, 20) // 5000 * 50)
            order.refunds.append(Refund(at, min(amount, order.total), 0, "Goodwill"))
        order.modified_at = order.refunds[-1].at
        if sum(refund.amount for refund in order.refunds) == order.total:
            # What comes to the whole by parts changes the state too.
            order.status = "refunded"

    def _later(self, at: datetime, least: float, most: float) -> datetime:
        """Some days later, but within the history."""
        return min(self._calendar.end, at + timedelta(seconds=int(self._rng.uniform(least, most) * 86_400)))


def _line(item: Item, quantity: int, tax: int, percent_off: int) -> Line:
    # Prices are marked with the home country's tax; who lives where none is charged pays without it.
    marked = item.price * quantity
    before = marked if tax else _net(marked, HOME_TAX)
    paid = before - before * percent_off // 100
    net_before, net = _net(before, tax), _net(paid, tax)
    return Line(item, quantity, net_before, before - net_before, net, paid - net)


def _net(gross: int, tax: int) -> int:
    """The amount without its tax, rounded half up."""
    return (gross * 200 + 100 + tax) // (2 * (100 + tax))
