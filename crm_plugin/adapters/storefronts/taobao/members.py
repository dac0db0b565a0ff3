"""Members: all of them by the time of their last trade, in slices of at most what a query tells; then those that have changed.

A query tells a thousand pages of a hundred. Who never traded has no such time: they are asked for by how they came to the shop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from crm_plugin.adapters.storefronts.taobao.client import ATTEMPTS, TopClient
from crm_plugin.adapters.storefronts.taobao.mapping import Mapper
from crm_plugin.adapters.storefronts.taobao.paging import (
    OVERLAP,
    SIZE,
    Ask,
    Listing,
    Spans,
    State,
    after,
    backwards,
    page_of,
)
from crm_plugin.adapters.storefronts.taobao.values import told_at
from crm_plugin.errors import PermanentError
from crm_plugin.phrases import phrase
from crm_plugin.records import MemberRecord, Page, RecordProblem, Stream

SEARCH = "taobao.crm.members.search"
BY_OUID = "taobao.crm.members.search.privy"
CHANGED = "taobao.crm.members.increment.get"
MOST_PAGES = 1000
MOST = MOST_PAGES * SIZE
# Taobao's own advice: what is older is not complete.
_BEGINNING = datetime(2009, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
# 1 is who has traded: those have a time.
_UNTRADED = (2, 3)
_GRADES = range(5)
_NAMES = ("ouid",)
# A slice of the cursor: {"from", "to"} in seconds since 1970, or {"source"} with {"grade"} where there are too many.
Slice = dict[str, int]


class Members:
    """The members of one shop."""

    def __init__(self, client: TopClient, mapper: Mapper) -> None:
        self._client = client
        self._mapper = mapper

    def pages(self, state: State) -> Iterator[Page]:
        """See the contract. `state` is the cursor's own dict and moves along."""
        if "at" not in state and "slices" not in state:
            now = int(self._client.clock())
            state["began"] = now
            untraded: list[Slice] = [{"source": source} for source in reversed(_UNTRADED)]
            settled = now - int(OVERLAP.total_seconds())
            # A second ahead, for who buys at this very moment. Whoever is left out of the last minutes because of them has changed since.
            lately: Slice = {"from": settled, "to": now + 1}
            state["slices"] = [*untraded, lately, {"from": int(_BEGINNING.timestamp()), "to": settled}]
        if "slices" in state:
            yield from self._all(state)
        else:
            ask, clock = self._ask_changed, self._client.clock
            yield from Spans(Stream.MEMBERS, _NAMES, ask, self._mapper.member, _DAY, clock).pages(state, state)

    def one(self, ouid: str) -> MemberRecord | None:
        """A member as they are now; None when there is none."""
        raw = self.row(ouid)
        return None if raw is None else self._mapper.member(raw)

    def row(self, ouid: str, attempts: int = ATTEMPTS) -> msgspec.Raw | None:
        """The same as Taobao tells it."""
        if not ouid.strip():
            return None
        asked = {"ouid": ouid, "current_page": 1, "page_size": 1}
        try:
            rows = self._client.call(BY_OUID, asked, attempts=attempts).rows("members", "crm_member")
        except PermanentError as error:
            # What is no ouid at all is a wrong argument to TOP. Any other wrong argument says nothing of the member.
            if error.code == "gone" or ("isv.invalid-parameter" in error.excerpt and "ouid" in error.excerpt):
                return None
            raise
        return rows[0] if rows else None

    def probe(self) -> None:
        """Ask for one member."""
        self._search({}, 1, 1, attempts=1)

    def count(self) -> int | None:
        """How many there are."""
        return self._search({}, 1, 1).total

    def _all(self, state: State) -> Iterator[Page]:
        slices: list[Slice] = state["slices"]
        while slices:
            slice_ = slices[-1]
            first = None if "page" in state else self._search(_terms(slice_), 1)
            too_many = first is not None and (first.total or 0) > MOST
            if too_many and (parts := _parts(slice_)):
                slices[-1:] = parts
                continue
            for rows in backwards(after(first, self._within(slice_)), state, MOST_PAGES):
                last = False
                if state["page"] == 0:
                    del state["page"]
                    slices.pop()
                    last = not slices
                    if last:
                        del state["slices"]
                        state["at"] = state.pop("began")
                page = page_of(Stream.MEMBERS, rows, self._mapper.member, state, _NAMES)
                problems = (*page.problems, _left_out(slice_)) if too_many else page.problems
                too_many = False
                yield replace(page, problems=problems, last=last)

    def _within(self, slice_: Slice) -> Ask:
        return lambda page, _total: self._search(_terms(slice_), page)

    def _search(self, terms: dict[str, Any], page: int, size: int = SIZE, attempts: int = ATTEMPTS) -> Listing:
        answer = self._client.call(SEARCH, {**terms, "current_page": page, "page_size": size}, attempts=attempts)
        return Listing(answer.rows("members", "crm_member"), answer.number("total_result"))

    def _ask_changed(self, since: datetime, to: datetime, page: int, total: bool) -> Listing:
        del total
        span = {"start_modify": told_at(since), "end_modify": told_at(to)}
        answer = self._client.call(CHANGED, {**span, "current_page": page, "page_size": SIZE})
        return Listing(answer.rows("members", "basic_member"), answer.number("total_result"))


def _terms(slice_: Slice) -> dict[str, Any]:
    if "source" in slice_:
        return {"relation_source": slice_["source"], "grade": slice_.get("grade")}
    since, to = (told_at(datetime.fromtimestamp(slice_[end], UTC)) for end in ("from", "to"))
    return {"min_last_trade_time": since, "max_last_trade_time": to}


def _parts(slice_: Slice) -> list[Slice]:
    """The slice in smaller ones, the first to be read last; empty where it cannot be cut. Ends belong to both neighbours."""
    if "source" in slice_:
        return [] if "grade" in slice_ else [{**slice_, "grade": grade} for grade in reversed(_GRADES)]
    middle = (slice_["from"] + slice_["to"]) // 2
    if middle == slice_["from"]:
        return []
    return [{"from": middle, "to": slice_["to"]}, {"from": slice_["from"], "to": middle}]


def _left_out(slice_: Slice) -> RecordProblem:
    place = ", ".join(f"{name}={value}" for name, value in _terms(slice_).items() if value is not None)
    reason = phrase(
        "Taobao lists %(most)s members of a kind at most; those past that come when they next change.", most=MOST
    )
    return RecordProblem(Stream.MEMBERS, place, reason, "{}")
