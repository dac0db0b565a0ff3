"""One closed span of a list, read from its last page to its first; and a row of spans, one after the other up to now.

TOP lists the newest first. What changes while pages are read leaves a span that lies in the past, so all behind it move one place towards
the first page: whoever reads forward leaves rows out, whoever reads backward sees some of them twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from crm_plugin.adapters.raw import label_of, text_of
from crm_plugin.errors import MalformedResponse
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, Record, RecordProblem, Stream

SIZE = 100
# Clocks lag, and a change shows in the lists a while after it was made.
OVERLAP = timedelta(minutes=5)
# So many spans in which nothing changed are passed without a page of their own.
_EMPTY = 20
# How often a page is asked for that is not what was asked for, before it is taken as it is.
_TRIES = 3
State = dict[str, Any]
Reader = Callable[[msgspec.Raw], Record | None]
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


def backwards(ask: Ask, place: State, most_pages: int) -> Iterator[list[msgspec.Raw]]:
    """The rows of one span, page by page from the last. `place` holds the next page to read, and nothing once all are read."""
    ask = _another(ask)
    if "page" not in place:
        first = ask(1, True)
        total = first.total or 0
        if total <= SIZE:
            place["page"] = 0
            yield first.rows
            return
        last = min(-(-total // SIZE), most_pages)
        listing = ask(last, False)
        grown = last
        while listing.more and grown < most_pages:
            # A span that is still open grows, and what is behind its last page moves on: once that is read, the last page is read again.
            yield listing.rows
            grown += 1
            listing = ask(grown, False)
        place["page"] = last - 1 if grown == last else last
        yield listing.rows
    while (page := place.get("page", 0)) > 0:
        rows = ask(page, False).rows
        place["page"] = page - 1
        yield rows


def _another(ask: Ask) -> Ask:
    """The same; a page that begins as the one before it, of another number, was not asked for and is asked for again."""
    number, began = 0, b""

    def asked(page: int, total: bool) -> Listing:
        nonlocal number, began
        for _ in range(_TRIES):
            listing = ask(page, total)
            head = bytes(listing.rows[0]) if listing.rows else b""
            if page == number or not head or head != began:
                break
        number, began = page, head
        return listing

    return asked


def page_of(stream: Stream, rows: list[msgspec.Raw], read: Reader, state: State, names: tuple[str, ...]) -> Page:
    """The rows as a page of records, with the cursor as it stands now. What `read` gives None for is counted as skipped."""
    records: list[Record] = []
    raws: list[msgspec.Raw] = []
    problems: list[RecordProblem] = []
    for number, raw in enumerate(rows):
        try:
            record = read(raw)
        except MalformedResponse as error:
            reason, path = error.message, error.path
        except (ArithmeticError, ValueError, TypeError) as error:
            # A value nobody has thought of must not keep the rows behind it away.
            reason, path = phrase("It cannot be read: %(what)s.", what=error), "$"
        else:
            if record is not None:
                records.append(record)
                raws.append(raw)
            continue
        label = label_of(raw, names, f"row {number + 1} of {len(rows)}")
        problems.append(RecordProblem(stream, label, reason, text_of(raw), path))
    skipped = len(rows) - len(records) - len(problems)
    return Page(
        stream,
        tuple(records),
        msgspec.json.encode(state).decode(),
        tuple(problems),
        skipped=skipped,
        raw_of=lambda number: text_of(raws[number]),
    )


@dataclass(frozen=True, slots=True)
class Spans:
    """A list that is walked by time, span after span, from where the last walk ended up to now.

    `ask` is told the span's ends. The cursor holds `at`, from where the next walk goes on; within a walk also its `end`, and of the span in
    hand its `until` and next `page`.
    """

    stream: Stream
    names: tuple[str, ...]
    ask: AskSpan
    read: Reader
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
            until = state.setdefault("until", min(start + self.step.total_seconds(), end))
            since, to = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(until, UTC)
            for rows in backwards(self._within(since, to), state, self.most_pages):
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

    def _within(self, since: datetime, to: datetime) -> Ask:
        return lambda page, total: self.ask(since, to, page, total)
