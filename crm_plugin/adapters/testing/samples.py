"""What the kit puts into a store, in words of no platform; the store writes it down in its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar

from crm_plugin.records import Stream

# Around here all that is put into a store was changed, on a Monday; the store's own clock stands some weeks later.
BEGIN = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
NOW = datetime(2026, 2, 2, 12, 0, tzinfo=UTC)


class State(StrEnum):
    """What became of a sale."""

    PAID = "paid"
    PENDING = "pending"
    CANCELLED = "cancelled"
    # Made to try the store out; no money moved.
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An account. A platform of opaque ids has no use for `email` and `phone`."""

    stream: ClassVar[Stream] = Stream.MEMBERS

    email: str = ""
    phone: str = ""
    first_name: str = "Ada"
    tags: tuple[str, ...] = ()
    joined_at: datetime = BEGIN
    changed_at: datetime = BEGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """An order of one line. `total` is a decimal in whole units of `currency` (empty: the store's own), tax and all else included.

    `person` is the account's id as the adapter tells it; without one it is a guest's, known by `email` alone.
    """

    stream: ClassVar[Stream] = Stream.ORDERS

    total: str = "10.00"
    currency: str = ""
    state: State = State.PAID
    person: str = ""
    email: str = ""
    title: str = "Lamp"
    placed_at: datetime = BEGIN
    changed_at: datetime = BEGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBack:
    """Money given back for an order, whose time of change becomes `at` where the platform moves it."""

    stream: ClassVar[Stream] = Stream.REFUNDS

    order: str
    amount: str
    at: datetime = BEGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A product at a price in the store's own currency."""

    stream: ClassVar[Stream] = Stream.PRODUCTS

    title: str = "Lamp"
    price: str = "10.00"
    changed_at: datetime = BEGIN


Sample = Person | Sale | GivenBack | Thing
