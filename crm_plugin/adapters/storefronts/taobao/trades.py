"""Trades and refunds: three months by the day they were made, then whatever has changed, in spans of half an hour.

TOP tells no trade that is older than three months; what was read before stays with us.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec

from crm_plugin.adapters.storefronts.taobao import payloads
from crm_plugin.adapters.storefronts.taobao.client import ATTEMPTS, TopClient
from crm_plugin.adapters.storefronts.taobao.envelope import Answer
from crm_plugin.adapters.storefronts.taobao.links import Links
from crm_plugin.adapters.storefronts.taobao.mapping import Mapper
from crm_plugin.adapters.storefronts.taobao.paging import OVERLAP, SIZE, AskSpan, Listing, Spans, State
from crm_plugin.adapters.storefronts.taobao.values import told_at
from crm_plugin.errors import PermanentError
from crm_plugin.records import OrderRecord, Page, RefundRecord, Stream

# A day less than the three months that are told, for the walk takes a while.
HISTORY = timedelta(days=89)
DAY = timedelta(days=1)
# A span of changes may be a day; of busy shops that is too many rows.
CHANGES = timedelta(minutes=30)
SIMPLE, FULL = "simple", "full"
_METHODS = {
    SIMPLE: ("taobao.trades.simple.sold.get", "taobao.trades.simple.sold.increment.get", "taobao.trade.simple.get"),
    FULL: ("taobao.trades.sold.get", "taobao.trades.sold.increment.get", "taobao.trade.fullinfo.get"),
}
REFUNDS = "taobao.refunds.receive.get"
ONE_REFUND = "taobao.refund.get"
_TRADE_NAMES = ("tid_str", "tid")
_REFUND_NAMES = ("refund_id",)


class Trades:
    """The trades of one shop. `api` is which family of methods the app was given; the same fields are asked for either way."""

    def __init__(self, client: TopClient, mapper: Mapper, api: str) -> None:
        self._client = client
        self._mapper = mapper
        self._made, self._changed, self._one = _METHODS[api]
        self._links = Links(client, self.one)

    def pages(self, state: State) -> Iterator[Page]:
        """See the contract."""
        if "changes" not in state:
            now = self._client.clock()
            state["changes"] = {"at": now}
            state["history"] = {"at": now - HISTORY.total_seconds()}
        if "history" in state:
            for page in self._spans(self._ask_made, DAY).pages(state["history"], state):
                if page.last:
                    del state["history"]
                yield self._linked(page, state)
        for page in self._spans(self._ask_changed, CHANGES).pages(state["changes"], state):
            linked = self._linked(page, state)
            yield replace(linked, last=page.last and not self._links.is_due(state))
        if "end" not in state["changes"] and self._links.is_due(state):
            yield from self._links.pages(state)

    def probe(self) -> None:
        """Ask for what has changed just now, and for no more than one row of it."""
        now = datetime.fromtimestamp(self._client.clock(), UTC)
        span = {"start_modified": now - OVERLAP, "end_modified": now}
        self._ask(self._changed, span, 1, total=True, size=1, attempts=1)

    def one(self, tid: str) -> OrderRecord | None:
        """A trade as it is now; None when there is none."""
        if not _is_number(tid):
            return None
        answer = _unless_gone(self._client, self._one, {"tid": tid, "fields": payloads.TRADE_FIELDS})
        if answer is None or (raw := answer.parts.get("trade")) is None:
            return None
        return self._mapper.order(raw)

    def _linked(self, page: Page, state: State) -> Page:
        orders = [record for record in page.records if isinstance(record, OrderRecord)]
        linked = tuple(self._links.take(orders, state))
        return replace(page, records=linked, next_cursor=msgspec.json.encode(state).decode(), last=False)

    def _spans(self, ask: AskSpan, step: timedelta) -> Spans:
        return Spans(Stream.ORDERS, _TRADE_NAMES, ask, self._mapper.order, step, self._client.clock)

    def _ask_made(self, since: datetime, to: datetime, page: int, total: bool) -> Listing:
        return self._ask(self._made, {"start_created": since, "end_created": to}, page, total)

    def _ask_changed(self, since: datetime, to: datetime, page: int, total: bool) -> Listing:
        return self._ask(self._changed, {"start_modified": since, "end_modified": to}, page, total)

    def _ask(self, method: str, span: dict[str, datetime], page: int, total: bool, **how: int) -> Listing:
        asked = {"fields": payloads.TRADE_FIELDS, **{name: told_at(at) for name, at in span.items()}}
        return _listing(self._client, method, asked, page, total, ("trades", "trade"), **how)


class Refunds:
    """What buyers asked back, by its time of change."""

    def __init__(self, client: TopClient, mapper: Mapper) -> None:
        self._client = client
        self._mapper = mapper

    def pages(self, state: State) -> Iterator[Page]:
        """See the contract."""
        state.setdefault("at", self._client.clock() - HISTORY.total_seconds())
        read = self._mapper.refund
        yield from Spans(Stream.REFUNDS, _REFUND_NAMES, self._ask, read, DAY, self._client.clock).pages(state, state)

    def one(self, refund_id: str) -> RefundRecord | None:
        """A refund as it is now; None when there is none, or no money was given back."""
        if not _is_number(refund_id):
            return None
        asked = {"refund_id": refund_id, "fields": payloads.REFUND_FIELDS}
        answer = _unless_gone(self._client, ONE_REFUND, asked)
        raw = None if answer is None else answer.parts.get("refund")
        return None if raw is None else self._mapper.refund(raw)

    def probe(self) -> None:
        """Ask for what has changed just now, and for no more than one row of it."""
        now = datetime.fromtimestamp(self._client.clock(), UTC)
        self._ask(now - OVERLAP, now, 1, total=True, size=1, attempts=1)

    def _ask(self, since: datetime, to: datetime, page: int, total: bool, **how: int) -> Listing:
        span = {"start_modified": told_at(since), "end_modified": told_at(to)}
        asked = {"fields": payloads.REFUND_FIELDS, **span}
        return _listing(self._client, REFUNDS, asked, page, total, ("refunds", "refund"), **how)


def _listing(
    client: TopClient,
    method: str,
    asked: dict[str, str],
    page: int,
    total: bool,
    names: tuple[str, str],
    *,
    size: int = SIZE,
    attempts: int = ATTEMPTS,
) -> Listing:
    told = {**asked, "page_no": page, "page_size": size, "use_has_next": not total}
    answer = client.call(method, told, attempts=attempts)
    return Listing(answer.rows(*names), answer.number("total_results"), None if total else answer.flag("has_next"))


def _is_number(told: str) -> bool:
    return told.isascii() and told.isdigit()


def _unless_gone(client: TopClient, method: str, params: dict[str, str]) -> Answer | None:
    try:
        return client.call(method, params)
    except PermanentError as error:
        if error.code == "gone":
            return None
        raise
