"""Corner Store as a storefront of crm-plugin: the whole adapter, as another distribution would bring it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from crm_plugin import records
from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType
from crm_plugin.adapters.raw import any_json, read_record, split_rows
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.calls import Answer, Calls
from crm_plugin.adapters.storefronts.limits import instant
from crm_plugin.adapters.storefronts.rows import page_of, read_rows
from crm_plugin.errors import ActionRequired, AdapterError, MalformedResponse, WebhookRejected
from crm_plugin.money import parse_minor
from crm_plugin.records import Page, RawRequest, Record, ShopInfo, StoreEvent, StoreEventKind, Stream
from crm_plugin.redaction import excerpt

# What changed this long before the last row is asked for again: the store's servers do not show changes in the order of their times.
_OVERLAP = timedelta(minutes=5)
_STATUSES = {"paid": "paid", "open": "pending", "void": "cancelled"}
_KINDS = {"changed": StoreEventKind.CHANGED, "deleted": StoreEventKind.DELETED, "erase": StoreEventKind.ERASE}


class _Row(msgspec.Struct, kw_only=True):
    id: str
    changed_at: datetime
    deleted: bool = False


class _Customer(_Row, kw_only=True):
    email: str = ""
    first_name: str = ""
    created_at: datetime


class _Order(_Row, kw_only=True):
    state: str
    currency: str
    total: str
    customer: str = ""
    email: str = ""
    title: str = ""
    placed_at: datetime


class _Refund(_Row, kw_only=True):
    order: str
    currency: str
    amount: str
    at: datetime


_LISTS = {Stream.MEMBERS: "customers", Stream.ORDERS: "orders", Stream.REFUNDS: "refunds"}
_ROWS = {Stream.MEMBERS: _Customer, Stream.ORDERS: _Order, Stream.REFUNDS: _Refund}
_DECODERS: dict[Stream, Any] = {stream: msgspec.json.Decoder(row) for stream, row in _ROWS.items()}


class CornerStore(StorefrontAdapter):
    """Reads by a token, hears by webhooks signed with a secret."""

    name = "corner_store"
    label = "Corner Store"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.BACKFILL, Capability.INCREMENTAL, Capability.WEBHOOKS}
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("base_url", "Store address", SettingType.URL),
        Setting("token", "Token", SettingType.SECRET),
        Setting("hook_secret", "Secret of the webhook", SettingType.SECRET, required=False, default=""),
    )
    streams: ClassVar[tuple[Stream, ...]] = tuple(_LISTS)
    page_size = 50

    def __init__(self, values: Mapping[str, Any], *, calls: Calls | None = None) -> None:
        super().__init__(values)
        self._calls = calls or Calls(self.name)

    def close(self) -> None:
        self._calls.close()

    def check(self) -> list[Problem]:
        try:
            self.shop_info()
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        return []

    def shop_info(self) -> ShopInfo:
        shop = self._get("shop").value()
        return ShopInfo(str(shop.get("name", "")), str(shop.get("currency", "")), str(shop.get("timezone", "")))

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        """The cursor is the last row's time of change and id: rows behind it, in the list's own order, are still to come."""
        state = json.loads(cursor) if cursor else {"since": "", "id": ""}
        if state.pop("ended", False) and state["since"]:
            state = {"since": (datetime.fromisoformat(state["since"]) - _OVERLAP).isoformat(), "id": ""}
        more = True
        while more:
            told = self._get(_LISTS[stream], {**state, "limit": str(self.page_size)}).value()
            rows, more = split_rows(msgspec.json.encode(told.get("rows", []))), told.get("more") is True
            found = read_rows(stream, rows, lambda raw: self._record(stream, raw))
            # A page that is told again must not send us back.
            state = max([state, *_places(rows)], key=lambda place: (place["since"], place["id"]))
            state |= {} if more else {"ended": True}
            yield page_of(stream, found, state, total=None, last=not more)

    def parse(self, stream: Stream, raw: str) -> Record:
        return self._record(stream, raw.encode("utf-8", "replace"))

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        answer = self._get(f"{_LISTS[stream]}/{quote(external_id or '-', safe='')}")
        return None if answer.status == 404 else self._record(stream, answer.body)

    def verify_webhook(self, request: RawRequest) -> None:
        secret, shown = self.values["hook_secret"], request.headers.get("x-corner-signature", "")
        expected = hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
        if not secret or not hmac.compare_digest(expected.encode(), shown.encode()):
            raise WebhookRejected("The signature is wrong.")

    def parse_webhook(self, request: RawRequest) -> list[StoreEvent]:
        told = any_json(request.body)
        if not isinstance(told, dict) or not all(isinstance(told.get(name), str) for name in ("event", "topic", "id")):
            raise WebhookRejected("The body cannot be read.", status=400)
        name, _, what = told["topic"].partition(".")
        stream = {path: stream for stream, path in _LISTS.items()}.get(name)
        kind = _KINDS.get(what, StoreEventKind.UNKNOWN) if stream else StoreEventKind.UNKNOWN
        return [StoreEvent(kind, told["event"], told["topic"], stream=stream, external_id=told["id"])]

    def _get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        url, shown = f"{self.values['base_url']}/api/{path}", {"Authorization": f"Bearer {self.values['token']}"}
        answer = self._calls.send("GET", url, operation=path, headers=shown, params=params)
        told: dict[str, Any] = {"adapter": self.name, "operation": path, "status": answer.status}
        told |= {
            "hint": "If this stays, make a new token in Settings > Access and enter it here.",
            "excerpt": excerpt(answer.body),
        }
        if answer.status in (401, 403):
            raise ActionRequired(f"The token {'is unknown' if answer.status == 401 else 'may not read this'}.", **told)
        if answer.status != 404 and not isinstance(answer.value(), dict):
            raise MalformedResponse("The store's answer is not what was asked for.", path="$", **told)
        return answer

    def _record(self, stream: Stream, raw: bytes | msgspec.Raw) -> Record:
        row = read_record(_DECODERS[stream], raw, adapter=self.name)
        try:
            return _READERS[type(row)](row)
        except ValueError as error:
            raise MalformedResponse(str(error), adapter=self.name, path=getattr(error, "path", "$")) from error


def _places(rows: list[msgspec.Raw]) -> Iterator[dict[str, Any]]:
    """Where in the list rows stand; one that cannot be read is passed by."""
    for raw in rows:
        with suppress(msgspec.DecodeError):
            row = msgspec.json.decode(raw, type=_Row)
            yield {"since": row.changed_at.isoformat(), "id": row.id}


def _common(row: Any) -> dict[str, Any]:
    return {"external_id": row.id, "deleted": row.deleted, "updated_at": instant(row.changed_at, "$.changed_at")}


def _member(row: _Customer) -> records.MemberRecord:
    told = {"email": row.email, "first_name": row.first_name, "joined_at": instant(row.created_at, "$.created_at")}
    return records.MemberRecord(**told, **_common(row))


def _order(row: _Order) -> records.OrderRecord:
    total, status = parse_minor(row.total, row.currency), _STATUSES.get(row.state, "unknown")
    return records.OrderRecord(
        status=records.OrderStatus(status),
        platform_status=row.state,
        currency=row.currency,
        total_minor=total,
        member_external_id=row.customer,
        contact=records.MemberRecord(external_id=row.customer, email=row.email),
        placed_at=instant(row.placed_at, "$.placed_at"),
        lines=(records.OrderLineRecord(title=row.title, total_minor=total),),
        **_common(row),
    )


def _refund(row: _Refund) -> records.RefundRecord:
    amount, at = parse_minor(row.amount, row.currency), instant(row.at, "$.at")
    common = {"order_external_id": row.order, "currency": row.currency, **_common(row)}
    return records.RefundRecord(amount_minor=amount, refunded_at=at, **common)


_READERS: dict[type, Callable[[Any], Record]] = {_Customer: _member, _Order: _order, _Refund: _refund}
