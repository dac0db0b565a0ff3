"""What every storefront keeps to, on Taobao's gateway; cases that speak of codes, names and times it has not are told in its own way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import pytest
import responses

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.taobao import TaobaoStorefront
from crm_plugin.adapters.testing import (
    BEGIN,
    Answered,
    Asked,
    GivenBack,
    Person,
    Sale,
    Sample,
    State,
    Store,
    StorefrontKit,
    Told,
    Trait,
    Trouble,
)
from crm_plugin.adapters.testing.cases import orders, walk, within_a_day
from crm_plugin.errors import ActionRequired, AdapterError, PermanentError, TransientError
from crm_plugin.records import CouponOrder, StoreEventKind, Stream
from tests.adapters.storefronts.taobao.fake_top import (
    SECRET,
    SESSION,
    URL,
    VALUES,
    Refused,
    Top,
    at,
    member,
    refund,
    trade,
)
from tests.contracts.storefront_tiers import CLUB, GOLD, SILVER

_STATES = {
    State.PAID: "WAIT_SELLER_SEND_GOODS",
    State.PENDING: "WAIT_BUYER_PAY",
    State.CANCELLED: "TRADE_CLOSED_BY_TAOBAO",
}
_BENEFITS = [{"amount": "5", "relation_id": "r", "detail_id": "d", "benefit_type": "1"}]
_REFUSALS = {
    Trouble.REVOKED: Refused(27, "invalid-sessionkey"),
    Trouble.FORBIDDEN: Refused(42),
    Trouble.UNPERMITTED: Refused(11, "isv.permission-api-package-empty"),
    Trouble.READ_ONLY: Refused(12),
}
_WRITES = ("update", "batch", ".add", ".send", "permit")

_BOUNDS = ("start", "end", "min", "max", "relation", "grade")


class TopStore(Store):
    """A shop behind the gateway."""

    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.REMOVES, Trait.POLLS, Trait.PERMISSIONS})
    tells: ClassVar[frozenset[StoreEventKind]] = frozenset({StoreEventKind.CHANGED})
    currencies: ClassVar[tuple[str, ...]] = ("CNY",)
    page_size: ClassVar[int] = 100
    secrets: ClassVar[tuple[str, ...]] = (SESSION, SECRET)

    def __init__(self) -> None:
        super().__init__()
        self.top = Top()
        self._number = 0
        self._whole: dict[str, dict[str, Any]] = {}

    def answer(self, asked: Asked) -> Answered:
        self.top.now = self.now
        return Answered(body=self.top.answered(asked.body.decode()).encode())

    def list_of(self, asked: Asked) -> str:
        """The slice that is walked: its method and bounds, whatever the page."""
        told = dict(parse_qsl(asked.body.decode()))
        if not {"page_no", "current_page"} & told.keys():
            return ""
        return " ".join(
            f"{name}={told[name]}" for name in sorted(told) if name == "method" or name.partition("_")[0] in _BOUNDS
        )

    def missing(self, asked: Asked, answered: Answered, dice: Random) -> Answered | None:
        """A gateway that ran out of time tells fewer rows than it counts, or none; sometimes it says that this was all."""
        told = json.loads(answered.body)
        (root,) = told.values()
        wrapper = next((name for name in ("members", "trades", "refunds") if name in root), None)
        if wrapper is None:
            return None
        ((element, rows),) = root[wrapper].items()
        left = rows[: dice.choice((0, len(rows) // 2))]
        root[wrapper] = {element: left} if left else {}
        if "has_next" in root and dice.random() < 0.5:
            root["has_next"] = False
        return replace(answered, body=json.dumps(told).encode())

    def refusal(self, trouble: Trouble, asked: Asked) -> Answered | None:
        if trouble is Trouble.READ_ONLY and not any(word in asked.body.decode() for word in _WRITES):
            return None
        before = self.top.before

        def refuses(_method: str, _params: Any) -> None:
            raise _REFUSALS[trouble]

        self.top.before = refuses
        try:
            return self.answer(asked)
        finally:
            self.top.before = before

    def put(self, sample: Sample, external_id: str = "") -> str:
        self._number += 1
        rows, name = self._rows(sample.stream)
        row = self._row(sample, external_id)
        kept = next((one for one in rows if str(one[name]) == external_id), None)
        if kept is None:
            rows.append(row)
        else:
            kept.clear()
            kept.update(row)
        return str(row[name])

    def remove(self, stream: Stream, external_id: str) -> None:
        rows, name = self._rows(stream)
        rows[:] = [row for row in rows if str(row[name]) != external_id]

    def spoil(self, stream: Stream, external_id: str) -> None:
        rows, name = self._rows(stream)
        row = next(row for row in rows if str(row[name]) == external_id)
        self._whole[external_id] = dict(row)
        row[{Stream.MEMBERS: "trade_count", Stream.ORDERS: "payment", Stream.REFUNDS: "refund_fee"}[stream]] = []

    def mend(self, stream: Stream, external_id: str) -> None:
        rows, name = self._rows(stream)
        row = next(row for row in rows if str(row[name]) == external_id)
        row.update(self._whole.pop(external_id))

    def queue(self, told: Told) -> None:
        content = f'{{"user": "{told.external_id}"}}'
        self.top.messages.append(
            {"id": told.number, "topic": "taobao_opencrm_MemberJoin", "user_id": 1, "content": content}
        )

    def coupons(self) -> list[str]:
        return [key.rpartition(":")[2] for key in self.top.given]

    def _rows(self, stream: Stream) -> tuple[list[dict[str, Any]], str]:
        return {
            Stream.MEMBERS: (self.top.members, "ouid"),
            Stream.ORDERS: (self.top.trades, "tid"),
            Stream.REFUNDS: (self.top.refunds, "refund_id"),
            Stream.PRODUCTS: (self.things, "id"),
        }[stream]

    # A shop's goods are not read.
    things: ClassVar[list[dict[str, Any]]] = []

    def _row(self, sample: Sample, external_id: str) -> dict[str, Any]:
        match sample:
            case Person():
                return self._person(sample, external_id)
            case Sale():
                more = {
                    "status": _STATES[sample.state],
                    "modified": at(sample.changed_at),
                    "payment": sample.total,
                    "post_fee": "0.00",
                    "ouid": sample.person,
                    "buyer_open_uid": "",
                }
                if sample.state is State.PENDING:
                    more["pay_time"] = None
                number = int(external_id) - int(trade(0, BEGIN)["tid"]) if external_id else self._number
                row = trade(number, sample.placed_at, **more)
                row["orders"]["order"][0] |= {"title": sample.title, "divide_order_fee": sample.total}
                return row
            case GivenBack():
                return refund(self._number, sample.at, refund_fee=sample.amount, tid=int(sample.order), ouid="")
        return {"id": str(self._number)}

    def _person(self, sample: Person, external_id: str) -> dict[str, Any]:
        for name in sample.tags:
            if name not in [group["group_name"] for group in self.top.groups]:
                number = 100 + len(self.top.groups)
                self.top.groups.append({"group_id": number, "group_name": name, "member_count": 1})
        ids = [str(group["group_id"]) for group in self.top.groups if group["group_name"] in sample.tags]
        return member(
            1,
            ouid=external_id or f"AAK{self._number:06d}",
            buyer_nick=f"{sample.first_name[:1]}**{sample.first_name[-1:]}",
            relation_source=3,
            last_trade_time=None,
            group_ids="|".join(ids),
            _modified=at(sample.changed_at),
        )


@pytest.mark.slow
class TestKit(StorefrontKit):
    adapter = TaobaoStorefront
    store_type = TopStore

    @pytest.fixture
    def store(self) -> Iterator[TopStore]:
        made = TopStore()
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            mock.add_passthru("http://127.0.0.1")
            mock.add_callback(responses.POST, URL, made.respond, content_type=None)
            yield made

    def open(self, store: Store) -> StorefrontAdapter:
        told = {**VALUES, "user_id": "", "grades": "silver=2, gold=3", "benefits": _BENEFITS}
        values = {**told, "base_url": f"{store.served_at}/router/rest" if store.served_at else URL}
        return TaobaoStorefront(values, sleep=lambda _: None, now=lambda: store.now.timestamp())

    def test_settings_are_described(self) -> None:
        """Those of the app may be typed in for a shop with an app of its own, so they are among the shop's."""
        keys = [setting.key for setting in self.adapter.settings]
        assert {setting.key for setting in self.adapter.app_settings} < set(keys)
        assert len(keys) == len(set(keys))
        assert [key for key in keys if f"`{key}`" not in self.readme()] == []

    def test_times_are_the_very_instants(self, store: Store, storefront: StorefrontAdapter) -> None:
        """Orders of more than three months ago are not told."""
        days = [datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(2025, 12, 31, 15, 59, 59, tzinfo=UTC)]
        put = {store.put(Sale(placed_at=day, changed_at=BEGIN)): day for day in days}
        told = {order.external_id: order.placed_at for order in orders(walk(storefront, Stream.ORDERS).records)}
        assert told == put

    def test_changed_account_is_told_anew_within_a_day(self, store: Store, storefront: StorefrontAdapter) -> None:
        first, *_ = self.fill(store, Stream.MEMBERS, 150)
        told = walk(storefront, Stream.MEMBERS)
        store.put(Person(first_name="Grace", changed_at=store.now), first)
        told = within_a_day(store, storefront, Stream.MEMBERS, told)
        assert getattr(told.latest[first], "attributes", {})["nick"] == "G**e"

    # One grade a member, so one programme.

    def test_level_takes_the_place_of_the_one_before(
        self, storefront: StorefrontAdapter, references: tuple[str, str]
    ) -> None:
        for mark in (GOLD, SILVER):
            storefront.write_tier(references[0], mark)
        assert self._record(storefront, references[0]).marks == {"main": "silver"}
        with pytest.raises(PermanentError):
            storefront.write_tier(references[0], CLUB)

    def test_many_are_answered_in_their_order(
        self, storefront: StorefrontAdapter, references: tuple[str, str], missing: str
    ) -> None:
        pytest.skip("A programme of its own for each member is told in test_writing.")

    # Coupons come to members, of an amount.

    def _coupons(self, store: Store, *codes: str) -> CouponOrder:
        people = tuple(store.put(Person()) for _ in codes)
        return CouponOrder("kit:1", "Five off", codes, amount_minor=500, currency="CNY", references=people)

    def test_codes_are_made_once(self, store: Store, storefront: StorefrontAdapter) -> None:
        order = self._coupons(store, "KIT-1", "KIT-2")
        once, twice = (storefront.create_coupons(order) for _ in range(2))
        assert [made.error for made in (*once, *twice)] == [None] * 4
        assert [made.external_id for made in once] == [made.external_id for made in twice]
        assert store.coupons() == ["KIT-1", "KIT-2"]

    def test_code_whose_answer_was_lost_is_made_once(self, store: Store, storefront: StorefrontAdapter) -> None:
        order = self._coupons(store, "KIT-1")
        store.fail(Trouble.SILENT, 1)
        assert isinstance(storefront.create_coupons(order)[0].error, TransientError)
        assert storefront.create_coupons(order)[0].error is None
        assert store.coupons() == ["KIT-1"]

    def test_code_of_an_amount(self, store: Store, storefront: StorefrontAdapter) -> None:
        (made,) = storefront.create_coupons(self._coupons(store, "KIT-5"))
        assert made.error is None

    def test_code_says_whether_it_is_bound(self, store: Store, storefront: StorefrontAdapter) -> None:
        (made,) = storefront.create_coupons(self._coupons(store, "KIT-ONE"))
        assert made.is_restricted

    def test_codes_of_a_store_in_trouble(self, store: Store, storefront: StorefrontAdapter) -> None:
        order = self._coupons(store, "KIT-1")
        for trouble, kind in ((Trouble.DOWN, TransientError), (Trouble.READ_ONLY, ActionRequired)):
            store.fail(trouble)
            (made,) = storefront.create_coupons(order)
            assert isinstance(made.error, AdapterError)
            assert isinstance(made.error, kind)
            store.heal()
        assert store.coupons() == []


def test_fewer_pages_than_days() -> None:
    """Days on which nothing happened cost a call, and no page."""
    store = TopStore()
    with responses.RequestsMock() as mock:
        mock.add_callback(responses.POST, URL, store.respond, content_type=None)
        put = store.put(Sale(placed_at=store.now - timedelta(days=40), changed_at=store.now - timedelta(days=40)))
        adapter = TaobaoStorefront({**VALUES, "user_id": ""}, now=lambda: store.now.timestamp())
        told = walk(adapter, Stream.ORDERS)
    assert list(told.latest) == [put]
    assert len(told.cursors) < 10
    assert store.calls >= 89
