"""Lists that are walked by their time of change: orders, products, variations.

One second is read again at every step, for a step taken by page number would leave rows out when others change meanwhile. The cursor holds
each part's place under its name, and in `done` the parts that this walk has behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from crm_plugin.adapters.storefronts.rows import DAY_SECONDS, Cursor, Reader, page_of, read_rows
from crm_plugin.adapters.storefronts.woocommerce.client import Listing, WooCommerceClient
from crm_plugin.adapters.storefronts.woocommerce.mapping import utc
from crm_plugin.adapters.storefronts.woocommerce.rows import head, ids
from crm_plugin.errors import AdapterError
from crm_plugin.records import OrderRecord, Page, Record, RecordProblem, Stream

# Clocks of two servers and caches of a store lag: what changed this long before the end of the last sync is asked again.
OVERLAP = timedelta(minutes=5)
# How many orders with refunds are looked at again once a day, the newest first.
MOST_REFUNDED = 500
LONGEST_INCLUDE = 100
# How often a page is asked for that is another than was asked for, before it is taken as it is.
TRIES = 4
# A change that the store dates further ahead than this is a mistake: walking up to it would leave out all that changes until then.
_AHEAD_SECONDS = 366 * DAY_SECONDS
Place = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One list of a walk: its name in the cursor, its path and parameters. An `optional` one may be missing from older stores."""

    name: str
    path: str
    params: dict[str, str] = field(default_factory=dict)
    optional: bool = False

    def may_lack(self, error: AdapterError) -> bool:
        """Whether a refusal says that this store has no such list: an unknown path is 404, an unknown status 400."""
        return self.optional and (error.status == 404 or (error.status == 400 and "status" in self.params))


class ChangeWalk:
    """The parts one after the other, each from its own place on."""

    def __init__(self, client: WooCommerceClient, stream: Stream, read: Reader, parts: tuple[Part, ...]) -> None:
        self._client = client
        self._stream = stream
        self._read = read
        self._parts = parts

    def pages(self, state: Cursor) -> Iterator[Page]:
        """The pages from the cursor on. `state` is the cursor's own dict and moves along."""
        todo = [part for part in self._parts if part.name not in state.get("done", [])]
        again = self._looks_again(state)
        for part in todo:
            yield from self._part(state, part, final=part is todo[-1] and not again)
        if again:
            yield from self._again(state)

    def _part(self, state: Cursor, part: Part, *, final: bool) -> Iterator[Page]:
        place: Place = state.setdefault(part.name, {})
        begin_again(place)
        more = True
        while more:
            listing = self._listing(part, place)
            found = read_rows(self._stream, listing.rows, self._read)
            self._note(state, found.records)
            before = place.get("seen", 0)
            times = believable(_times(listing.rows, found.records, found.problems), self._client.clock())
            advance(place, times, listing)
            more = listing.more
            if not more:
                place["ended"], place["offset"] = True, 0
                state["done"] = [] if final else [*state.get("done", []), part.name]
            total = None if listing.total is None else before + listing.total
            yield page_of(self._stream, found, state, total=total, last=final and not more)

    def _listing(self, part: Part, place: Place) -> Listing:
        try:
            return next_page(self._client, part.path, part.params, place)
        except AdapterError as error:
            if part.may_lack(error):
                return Listing([], 0, False, 0)
            raise

    def _note(self, state: Cursor, records: Sequence[Record]) -> None:
        """What the cursor keeps of the records that a walk passes; nothing here."""

    def _looks_again(self, state: Cursor) -> bool:
        """Whether something is asked again after the parts; not here."""
        return False

    def _again(self, state: Cursor) -> Iterator[Page]:
        """What is asked again; the last page ends the walk."""
        yield from ()


class OrderWalk(ChangeWalk):
    """Orders, and once a day those with refunds again: a refund that is deleted leaves its order's time of change as it was."""

    def _note(self, state: Cursor, records: Sequence[Record]) -> None:
        state.setdefault("looked_again_at", self._client.clock())
        told = {record.external_id for record in records}
        refunded = [record.external_id for record in records if isinstance(record, OrderRecord) and record.refunds]
        before = [name for name in state.get("refunded", []) if name not in told]
        state["refunded"] = [*before, *dict.fromkeys(refunded)][-MOST_REFUNDED:]

    def _looks_again(self, state: Cursor) -> bool:
        since = self._client.clock() - state.get("looked_again_at", self._client.clock())
        return bool(state.get("again")) or (since >= DAY_SECONDS and bool(state.get("refunded")))

    def _again(self, state: Cursor) -> Iterator[Page]:
        left: list[str] = state.setdefault("again", list(state.get("refunded", [])))
        while left:
            params = {"include": ",".join(left[:LONGEST_INCLUDE]), "orderby": "id", "order": "asc"}
            offset, more = 0, True
            while more:
                listing = self._client.list("orders", params, offset)
                offset, more = listing.next_offset, listing.more
                found = read_rows(self._stream, listing.rows, self._read)
                self._note(state, found.records)
                if not more:
                    left = state["again"] = left[LONGEST_INCLUDE:]
                last = not more and not left
                if last:
                    del state["again"]
                    state["looked_again_at"], state["done"] = self._client.clock(), []
                yield page_of(self._stream, found, state, total=None, last=last)


def window(place: Place) -> dict[str, str]:
    """The parameters that ask for what comes next."""
    params = {"orderby": "modified", "order": "asc", "dates_are_gmt": "true"}
    if place.get("after"):
        params["modified_after"] = place["after"]
    return params


def next_page(client: WooCommerceClient, path: str, params: dict[str, str], place: Place) -> Listing:
    """The page that comes next. One that is not what was asked for (a cache's, or rows have moved meanwhile) is asked for again.

    Within one second the last row is asked for once more: when it is no longer where it was, its second is read from the beginning.
    """
    for left in reversed(range(TRIES)):
        offset = place.get("offset", 0)
        listing = client.list(path, {**params, **window(place)}, max(0, offset - 1))
        if _fits(listing, place) or not left:
            break
        place["offset"] = 0
    return listing


def _fits(listing: Listing, place: Place) -> bool:
    if place.get("offset") and ids(listing.rows[:1]) != [place.get("at")]:
        return False
    after = place.get("after", "")
    times = (utc(head(raw).date_modified_gmt) for raw in listing.rows if after)
    return all(at is None or _plain(at) > after for at in times)


def begin_again(place: Place) -> None:
    """A walk that had ended goes on from a little before its end."""
    if place.pop("ended", False):
        place["after"] = _earlier(place.get("after", ""), OVERLAP)
        place["offset"] = place["seen"] = 0


def advance(place: Place, times: Sequence[datetime], listing: Listing) -> None:
    """Move the window's start to just before the last second seen; a page that lies within one second is walked by number.

    Args: times: when the page's records changed, aware, as far as they tell.
    """
    moved = _earlier(_plain(max(times)), timedelta(seconds=1)) if times else ""
    if moved and moved > place.get("after", ""):
        limit = datetime.fromisoformat(moved).replace(tzinfo=UTC)
        place["seen"] = place.get("seen", 0) + sum(at <= limit for at in times)
        place["after"], place["offset"] = moved, 0
    else:
        place["offset"] = listing.next_offset
        place["at"] = next(iter(ids(listing.rows[-1:])), None)


def believable(times: Sequence[datetime], now: float) -> list[datetime]:
    """The times that a walk may go by; `now` is in seconds since 1970."""
    return [at for at in times if 0 < at.timestamp() <= now + _AHEAD_SECONDS]


def _times(rows: list[msgspec.Raw], records: Sequence[Record], problems: Sequence[RecordProblem]) -> list[datetime]:
    """When the rows changed; those that could not be read are asked for this alone."""
    times = [at for record in records if (at := record.updated_at) is not None]
    if problems:
        unread = {problem.external_id for problem in problems}
        heads = (found for found in map(head, rows) if str(found.id) in unread)
        times += [at for found in heads if (at := utc(found.date_modified_gmt)) is not None]
    return times


def _plain(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="seconds")


def _earlier(after: str, by: timedelta) -> str:
    return (datetime.fromisoformat(after) - by).isoformat(timespec="seconds") if after else ""
