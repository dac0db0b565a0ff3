"""One record again, all ids, what is gone, and what changes without its time of change moving."""

from __future__ import annotations

from datetime import timedelta

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.testing.cases import Kit, address, case, walk, within_a_day
from crm_plugin.adapters.testing.samples import Person, Sale, Sample, Thing
from crm_plugin.adapters.testing.store import Store, Trait
from crm_plugin.records import Record, Stream

_NO_IDS = ("", "no-such-id", "../orders", "1 OR 1=1", "0", "-1", "999999999", "é" * 40, "gid://shopify/Order/1?x=1#y")


def _has_unseen(kit: type[Kit]) -> str:
    return "" if kit.adapter.unseen else f"{kit.adapter.label} shows every change by its time"


class RereadingCases(Kit):
    def test_one_record_is_told_as_it_is_now(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self._asked():
            put, _ = self.fill(store, stream, 2)
            assert storefront.reread(stream, put) == walk(storefront, stream).latest[put]

    def test_change_is_there_at_once(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self._asked():
            (put,) = self.fill(store, stream, 1)
            before = storefront.reread(stream, put)
            store.put(_changed(stream, store), put)
            after = storefront.reread(stream, put)
            assert after is not None
            assert after != before

    def test_id_that_is_none_is_nobodys(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self._asked():
            self.fill(store, stream, 1)
            for name in _NO_IDS:
                assert storefront.reread(stream, name) is None, name

    def test_many_are_told_each_once(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self._asked():
            put = self.fill(store, stream, self.store_type.page_size + 3)
            latest = walk(storefront, stream).latest
            wanted = [*put, "no-such-id"]
            told = list(storefront.reread_many(stream, wanted))
            assert sorted(name for name, _ in told) == sorted(wanted)
            assert dict(told) == {**{name: latest[name] for name in put}, "no-such-id": None}
            assert list(storefront.reread_many(stream, [])) == []

    @case(Trait.REMOVES)
    def test_what_is_gone_is_told_as_gone(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in (Stream.MEMBERS, Stream.ORDERS):
            gone, stays = self.fill(store, stream, 2)
            told = walk(storefront, stream)
            store.remove(stream, gone)
            assert _is_gone(storefront.reread(stream, gone))
            assert not _is_gone(storefront.reread(stream, stays))
            after = within_a_day(store, storefront, stream, told)
            assert stays in after.latest
            listed = storefront.external_ids(stream)
            assert listed is None or gone not in set(listed)

    @case(Trait.MERGES)
    def test_merged_account_is_gone_and_the_other_stays(self, store: Store, storefront: StorefrontAdapter) -> None:
        gone, stays = self.fill(store, Stream.MEMBERS, 2)
        sale = store.put(Sale(person=gone, email=address(0)))
        store.merge(gone, stays)
        assert _is_gone(storefront.reread(Stream.MEMBERS, gone))
        assert not _is_gone(storefront.reread(Stream.MEMBERS, stays))
        assert getattr(storefront.reread(Stream.ORDERS, sale), "member_external_id", "") == stays

    def test_counts_and_ids_are_those_of_the_pages(self, store: Store, storefront: StorefrontAdapter) -> None:
        for stream in self.streams():
            self.fill(store, stream, self.store_type.page_size * 2 + 1)
            told = set(walk(storefront, stream).latest)
            listed, count = storefront.external_ids(stream), storefront.count(stream)
            assert listed is None or set(listed) == told
            assert count is None or count == len(told)

    @case(Capability.INCREMENTAL, _has_unseen)
    def test_second_pass_finds_what_does_not_show(self, store: Store, storefront: StorefrontAdapter) -> None:
        for what in self.adapter.unseen:
            since = store.now
            store.now += timedelta(hours=1)
            stream, external_id = store.change_unseen(what)
            store.now += timedelta(minutes=1)
            found: dict[str, Record] = {}
            for page in storefront.second_pass(since):
                assert all(record.stream is page.stream for record in page.records)
                found |= {record.external_id: record for record in page.records if record.stream is stream}
            assert external_id in found, what
            now = storefront.reread(stream, external_id)
            assert now is None or found[external_id] == now

    def test_second_pass_of_a_quiet_store_has_an_end(self, store: Store, storefront: StorefrontAdapter) -> None:
        self.fill(store, Stream.ORDERS, 3)
        before = store.calls
        assert all(not page.problems for page in storefront.second_pass(store.now))
        assert store.calls - before <= 20

    def _asked(self) -> list[Stream]:
        """The streams of which single records can be asked on every platform."""
        return [stream for stream in self.streams() if stream is not Stream.REFUNDS]


def _changed(stream: Stream, store: Store) -> Sample:
    if stream is Stream.MEMBERS:
        return Person(email=address(0), first_name="Grace", changed_at=store.now)
    if stream is Stream.PRODUCTS:
        return Thing(title="Lantern", price="11.00", changed_at=store.now)
    return Sale(total="11.00", email=address(0), changed_at=store.now)


def _is_gone(record: Record | None) -> bool:
    return record is None or record.deleted
