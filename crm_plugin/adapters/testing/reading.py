"""Records: those that cannot be read, money, times, people, and orders that do not count."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.testing.cases import (
    Kit,
    address,
    case,
    everything,
    members,
    orders,
    refunds,
    walk,
    within_a_day,
)
from crm_plugin.adapters.testing.samples import BEGIN, GivenBack, Person, Sale, State, Thing
from crm_plugin.adapters.testing.store import Store, Trait
from crm_plugin.errors import MalformedResponse
from crm_plugin.money import exponent
from crm_plugin.records import MemberRecord, OrderRecord, OrderStatus, ProductRecord, Record, Stream

_AMOUNTS = {0: ("1234", 1234), 2: ("298.55", 29855), 3: ("1.234", 1234)}
_ODD: tuple[Any, ...] = (
    None,
    "",
    " ",
    "x" * 2000,
    -1,
    10**30,
    1e300,
    True,
    [],
    {},
    [[]],
    {"a": 1},
    "0000-00-00",
    "9999-12-31T23:59:59Z",
    "NaN",
)
_MOST_ODD = 900
_UNREADABLE = ("", "{", "null", "[]", '"x"', "7", "<html></html>")


def _sells_in(digits: int) -> Callable[[type[Kit]], str]:
    def lacks(kit: type[Kit]) -> str:
        found = any(exponent(currency) == digits for currency in kit.store_type.currencies)
        return "" if found else f"{kit.adapter.label} has no currency of {digits} decimals"

    return lacks


def _has_persons(kit: type[Kit]) -> str:
    opaque = Capability.OPAQUE_IDS_ONLY in kit.adapter.capabilities
    return f"{kit.adapter.label} tells no addresses" if opaque else ""


class ReadingCases(Kit):
    def test_record_that_cannot_be_read_is_set_aside(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            put = self.fill(store, stream, 5)
            store.spoil(stream, put[2])
            told = walk(storefront, stream)
            assert set(told.latest) & set(put) == {*put} - {put[2]}
            (problem,) = [one for one in told.problems if one.external_id == put[2]]
            assert problem.path.startswith("$")
            assert problem.reason
            assert problem.raw
            with pytest.raises(MalformedResponse) as caught:
                storefront.parse(stream, problem.raw)
            assert caught.value.path == problem.path
            store.mend(stream, put[2])

    def test_mended_record_is_read_again(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            put = self.fill(store, stream, 3)
            store.spoil(stream, put[1])
            assert put[1] not in walk(storefront, stream).latest
            store.mend(stream, put[1])
            (mended,) = [record for record in walk(storefront, stream).records if record.external_id == put[1]]
            if stream is not Stream.REFUNDS:
                assert storefront.reread(stream, put[1]) == mended

    def test_page_of_nothing_readable_does_not_stop_the_walk(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = self.fill(store, Stream.ORDERS, self.store_type.page_size * 5 // 2)
        spoilt = put[: self.store_type.page_size]
        for one in spoilt:
            store.spoil(Stream.ORDERS, one)
        told = walk(storefront, Stream.ORDERS)
        assert {problem.external_id for problem in told.problems} == set(spoilt)
        assert set(put) - set(spoilt) <= set(told.latest)

    def test_raw_text_of_a_record_reads_as_the_record(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            self.fill(store, stream, 2)
            for page in storefront.pages(stream, ""):
                assert page.raw_of is not None
                for number, record in enumerate(page.records):
                    assert storefront.parse(stream, page.raw_of(number)) == record

    def test_text_that_is_no_record_is_malformed(self, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            for text in _UNREADABLE:
                with pytest.raises(MalformedResponse):
                    storefront.parse(stream, text)

    def test_odd_values_are_read_or_set_aside(self, store: Store, storefront: StorefrontAdapter) -> None:
        """Each field of a record in turn holds what no platform promises: no error of another kind comes of it."""
        person = store.put(Person(email=address(1), phone="+33123456789"))
        sale = store.put(Sale(person=person, email=address(1)))
        store.put(GivenBack(order=sale, amount="1.00"))
        if Stream.PRODUCTS in self.adapter.streams:
            store.put(Thing())
        for stream in (one for one in self.streams() if one is not Stream.REFUNDS):
            page = next(page for page in storefront.pages(stream, "") if page.records)
            assert page.raw_of is not None
            for odd in _odd_ones(json.loads(page.raw_of(0))):
                try:
                    record = storefront.parse(stream, odd)
                except MalformedResponse as error:
                    assert error.path.startswith("$")
                else:
                    _is_plain(record)

    @case(_sells_in(2))
    def test_money_of_two_decimals(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._money(store, storefront, 2)

    @case(_sells_in(0))
    def test_money_without_decimals(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._money(store, storefront, 0)

    @case(_sells_in(3))
    def test_money_of_three_decimals(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._money(store, storefront, 3)

    def _money(self, store: Store, storefront: StorefrontAdapter, digits: int) -> None:
        currency = next(one for one in store.currencies if exponent(one) == digits)
        amount, minor = _AMOUNTS[digits]
        sale = store.put(Sale(total=amount, currency=currency, email=address(1)))
        back = store.put(GivenBack(order=sale, amount=amount))
        (order,) = orders(walk(storefront, Stream.ORDERS).latest.values())
        assert (order.total_minor, order.currency) == (minor, currency)
        refund = refunds(storefront)[back]
        assert (refund.amount_minor, refund.currency, refund.order_external_id) == (minor, currency, sale)

    def test_amounts_are_whole_and_times_are_utc(self, store: Store, storefront: StorefrontAdapter) -> None:
        person = store.put(Person(email=address(1)))
        sale = store.put(Sale(total="19.99", person=person, email=address(1)))
        store.put(GivenBack(order=sale, amount="0.10"))
        if Stream.PRODUCTS in self.adapter.streams:
            store.put(Thing(price="19.99"))
        told = [record for found in everything(storefront).values() for record in found.records]
        assert {record.stream for record in told} >= set(self.streams())
        for record in told:
            _is_plain(record)

    @case(Stream.PRODUCTS)
    def test_price_of_a_product(self, store: Store, storefront: StorefrontAdapter) -> None:
        amount, minor = _AMOUNTS[exponent(store.currencies[0])]
        thing = store.put(Thing(title="Lamp", price=amount))
        record = walk(storefront, Stream.PRODUCTS).latest[thing]
        assert isinstance(record, ProductRecord)
        assert (record.price_minor, record.currency) == (minor, store.currencies[0])
        assert "Lamp" in record.title

    def test_refund_of_a_part(self, store: Store, storefront: StorefrontAdapter) -> None:
        sale = store.put(Sale(total="30.00", email=address(1)))
        backs = [store.put(GivenBack(order=sale, amount=amount)) for amount in ("10.00", "5.50")]
        found = refunds(storefront)
        assert set(found) == set(backs)
        assert sorted(refund.amount_minor for refund in found.values()) == [550, 1000]
        (order,) = orders(walk(storefront, Stream.ORDERS).latest.values())
        assert (order.total_minor, order.status.counts) == (3000, True)

    def test_refund_of_the_whole(self, store: Store, storefront: StorefrontAdapter) -> None:
        sale = store.put(Sale(total="30.00", email=address(1)))
        back = store.put(GivenBack(order=sale, amount="30.00"))
        assert refunds(storefront)[back].amount_minor == 3000
        (order,) = orders(walk(storefront, Stream.ORDERS).latest.values())
        assert order.total_minor == 3000

    def test_refund_has_its_own_day(self, store: Store, storefront: StorefrontAdapter) -> None:
        at = BEGIN + timedelta(days=3, minutes=17)
        back = store.put(GivenBack(order=store.put(Sale(email=address(1))), amount="1.00", at=at))
        assert refunds(storefront)[back].refunded_at == at

    @case(Capability.INCREMENTAL)
    def test_late_refund_is_told_within_a_day(self, store: Store, storefront: StorefrontAdapter) -> None:
        sale = store.put(Sale(total="30.00", email=address(1)))
        read = {stream: walk(storefront, stream) for stream in storefront.streams}
        since = store.now
        store.now += timedelta(hours=1)
        back = store.put(GivenBack(order=sale, amount="7.00", at=store.now))
        told = [*(record for page in storefront.second_pass(since) for record in page.records)]
        for stream, before in read.items():
            told += within_a_day(store, storefront, stream, before).records
        found = {record.external_id for record in told if record.stream is Stream.REFUNDS}
        found |= {refund.external_id for order in orders(told) for refund in order.refunds or ()}
        assert back in found

    def test_times_are_the_very_instants(self, store: Store, storefront: StorefrontAdapter) -> None:
        """Twice the same hour by the clocks of Europe, the hour that America leaves out, and a leap day."""
        days = [
            datetime(2025, 10, 26, 0, 30, tzinfo=UTC),
            datetime(2025, 10, 26, 1, 30, tzinfo=UTC),
            datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC),
            datetime(2025, 3, 9, 7, 30, tzinfo=UTC),
            datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC),
        ]
        put = {store.put(Sale(email=address(1), placed_at=at, changed_at=BEGIN)): at for at in days}
        told = {order.external_id: order.placed_at for order in orders(walk(storefront, Stream.ORDERS).records)}
        assert told == put

    @case(Trait.FRACTIONS)
    def test_fractions_of_a_second_are_read(self, store: Store, storefront: StorefrontAdapter) -> None:
        at = BEGIN.replace(microsecond=123_000)
        put = store.put(Sale(email=address(1), placed_at=at, changed_at=at))
        (order,) = orders([walk(storefront, Stream.ORDERS).latest[put]])
        assert (order.placed_at, order.updated_at) == (at, at)

    @case(Stream.MEMBERS)
    def test_order_is_its_accounts(self, store: Store, storefront: StorefrontAdapter) -> None:
        person = store.put(Person(email=address(1)))
        sale = store.put(Sale(person=person, email=address(1)))
        (order,) = orders([walk(storefront, Stream.ORDERS).latest[sale]])
        assert order.member_external_id == person
        assert person in walk(storefront, Stream.MEMBERS).latest

    @case(Stream.MEMBERS, _has_persons)
    def test_account_tells_address_name_and_day(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email="Ada@example.test", first_name="Ada", joined_at=BEGIN))
        (member,) = members([walk(storefront, Stream.MEMBERS).latest[put]])
        assert (member.email.lower(), member.first_name, member.joined_at) == ("ada@example.test", "Ada", BEGIN)
        assert not member.deleted

    @case(Trait.GUESTS)
    def test_guest_has_no_account(self, store: Store, storefront: StorefrontAdapter) -> None:
        sale = store.put(Sale(email=address(7)))
        (order,) = orders([walk(storefront, Stream.ORDERS).latest[sale]])
        assert order.member_external_id == ""
        assert order.contact is not None
        assert order.contact.email == address(7)
        assert order.contact.external_id == ""

    @case(Capability.OPAQUE_IDS_ONLY)
    def test_nobody_is_told_by_address(self, store: Store, storefront: StorefrontAdapter) -> None:
        person = store.put(Person(email=address(1), phone="+8613800138000"))
        store.put(Sale(person=person, email=address(1)))
        for found in everything(storefront).values():
            for record in found.records:
                assert "@example.test" not in repr(record)
                assert "13800138000" not in repr(record)
                _has_no_address(record)

    @case(Stream.ORDERS)
    def test_cancelled_order_does_not_count(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._counts(store, storefront, State.CANCELLED, False)

    @case(Trait.TEST_ORDERS)
    def test_order_made_to_try_does_not_count(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._counts(store, storefront, State.TEST, False)

    @case(Stream.ORDERS)
    def test_paid_order_counts(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._counts(store, storefront, State.PAID, True)

    @case(Stream.ORDERS)
    def test_order_that_waits_for_its_money_says_so(self, store: Store, storefront: StorefrontAdapter) -> None:
        sale = store.put(Sale(email=address(1), state=State.PENDING))
        (order,) = orders([walk(storefront, Stream.ORDERS).latest[sale]])
        assert order.status in (OrderStatus.PENDING, OrderStatus.ON_HOLD)
        assert order.paid_at is None

    @case(Stream.ORDERS)
    def test_platforms_own_word_stays_beside_ours(self, store: Store, storefront: StorefrontAdapter) -> None:
        sale = store.put(Sale(email=address(1)))
        (order,) = orders([walk(storefront, Stream.ORDERS).latest[sale]])
        assert order.platform_status
        assert order.lines
        assert order.lines[0].title == "Lamp"

    def _counts(self, store: Store, storefront: StorefrontAdapter, state: State, counts: bool) -> None:
        sale = store.put(Sale(email=address(1), state=state))
        found = orders(walk(storefront, Stream.ORDERS).latest.values())
        assert [order.external_id for order in found if order.status.counts] == ([sale] if counts else [])


def _odd_ones(record: Any) -> Iterator[str]:
    """The record with one value after the other replaced, and with one after the other left out."""
    for number, (holder, key) in enumerate(_places(record)):
        before = holder[key]
        for odd in _ODD[number % 3 :: 3] if number * len(_ODD) > _MOST_ODD else _ODD:
            holder[key] = odd
            yield json.dumps(record)
        holder[key] = before
        if isinstance(holder, dict):
            del holder[key]
            yield json.dumps(record)
            holder[key] = before


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _is_plain(record: Record) -> None:
    for name, value in _fields(record):
        if name.endswith("_minor"):
            assert value is None or type(value) is int, name
        if isinstance(value, datetime):
            assert value.utcoffset() == timedelta(0), name
        if name == "amount_minor":
            assert value >= 0


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a record and all within it."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            inner = getattr(value, name)
            yield name, inner
            yield from _fields(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _fields(inner)


def _has_no_address(record: Record) -> None:
    found = record.contact if isinstance(record, OrderRecord) else record
    if isinstance(found, MemberRecord):
        assert (found.email, found.phone, found.other_emails) == ("", "", ())
