"""A believable shop out of a number: the same seed, size and date give the same shop to the last byte, with nobody's real data in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from hashlib import blake2b
from random import Random

import msgspec

from crm_plugin.demo.calendar import Calendar
from crm_plugin.demo.catalogue import make_catalogue
from crm_plugin.demo.people import Part, Person, make_people
from crm_plugin.demo.sales import Order, Till
from crm_plugin.demo.woo_form import Form, Row

TITLE = "Lantern and Leaf"
CURRENCY, TIMEZONE = "GBP", "Europe/London"
FEWEST = 20
_FIRST_PRODUCT = 11
_FIRST_ORDER = 501


@dataclass(frozen=True, slots=True)
class DemoShop:
    """All that the shop's REST API would give, as rows in WooCommerce's form, ids ascending.

    Everything in it happened before the local day `until` began in the shop's zone, so any instant of that day can be "now". `orders` holds
    those in the trash too. `due` names accounts (ids) that were given what a trigger looks for near that day, by `Part`; chance adds more.
    """

    title: str
    currency: str
    timezone: str
    until: date
    customers: list[Row]
    products: list[Row]
    variations: list[Row]
    orders: list[Row]
    refunds: list[Row]
    due: dict[Part, tuple[int, ...]]
    guests: int

    @property
    def counts(self) -> dict[str, int]:
        """What a sync of the whole shop has to find: `members` is accounts and guests, each guest one person.

        `nameless` are the orders that belong to nobody, sold over the counter.
        """
        return {
            "accounts": len(self.customers),
            "guests": self.guests,
            "members": len(self.customers) + self.guests,
            "products": len(self.products),
            "variations": len(self.variations),
            "orders": len(self.orders),
            "nameless": sum(not row["customer_id"] and not row["billing"]["email"] for row in self.orders),
            "refunds": len(self.refunds),
        }

    @property
    def order_states(self) -> dict[str, int]:
        """Orders by WooCommerce's word for their state."""
        return dict(sorted(Counter(str(row["status"]) for row in self.orders).items()))

    def digest(self) -> str:
        """The same for the same shop."""
        rows = (self.customers, self.products, self.variations, self.orders, self.refunds)
        return blake2b(msgspec.json.encode(rows), digest_size=16).hexdigest()


def generate(seed: int = 7, members: int = 3000, years: int = 3, *, until: date) -> DemoShop:
    """Make a shop of so many people, the last orders on the day before `until`.

    Raises: ValueError for fewer than 20 people or less than a year, which leaves no room for what triggers need.
    """
    if members < FEWEST or years < 1:
        raise ValueError(f"a demo shop needs at least {FEWEST} members and one year")
    rng = Random(seed)
    calendar = Calendar(until - timedelta(days=365 * years), until, TIMEZONE)
    catalogue = make_catalogue(rng, _FIRST_PRODUCT)
    people = make_people(rng, calendar, members)
    till = Till(rng, calendar, catalogue)
    orders = [order for person in people for order in till.orders_of(person)]
    orders += [till.counter_sale() for _ in range(max(1, len(orders) // 250))]
    orders.sort(key=lambda order: order.placed_at)
    till.edit_in_bulk(orders)
    _number(orders)
    form = Form(CURRENCY, "£", TIMEZONE)
    opened = calendar.at(0, time(4))
    return DemoShop(
        title=TITLE,
        currency=CURRENCY,
        timezone=TIMEZONE,
        until=until,
        customers=[form.customer(person, _saved_at(rng, person, calendar)) for person in people if person.customer_id],
        products=[form.product(product, opened) for product in catalogue],
        variations=[
            form.variation(product, item, opened)
            for product in catalogue
            if product.has_variants
            for item in product.items
        ],
        orders=[form.order(order) for order in orders],
        refunds=sorted(
            (form.refund(order, refund) for order in orders for refund in order.refunds), key=lambda row: int(row["id"])
        ),
        due=_due(people),
        guests=sum(not person.customer_id for person in people),
    )


def _number(orders: list[Order]) -> None:
    """Give out ids from one sequence in the order of time, as WordPress does."""
    happened = [(order.placed_at, 0, number, order, None) for number, order in enumerate(orders)]
    returned = [(x.at, 1, number, order, x) for number, order in enumerate(orders) for x in order.refunds]
    events = sorted([*happened, *returned], key=lambda event: event[:3])
    for event_id, (*_, order, refund) in enumerate(events, _FIRST_ORDER):
        if refund is None:
            order.order_id = event_id
        else:
            refund.refund_id = event_id


def _saved_at(rng: Random, person: Person, calendar: Calendar) -> datetime | None:
    if rng.random() < 0.05:
        return None
    latest = int((calendar.end - person.joined_at).total_seconds())
    return person.joined_at + timedelta(seconds=rng.randint(0, min(latest, 90 * 86_400)))


def _due(people: list[Person]) -> dict[Part, tuple[int, ...]]:
    return {
        part: tuple(person.customer_id for person in people if person.part is part)
        for part in Part
        if part is not Part.NONE
    }
