"""One closed span of a list, read from its last page to its first; and a row of spans, one after the other up to now.

TOP lists the newest first. What changes while pages are read leaves a span that lies in the past, so all behind it move one place towards
the first page: whoever reads forward leaves rows out, whoever reads backward sees some of them twice. What comes in just now moves them the
other way: where it may, the last minutes are a span of their own, which the next walk reads again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from crm_plugin.adapters.storefronts import rows as pages
from crm_plugin.adapters.storefronts.rows import Sieve, read_rows
from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER
from crm_plugin.adapters.storefronts.unanswered import LATER
from crm_plugin.errors import TransientError
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, Stream

SIZE = 100
# TOP takes requests of a clock that is off by up to ten minutes, and a change shows in the lists a while after it was made.
OVERLAP = timedelta(minutes=12)
# So many spans in which nothing changed are passed without a page of their own.
_EMPTY = 20
# How often a page is asked for that is not what was asked for, and pages are read again behind which the list grows.
_TRIES = 3
State = dict[str, Any]
# A page by its number, counted from 1; the flag asks for the total too, which TOP finds costly.
Ask = Callable[[int, bool], "Listing"]
# The same for a span of time, from one instant to another.
AskSpan = Callable[[datetime, datetime, int, bool], "Listing"]


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list. `total` where it was asked for; `more`: whether pages follow, None where the list does not say."""

    rows: list[msgspec.Raw]
    total: int | None = None
    more: bool | None = None

    def is_short(self, page: int, counted: int) -> bool:
        """Whether rows are left out, by what the page itself says or else by the total that was `counted` before."""
        if self.more:
            return len(self.rows) < SIZE
        total = counted if self.total is None else self.total
        return len(self.rows) < min(SIZE, total - (page - 1) * SIZE)


def backwards(ask: Ask, place: State, most_pages: int) -> Iterator[list[msgspec.Raw]]:
    """The rows of one span, page by page from the last; some come twice.

    `place` holds the next page to read, 0 once all are read; until then also the `total` last told, and the page it was `counted` at. Where
    the list has grown since, rows that were not read yet may have moved to pages that were: those are read again.
    """
    ask = _sure(ask, place)
    if "page" not in place:
        first = ask(1, True)
        total = first.total or 0
        if total <= SIZE:
            place["page"] = 0
            yield first.rows
            return
        last = min(_pages(total), most_pages)
        place |= {"page": last, "total": total, "counted": last + 1}
    while (page := place.get("page", 0)) > 0:
        for _ in range(_TRIES):
            listing = ask(page, page == 1)
            moved = _moved(place, listing.total, page, most_pages)
            for number in moved:
                yield ask(number, False).rows
            if listing.total is not None:
                place |= {"total": listing.total, "counted": page + 1 if moved else page}
            if not moved:
                break
        place["page"] = page - 1
        if page == 1:
            place.pop("total", None)
            place.pop("counted", None)
        yield listing.rows


def after(first: Listing | None, ask: Ask) -> Ask:
    """The same; the first page was just asked for, to learn how many rows there are, and is told once without asking."""
    asked = [] if first is None else [first]
    return lambda page, total: asked.pop() if asked and page == 1 else ask(page, total)


def _pages(rows: int) -> int:
    return -(-rows // SIZE)


def _moved(place: State, total: int | None, page: int, most_pages: int) -> range:
    """The pages behind `page`, from the last, that hold what stood at or before it when rows were last counted."""
    if total is None or "total" not in place or total <= place["total"]:
        return range(0)
    last = place["counted"] - 1 + _pages(total - place["total"])
    return range(min(last, _pages(total), most_pages), page, -1)


def _sure(ask: Ask, place: State) -> Ask:
    """The same; a page that begins as another one did, or comes short of what was counted, is asked for again.

    Raises: TransientError where another page comes each time. One that stays short is taken: the list may have shrunk.
    """
    seen: dict[int, int] = {}

    def asked(page: int, total: bool) -> Listing:
        for _ in range(_TRIES):
            listing = ask(page, total)
            other = bool(listing.rows) and seen.setdefault(hash(bytes(listing.rows[0])), page) != page
            if not other and not listing.is_short(page, place.get("total", 0)):
                break
        if other:
            raise TransientError(
                phrase("Taobao tells the same page of a list again and again."), hint=LATER, adapter=ADAPTER
            )
        return listing

    return asked


def page_of(stream: Stream, rows: list[msgspec.Raw], read: Sieve, state: State, names: tuple[str, ...]) -> Page:
    """The rows as a page of records, with the cursor as it stands now. What `read` gives None for is counted as skipped."""
    found = read_rows(stream, rows, read, names)
    skipped = len(rows) - len(found.records) - len(found.problems)
    return replace(pages.page_of(stream, found, state, total=None, last=False), skipped=skipped)


@dataclass(frozen=True, slots=True)
class Spans:
    """A list that is walked by time, span after span, from where the last walk ended up to now.

    `ask` is told the span's ends. The cursor holds `at`, from where the next walk goes on; within a walk also its `end`, and of the span in
    hand its `until` and next `page`.
    """

    stream: Stream
    names: tuple[str, ...]
    ask: AskSpan
    read: Sieve
    step: timedelta
    clock: Callable[[], float]
    most_pages: int = 1000

    def pages(self, state: State, whole: State) -> Iterator[Page]:
        """The pages from the cursor on. `state` is this list's part of the cursor `whole`, and moves along."""
        if "end" not in state:
            state["end"] = self.clock()
            state["at"] -= OVERLAP.total_seconds()
        passed = 0
        while True:
            start, end = state["at"], state["end"]
            settled = end - OVERLAP.total_seconds()
            until = state.setdefault("until", min(start + self.step.total_seconds(), end))
            ask, first = self._within(start, until), None
            if "page" not in state and start < settled < until:
                # One page comes as it is at one moment; several, of which rows are still coming in, are read again by the next walk.
                first = ask(1, True)
                if (first.total or 0) > SIZE:
                    state["until"] = settled
                    continue
            for rows in backwards(after(first, ask), state, self.most_pages):
                is_over = state.get("page") == 0
                if is_over:
                    del state["page"], state["until"]
                    state["at"] = until
                    if until >= end:
                        del state["end"]
                last = is_over and until >= end
                passed = 0 if rows else passed + 1
                if passed % _EMPTY and not last:
                    continue
                yield replace(page_of(self.stream, rows, self.read, whole, self.names), last=last)
            if "end" not in state:
                return

    def _within(self, start: float, until: float) -> Ask:
        since, to = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(until, UTC)
        return lambda page, total: self.ask(since, to, page, total)
