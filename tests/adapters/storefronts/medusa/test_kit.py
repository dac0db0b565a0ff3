"""What every storefront keeps to, on a made-up Medusa."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
import responses

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.calls import Calls
from crm_plugin.adapters.storefronts.medusa import MedusaStorefront
from crm_plugin.adapters.storefronts.medusa.client import MedusaClient
from crm_plugin.adapters.testing import (
    Answered,
    Asked,
    GivenBack,
    Person,
    Sale,
    Sample,
    State,
    Store,
    StorefrontKit,
    Thing,
    Told,
    Trait,
)
from crm_plugin.records import RawRequest, StoreEventKind, Stream
from tests.adapters.storefronts.medusa.fake_medusa import KEY, URL, FakeMedusa, customer

SECRET = "shared"
_ROWS = {Stream.MEMBERS: "customers", Stream.ORDERS: "orders", Stream.PRODUCTS: "variants"}
_PREFIX = {Stream.MEMBERS: "cus_", Stream.ORDERS: "order_", Stream.PRODUCTS: "variant_"}
_STATES = {
    State.PAID: ("pending", "captured"),
    State.PENDING: ("pending", "authorized"),
    State.CANCELLED: ("canceled", "canceled"),
}
_NAMES = {Stream.MEMBERS: "customer", Stream.ORDERS: "order", Stream.PRODUCTS: "product-variant"}


def at(value: datetime) -> str:
    """An instant as Medusa writes it."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class MedusaStore(Store):
    """A made-up Medusa that is asked as one, with the companion's secret."""

    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.GUESTS, Trait.REMOVES, Trait.EVENT_TIMES})
    tells: ClassVar[frozenset[StoreEventKind]] = frozenset(
        {StoreEventKind.CHANGED, StoreEventKind.DELETED, StoreEventKind.PING, StoreEventKind.UNKNOWN}
    )
    currencies: ClassVar[tuple[str, ...]] = ("TWD", "JPY")
    secrets: ClassVar[tuple[str, ...]] = (KEY, SECRET)

    def __init__(self) -> None:
        super().__init__()
        self.medusa = FakeMedusa()
        self._number = 0
        self._whole: dict[str, dict[str, Any]] = {}

    def answer(self, asked: Asked) -> Answered:
        self.medusa.now = at(self.now)
        headers = {"Authorization": asked.headers.get("authorization", "")}
        given = SimpleNamespace(method=asked.method, url=asked.url, body=asked.body, headers=headers)
        status, more, body = self.medusa.answer(given)  # type: ignore[arg-type]
        return Answered(status, body.encode(), {"Content-Type": "application/json", **more})

    def list_of(self, asked: Asked) -> str:
        return "" if asked.method != "GET" else urlsplit(asked.url).path

    def missing(self, asked: Asked, answered: Answered, dice: Random) -> Answered | None:
        """A page without its rows or half of them, with the count of all."""
        told = json.loads(answered.body)
        key = next((name for name, value in told.items() if isinstance(value, list)), "")
        if not key or "offset" not in asked.query:
            return None
        left = told[key][: dice.choice((0, len(told[key]) // 2))]
        return replace(answered, body=json.dumps({**told, key: left}).encode())

    def put(self, sample: Sample, external_id: str = "") -> str:
        self._number += 1
        if isinstance(sample, GivenBack):
            return self._give_back(sample)
        rows = self.medusa.rows[_ROWS[sample.stream]]
        kept = next((row for row in rows if row["id"] == external_id), None)
        name = external_id or f"{_PREFIX[sample.stream]}{self._number:06}"
        row = {**self._row(sample), "id": name}
        if kept is None:
            rows.append(row)
        else:
            refunds = kept["payment_collections"][0]["payments"][0]["refunds"] if isinstance(sample, Sale) else []
            kept.update(row)
            if isinstance(sample, Sale):
                kept["payment_collections"][0]["payments"][0]["refunds"] = refunds
        return name

    def remove(self, stream: Stream, external_id: str) -> None:
        rows = self.medusa.rows[_ROWS[stream]]
        rows[:] = [row for row in rows if row["id"] != external_id]

    def spoil(self, stream: Stream, external_id: str) -> None:
        row = self._find(stream, external_id)
        self._whole[external_id] = dict(row)
        row[{Stream.MEMBERS: "email", Stream.ORDERS: "total", Stream.PRODUCTS: "sku"}[stream]] = ["spoilt"]

    def mend(self, stream: Stream, external_id: str) -> None:
        self._find(stream, external_id).update(self._whole.pop(external_id))

    def change_unseen(self, what: str) -> tuple[Stream, str]:
        name = self.put(Sale(state=State.PENDING))
        row = self._find(Stream.ORDERS, name)
        row["payment_status"] = "captured"
        row["payment_collections"][0]["payments"][0]["captured_at"] = at(self.now)
        payment = {"id": f"pay_{name}", "updated_at": at(self.now), "payment_collection": {"order": {"id": name}}}
        self.medusa.rows["payments"].append(payment)
        return Stream.ORDERS, name

    def hook(self, told: Told) -> RawRequest:
        ending = "deleted" if told.kind is StoreEventKind.DELETED else "updated"
        name = f"{_NAMES.get(told.stream or Stream.ORDERS, 'order')}.{ending}"
        if told.kind in (StoreEventKind.PING, StoreEventKind.UNKNOWN):
            name = "ping" if told.kind is StoreEventKind.PING else "thing.of_tomorrow"
        body = json.dumps({"name": name, "data": {"id": told.external_id}, "at": told.at.isoformat()}).encode()
        return self._request(body, f"d{told.number}", "another" if told.elsewhere else SECRET)

    def signed(self, body: bytes) -> RawRequest:
        return self._request(body, "d", SECRET)

    def coupons(self) -> list[str]:
        return [str(one["code"]) for one in self.medusa.rows["promotions"]]

    def _request(self, body: bytes, delivery: str, secret: str) -> RawRequest:
        stamp = str(int(self.now.timestamp()))
        told = hmac.new(secret.encode(), f"{stamp}.{delivery}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"x-crm-timestamp": stamp, "x-crm-delivery": delivery, "x-crm-signature": told}
        return RawRequest("POST", "https://crm.example/events/shop/medusa", headers, body)

    def _find(self, stream: Stream, external_id: str) -> dict[str, Any]:
        return next(row for row in self.medusa.rows[_ROWS[stream]] if row["id"] == external_id)

    def _give_back(self, sample: GivenBack) -> str:
        row = self._find(Stream.ORDERS, sample.order)
        name = f"ref_{self._number:06}"
        refund = {
            "id": name,
            "amount": float(sample.amount),
            "raw_amount": {"value": sample.amount},
            "note": "",
            "created_at": at(sample.at),
        }
        row["payment_collections"][0]["payments"][0]["refunds"].append(refund)
        row["updated_at"] = at(sample.at)
        return name

    def _row(self, sample: Person | Sale | Thing) -> dict[str, Any]:
        changed = at(sample.changed_at)
        if isinstance(sample, Person):
            for name in sample.tags:
                if name not in [one["name"] for one in self.medusa.rows["customer_groups"]]:
                    self.medusa.rows["customer_groups"].append({"id": f"cusgroup_{name}", "name": name})
            groups = [one for one in self.medusa.rows["customer_groups"] if one["name"] in sample.tags]
            return customer(
                0, changed, email=sample.email, phone=sample.phone, first_name=sample.first_name, groups=groups,
                created_at=at(sample.joined_at),
            )  # fmt: skip
        if isinstance(sample, Thing):
            price = {"currency_code": "twd", "amount": float(sample.price), "raw_amount": {"value": sample.price}}
            return {
                "sku": "",
                "title": "",
                "updated_at": changed,
                "prices": [price],
                "product": {"title": sample.title},
            }
        status, paid = _STATES[sample.state]
        captured = at(sample.placed_at) if sample.state is State.PAID else None
        account = {"id": sample.person or "cus_guest", "has_account": bool(sample.person), "email": sample.email}
        total = {"total": float(sample.total), "raw_total": {"value": sample.total}}
        return {
            "status": status, "payment_status": paid, "fulfillment_status": "not_fulfilled", "email": sample.email, **total,
            "currency_code": (sample.currency or "TWD").lower(), "created_at": at(sample.placed_at), "updated_at": changed,
            "customer_id": account["id"], "customer": account, "items": [{"title": sample.title, "quantity": 1, **total}],
            "payment_collections": [{"payments": [{"id": "pay", "captured_at": captured, "captures": [], "refunds": []}]}],
        }  # fmt: skip


@pytest.mark.slow
class TestKit(StorefrontKit):
    adapter = MedusaStorefront
    store_type = MedusaStore

    @pytest.fixture
    def store(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[MedusaStore]:
        made = MedusaStore()
        monkeypatch.setattr(MedusaStorefront, "clock", staticmethod(lambda: made.now.timestamp()))
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            mock.add_passthru("http://127.0.0.1")
            for method in (responses.GET, responses.POST):
                mock.add_callback(method, re.compile(rf"{re.escape(URL)}/admin/.*"), made.respond, content_type=None)
            yield made

    def open(self, store: Store) -> StorefrontAdapter:
        url = store.served_at or URL
        client = MedusaClient(url, KEY, Calls("medusa", sleep=lambda _: None, clock=lambda: store.now.timestamp()))
        values = {"url": url, "key": KEY, "webhook_secret": SECRET, "timezone": "Asia/Taipei"}
        return MedusaStorefront(values, client=client, page_size=store.page_size, now=lambda: store.now)
