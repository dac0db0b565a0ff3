"""Pages: nothing is left out, whatever changes while they are read, and wherever the reading breaks off."""

from __future__ import annotations

from datetime import timedelta

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.testing.cases import MOST_PAGES, Kit, Walk, address, case, orders, walk, within_a_day
from crm_plugin.adapters.testing.samples import BEGIN, Person, Sale, State
from crm_plugin.adapters.testing.store import Store, Trait
from crm_plugin.records import Stream


class PagingCases(Kit):
    """Three pages and a half of each stream."""

    def many(self) -> int:
        """How many records that is."""
        return self.store_type.page_size * 7 // 2

    def test_empty_store_is_one_last_page(self, storefront: StorefrontAdapter) -> None:
        for stream in storefront.streams:
            told = walk(storefront, stream)
            assert (told.records, told.problems) == ([], [])

    def test_every_record_is_told(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            put = self.fill(store, stream, self.many())
            told = walk(storefront, stream)
            assert set(put) - set(told.latest) == set()
            assert told.problems == []
            assert len(told.cursors) > 1
            if stream in (Stream.MEMBERS, Stream.REFUNDS):
                assert set(told.latest) == set(put)

    def test_ids_are_texts(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            (put,) = self.fill(store, stream, 1)
            for record in walk(storefront, stream).records:
                assert isinstance(record.external_id, str)
                assert record.external_id.strip() == record.external_id != ""
            assert isinstance(put, str)

    def test_same_time_of_change_loses_nothing(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            put = self.fill(store, stream, self.many(), lambda _: BEGIN)
            assert set(put) - set(walk(storefront, stream).latest) == set()

    def test_every_page_can_be_gone_on_from_elsewhere(self, store: Store) -> None:
        for stream in self.streams():
            put = self.fill(store, stream, self.many())
            told = Walk()
            while not told.last:
                other = self.open(store)
                told.take(next(iter(other.pages(stream, told.cursor if told.cursors else ""))), stream)
                other.close()
            assert set(put) - set(told.latest) == set()

    def test_page_that_was_not_kept_is_told_again(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            put = self.fill(store, stream, self.many())
            reading = iter(storefront.pages(stream, ""))
            kept, lost = next(reading), next(reading)
            again = self.open(store)
            rest = walk(again, stream, kept.next_cursor)
            again.close()
            assert {record.external_id for record in lost.records} <= {*rest.latest, *_ids(kept.records)}
            assert set(put) - {*_ids(kept.records), *rest.latest} == set()

    def test_second_whole_reading_tells_the_same(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            self.fill(store, stream, self.many())
            assert walk(storefront, stream).latest == walk(storefront, stream).latest

    @case(Capability.INCREMENTAL)
    def test_reading_on_tells_less_than_all(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            put = self.fill(store, stream, self.many(), lambda number: BEGIN + timedelta(hours=number))
            told = walk(storefront, stream)
            again = walk(storefront, stream, told.cursor)
            assert len(again.latest) < len(put)

    @case(Capability.INCREMENTAL)
    def test_new_record_is_told(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            self.fill(store, stream, 3)
            told = walk(storefront, stream)
            (new,) = self.fill(store, stream, 1, lambda _: store.now)
            assert new in walk(storefront, stream, told.cursor).latest

    @case(Capability.INCREMENTAL, Stream.ORDERS)
    def test_changed_order_is_told_anew(self, store: Store, storefront: StorefrontAdapter) -> None:
        first, *_ = self.fill(store, Stream.ORDERS, self.many())
        told = walk(storefront, Stream.ORDERS)
        store.put(Sale(email=address(0), state=State.CANCELLED, changed_at=store.now), first)
        again = walk(storefront, Stream.ORDERS, told.cursor).latest[first]
        assert [order.status.counts for order in orders([again])] == [False]

    @case(Capability.INCREMENTAL, Stream.MEMBERS)
    def test_changed_account_is_told_anew_within_a_day(self, store: Store, storefront: StorefrontAdapter) -> None:
        first, *_ = self.fill(store, Stream.MEMBERS, self.many())
        told = walk(storefront, Stream.MEMBERS)
        store.put(Person(email=address(0), first_name="Grace", changed_at=store.now), first)
        told = within_a_day(store, storefront, Stream.MEMBERS, told)
        assert getattr(told.latest[first], "first_name", None) == "Grace"

    @case(Capability.INCREMENTAL, Stream.ORDERS)
    def test_many_changes_of_one_instant_are_all_told(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = self.fill(store, Stream.ORDERS, self.many())
        told = walk(storefront, Stream.ORDERS)
        for number, one in enumerate(put):
            store.put(Sale(email=address(number), total="11.00", changed_at=store.now), one)
        again = orders(walk(storefront, Stream.ORDERS, told.cursor).latest.values())
        assert {order.external_id for order in again if order.total_minor % 11 == 0} >= set(put)

    @case(Capability.INCREMENTAL, Stream.ORDERS)
    def test_change_that_shows_late_is_told(self, store: Store, storefront: StorefrontAdapter) -> None:
        """A store of several servers shows a change after one that is dated later."""
        store.put(Sale(email=address(1), changed_at=store.now))
        told = walk(storefront, Stream.ORDERS)
        late = store.put(Sale(email=address(2), changed_at=store.now - timedelta(seconds=30)))
        assert late in walk(storefront, Stream.ORDERS, told.cursor).latest

    def test_new_records_while_paging_lose_nothing(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            put = self.fill(store, stream, self.many())
            told = Walk()
            for page in storefront.pages(stream, ""):
                told.take(page, stream)
                if len(told.cursors) <= 2:
                    put += self.fill(store, stream, 2, lambda _: store.now)
            told = within_a_day(store, storefront, stream, told)
            assert set(put) - set(told.latest) == set()

    def test_changes_while_paging_lose_nothing(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = self.fill(store, Stream.ORDERS, self.many())
        told = Walk()
        for page in storefront.pages(Stream.ORDERS, ""):
            told.take(page, Stream.ORDERS)
            if len(told.cursors) == 1:
                for one in (put[0], put[-1], put[len(put) // 2]):
                    store.put(Sale(total="12.00", email=address(1), changed_at=store.now), one)
        told = within_a_day(store, storefront, Stream.ORDERS, told)
        assert set(put) - set(told.latest) == set()
        changed = [told.latest[one] for one in (put[0], put[-1], put[len(put) // 2])]
        assert all(order.total_minor % 12 == 0 for order in orders(changed))

    @case(Trait.REMOVES)
    def test_removed_records_while_paging_lose_no_others(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in (Stream.MEMBERS, Stream.ORDERS):
            put = self.fill(store, stream, self.many())
            told = Walk()
            for page in storefront.pages(stream, ""):
                told.take(page, stream)
                if len(told.cursors) <= 2 and page.records:
                    gone = page.records[0].external_id
                    store.remove(stream, gone)
                    put.remove(gone)
            assert set(put) - set(told.latest) == set()

    def test_cursor_is_not_used_up(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            self.fill(store, stream, self.many())
            cursor = walk(storefront, stream).cursors[0]
            once, twice = walk(storefront, stream, cursor), walk(storefront, stream, cursor)
            assert once.latest == twice.latest
            assert len(once.cursors) < MOST_PAGES


def _ids(records: object) -> list[str]:
    assert isinstance(records, tuple)
    return [record.external_id for record in records]
