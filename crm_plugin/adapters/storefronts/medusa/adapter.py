"""The Medusa storefront: what it is told, how it is probed, which list is walked in which way. Cursors are JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

from crm_plugin.adapters.base import Capability, Problem, Setting
from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.medusa import known, payloads, webhooks, writing
from crm_plugin.adapters.storefronts.medusa.client import ADAPTER, PAGE_SIZE, MedusaClient
from crm_plugin.adapters.storefronts.medusa.mapping import Mapper, kept_with
from crm_plugin.adapters.storefronts.medusa.settings import SETTINGS
from crm_plugin.adapters.storefronts.medusa.walk import ChangeWalk, begun, head
from crm_plugin.adapters.storefronts.metadata import KnownKeys
from crm_plugin.adapters.storefronts.rows import Cursor, Reader, page_of, read_rows
from crm_plugin.errors import AdapterError
from crm_plugin.phrases import phrase
from crm_plugin.records import CouponMade, CouponOrder, Page, RawRequest, Record, ShopInfo, StoreEvent, Stream, TierMark

_ORDER_FIELDS = (
    "+metadata,+email,+currency_code,+is_draft_order,+tax_total,+shipping_total,+discount_total,*items,*items.adjustments,"
    "*credit_lines,*billing_address,*shipping_address,*customer,*fulfillments,*fulfillments.labels,*payment_collections.payments,"
    "*payment_collections.payments.captures,*payment_collections.payments.refunds"
)
_CUSTOMER_FIELDS = "+metadata,+has_account,*groups,*addresses"
_VARIANT_FIELDS = "+metadata,*prices,*product,*product.categories"
# Path, the list's name in the answer, and what is asked of each record.
_LISTS = {
    Stream.MEMBERS: ("customers", "customers", _CUSTOMER_FIELDS),
    Stream.ORDERS: ("orders", "orders", _ORDER_FIELDS),
    Stream.PRODUCTS: ("product-variants", "variants", _VARIANT_FIELDS),
}
_ID = re.compile(r"[A-Za-z0-9_]{1,100}")
# Ids in one question, by their length in its address.
_AT_ONCE = 50
_IDS_SIZE = 1000


class _OfOrder(msgspec.Struct):
    id: str | None = None


class _Collection(msgspec.Struct):
    order: _OfOrder | None = None


class _Payment(msgspec.Struct):
    payment_collection: _Collection | None = None


class MedusaStorefront(StorefrontAdapter):
    """Medusa v2's admin API with a secret key."""

    name = ADAPTER
    label = "Medusa"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.BACKFILL,
            Capability.INCREMENTAL,
            Capability.WEBHOOKS,
            Capability.BIRTHDAY,
            Capability.CONSENT,
            Capability.COST,
            Capability.TIER_METAFIELD,
            Capability.WRITE_TAGS,
            Capability.COUPONS,
            Capability.FIELDS,
            Capability.COUPONS_OF_ONE,
            Capability.IN_APP,
            Capability.EMBEDDED,
        }
    )
    settings: ClassVar[tuple[Setting, ...]] = SETTINGS
    by_hand: ClassVar[str] = phrase(
        "Write it into the options of the companion package as events, and the webhook secret as secret; until then changes are "
        "found by reading every few minutes."
    )
    unseen: ClassVar[tuple[str, ...]] = ("A payment that is captured leaves its order's time of change as it was.",)
    costs_are_of_now: ClassVar[bool] = True
    streams: ClassVar[tuple[Stream, ...]] = (Stream.PRODUCTS, Stream.MEMBERS, Stream.ORDERS)
    coupons_at_once: ClassVar[int] = 20

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        client: MedusaClient | None = None,
        page_size: int = PAGE_SIZE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(values)
        told = self.values
        self.client = client or MedusaClient(told["url"], told["key"])
        self._size = page_size
        self._now = now
        self._mapper = Mapper(
            KnownKeys(told), product_url=told["product_url"] or "", all_members=bool(told["guests_are_members"])
        )

    @staticmethod
    def clock() -> float:
        """Seconds since 1970, by which the age of what is told is judged."""
        return time.time()

    def close(self) -> None:
        """Give back the connections."""
        self.client.close()

    def check(self) -> list[Problem]:
        """Ask for the store, one customer and one order."""
        attempts, self.client.calls.attempts = self.client.calls.attempts, 2
        try:
            self.shop_info()
            for stream in (Stream.MEMBERS, Stream.ORDERS):
                path, key, _ = _LISTS[stream]
                self.client.list(path, key, {"limit": "1", "fields": "id"})
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        finally:
            self.client.calls.attempts = attempts
        return []

    def shop_info(self) -> ShopInfo:
        """Name and default currency; the zone is a setting, for Medusa has none."""
        return known.ask(self.client, self.values["timezone"])

    def recent_fields(self, stream: Stream) -> list[dict[str, Any]]:
        """See the contract; a hundred records, our own marks left out."""
        path, key, _ = _LISTS[stream]
        asked = {"limit": "100", "order": "-updated_at", "fields": "id,+metadata"}
        attempts, self.client.calls.attempts = self.client.calls.attempts, 2
        try:
            rows = self.client.list(path, key, asked).rows
        finally:
            self.client.calls.attempts = attempts
        return [kept_with(raw) for raw in rows]

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        """See the contract."""
        state: Cursor = json.loads(cursor) if cursor else {}
        path, key, fields = _LISTS[stream]
        keep = self._is_member if stream is Stream.MEMBERS else _all
        return ChangeWalk(
            self.client,
            stream,
            path,
            key,
            {"fields": fields},
            self._reader(stream),
            size=self._size,
            now=self._now,
            keep=keep,
        ).pages(state)

    def parse(self, stream: Stream, raw: str) -> Record:
        """See the contract."""
        return self._reader(stream)(raw.encode())

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        """One record as it is now; None for what is gone, and for a guest who is no member of their own."""
        return next(iter(self.reread_many(stream, [external_id])), (external_id, None))[1]

    def reread_many(self, stream: Stream, external_ids: Iterable[str]) -> Iterator[tuple[str, Record | None]]:
        """See the contract; fifty in a call."""
        wanted = list(dict.fromkeys(external_ids))
        asked = [one for one in wanted if _ID.fullmatch(one)] if stream in _LISTS else []
        yield from ((one, None) for one in wanted if one not in set(asked))
        for start in range(0, len(asked), _AT_ONCE):
            part = asked[start : start + _AT_ONCE]
            found = dict(self._by_ids(stream, part))
            yield from ((one, found.get(one)) for one in part)

    def second_pass(self, since: datetime) -> Iterator[Page]:
        """Orders of payments that changed."""
        params, state = {"fields": "id,updated_at,*payment_collection.order"}, begun(since)
        read_order = self._reader(Stream.ORDERS)
        walk = ChangeWalk(
            self.client, Stream.ORDERS, "payments", "payments", params, read_order, size=self._size, now=self._now
        )
        for turn in walk.turns(state):
            ids = list(dict.fromkeys(found for raw in turn.rows if (found := _order_of(raw))))
            rows = [
                row
                for start in range(0, len(ids), _AT_ONCE)
                for row in self._rows(Stream.ORDERS, ids[start : start + _AT_ONCE])
            ]
            read = read_rows(Stream.ORDERS, rows, read_order)
            yield page_of(Stream.ORDERS, read, state, total=None, last=turn.is_last)

    def count(self, stream: Stream) -> int | None:
        """The store's own count."""
        if stream not in _LISTS:
            return None
        path, key, _ = _LISTS[stream]
        params = {"limit": "1", "fields": "id"}
        if stream is Stream.MEMBERS and not self.values["guests_are_members"]:
            params["has_account"] = "true"
        return self.client.list(path, key, params).total

    def external_ids(self, stream: Stream) -> Iterator[str] | None:
        """All ids, a thousand in a call."""
        return self._ids(stream) if stream in _LISTS else None

    def verify_webhook(self, request: RawRequest) -> None:
        """See the contract."""
        webhooks.verify(request, self.values["webhook_secret"] or "", self.clock())

    def parse_webhook(self, request: RawRequest) -> list[StoreEvent]:
        """See the contract."""
        return webhooks.parse(request)

    def shopper(self, request: RawRequest) -> str:
        """See the contract; the companion asks, for the customer whom Medusa let in."""
        return webhooks.shopper(request, self.values["webhook_secret"] or "", self.clock())

    def check_tiers(self) -> list[Problem]:
        """Ask to write nothing to a customer who is not there: whoever may not write is refused before that is seen."""
        try:
            self.client.post("customers/cus_0", {"metadata": {}})
        except AdapterError as error:
            return [] if error.code == "gone" else [Problem(error.code, error.message, error.hint)]
        return []

    def write_tier(self, reference: str, mark: TierMark) -> datetime | None:
        """See the contract."""
        return writing.write_mark(self.client, reference, mark)

    def write_tags(self, reference: str, add: Collection[str], remove: Collection[str]) -> None:
        """See the contract: tags are customer groups."""
        writing.write_tags(self.client, reference, add, remove)

    def create_coupons(self, order: CouponOrder) -> list[CouponMade]:
        """See the contract."""
        return writing.create_coupons(self.client, order)

    def _reader(self, stream: Stream) -> Reader:
        if stream is Stream.PRODUCTS and not self._mapper.currency:
            # Only prices are told in a currency that has to be chosen.
            self._mapper.currency = self.shop_info().currency
        readers: dict[Stream, Reader] = {
            Stream.MEMBERS: self._mapper.member,
            Stream.ORDERS: self._mapper.order,
            Stream.PRODUCTS: self._mapper.product,
        }
        return readers[stream]

    def _is_member(self, told: payloads.Head) -> bool:
        return bool(self.values["guests_are_members"]) or told.has_account is not False

    def _by_ids(self, stream: Stream, ids: list[str]) -> Iterator[tuple[str, Record]]:
        read = self._reader(stream)
        for raw in self._rows(stream, ids):
            if stream is not Stream.MEMBERS or self._is_member(head(raw)):
                record = read(raw)
                yield record.external_id, record

    def _rows(self, stream: Stream, ids: list[str]) -> list[msgspec.Raw]:
        path, key, fields = _LISTS[stream]
        asked = {f"id[{number}]": one for number, one in enumerate(ids)}
        return self.client.list(path, key, {**asked, "fields": fields, "limit": str(len(ids))}).rows

    def _ids(self, stream: Stream) -> Iterator[str]:
        path, key, _ = _LISTS[stream]
        offset, more = 0, True
        fields = "id,has_account" if stream is Stream.MEMBERS else "id"
        while more:
            listing = self.client.list(
                path, key, {"fields": fields, "order": "id", "limit": str(_IDS_SIZE), "offset": str(offset)}
            )
            offset += len(listing.rows)
            more = bool(listing.rows) and offset < listing.total
            for raw in listing.rows:
                if stream is not Stream.MEMBERS or self._is_member(head(raw)):
                    yield str(msgspec.json.decode(raw)["id"])


def _all(told: payloads.Head) -> bool:
    del told
    return True


def _order_of(raw: msgspec.Raw) -> str:
    try:
        collection = msgspec.json.decode(raw, type=_Payment).payment_collection
    except UNREADABLE:
        return ""
    return (collection.order.id or "") if collection and collection.order else ""
