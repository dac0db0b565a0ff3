"""What we write into a store: done twice it is as done once, and what cannot be done is refused aloud."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.storefronts.base import TIER_FORMS, StorefrontAdapter
from crm_plugin.adapters.testing.cases import Kit, address, case, members
from crm_plugin.adapters.testing.edge import Trouble
from crm_plugin.adapters.testing.samples import Person
from crm_plugin.adapters.testing.store import Store
from crm_plugin.adapters.testing.tiers import TierContract
from crm_plugin.errors import ActionRequired, AdapterError, PermanentError, TransientError, UnsupportedFeature
from crm_plugin.records import ConsentRecord, ConsentState, CouponOrder, MemberRecord, Stream, TierMark

_TROUBLES = {
    "busy": Trouble.BUSY,
    "down": Trouble.DOWN,
    "silent": Trouble.SILENT,
    "read_only": Trouble.READ_ONLY,
}


class TierCases(Kit, TierContract):
    """Levels, with the store's own accounts."""

    @pytest.fixture
    def references(self, store: Store) -> tuple[str, str]:
        return store.put(Person(email=address(1))), store.put(Person(email=address(2)))

    @pytest.fixture
    def missing(self, store: Store) -> str:
        gone = store.put(Person(email=address(3)))
        store.remove(Stream.MEMBERS, gone)
        return gone

    @pytest.fixture
    def fail(self, store: Store) -> Callable[[str], None]:
        return lambda how: store.fail(_TROUBLES[how])


class WritingCases(Kit):
    def _member(self, storefront: StorefrontAdapter, reference: str) -> MemberRecord:
        (found,) = members([record] if (record := storefront.reread(Stream.MEMBERS, reference)) else [])
        return found

    def test_what_is_not_declared_is_refused_aloud(self, storefront: StorefrontAdapter) -> None:
        consent = ConsentRecord(channel="email", state=ConsentState.WITHDRAWN)
        tries: dict[Capability | frozenset[Capability], Callable[[], object]] = {
            Capability.WRITE_TAGS: lambda: storefront.write_tags("1", ["a"], []),
            Capability.WRITE_CONSENT: lambda: storefront.write_consent("1", consent),
            Capability.COUPONS: lambda: storefront.create_coupons(_order("c")),
            TIER_FORMS: lambda: storefront.write_tier("1", TierMark("main", "gold")),
        }
        for need, attempt in tries.items():
            if self._lacks(need):
                with pytest.raises(UnsupportedFeature):
                    attempt()

    @case(Capability.WRITE_TAGS)
    def test_tags_of_others_stay(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email=address(1), tags=("theirs",)))
        for _ in range(2):
            storefront.write_tags(put, ["ours", "new"], [])
            assert set(self._member(storefront, put).tags or ()) == {"theirs", "ours", "new"}
        for _ in range(2):
            storefront.write_tags(put, [], ["new", "never-there"])
            assert set(self._member(storefront, put).tags or ()) == {"theirs", "ours"}

    @case(Capability.WRITE_TAGS)
    def test_tag_on_a_missing_account_is_gone(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email=address(1)))
        store.remove(Stream.MEMBERS, put)
        with pytest.raises(PermanentError) as caught:
            storefront.write_tags(put, ["ours"], [])
        assert caught.value.code == "gone"

    @case(Capability.WRITE_CONSENT)
    def test_consent_is_told_both_ways(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email=address(1)))
        for hours, state in enumerate((ConsentState.GRANTED, ConsentState.WITHDRAWN)):
            at = store.now + timedelta(hours=hours)
            for _ in range(2):
                storefront.write_consent(put, ConsentRecord(channel="email", state=state, at=at))
            told = [one for one in self._member(storefront, put).consents if one.channel == "email"]
            assert [one.state for one in told] == [state]

    @case(Capability.WRITE_CONSENT)
    def test_consent_of_a_missing_account_is_gone(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email=address(1)))
        store.remove(Stream.MEMBERS, put)
        with pytest.raises(PermanentError) as caught:
            storefront.write_consent(put, ConsentRecord(channel="email", state=ConsentState.WITHDRAWN, at=store.now))
        assert caught.value.code == "gone"

    @case(Capability.COUPONS)
    def test_codes_are_made_once(self, store: Store, storefront: StorefrontAdapter) -> None:
        codes = [f"KIT-{number}" for number in range(storefront.coupons_at_once)][:12]
        once, twice = (storefront.create_coupons(_order(*codes)) for _ in range(2))
        assert [made.code for made in once] == codes
        assert all(made.error is None and made.external_id for made in once)
        assert [made.external_id for made in once] == [made.external_id for made in twice]
        assert sorted(store.coupons()) == sorted(codes)

    @case(Capability.COUPONS)
    def test_code_whose_answer_was_lost_is_made_once(self, store: Store, storefront: StorefrontAdapter) -> None:
        storefront.shop_info()
        store.fail(Trouble.SILENT, 1)
        try:
            told = storefront.create_coupons(_order("KIT-1"))
        except AdapterError:
            told = []
        if not told or told[0].error is not None:
            told = storefront.create_coupons(_order("KIT-1"))
        assert [made.error for made in told] == [None]
        assert store.coupons() == ["KIT-1"]

    @case(Capability.COUPONS)
    def test_code_of_an_amount(self, store: Store, storefront: StorefrontAdapter) -> None:
        order = CouponOrder("kit:amount", "Five off", ("KIT-5",), amount_minor=500, currency=store.currencies[0])
        (made,) = storefront.create_coupons(order)
        assert made.error is None
        assert store.coupons() == ["KIT-5"]

    @case(Capability.COUPONS)
    def test_code_says_whether_it_is_bound(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = store.put(Person(email=address(1)))
        order = CouponOrder(
            "kit:one", "For one", ("KIT-ONE",), percent=Decimal(10), references=(put,), emails=(address(1),)
        )
        (bound,) = storefront.create_coupons(order)
        (free,) = storefront.create_coupons(_order("KIT-ALL"))
        assert bound.is_restricted is (Capability.COUPONS_OF_ONE in self.adapter.capabilities)
        assert not free.is_restricted

    @case(Capability.COUPONS)
    def test_codes_of_a_store_in_trouble(self, store: Store, storefront: StorefrontAdapter) -> None:
        for trouble, kind in ((Trouble.DOWN, TransientError), (Trouble.READ_ONLY, ActionRequired)):
            store.fail(trouble)
            try:
                (made,) = storefront.create_coupons(_order("KIT-1"))
            except AdapterError as error:
                assert isinstance(error, kind)
            else:
                assert isinstance(made.error, kind)
            store.heal()
        assert store.coupons() == []


def _order(*codes: str) -> CouponOrder:
    return CouponOrder(f"kit:{codes[0]}", "Ten per cent off", codes, percent=Decimal(10))
