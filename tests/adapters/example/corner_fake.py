"""A Corner Store for the kit: lists by time of change and id, tombstones, a token, signed webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any, ClassVar

from crm_plugin.adapters.testing import Answered, Asked, GivenBack, Person, Sale, Sample, State, Store, Told, Trait
from crm_plugin.records import RawRequest, StoreEventKind, Stream

URL = "https://corner.example"
TOKEN, HOOK_SECRET = "tok-4d1c9f0a77e2", "hook-88ab31c0d5f4"
_NAMES = {Stream.MEMBERS: "customers", Stream.ORDERS: "orders", Stream.REFUNDS: "refunds"}
_STATES = {State.PAID: "paid", State.PENDING: "open", State.CANCELLED: "void"}
_WORDS = {StoreEventKind.CHANGED: "changed", StoreEventKind.DELETED: "deleted", StoreEventKind.ERASE: "erase"}


class CornerFake(Store):
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.GUESTS, Trait.REMOVES, Trait.FRACTIONS})
    tells: ClassVar[frozenset[StoreEventKind]] = frozenset(_WORDS)
    currencies: ClassVar[tuple[str, ...]] = ("EUR", "JPY", "KWD")
    page_size: ClassVar[int] = 10
    secrets: ClassVar[tuple[str, ...]] = (TOKEN, HOOK_SECRET)

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _NAMES.values()}
        self._whole: dict[str, dict[str, Any]] = {}
        self._number = 1000

    def put(self, sample: Sample, external_id: str = "") -> str:
        self._number += 1
        name = external_id or str(self._number)
        match sample:
            case Person():
                row = {"email": sample.email, "first_name": sample.first_name, "created_at": _text(sample.joined_at)}
            case Sale():
                row = {
                    "state": _STATES[sample.state],
                    "currency": sample.currency or "EUR",
                    "total": sample.total,
                    "customer": sample.person,
                    "email": sample.email,
                    "title": sample.title,
                    "placed_at": _text(sample.placed_at),
                }
            case GivenBack():
                currency = self.rows["orders"][sample.order]["currency"]
                row = {"order": sample.order, "currency": currency, "amount": sample.amount, "at": _text(sample.at)}
            case _:
                raise NotImplementedError
        changed_at = sample.at if isinstance(sample, GivenBack) else sample.changed_at
        self.rows[_NAMES[sample.stream]][name] = {"id": name, "changed_at": _text(changed_at), **row}
        return name

    def remove(self, stream: Stream, external_id: str) -> None:
        row = self.rows[_NAMES[stream]][external_id]
        row |= {"deleted": True, "changed_at": _text(self.now)}

    def spoil(self, stream: Stream, external_id: str) -> None:
        rows = self.rows[_NAMES[stream]]
        self._whole[external_id] = rows[external_id]
        field = {"customers": "created_at", "orders": "total", "refunds": "amount"}[_NAMES[stream]]
        rows[external_id] = {**rows[external_id], field: [1]}

    def mend(self, stream: Stream, external_id: str) -> None:
        self.rows[_NAMES[stream]][external_id] = self._whole.pop(external_id)

    def list_of(self, asked: Asked) -> str:
        return asked.path if "limit" in asked.query else ""

    def missing(self, asked: Asked, answered: Answered, dice: Random) -> Answered | None:
        """A store that ran out of time tells the first rows, and says that there are no more."""
        told = json.loads(answered.body)
        left = told["rows"][: dice.choice((0, len(told["rows"]) // 2))]
        return replace(answered, body=json.dumps({"rows": left, "more": False}).encode())

    def answer(self, asked: Asked) -> Answered:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answered(401, b"{}")
        match asked.path.removeprefix("/api/").split("/"):
            case ["shop"]:
                return _json({"name": "Corner", "currency": "EUR", "timezone": "Europe/Berlin"})
            case [kind] if kind in self.rows:
                return self._list(self.rows[kind], asked.query)
            case [kind, name] if kind in self.rows and name in self.rows[kind]:
                return _json(self.rows[kind][name])
        return Answered(404, b"{}")

    def _list(self, rows: dict[str, dict[str, Any]], query: dict[str, str]) -> Answered:
        behind = (query["since"], query["id"])
        size = int(query["limit"])
        ordered = sorted(rows.values(), key=lambda row: (row["changed_at"], row["id"]))
        left = [row for row in ordered if (row["changed_at"], row["id"]) > behind]
        return _json({"rows": left[:size], "more": len(left) > size})

    def hook(self, told: Told) -> RawRequest:
        name = _NAMES.get(told.stream or Stream.MEMBERS, "customers")
        topic = f"{name}.{_WORDS.get(told.kind, 'polished')}"
        event = {"event": f"{told.kind}-{told.external_id}-{told.number}", "topic": topic, "id": told.external_id}
        return self._sign(json.dumps(event).encode(), "another" if told.elsewhere else HOOK_SECRET)

    def signed(self, body: bytes) -> RawRequest:
        return self._sign(body, HOOK_SECRET)

    def _sign(self, body: bytes, secret: str) -> RawRequest:
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-corner-signature": signature}
        return RawRequest("POST", "https://crm.example/hooks/corner", headers, body)


def _text(at: datetime) -> str:
    return at.isoformat()


def _json(value: dict[str, Any]) -> Answered:
    return Answered(200, json.dumps(value).encode())
