"""One page of raw rows as a page of records: a row that cannot be read is set aside, the others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from crm_plugin.adapters.raw import label_of, text_of
from crm_plugin.errors import MalformedResponse
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, Record, RecordProblem, Stream

DAY_SECONDS = 24 * 3600.0
Cursor = dict[str, Any]
Reader = Callable[[msgspec.Raw | bytes], Record]
# One that passes over rows: None for what is no record.
Sieve = Callable[[msgspec.Raw], Record | None]


class Found(NamedTuple):
    """What rows say: the records, what could not be read, and for each record the row it came from."""

    records: list[Record]
    problems: list[RecordProblem]
    raws: list[msgspec.Raw]


def read_rows(stream: Stream, rows: list[msgspec.Raw], read: Reader | Sieve, names: tuple[str, ...] = ("id",)) -> Found:
    """What the rows say; one that cannot be read is a problem under its own id, which has one of these names."""
    found = Found([], [], [])
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
                found.records.append(record)
                found.raws.append(raw)
            continue
        label = label_of(raw, names, f"row {number + 1} of {len(rows)}")
        found.problems.append(RecordProblem(stream, label, reason, text_of(raw), path))
    return found


def page_of(
    stream: Stream,
    found: Found,
    state: Cursor,
    *,
    total: int | None,
    last: bool,
) -> Page:
    """The page, with the cursor as it stands now."""
    cursor = msgspec.json.encode(state).decode()
    return Page(
        stream,
        tuple(found.records),
        cursor,
        tuple(found.problems),
        total=total,
        last=last,
        raw_of=lambda number: text_of(found.raws[number]),
    )
