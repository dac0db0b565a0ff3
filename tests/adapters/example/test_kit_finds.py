"""The kit finds what it is there for: an adapter with one mistake fails at the case that is about it, and passes there without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from crm_plugin.adapters.base import Problem
from crm_plugin.adapters.storefronts.calls import Calls
from crm_plugin.adapters.testing import Store, Trouble
from crm_plugin.errors import AdapterError
from crm_plugin.records import OrderRecord, Page, RawRequest, Record, StoreEvent, Stream
from crm_plugin.store.session import Database
from tests.adapters.example.corner_store import CornerStore
from tests.adapters.example.test_example import TestKit as ExampleKit


class ByTheClock(CornerStore):
    """Goes on from the present once a list has ended, whatever it has seen."""

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        for page in super().pages(stream, cursor):
            now = datetime.fromtimestamp(self._calls._clock(), UTC).isoformat()
            yield replace(page, next_cursor=json.dumps({"since": now, "id": ""})) if page.last else page


class WithoutOverlap(CornerStore):
    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        return super().pages(stream, cursor.replace(',"ended":true', ""))


class CentsOfYen(CornerStore):
    def _record(self, stream: Stream, raw: bytes | msgspec.Raw) -> Record:
        record = super()._record(stream, raw)
        if isinstance(record, OrderRecord) and record.currency == "JPY":
            return msgspec.structs.replace(record, total_minor=record.total_minor * 100)
        return record


class GoneWhenBusy(CornerStore):
    def reread(self, stream: Stream, external_id: str) -> Record | None:
        try:
            return super().reread(stream, external_id)
        except AdapterError:
            return None


class Trusting(CornerStore):
    def verify_webhook(self, request: RawRequest) -> None:
        """Whoever comes is believed."""


class OneKeyForAll(CornerStore):
    def parse_webhook(self, request: RawRequest) -> list[StoreEvent]:
        return [replace(event, key="event") for event in super().parse_webhook(request)]


class Talkative(CornerStore):
    def check(self) -> list[Problem]:
        return [replace(problem, hint=f"The token is {self.values['token']}.") for problem in super().check()]


class Stubborn(CornerStore):
    def __init__(self, values: Any, *, calls: Calls | None = None) -> None:
        super().__init__(values, calls=Calls(self.name, attempts=1000, sleep=lambda _: None))


def _kit(adapter_class: type[CornerStore]) -> ExampleKit:
    class Kit(ExampleKit):
        adapter = adapter_class

        def open(self, store: Store) -> CornerStore:
            as_it_is = super().open(store)
            adapter = adapter_class(as_it_is.values, calls=as_it_is._calls)
            adapter.page_size = store.page_size
            return adapter

    return Kit()


class TestFindings:
    store = ExampleKit.store

    @pytest.mark.parametrize(
        ("mistaken", "case", "more"),
        [
            (ByTheClock, "test_change_that_shows_late_is_told", ()),
            (WithoutOverlap, "test_change_that_shows_late_is_told", ()),
            (CentsOfYen, "test_money_without_decimals", ()),
            (GoneWhenBusy, "test_asking_for_one_record_fails_as_a_page_does", (Trouble.DOWN,)),
            (Trusting, "test_forged_body_is_rejected", ()),
            (OneKeyForAll, "test_replayed_event_has_its_key_again", ()),
            (Talkative, "test_no_secret_is_told", (Trouble.FORBIDDEN,)),
            (Stubborn, "test_trouble_is_told_by_its_class", (Trouble.DOWN,)),
        ],
    )
    def test_mistake_is_found(
        self,
        store: Store,
        mistaken: type[CornerStore],
        case: str,
        more: tuple[Any, ...],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        kit = _kit(mistaken)
        logged = (caplog,) if case == "test_no_secret_is_told" else ()
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            getattr(kit, case)(store, kit.open(store), *more, *logged)

    def test_bad_day_finds_a_cursor_that_goes_by_the_clock(self, store: Store, sqlite_db: Database) -> None:
        with pytest.raises(AssertionError):
            _kit(ByTheClock).test_bad_day_ends_with_all_that_is_in_the_store(store, sqlite_db, 1)
