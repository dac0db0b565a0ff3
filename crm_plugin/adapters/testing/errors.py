"""Errors: the right class with a hint, after few calls, without a secret in it; and going on afterwards."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import pytest

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.testing.cases import Kit, case, walk
from crm_plugin.adapters.testing.edge import ELSEWHERE, Trouble
from crm_plugin.adapters.testing.store import Store, Trait
from crm_plugin.clock import is_zone
from crm_plugin.errors import ActionRequired, AdapterError, MalformedResponse, TransientError
from crm_plugin.records import Stream

# Attempts, ways to show the keys, page sizes: whatever an adapter tries, more than this for one reading is a loop.
MOST_CALLS = 60
_WORD = {
    Trouble.BUSY: (TransientError,),
    Trouble.BUSY_DATE: (TransientError,),
    Trouble.BUSY_SOME_TIME: (TransientError,),
    Trouble.BROKEN: (TransientError,),
    Trouble.DOWN: (TransientError,),
    Trouble.SLOW: (TransientError,),
    Trouble.UNREACHABLE: (TransientError,),
    Trouble.HTML: (ActionRequired, MalformedResponse, TransientError),
    Trouble.REDIRECT: (ActionRequired,),
    Trouble.TRUNCATED: (TransientError, MalformedResponse),
    Trouble.ENDLESS: (TransientError, MalformedResponse),
    Trouble.REVOKED: (ActionRequired,),
    Trouble.FORBIDDEN: (ActionRequired,),
}
_PASSING = (Trouble.BUSY_SOME_TIME, Trouble.DOWN, Trouble.SLOW, Trouble.UNREACHABLE, Trouble.TRUNCATED)


class ErrorCases(Kit):
    @pytest.mark.parametrize("trouble", list(_WORD))
    def test_trouble_is_told_by_its_class(self, store: Store, storefront: StorefrontAdapter, trouble: Trouble) -> None:
        store.fail(trouble)
        with pytest.raises(AdapterError) as caught:
            walk(storefront, Stream.ORDERS)
        error = caught.value
        assert isinstance(error, _WORD[trouble])
        assert error.message
        assert error.hint
        assert error.adapter == self.adapter.name
        assert store.calls <= MOST_CALLS
        if trouble is Trouble.BUSY:
            assert isinstance(error, TransientError)
            assert error.retry_after == 40
        if trouble is Trouble.BUSY_DATE:
            assert isinstance(error, TransientError)
            assert error.retry_after is not None
            assert 0 < error.retry_after <= 90

    @pytest.mark.parametrize("trouble", list(_WORD))
    def test_check_never_raises(self, store: Store, storefront: StorefrontAdapter, trouble: Trouble) -> None:
        store.fail(trouble)
        problems = storefront.check()
        assert any(problem.severity is Severity.ERROR for problem in problems)
        assert all(problem.code and problem.message for problem in problems)
        assert all(problem.hint for problem in problems if problem.severity is Severity.ERROR)
        assert store.calls <= MOST_CALLS

    def test_check_of_a_store_that_is_well(self, store: Store, storefront: StorefrontAdapter) -> None:
        self.fill(store, Stream.ORDERS, 1)
        assert [problem for problem in storefront.check() if problem.severity is Severity.ERROR] == []
        assert store.calls <= 10

    def test_store_tells_name_currency_and_zone(self, store: Store, storefront: StorefrontAdapter) -> None:
        info = storefront.shop_info()
        assert info.currency == store.currencies[0]
        assert is_zone(info.timezone)

    @pytest.mark.parametrize("trouble", _PASSING)
    def test_trouble_that_passes_is_waited_out(
        self, store: Store, storefront: StorefrontAdapter, trouble: Trouble
    ) -> None:
        put = self.fill(store, Stream.ORDERS, 2)
        storefront.shop_info()
        store.fail(trouble, 1)
        assert set(put) <= set(walk(storefront, Stream.ORDERS).latest)

    @case(Stream.ORDERS)
    def test_reading_goes_on_where_it_broke_off(self, store: Store, storefront: StorefrontAdapter) -> None:
        put = self.fill(store, Stream.ORDERS, self.store_type.page_size * 7 // 2)
        reading = iter(storefront.pages(Stream.ORDERS, ""))
        first = next(reading)
        store.fail(Trouble.DOWN)
        with pytest.raises(TransientError):
            list(reading)
        store.heal()
        other = self.open(store)
        told = {*walk(other, Stream.ORDERS, first.next_cursor).latest, *(one.external_id for one in first.records)}
        other.close()
        assert set(put) - told == set()

    @case(Stream.ORDERS)
    def test_key_that_is_revoked_in_the_middle_ends_the_reading(
        self, store: Store, storefront: StorefrontAdapter
    ) -> None:
        self.fill(store, Stream.ORDERS, self.store_type.page_size * 7 // 2)
        reading = iter(storefront.pages(Stream.ORDERS, ""))
        next(reading)
        store.fail(Trouble.REVOKED)
        with pytest.raises(ActionRequired):
            list(reading)

    @case(Trait.PERMISSIONS)
    def test_missing_right_is_told_apart_from_a_wrong_key(self, store: Store, storefront: StorefrontAdapter) -> None:
        told: list[AdapterError] = []
        for trouble in (Trouble.REVOKED, Trouble.UNPERMITTED):
            store.fail(trouble)
            with pytest.raises(ActionRequired) as caught:
                walk(storefront, Stream.ORDERS)
            told.append(caught.value)
            store.heal()
        assert told[0].message != told[1].message
        assert all(error.hint for error in told)

    @pytest.mark.parametrize("trouble", [Trouble.DOWN, Trouble.REVOKED])
    def test_asking_for_one_record_fails_as_a_page_does(
        self, store: Store, storefront: StorefrontAdapter, trouble: Trouble
    ) -> None:
        """What cannot be asked is not gone."""
        (put,) = self.fill(store, Stream.ORDERS, 1)
        store.fail(trouble)
        with pytest.raises(_WORD[trouble]):
            storefront.reread(Stream.ORDERS, put)
        with pytest.raises(_WORD[trouble]):
            list(storefront.reread_many(Stream.ORDERS, [put]))

    def test_redirect_is_not_followed(self, store: Store, storefront: StorefrontAdapter) -> None:
        store.fail(Trouble.REDIRECT)
        with pytest.raises(AdapterError):
            walk(storefront, Stream.ORDERS)
        there = urlsplit(ELSEWHERE).hostname
        assert [asked.url for asked in store.asked if urlsplit(asked.url).hostname == there] == []

    @pytest.mark.parametrize("trouble", [Trouble.DOWN, Trouble.FORBIDDEN, Trouble.UNREACHABLE, Trouble.TRUNCATED])
    def test_no_secret_is_told(
        self, store: Store, storefront: StorefrontAdapter, trouble: Trouble, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        self.fill(store, Stream.ORDERS, 1)
        store.fail(trouble)
        with pytest.raises(AdapterError) as caught:
            walk(storefront, Stream.ORDERS)
        error = caught.value
        told = [str(error), repr(error), error.excerpt, str(error.as_dict()), caplog.text, repr(storefront)]
        told += [repr(problem) for problem in storefront.check()]
        assert store.secrets
        assert [secret for secret in store.secrets if any(secret in text for text in told)] == []

    def test_closing_twice_is_as_once(self, store: Store) -> None:
        opened = self.open(store)
        opened.shop_info()
        opened.close()
        opened.close()
