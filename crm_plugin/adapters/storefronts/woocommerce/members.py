"""Accounts: the store cannot be asked which have changed, so new ones are asked from the newest id down, and once a day all are walked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from crm_plugin.adapters.storefronts.rows import DAY_SECONDS, Cursor, Reader, page_of, read_rows
from crm_plugin.adapters.storefronts.woocommerce.changes import TRIES
from crm_plugin.adapters.storefronts.woocommerce.client import Listing, WooCommerceClient
from crm_plugin.adapters.storefronts.woocommerce.rows import ids
from crm_plugin.records import Page, Stream

# Without `role` the store tells only customers, and buyers may be subscribers or staff. By id alone no page loses a row.
_ALL = {"role": "all", "orderby": "id"}


class MemberWalk:
    """Accounts by id."""

    def __init__(self, client: WooCommerceClient, read: Reader) -> None:
        self._client = client
        self._read = read

    def pages(self, state: Cursor) -> Iterator[Page]:
        """The pages from the cursor on. `state` is the cursor's own dict and moves along."""
        if "offset" in state or self._client.clock() - state.get("swept_at", 0.0) >= DAY_SECONDS:
            yield from self._all(state)
        else:
            yield from self._new(state)

    def _all(self, state: Cursor) -> Iterator[Page]:
        state.setdefault("started", self._client.clock())
        more = True
        while more:
            listing = next_by_id(self._client, "customers", {"role": "all"}, state)
            more = listing.more
            state["top"] = max(state.get("top", 0), state["at"])
            if not more:
                del state["offset"], state["at"]
                state["swept_at"] = state.pop("started")
            found = read_rows(Stream.MEMBERS, listing.rows, self._read)
            yield page_of(Stream.MEMBERS, found, state, total=listing.total, last=not more)

    def _new(self, state: Cursor) -> Iterator[Page]:
        known, top, offset, more = state.get("top", 0), state.get("top", 0), 0, True
        while more:
            listing = self._client.list("customers", {**_ALL, "order": "desc"}, offset)
            fresh = [raw for raw in listing.rows if max(ids([raw]), default=known + 1) > known]
            top = max([top, *ids(fresh)])
            more = listing.more and len(fresh) == len(listing.rows)
            offset = listing.next_offset
            if not more:
                # Only now: breaking off in the middle must not leave out the older of the new ones.
                state["top"] = top
            yield page_of(
                Stream.MEMBERS, read_rows(Stream.MEMBERS, fresh, self._read), state, total=None, last=not more
            )


def next_by_id(client: WooCommerceClient, path: str, params: dict[str, str], state: Cursor) -> Listing:
    """The page of a list by id that comes next; `state` moves along: how many rows lie behind (`offset`), and the last one's id (`at`).

    The last row is asked for once more. When it has moved towards the beginning, because rows before it were deleted, the pages before are
    read again up to where it is; when something else comes in its place, which is a page that was not asked for, it is asked for again.
    """
    for left in reversed(range(TRIES)):
        behind, at = state.get("offset", 0), state.get("at", 0)
        listing = client.list(path, {**params, "orderby": "id", "order": "asc"}, max(0, behind - 1))
        first = next(iter(ids(listing.rows)), None)
        while behind and first != at and (first is None or first > at):
            behind = max(0, behind - client.per_page)
            listing = client.list(path, {**params, "orderby": "id", "order": "asc"}, max(0, behind - 1))
            first = next(iter(ids(listing.rows)), None)
        if not behind or first == at or behind != state.get("offset", 0) or not left:
            break
        # Before the last row stands one with a smaller id: a page of before, now or then.
        state["offset"] = state["at"] = 0
    state["offset"] = listing.next_offset if listing.more else max(0, behind - 1) + len(listing.rows)
    state["at"] = max([state.get("at", 0), *(ids(listing.rows[-1:]) or ids(listing.rows))])
    return replace(listing, rows=listing.rows[1:]) if behind and first == at else listing
