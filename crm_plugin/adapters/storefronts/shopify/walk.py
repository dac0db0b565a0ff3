"""What has changed since: a list in the order of its changes, from a little before where the last walk began.

Shopify's own index lags a little behind, and of accounts it knows only the day of the change; so a walk begins earlier and what it has
seen before is dropped or told again. What changes while it walks moves to an end of the list: it is still to come, or the next walk's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from crm_plugin.adapters.storefronts.rows import Cursor, Reader
from crm_plugin.adapters.storefronts.shopify.client import ShopifyClient
from crm_plugin.adapters.storefronts.shopify.rows import head_of, made_whole, page_of
from crm_plugin.records import Page, Stream

# How far a walk begins before the last one: for the index's lag, and for a filter that knows only days.
OVERLAP = timedelta(minutes=15)
DAY = timedelta(days=1)
# A list ends after 25,000 rows whatever there is behind. Where as many have changed, all are read in bulk, which has no such end.
LONGEST_LIST = 20_000
# The list of products is of those for sale where it is not told otherwise.
_FILTERS = {Stream.PRODUCTS: "status:active,draft,archived,unlisted"}


class ChangeWalk:
    """One stream's changes. In the cursor `since` is from when on, `after` where in the list, `begun` when this walk began, `seen` how
    many rows the list has given; a cursor left empty asks for the whole history.
    """

    def __init__(self, client: ShopifyClient, stream: Stream, read: Reader) -> None:
        self._client = client
        self._stream = stream
        self._read = read
        # What changed in the rest of the day before is not walked through: the newest come first, and the first that is old ends it.
        self._is_backward = stream is Stream.MEMBERS

    def pages(self, state: Cursor) -> Iterator[Page]:
        """The pages from the cursor on. `state` is the cursor's own dict and moves along."""
        more = True
        while more:
            since = datetime.fromisoformat(state["since"])
            rows = self._client.page(self._stream.value, {"after": state.get("after"), "query": self._filter(since)})
            # The shop's clock dates the changes; where ours is behind it, that is early enough too.
            now = self._client.now()
            state.setdefault("begun", min(now, self._client.told_at or now).astimezone(UTC).isoformat())
            fresh = [raw for raw in rows.nodes if not _is_old(head_of(raw).updated_at, since)]
            state["after"], state["seen"] = rows.page_info.end_cursor, state.get("seen", 0) + len(fresh)
            is_last = not rows.page_info.has_next_page or (self._is_backward and len(fresh) < len(rows.nodes))
            more = not is_last and state["seen"] < LONGEST_LIST
            whole = list(made_whole(self._client, self._stream, fresh))
            if not more:
                begun = state["begun"]
                state.clear()
                state |= {"since": begun} if is_last else {}
            yield page_of(self._stream, whole, self._read, state, total=None, last=is_last)

    def _filter(self, since: datetime) -> str:
        at = since - OVERLAP - (DAY if self._stream is Stream.MEMBERS else timedelta(0))
        # Quoted: else it is cut at its first colon, and read in the shop's own zone.
        changed = f"updated_at:>='{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'"
        return " ".join(part for part in (changed, _FILTERS.get(self._stream, "")) if part)


def _is_old(changed: datetime | None, since: datetime) -> bool:
    # One without a zone is nothing to go by.
    return changed is not None and changed.tzinfo is not None and changed < since - OVERLAP
