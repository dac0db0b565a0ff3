"""Pages written together: as many as make a transaction worth it, none kept waiting, none lost with a store that breaks off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crm_plugin.errors import TransientError
from crm_plugin.records import OrderLineRecord, Page, Stream
from crm_plugin.sync import batch
from tests.factories import member, order


def _pages(*sizes: int, breaks: bool = False, lines: int = 1) -> Iterator[Page]:
    for number, size in enumerate(sizes, 1):
        rows = tuple(order(f"{number}-{n}", lines=(OrderLineRecord(),) * lines) for n in range(size))
        yield Page(Stream.ORDERS, rows, str(number), last=not breaks and number == len(sizes))
    if breaks:
        raise TransientError("The store is gone.")


def _cursors(groups: Iterator[list[Page]]) -> list[list[str]]:
    return [[page.next_cursor for page in group] for group in groups]


def test_pages_are_grouped_by_rows() -> None:
    assert _cursors(batch.groups(_pages(2, 2, 2, 2, 2), rows=8)) == [["1", "2"], ["3", "4"], ["5"]]
    # One order of many lines weighs as much as many orders.
    assert _cursors(batch.groups(_pages(1, 1, 1, lines=9), rows=10)) == [["1"], ["2"], ["3"]]
    # With a member come its addresses and consents.
    members = (Page(Stream.MEMBERS, (member(str(n)),), str(n)) for n in range(1, 6))
    assert _cursors(batch.groups(members, rows=8)) == [["1", "2"], ["3", "4"], ["5"]]


def test_last_page_waits_for_nothing() -> None:
    members = [Page(Stream.MEMBERS, (member(),), "1", last=True), Page(Stream.ORDERS, (), "2")]
    assert _cursors(batch.groups(members)) == [["1"], ["2"]]


def test_slow_store_is_not_kept_waiting() -> None:
    assert _cursors(batch.groups(_pages(1, 1, 1), seconds=0.0)) == [["1"], ["2"], ["3"]]


def test_what_came_before_an_error_is_handed_on() -> None:
    groups = batch.groups(_pages(1, 1, 1, breaks=True), rows=4)
    assert [page.next_cursor for page in next(groups)] == ["1", "2"]
    assert [page.next_cursor for page in next(groups)] == ["3"]
    with pytest.raises(TransientError):
        next(groups)
