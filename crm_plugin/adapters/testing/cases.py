"""What cases are made of: when one applies, the fixtures of all, and reading a stream page by page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

import pytest

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.testing.samples import BEGIN, GivenBack, Person, Sale, Thing
from crm_plugin.adapters.testing.store import Store, Trait
from crm_plugin.records import (
    MemberRecord,
    OrderRecord,
    Page,
    Record,
    RecordProblem,
    RefundRecord,
    StoreEventKind,
    Stream,
)

# What can be put into a store as a sample.
SAMPLED = (Stream.PRODUCTS, Stream.MEMBERS, Stream.ORDERS, Stream.REFUNDS)
# A walk of so few records that takes more pages than this goes in a circle.
MOST_PAGES = 200

Need = Capability | Trait | Stream | StoreEventKind | frozenset[Capability] | Callable[[type["Kit"]], str]
Case = TypeVar("Case", bound=Callable[..., Any])


def case(*needs: Need) -> Callable[[Case], Case]:
    """Mark a case that applies only where all of this is there; of a set of capabilities, one. A function answers why not."""

    def mark(function: Case) -> Case:
        function.__dict__["needs"] = needs
        return function

    return mark


class Kit:
    """Ground of all cases. A subclass names its adapter and store, fills the fixture `store`, and opens the adapter for it."""

    adapter: ClassVar[type[StorefrontAdapter]]
    store_type: ClassVar[type[Store]]

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """A fresh store without any records, within reach of the adapter."""
        raise NotImplementedError

    def open(self, store: Store) -> StorefrontAdapter:
        """The adapter of that store as another process would open it: by the store's clock, and with pauses that take no time."""
        raise NotImplementedError

    @pytest.fixture
    def storefront(self, store: Store) -> Iterator[StorefrontAdapter]:
        opened = self.open(store)
        yield opened
        opened.close()

    @pytest.fixture(autouse=True)
    def _applies(self, request: pytest.FixtureRequest) -> None:
        if why := self.left_out(request.function):
            pytest.skip(why)

    @classmethod
    def left_out(cls, function: Callable[..., Any]) -> str:
        """Why a case does not apply to this adapter; empty where it does."""
        needs: tuple[Need, ...] = getattr(function, "needs", ())
        return next((why for need in needs if (why := cls._lacks(need))), "")

    @classmethod
    def cases(cls) -> dict[str, int]:
        """The cases that apply, and how many times each is run."""
        found = {name: getattr(cls, name) for name in dir(cls) if name.startswith("test_")}
        return {name: _times(function) for name, function in found.items() if not cls.left_out(function)}

    @classmethod
    def _lacks(cls, need: Need) -> str:
        label = cls.adapter.label
        if isinstance(need, Capability):
            return "" if need in cls.adapter.capabilities else f"{label} does not declare {need.value}"
        if isinstance(need, frozenset):
            names = ", ".join(sorted(need))
            return "" if need & cls.adapter.capabilities else f"{label} declares none of {names}"
        if isinstance(need, Stream):
            return "" if need in cls.adapter.streams else f"{label} tells no {need.value}"
        if isinstance(need, Trait):
            return "" if need in cls.store_type.traits else f"{label} has no {need.value.replace('_', ' ')}"
        if isinstance(need, StoreEventKind):
            return "" if need in cls.store_type.tells else f"{label} tells no event {need.value}"
        return need(cls)

    def streams(self) -> list[Stream]:
        """The adapter's streams that samples can be put into."""
        return [stream for stream in SAMPLED if stream in self.adapter.streams]

    def fill(
        self, store: Store, stream: Stream, many: int, changed_at: Callable[[int], datetime] | None = None
    ) -> list[str]:
        """Put so many records of a stream, by default one a minute. Answers their ids."""
        when = changed_at or (lambda number: BEGIN + timedelta(minutes=number))
        if stream is Stream.MEMBERS:
            return [store.put(Person(email=address(number), changed_at=when(number))) for number in range(many)]
        if stream is Stream.ORDERS:
            return [store.put(Sale(email=address(number), changed_at=when(number))) for number in range(many)]
        if stream is Stream.PRODUCTS:
            return [store.put(Thing(title=f"Lamp {number}", changed_at=when(number))) for number in range(many)]
        sales = self.fill(store, Stream.ORDERS, many, changed_at)
        return [store.put(GivenBack(order=sale, amount="1.00", at=when(number))) for number, sale in enumerate(sales)]


@dataclass(slots=True)
class Walk:
    """What pages told, up to one place. `records` are in their order, with those told more than once."""

    records: list[Record] = field(default_factory=list)
    problems: list[RecordProblem] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)
    last: bool = False

    @property
    def cursor(self) -> str:
        return self.cursors[-1]

    @property
    def latest(self) -> dict[str, Record]:
        """Each record as it was told last, by its id."""
        return {record.external_id: record for record in self.records}

    def take(self, page: Page, stream: Stream) -> None:
        """Add a page, and hold it to what every page keeps to."""
        assert not self.last, "a page after the last"
        assert page.stream is stream
        assert isinstance(page.next_cursor, str)
        assert all(record.stream is stream for record in page.records)
        assert all(problem.stream is stream for problem in page.problems)
        assert len(self.cursors) < MOST_PAGES, "the pages have no end"
        self.records += page.records
        self.problems += page.problems
        self.cursors.append(page.next_cursor)
        self.last = page.last


def walk(storefront: StorefrontAdapter, stream: Stream, cursor: str = "") -> Walk:
    """All pages from the cursor on."""
    told = Walk()
    for page in storefront.pages(stream, cursor):
        told.take(page, stream)
    assert told.last, "the pages ended without a last one"
    return told


def within_a_day(store: Store, storefront: StorefrontAdapter, stream: Stream, told: Walk) -> Walk:
    """What was told, and what the next reading and one a day later tell on top."""
    for hours in (0, 25):
        store.now += timedelta(hours=hours)
        more = walk(storefront, stream, told.cursor)
        told = Walk([*told.records, *more.records], [*told.problems, *more.problems], more.cursors, True)
    return told


def everything(storefront: StorefrontAdapter) -> dict[Stream, Walk]:
    """The whole history of each stream."""
    return {stream: walk(storefront, stream) for stream in storefront.streams}


def members(told: Iterable[Record]) -> list[MemberRecord]:
    """Those that are accounts."""
    return [record for record in told if isinstance(record, MemberRecord)]


def orders(told: Iterable[Record]) -> list[OrderRecord]:
    """Those that are orders."""
    return [record for record in told if isinstance(record, OrderRecord)]


def refunds(storefront: StorefrontAdapter, since: datetime | None = None) -> dict[str, RefundRecord]:
    """All refunds by id, whichever way they are told; one with a day takes the place of one without."""
    told = [record for found in everything(storefront).values() for record in found.latest.values()]
    if since is not None:
        told += [record for page in storefront.second_pass(since) for record in page.records]
    found = [refund for order in orders(told) for refund in order.refunds or ()]
    found += [record for record in told if isinstance(record, RefundRecord) and not record.deleted]
    return {one.external_id: one for one in sorted(found, key=lambda one: one.refunded_at is not None)}


def address(number: int) -> str:
    """An e-mail address of its own for each number."""
    return f"p{number}@example.test"


def _times(function: Callable[..., Any]) -> int:
    marks = getattr(function, "pytestmark", [])
    return math.prod(len(mark.args[1]) for mark in marks if mark.name == "parametrize")
