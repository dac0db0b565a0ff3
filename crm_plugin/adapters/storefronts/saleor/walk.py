"""Lists by the time of change, with relay cursors. Saleor's hold the last row's place in the order, so rows that change meanwhile move
ahead of the walk and none is left out.

The cursor of a walk holds `since`, from when on it asks; `after`, Saleor's cursor within it; and `top`, the latest change it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from crm_plugin.adapters.raw import read_or_none
from crm_plugin.adapters.storefronts.rows import Cursor, Reader, page_of, read_rows
from crm_plugin.adapters.storefronts.saleor import payloads
from crm_plugin.adapters.storefronts.saleor.client import Listing, SaleorClient, StaleCursor
from crm_plugin.records import Page, Stream

# Clocks lag, and a change may be written after its own time: what changed this long before the end of the last walk is asked again.
OVERLAP = timedelta(minutes=5)
# A change dated further ahead than this is a mistake: going on from it would leave out all that changes until then.
_AHEAD = timedelta(days=2)
# An open beginning is no filter that every list understands.
_ALWAYS = "1970-01-01T00:00:00+00:00"


class ChangeWalk:
    """One list. `by_day` is one that can be asked only by the day of change; `keep` says which rows are of this stream."""

    def __init__(
        self,
        client: SaleorClient,
        stream: Stream,
        operation: str,
        read: Reader,
        *,
        size: int,
        now: Callable[[], datetime],
        by_day: bool = False,
        keep: Callable[[payloads.Head], bool] = lambda head: True,
    ) -> None:
        self._client = client
        self._stream = stream
        self._operation = operation
        self._read = read
        self._size = size
        self._now = now
        self._by_day = by_day
        self._keep = keep

    def pages(self, state: Cursor, whole: Cursor | None = None, *, final: bool = True) -> Iterator[Page]:
        """The pages from the cursor on. `state` moves along; `whole` is the cursor that it is a part of, where it is one."""
        if state.pop("ended", False):
            state["since"], state["after"] = _earlier(state.get("top", "")), ""
        more = True
        while more:
            listing = self._listing(state)
            heads = [read_or_none(payloads.HEAD, raw) or payloads.Head() for raw in listing.rows]
            state["top"] = max([state.get("top", ""), *self._times(heads)])
            state["after"] = listing.after
            more = bool(listing.after)
            if not more:
                state["ended"] = True
            rows = [raw for raw, head in zip(listing.rows, heads, strict=True) if self._keep(head)]
            found = read_rows(self._stream, rows, self._read)
            last = final and not more
            yield page_of(self._stream, found, whole or state, total=listing.total, last=last)

    def _listing(self, state: Cursor) -> Listing:
        try:
            return self._ask(state)
        except StaleCursor:
            state["since"], state["after"] = _earlier(state.get("top", "")), ""
            return self._ask(state)

    def _ask(self, state: Cursor) -> Listing:
        since = state.get("since") or _ALWAYS
        if self._by_day:
            since = since[:10]
        return self._client.list(
            self._operation, {"first": self._size, "after": state.get("after") or None, "since": since}
        )

    def _times(self, heads: list[payloads.Head]) -> list[str]:
        latest = self._now() + _AHEAD
        times = (head.updated_at for head in heads)
        return [at.astimezone(UTC).isoformat() for at in times if at is not None and at.tzinfo and at <= latest]


def _earlier(top: str) -> str:
    return (datetime.fromisoformat(top) - OVERLAP).isoformat() if top else ""
