"""One page of raw rows as a page of records, and the few heads that paging itself has to know."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from crm_plugin.adapters.raw import label_of, text_of
from crm_plugin.adapters.storefronts.woocommerce import payloads
from crm_plugin.errors import MalformedResponse
from crm_plugin.records import Page, Record, RecordProblem, Stream

DAY_SECONDS = 24 * 3600.0
Cursor = dict[str, Any]
Reader = Callable[[msgspec.Raw | bytes], Record]


def read_rows(stream: Stream, rows: list[msgspec.Raw], read: Reader) -> tuple[list[Record], list[RecordProblem]]:
    """What the rows say; one that cannot be read is a problem under its own id."""
    records, problems = [], []
    for number, raw in enumerate(rows):
        try:
            records.append(read(raw))
        except MalformedResponse as error:
            label = label_of(raw, ("id",), f"row {number + 1} of {len(rows)}")
            problems.append(RecordProblem(stream, label, error.message, text_of(raw), error.path))
    return records, problems


def page_of(
    stream: Stream,
    found: tuple[list[Record], list[RecordProblem]],
    state: Cursor,
    *,
    total: int | None,
    last: bool,
) -> Page:
    """The page, with the cursor as it stands now."""
    records, problems = found
    cursor = json.dumps(state, separators=(",", ":"))
    return Page(stream, tuple(records), cursor, tuple(problems), total=total, last=last)


def head(raw: msgspec.Raw) -> payloads.Head:
    """What paging needs of a row; nothing of one that cannot be read."""
    try:
        return payloads.HEAD.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payloads.Head()


def ids(rows: list[msgspec.Raw]) -> list[int]:
    """The rows' own ids."""
    return [found.id for found in map(head, rows) if found.id is not None]
