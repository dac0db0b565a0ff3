"""The WooCommerce storefront: which lists are asked, in which order, and how a cursor goes on in them.

Orders, products and variations are walked by their time of change, one second re-read at every step, for a step taken by page number
would leave rows out when others change meanwhile. Accounts cannot be asked by change: new ones are asked from the newest id down,
and once a day all are walked. Refunds never change and are walked by id. Cursors are JSON, opaque to all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType, Severity
from crm_plugin.adapters.raw import any_json, label_of, text_of
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.woocommerce import payloads
from crm_plugin.adapters.storefronts.woocommerce.client import Listing, WooCommerceClient, store_address
from crm_plugin.adapters.storefronts.woocommerce.mapping import Mapper
from crm_plugin.adapters.storefronts.woocommerce.meta import BIRTHDAY_KEYS, CONSENT_KEYS, LOCALE_KEYS, MetaKeys
from crm_plugin.clock import is_zone
from crm_plugin.errors import AdapterError, MalformedResponse
from crm_plugin.records import Page, Record, RecordProblem, ShopInfo, Stream

# Clocks of two servers and caches of a store lag: what changed this long before the end of the last sync is asked again.
OVERLAP = timedelta(minutes=5)
_PROBES = 2
SWEEP_SECONDS = 24 * 3600.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
Cursor = dict[str, Any]
# Name in the cursor, path, parameters, reader.
Part = tuple[str, str, dict[str, str], Callable[[msgspec.Raw | bytes], Record]]


class WooCommerceStorefront(StorefrontAdapter):
    """WooCommerce REST v3 with a pair of read (or read/write) keys."""

    name = "woocommerce"
    label = "WooCommerce"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.BACKFILL,
            Capability.INCREMENTAL,
            Capability.BIRTHDAY,
            Capability.CONSENT,
            Capability.COST,
            Capability.SEND_MESSAGE,
        }
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("url", "Store address", SettingType.URL, "As in the browser, such as https://shop.example."),
        Setting(
            "key", "Consumer key", SettingType.TEXT, "Begins with ck_; WooCommerce > Settings > Advanced > REST API."
        ),
        Setting("secret", "Consumer secret", SettingType.SECRET, "Begins with cs_; shown once, beside the key."),
        Setting("birthday_keys", "Meta keys of the birthday", required=False, default=BIRTHDAY_KEYS),
        Setting("consent_keys", "Meta keys of consent to e-mail", required=False, default=CONSENT_KEYS),
        Setting("locale_keys", "Meta keys of the language", required=False, default=LOCALE_KEYS),
    )
    streams: ClassVar[tuple[Stream, ...]] = (Stream.PRODUCTS, Stream.MEMBERS, Stream.ORDERS, Stream.REFUNDS)

    def __init__(self, values: Mapping[str, Any], *, client: WooCommerceClient | None = None) -> None:
        super().__init__(values)
        told = self.values
        self.client = client or WooCommerceClient(told["url"], told["key"], told["secret"])
        self._mapper = Mapper(MetaKeys(told["birthday_keys"], told["consent_keys"], told["locale_keys"]))
        self._currency = ""
        self._currencies: dict[int, str] = {}

    def close(self) -> None:
        """Give back the connections."""
        self.client.close()

    def check(self) -> list[Problem]:
        """Ask for the store's name and one order. Somebody waits for the answer, so what passes by itself is tried once more only."""
        attempts, self.client.attempts = self.client.attempts, _PROBES
        try:
            self.shop_info()
            self.client.get("orders", {"per_page": "1", "_fields": "id"})
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        finally:
            self.client.attempts = attempts
        parts = urlsplit(store_address(self.values["url"]))
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            return [
                Problem(
                    "plain_http",
                    "The store is asked without encryption: members and orders travel in clear, the keys do not.",
                    "Give the store a certificate and enter its https:// address.",
                    Severity.WARNING,
                )
            ]
        return []

    def shop_info(self) -> ShopInfo:
        """Name and zone from the store's root, currency from its status."""
        root = self.client.root()
        status = self.client.get(
            "system_status",
            {"_fields": "environment.version,environment.wp_version,settings.HPOS_enabled,settings.currency"},
        )
        settings, environment = _part(status, "settings"), _part(status, "environment")
        self._currency = str(settings.get("currency") or "").upper()
        if len(self._currency) != 3:
            raise MalformedResponse(
                "The store does not tell its currency.", adapter=self.name, path="$.settings.currency"
            )
        zone, notes = _zone(root)
        return ShopInfo(str(root.get("name") or ""), self._currency, zone, str(environment.get("version") or ""), notes)

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        """See the contract."""
        state: Cursor = json.loads(cursor) if cursor else {}
        if stream is Stream.MEMBERS:
            return self._members(state)
        if stream is Stream.ORDERS:
            order = self._mapper.order
            parts: tuple[Part, ...] = (("live", "orders", {}, order), ("trash", "orders", {"status": "trash"}, order))
            return self._by_change(stream, state, parts)
        if stream is Stream.REFUNDS:
            return self._refunds(state)
        return self._by_change(
            stream,
            state,
            (("products", "products", {}, self._product), ("variations", "variations", {}, self._product)),
        )

    def parse(self, stream: Stream, raw: str) -> Record:
        """See the contract."""
        data = raw.encode()
        if stream is Stream.MEMBERS:
            return self._mapper.member(data)
        if stream is Stream.ORDERS:
            return self._mapper.order(data)
        if stream is Stream.REFUNDS:
            return self._mapper.refund(data, self._refund_currencies([msgspec.Raw(data)])[0])
        return self._product(data)

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        """One account, order or product as it is now; None for what is gone and for a refund, which only its list tells."""
        path = {Stream.MEMBERS: "customers", Stream.ORDERS: "orders", Stream.PRODUCTS: "products"}.get(stream)
        if path is None or not external_id.isdigit():
            return None
        try:
            raw = self.client.get_raw(f"{path}/{external_id}")
        except AdapterError as error:
            if error.status == 404:
                return None
            raise
        return self.parse(stream, raw.decode("utf-8", "replace"))

    # Lists that are walked by their time of change.

    def _by_change(
        self,
        stream: Stream,
        state: Cursor,
        parts: tuple[Part, ...],
    ) -> Iterator[Page]:
        """The parts one after the other; each part's place is kept in the cursor under its name."""
        for number, (name, path, params, read) in enumerate(parts):
            final = number == len(parts) - 1
            if name in state.get("done", []):
                continue
            place: Cursor = state.setdefault(name, {})
            if place.pop("ended", False):
                place["after"] = _earlier(place.get("after", ""), OVERLAP)
                place["offset"] = place["seen"] = 0
            more = True
            while more:
                try:
                    listing = self.client.list(path, {**params, **_window(place)}, place.get("offset", 0))
                except AdapterError as error:
                    # Older stores have no flat list of variations; their products are still told.
                    if error.status == 404 and name == "variations":
                        listing = Listing([], 0, False, 0)
                    else:
                        raise
                before = place.get("seen", 0)
                _advance(place, listing)
                more = listing.more
                if not more:
                    place["ended"], place["offset"] = True, 0
                    state["done"] = [] if final else [*state.get("done", []), name]
                total = None if listing.total is None else before + listing.total
                yield self._page(stream, listing.rows, state, read, total=total, last=final and not more)

    def _page(
        self,
        stream: Stream,
        rows: list[msgspec.Raw],
        state: Cursor,
        read: Callable[[msgspec.Raw | bytes], Record],
        *,
        total: int | None,
        last: bool,
    ) -> Page:
        records, problems = [], []
        for number, raw in enumerate(rows):
            try:
                records.append(read(raw))
            except MalformedResponse as error:
                label = label_of(raw, ("id",), f"row {number + 1} of {len(rows)}")
                problems.append(RecordProblem(stream, label, error.message, text_of(raw), error.path))
        cursor = json.dumps(state, separators=(",", ":"))
        return Page(stream, tuple(records), cursor, tuple(problems), total=total, last=last)

    # Accounts.

    def _members(self, state: Cursor) -> Iterator[Page]:
        """A whole walk by id on the first day and then once a day; in between only new ids, newest first."""
        if "offset" in state or self.client.clock() - state.get("swept_at", 0.0) >= SWEEP_SECONDS:
            yield from self._all_members(state)
        else:
            yield from self._new_members(state)

    def _all_members(self, state: Cursor) -> Iterator[Page]:
        state.setdefault("started", self.client.clock())
        more = True
        while more:
            params = {"role": "all", "orderby": "id", "order": "asc"}
            listing = self.client.list("customers", params, state.get("offset", 0))
            more = listing.more
            state["offset"] = listing.next_offset
            state["top"] = max([state.get("top", 0), *_ids(listing.rows)])
            if not more:
                del state["offset"]
                state["swept_at"] = state.pop("started")
            yield self._page(
                Stream.MEMBERS, listing.rows, state, self._mapper.member, total=listing.total, last=not more
            )

    def _new_members(self, state: Cursor) -> Iterator[Page]:
        known, top, offset, more = state.get("top", 0), state.get("top", 0), 0, True
        while more:
            params = {"role": "all", "orderby": "id", "order": "desc"}
            listing = self.client.list("customers", params, offset)
            fresh = [raw for raw in listing.rows if max(_ids([raw]), default=known + 1) > known]
            top = max([top, *_ids(fresh)])
            more = listing.more and len(fresh) == len(listing.rows)
            offset = listing.next_offset
            if not more:
                # Only now: breaking off in the middle must not leave out the older of the new ones.
                state["top"] = top
            yield self._page(Stream.MEMBERS, fresh, state, self._mapper.member, total=None, last=not more)

    # Refunds.

    def _refunds(self, state: Cursor) -> Iterator[Page]:
        """The flat list by id; a store older than 9.0 is asked order by order."""
        if state.get("flat", True):
            try:
                yield from self._flat_refunds(state)
                return
            except AdapterError as error:
                if error.status != 404 or state.get("offset"):
                    raise
                state["flat"] = False
        yield from self._refunds_by_order(state)

    def _flat_refunds(self, state: Cursor) -> Iterator[Page]:
        # A deleted refund moves all later ones forward by one: the last page is asked again.
        offset = max(0, state.get("offset", 0) - 100)
        more = True
        while more:
            listing = self.client.list("refunds", {"orderby": "id", "order": "asc"}, offset)
            more, offset = listing.more, listing.next_offset
            start = offset - self.client.per_page
            state["flat"] = True
            state["offset"] = start + len(listing.rows)
            yield self._refund_page(listing.rows, state, listing.total, last=not more)

    def _refund_page(self, rows: list[msgspec.Raw], state: Cursor, total: int | None, *, last: bool) -> Page:
        currencies = iter(self._refund_currencies(rows))
        return self._page(
            Stream.REFUNDS, rows, state, lambda raw: self._mapper.refund(raw, next(currencies)), total=total, last=last
        )

    def _refund_currencies(self, rows: list[msgspec.Raw]) -> list[str]:
        """A refund does not tell its currency: it is its order's."""
        parents = [_head(raw).parent_id or 0 for raw in rows]
        wanted = sorted({parent for parent in parents if parent and parent not in self._currencies})
        for start in range(0, len(wanted), 100):
            chunk = wanted[start : start + 100]
            include = ",".join(str(parent) for parent in chunk)
            fields = {"include": include, "per_page": "100", "_fields": "id,currency", "status": "any,trash"}
            for row in self.client.get("orders", fields):
                self._currencies[int(row["id"])] = str(row.get("currency") or "").upper()
        return [self._currencies.get(parent) or self._own_currency() for parent in parents]

    def _refunds_by_order(self, state: Cursor) -> Iterator[Page]:
        place: Cursor = state.setdefault("orders", {})
        if place.pop("ended", False):
            place["after"], place["offset"] = _earlier(place.get("after", ""), OVERLAP), 0
        more = True
        while more:
            fields = {"_fields": "id,currency,refunds,date_modified_gmt"}
            listing = self.client.list("orders", {**fields, **_window(place)}, place.get("offset", 0))
            rows: list[msgspec.Raw] = []
            for raw in listing.rows:
                head = _head(raw)
                if head.id and head.refunds:
                    self._currencies[head.id] = head.currency.upper()
                    rows += self._of_order(head.id)
            _advance(place, listing)
            more = listing.more
            if not more:
                place["ended"], place["offset"] = True, 0
            yield self._refund_page(rows, state, None, last=not more)

    def _of_order(self, order_id: int) -> list[msgspec.Raw]:
        found = self.client.list(f"orders/{order_id}/refunds", {}, 0).rows
        # An order's own list does not repeat the order; without it the refund would belong to none.
        return [msgspec.Raw(msgspec.json.encode({"parent_id": order_id, **(any_json(raw) or {})})) for raw in found]

    def _product(self, raw: msgspec.Raw | bytes) -> Record:
        return self._mapper.product(raw, self._own_currency())

    def _own_currency(self) -> str:
        if not self._currency:
            self.shop_info()
        return self._currency


def _window(place: Cursor) -> dict[str, str]:
    params = {"orderby": "modified", "order": "asc", "dates_are_gmt": "true"}
    if place.get("after"):
        params["modified_after"] = place["after"]
    return params


def _advance(place: Cursor, listing: Listing) -> None:
    """Move the window's start to just before the last second seen; a page that lies within one second is walked by number."""
    times = [head.date_modified_gmt for head in map(_head, listing.rows) if head.date_modified_gmt is not None]
    moved = (
        _earlier(max(times).replace(tzinfo=None).isoformat(timespec="seconds"), timedelta(seconds=1)) if times else ""
    )
    if moved and moved > place.get("after", ""):
        place["seen"] = place.get("seen", 0) + sum(1 for at in times if _plain(at) <= moved)
        place["after"], place["offset"] = moved, 0
    else:
        place["offset"] = listing.next_offset


def _plain(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="seconds")


def _earlier(after: str, by: timedelta) -> str:
    return (datetime.fromisoformat(after) - by).isoformat(timespec="seconds") if after else ""


def _head(raw: msgspec.Raw) -> payloads.Head:
    try:
        return payloads.HEAD.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payloads.Head()


def _ids(rows: list[msgspec.Raw]) -> list[int]:
    return [head.id for head in map(_head, rows) if head.id is not None]


def _part(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _zone(root: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The store's zone; one that tells only an offset gets the fixed zone of whole hours, with a note."""
    name = str(root.get("timezone_string") or "")
    if is_zone(name):
        return name, ()
    try:
        hours = float(root.get("gmt_offset") or 0)
    except (TypeError, ValueError):
        hours = 0.0
    # The sign of these names is turned round: Etc/GMT-1 is one hour ahead.
    fixed = f"Etc/GMT{-int(hours):+d}" if int(hours) else "UTC"
    return fixed, (
        "The store tells only an offset from UTC, so summer time is not known: choose a city in WordPress > Settings.",
    )
