"""Refunds: they never change and are walked by id; a store older than 9.0 has no list of them and is asked order by order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from crm_plugin.adapters.raw import any_json
from crm_plugin.adapters.storefronts.rows import Cursor, page_of, read_rows
from crm_plugin.adapters.storefronts.woocommerce.changes import (
    LONGEST_INCLUDE,
    advance,
    begin_again,
    believable,
    next_page,
)
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.adapters.storefronts.woocommerce.mapping import Mapper, utc
from crm_plugin.adapters.storefronts.woocommerce.members import next_by_id
from crm_plugin.adapters.storefronts.woocommerce.rows import head
from crm_plugin.errors import AdapterError
from crm_plugin.records import OrderRecord, Page, Record, Stream


class RefundWalk:
    """Refunds with the currency of their orders, which they do not tell themselves."""

    def __init__(self, client: WooCommerceClient, mapper: Mapper, own_currency: Callable[[], str]) -> None:
        self._client = client
        self._mapper = mapper
        self._own_currency = own_currency
        self._currencies: dict[int, str] = {}

    def pages(self, state: Cursor) -> Iterator[Page]:
        """The pages from the cursor on. `state` is the cursor's own dict and moves along."""
        if state.get("flat", True):
            try:
                yield from self._flat(state)
                return
            except AdapterError as error:
                if error.status != 404 or state.get("offset"):
                    raise
                state["flat"] = False
        yield from self._by_order(state)

    def know(self, order: OrderRecord) -> None:
        """Keep the currency of an order that was just read, so that the store need not be asked for it again."""
        self._currencies[int(order.external_id)] = order.currency

    def read(self, raw: msgspec.Raw) -> Record:
        """One refund by itself. Raises: MalformedResponse."""
        return self._mapper.refund(raw, self._currencies_of([raw])[0])

    def _flat(self, state: Cursor) -> Iterator[Page]:
        more = True
        while more:
            listing = next_by_id(self._client, "refunds", {}, state)
            more = listing.more
            state["flat"] = True
            yield self._page(listing.rows, state, listing.total, last=not more)

    def _by_order(self, state: Cursor) -> Iterator[Page]:
        place = state.setdefault("orders", {})
        begin_again(place)
        more = True
        while more:
            fields = {"_fields": "id,currency,refunds,date_modified_gmt"}
            listing = next_page(self._client, "orders", fields, place)
            heads = [head(raw) for raw in listing.rows]
            rows: list[msgspec.Raw] = []
            for order in heads:
                if order.id and order.refunds:
                    self._currencies[order.id] = order.currency.upper()
                    rows += self._of_order(order.id)
            times = [at for order in heads if (at := utc(order.date_modified_gmt)) is not None]
            advance(place, believable(times, self._client.clock()), listing)
            more = listing.more
            if not more:
                place["ended"], place["offset"] = True, 0
            yield self._page(rows, state, None, last=not more)

    def _of_order(self, order_id: int) -> list[msgspec.Raw]:
        found = self._client.list(f"orders/{order_id}/refunds", {}, 0).rows
        # An order's own list does not repeat the order; without it the refund would belong to none.
        return [msgspec.Raw(msgspec.json.encode({"parent_id": order_id, **(any_json(raw) or {})})) for raw in found]

    def _page(self, rows: list[msgspec.Raw], state: Cursor, total: int | None, *, last: bool) -> Page:
        currencies = iter(self._currencies_of(rows))
        found = read_rows(Stream.REFUNDS, rows, lambda raw: self._mapper.refund(raw, next(currencies)))
        return page_of(Stream.REFUNDS, found, state, total=total, last=last)

    def _currencies_of(self, rows: list[msgspec.Raw]) -> list[str]:
        parents = [head(raw).parent_id or 0 for raw in rows]
        # "any" leaves out the trash, whatever else is asked beside it.
        for status in ("any", "trash"):
            wanted = sorted({parent for parent in parents if parent and parent not in self._currencies})
            for start in range(0, len(wanted), LONGEST_INCLUDE):
                self._ask(wanted[start : start + LONGEST_INCLUDE], status)
        return [self._currencies.get(parent) or self._own_currency() for parent in parents]

    def _ask(self, orders: list[int], status: str) -> None:
        include = ",".join(map(str, orders))
        fields = {"include": include, "per_page": "100", "_fields": "id,currency", "status": status}
        for row in self._client.get("orders", fields):
            self._currencies[int(row["id"])] = str(row.get("currency") or "").upper()
