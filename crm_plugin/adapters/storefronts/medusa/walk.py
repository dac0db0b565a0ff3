"""Lists by the time of change. Medusa has no cursor: the window's start moves to the last change seen, and what changed at that instant
is read again; within one instant pages are counted, each beginning a little before the end of the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from crm_plugin.adapters.raw import read_or_none
from crm_plugin.adapters.storefronts.medusa import payloads
from crm_plugin.adapters.storefronts.medusa.client import Listing, MedusaClient
from crm_plugin.adapters.storefronts.rows import Cursor, Reader, page_of, read_rows
from crm_plugin.records import Page, Stream

# Clocks lag, and a change may be written after its own time: what changed this long before the end of the last walk is asked again.
OVERLAP = timedelta(minutes=5)
# A change dated further ahead than this is a mistake: going on from it would leave out all that changes until then.
_AHEAD = timedelta(days=2)
# How often a page is asked for that is not what was asked for, before it is taken as it is.
_TRIES = 3


class Turn(NamedTuple):
    """One page of the list: its rows, what a walk needs of each, how many the whole has by what is known, and whether it is the last."""

    rows: list[msgspec.Raw]
    heads: list[payloads.Head]
    total: int
    is_last: bool


class ChangeWalk:
    """One list; `params` are what is asked of each record, `keep` says which rows are of this stream."""

    def __init__(
        self,
        client: MedusaClient,
        stream: Stream,
        path: str,
        key: str,
        params: Mapping[str, str],
        read: Reader,
        *,
        size: int,
        now: Callable[[], datetime],
        keep: Callable[[payloads.Head], bool] = lambda head: True,
    ) -> None:
        self._client = client
        self._stream = stream
        self._path = path
        self._key = key
        self._params = params
        self._read = read
        self._size = size
        self._now = now
        self._keep = keep

    def pages(self, state: Cursor) -> Iterator[Page]:
        """The pages from the cursor on. `state` is the cursor's own dict and moves along."""
        for turn in self.turns(state):
            rows = [raw for raw, one in zip(turn.rows, turn.heads, strict=True) if self._keep(one)]
            found = read_rows(self._stream, rows, self._read)
            yield page_of(self._stream, found, state, total=turn.total, last=turn.is_last)

    def turns(self, state: Cursor) -> Iterator[Turn]:
        """The same as raw rows."""
        if state.pop("ended", False):
            state["since"], state["offset"], state["seen"] = _earlier(state.get("since", "")), 0, 0
        more = True
        while more:
            offset = state.get("offset", 0)
            asked = {"limit": str(self._size), "offset": str(offset), "order": "updated_at", **self._params}
            if state.get("since"):
                asked["updated_at[$gte]"] = state["since"]
            listing, heads = self._asked(asked, state)
            more = offset + len(listing.rows) < listing.total and bool(listing.rows)
            total = state.get("seen", 0) + listing.total
            self._advance(state, heads, len(listing.rows))
            if not more:
                state["ended"], state["offset"] = True, 0
            yield Turn(listing.rows, heads, total, not more)

    def _asked(self, asked: Mapping[str, str], state: Cursor) -> tuple[Listing, list[payloads.Head]]:
        """The page. One that was not asked for (a cache's), or that has fewer rows than the store counts, is asked for again."""
        offset = state.get("offset", 0)
        for left in reversed(range(_TRIES)):
            listing = self._client.list(self._path, self._key, asked)
            heads = [head(raw) for raw in listing.rows]
            told = min(self._size, listing.total - offset)
            is_older = any(one.updated_at and _told(one.updated_at) < state.get("since", "") for one in heads)
            is_again = bool(offset and heads) and str(heads[0].id) == state.get("first")
            if not left or (len(heads) >= told and not is_older and not is_again):
                break
        return listing, heads

    def _advance(self, state: Cursor, heads: list[payloads.Head], count: int) -> None:
        latest = self._now() + _AHEAD
        times = [one.updated_at for one in heads if one.updated_at is not None and one.updated_at.tzinfo]
        top = max((_told(at) for at in times if at <= latest), default="")
        if top > state.get("since", ""):
            state["seen"] = state.get("seen", 0) + sum(_told(at) < top for at in times)
            state["since"], state["offset"] = top, 0
        else:
            # Rows that leave the window move the others up.
            state["first"] = str(heads[0].id) if heads else ""
            state["offset"] = state.get("offset", 0) + max(1, count - min(10, count // 4))


def begun(since: datetime) -> Cursor:
    """The cursor of a walk from that instant on."""
    return {"since": _told(since)}


def head(raw: msgspec.Raw) -> payloads.Head:
    """What a walk needs of a row; nothing of one that cannot be read."""
    return read_or_none(payloads.HEAD, raw) or payloads.Head()


def _told(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _earlier(since: str) -> str:
    return _told(datetime.fromisoformat(since) - OVERLAP) if since else ""
