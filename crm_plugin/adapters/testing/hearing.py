"""Webhooks and messages: who sent them, what they say, and what the law asks of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from crm_plugin.adapters.base import Capability, Problem
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.hearing import Hears
from crm_plugin.adapters.testing.cases import Kit, address, case
from crm_plugin.adapters.testing.edge import Trouble
from crm_plugin.adapters.testing.samples import NOW, Person, Sale
from crm_plugin.adapters.testing.store import Store, Told, Trait
from crm_plugin.errors import ActionRequired, WebhookRejected
from crm_plugin.records import RawRequest, StoreEvent, StoreEventKind, Stream

_ORDER = Told(kind=StoreEventKind.CHANGED, stream=Stream.ORDERS, external_id="1")
_NO_EVENTS = (b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b"[" * 5000, b'{"id": {"a": []}}')
_LARGE = 5 * 2**20


def _subscribes(kit: type[Kit]) -> str:
    own = kit.adapter.subscribe is not Hears.subscribe
    return "" if own else f"{kit.adapter.label} subscribes nothing by itself"


class HearingCases(Kit):
    def hear(self, storefront: StorefrontAdapter, request: RawRequest) -> list[StoreEvent]:
        """Verified, then read, by an adapter that knows nothing but values: what a store tells comes to such a one."""
        listening = self.adapter.listening(storefront.values)
        listening.verify_webhook(request)
        return listening.parse_webhook(request)

    def _one(self, store: Store, storefront: StorefrontAdapter, told: Told) -> StoreEvent:
        (event,) = self.hear(storefront, store.hook(told))
        assert event.kind is told.kind
        assert event.key
        assert event.topic
        return event

    def _rejected(self, storefront: StorefrontAdapter, request: RawRequest) -> None:
        with pytest.raises(WebhookRejected) as caught:
            storefront.verify_webhook(request)
        assert 400 <= caught.value.status < 500

    @case(Capability.WEBHOOKS)
    def test_event_says_what_to_look_at(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Sale(email=address(1)))
        event = self._one(store, storefront, replace(_ORDER, external_id=put))
        assert (event.stream, event.external_id) == (Stream.ORDERS, put)
        assert not event.is_own
        assert store.calls == 0
        assert storefront.reread(Stream.ORDERS, event.external_id) is not None

    @case(Capability.WEBHOOKS, Stream.MEMBERS)
    def test_event_of_an_account(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email=address(1)))
        event = self._one(store, storefront, Told(kind=StoreEventKind.CHANGED, stream=Stream.MEMBERS, external_id=put))
        assert (event.stream, event.external_id) == (Stream.MEMBERS, put)

    @case(Capability.WEBHOOKS, StoreEventKind.DELETED)
    def test_event_of_what_is_gone(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email=address(1)))
        told = Told(kind=StoreEventKind.DELETED, stream=Stream.MEMBERS, external_id=put)
        request = store.hook(told)
        store.remove(Stream.MEMBERS, put)
        (event,) = self.hear(storefront, request)
        assert (event.kind, event.stream, event.external_id) == (StoreEventKind.DELETED, Stream.MEMBERS, put)

    @case(Capability.WEBHOOKS, StoreEventKind.MERGED)
    def test_event_of_a_merger_says_into_whom(self, store: Store, storefront: StorefrontAdapter) -> None:
        gone, stays = (store.put(Person(email=address(number))) for number in (1, 2))
        told = Told(kind=StoreEventKind.MERGED, stream=Stream.MEMBERS, external_id=gone, into=stays)
        event = self._one(store, storefront, told)
        assert (event.external_id, event.into) == (gone, stays)

    @case(Capability.WEBHOOKS)
    def test_forged_body_is_rejected(self, store: Store, storefront: StorefrontAdapter) -> None:
        request = store.hook(_ORDER)
        for body in (request.body + b" ", request.body.replace(b"1", b"2"), b"", b"{}"):
            self._rejected(storefront, replace(request, body=body))
        assert store.calls == 0

    @case(Capability.WEBHOOKS)
    def test_truncated_body_is_rejected(self, store: Store, storefront: StorefrontAdapter) -> None:
        request = store.hook(_ORDER)
        self._rejected(storefront, replace(request, body=request.body[: len(request.body) // 2]))

    @case(Capability.WEBHOOKS)
    def test_large_forged_body_is_rejected(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._rejected(storefront, replace(store.hook(_ORDER), body=b"[" * _LARGE))

    @case(Capability.WEBHOOKS)
    def test_unsigned_request_is_rejected(self, store: Store, storefront: StorefrontAdapter) -> None:
        request = store.hook(_ORDER)
        bare = urlsplit(request.url)._replace(query="").geturl()
        self._rejected(storefront, replace(request, url=bare, headers={"content-type": "application/json"}))

    @case(Capability.WEBHOOKS)
    def test_odd_headers_are_rejected_and_nothing_worse(self, store: Store, storefront: StorefrontAdapter) -> None:
        request = store.hook(_ORDER)
        rejected = 0
        for name, value in request.headers.items():
            for odd in ("", "x", "é" * 50, value[:-1], value + "=", value[::-1], "a.b.c", "{", "=" * 3):
                try:
                    self.hear(storefront, replace(request, headers={**request.headers, name: odd}))
                except WebhookRejected:
                    rejected += 1
        assert rejected > 0

    @case(Capability.WEBHOOKS)
    def test_other_stores_event_is_not_ours(self, store: Store, storefront: StorefrontAdapter) -> None:
        ours, theirs = store.hook(_ORDER), store.hook(replace(_ORDER, elsewhere=True))
        named = self.adapter.addressed(theirs)
        if named and named != self.adapter.addressed(ours):
            return
        self._rejected(storefront, theirs)

    @case(Capability.WEBHOOKS, Trait.COMMON_ADDRESS)
    def test_common_address_is_told_whose_event_it_is(self, store: Store, storefront: StorefrontAdapter) -> None:
        ours, theirs = store.hook(_ORDER), store.hook(replace(_ORDER, elsewhere=True))
        assert self.adapter.addressed(ours)
        assert self.adapter.addressed(ours) != self.adapter.addressed(theirs)
        assert self.adapter.addressed(replace(ours, headers={}, body=b"\xff")) == ""
        # Of a store that was erased nothing is known: what it tells is no news, but a forgery is one.
        app = {setting.key: storefront.values[setting.key] for setting in self.adapter.app_settings}
        stranger = self.adapter.listening(app)
        stranger.verify_webhook(ours)
        self._rejected(stranger, replace(ours, body=ours.body + b" "))

    @case(Capability.WEBHOOKS)
    def test_signed_body_that_says_nothing_stops_nothing(self, store: Store, storefront: StorefrontAdapter) -> None:
        for body in _NO_EVENTS:
            try:
                events = self.hear(storefront, store.signed(body))
            except WebhookRejected as error:
                assert error.status == 400
            else:
                assert all(event.kind in (StoreEventKind.UNKNOWN, StoreEventKind.PING) for event in events)

    @case(Capability.WEBHOOKS)
    def test_replayed_event_has_its_key_again(self, store: Store, storefront: StorefrontAdapter) -> None:
        once, twice = (self._one(store, storefront, _ORDER) for _ in range(2))
        other = self._one(store, storefront, replace(_ORDER, number=2, at=NOW + timedelta(seconds=5)))
        of_another = self._one(store, storefront, replace(_ORDER, number=3, external_id="2"))
        assert once.key == twice.key
        assert len({once.key, other.key, of_another.key}) == 3

    @case(Capability.WEBHOOKS, Trait.EVENT_TIMES)
    def test_event_that_comes_late_says_when_it_was(self, store: Store, storefront: StorefrontAdapter) -> None:
        newer = self._one(store, storefront, replace(_ORDER, number=2, at=NOW))
        older = self._one(store, storefront, replace(_ORDER, number=1, at=NOW - timedelta(minutes=9)))
        assert newer.at is not None
        assert older.at is not None
        assert newer.at - older.at == timedelta(minutes=9)
        assert newer.at.utcoffset() == timedelta(0)

    @case(Capability.WEBHOOKS)
    def test_topic_of_tomorrow_is_unknown(self, store: Store, storefront: StorefrontAdapter) -> None:
        event = self._one(store, storefront, Told(kind=StoreEventKind.UNKNOWN))
        assert event.kind is StoreEventKind.UNKNOWN

    @case(Capability.WEBHOOKS, Trait.ECHOES)
    def test_echo_of_our_own_write_is_known(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email=address(1)))
        told = Told(kind=StoreEventKind.CHANGED, stream=Stream.MEMBERS, external_id=put)
        assert self._one(store, storefront, replace(told, own=True)).is_own
        assert not self._one(store, storefront, replace(told, number=2)).is_own

    @case(StoreEventKind.PING, Capability.WEBHOOKS)
    def test_ping(self, store: Store, storefront: StorefrontAdapter) -> None:
        (event,) = self.hear(storefront, store.hook(Told(kind=StoreEventKind.PING)))
        assert event.kind is StoreEventKind.PING

    @case(StoreEventKind.SHOP, Capability.WEBHOOKS)
    def test_store_that_changed(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._one(store, storefront, Told(kind=StoreEventKind.SHOP))

    @case(StoreEventKind.SCOPES, Capability.WEBHOOKS)
    def test_rights_that_changed(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._one(store, storefront, Told(kind=StoreEventKind.SCOPES))

    @case(StoreEventKind.SUSPENDED, StoreEventKind.RESUMED, Capability.WEBHOOKS)
    def test_app_that_is_switched_off_and_on(self, store: Store, storefront: StorefrontAdapter) -> None:
        store.fail(Trouble.REVOKED)
        off = self._one(store, storefront, Told(kind=StoreEventKind.SUSPENDED))
        assert off.key != self._one(store, storefront, Told(kind=StoreEventKind.RESUMED, number=2)).key

    @case(StoreEventKind.UNINSTALLED, Capability.WEBHOOKS)
    def test_app_that_is_taken_away(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._without_keys(store, storefront, StoreEventKind.UNINSTALLED)

    @case(StoreEventKind.BULK_READY, Capability.WEBHOOKS)
    def test_reading_that_is_ready(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._one(store, storefront, Told(kind=StoreEventKind.BULK_READY))

    @case(StoreEventKind.EXPORT, Capability.WEBHOOKS)
    def test_order_to_export_names_the_person(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._names_somebody(self._without_keys(store, storefront, StoreEventKind.EXPORT))

    @case(StoreEventKind.ERASE, Capability.WEBHOOKS)
    def test_order_to_erase_names_the_person(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._names_somebody(self._without_keys(store, storefront, StoreEventKind.ERASE))

    @case(StoreEventKind.ERASE_SHOP, Capability.WEBHOOKS)
    def test_order_to_erase_the_store(self, store: Store, storefront: StorefrontAdapter) -> None:
        self._without_keys(store, storefront, StoreEventKind.ERASE_SHOP)

    @case(StoreEventKind.ERASE, Capability.WEBHOOKS)
    def test_forged_order_to_erase_is_rejected(self, store: Store, storefront: StorefrontAdapter) -> None:
        request = store.hook(Told(kind=StoreEventKind.ERASE, external_id=store.put(Person(email=address(1)))))
        self._rejected(storefront, replace(request, body=request.body.replace(b"1", b"2") + b" "))

    @case(Capability.WEBHOOKS, _subscribes)
    def test_subscribing_twice_is_as_once(self, store: Store, storefront: StorefrontAdapter) -> None:
        at = "https://crm.example/hooks/store/1"
        storefront.subscribe(at)
        before = store.calls
        assert storefront.subscribe(at) == []
        assert not any(one.method in ("PUT", "DELETE") for one in store.asked[before:])
        storefront.unsubscribe(at)
        storefront.unsubscribe(at)

    @case(Capability.WEBHOOKS, _subscribes)
    def test_keys_that_may_not_subscribe_are_told(self, store: Store, storefront: StorefrontAdapter) -> None:
        at = "https://crm.example/hooks/store/1"
        store.fail(Trouble.FORBIDDEN)
        try:
            told: list[Problem] = storefront.subscribe(at)
        except ActionRequired as error:
            told = [Problem(error.code, error.message, error.hint)]
        assert told
        assert all(problem.message and problem.hint for problem in told)

    @case(Trait.POLLS)
    def test_message_comes_again_until_it_is_confirmed(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email=address(1)))
        for number in (1, 2):
            store.queue(Told(kind=StoreEventKind.CHANGED, stream=Stream.MEMBERS, external_id=put, number=number))
        first = storefront.poll(10)
        again = storefront.poll(10)
        assert [event.key for event in first] == [event.key for event in again]
        assert len({event.key for event in first}) == 2
        storefront.confirm(first[:1])
        assert [event.key for event in storefront.poll(10)] == [first[1].key]
        storefront.confirm([*first, *again])
        assert storefront.poll(10) == []

    @case(Trait.POLLS)
    def test_no_more_messages_than_asked_for(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email=address(1)))
        for number in range(5):
            store.queue(Told(kind=StoreEventKind.CHANGED, stream=Stream.MEMBERS, external_id=put, number=number))
        assert len(storefront.poll(2)) == 2

    def _without_keys(self, store: Store, storefront: StorefrontAdapter, kind: StoreEventKind) -> StoreEvent:
        """Such an event comes when the store no longer answers."""
        person = store.put(Person(email=address(1)))
        store.fail(Trouble.REVOKED)
        event = self._one(store, storefront, Told(kind=kind, external_id=person))
        assert store.calls == 0
        return event

    def _names_somebody(self, event: StoreEvent) -> None:
        assert event.external_id or event.email or event.phone or event.orders
