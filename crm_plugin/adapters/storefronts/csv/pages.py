"""Records and problems collected until a page is full."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from crm_plugin.adapters.raw import FieldError
from crm_plugin.adapters.storefronts.csv.mapping import FileMapping
from crm_plugin.adapters.storefronts.csv.opening import Line
from crm_plugin.adapters.storefronts.csv.rows import Row, RowError, Rows, by_name
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, Record, RecordProblem, RefundRecord, Stream

PAGE = 100


# What each kind of file holds, and what names a record in it; all else is orders.
_STREAMS = {"members": Stream.MEMBERS, "checkouts": Stream.CHECKOUTS}
_IDS = {Stream.MEMBERS: "member_id", Stream.CHECKOUTS: "checkout_id"}


class Pages:
    """Collects records and problems until a page is full."""

    def __init__(self, told: Mapping[str, Any], mapping: FileMapping, marks: Mapping[str, str]) -> None:
        self._rows = Rows(mapping, told["currency"], told["timezone"], marks)
        self._told = told
        self._mapping = mapping
        self._marks = marks
        self._stream = _STREAMS.get(mapping.kind, Stream.ORDERS)
        self._records: list[Record] = []
        # Which rows each record is of, and the line of the first.
        self._sources: list[tuple[list[Row], int]] = []
        self._refunds: list[Record] = []
        self._refund_sources: list[tuple[list[Row], int]] = []
        self._problems: list[RecordProblem] = []
        self._skipped = 0
        self.refund_lines = 0

    @property
    def statuses(self) -> dict[str, str]:
        """Each word for an order's state and what it was read as; empty for one whose orders were set aside."""
        return {word: status.value if status else "" for word, status in self._rows.statuses.items()}

    def take(self, header: Sequence[str], found: Sequence[Line]) -> None:
        """One member or order: its lines as the file has them."""
        rows = [by_name(header, cells) for _, cells in found]
        if self._rows.is_skipped(rows[0]):
            self._skipped += 1
            return
        try:
            _check_width(found, len(header))
            record = self._rows.record(self._stream, rows)
        except FieldError as error:
            line = found[error.place if isinstance(error, RowError) else 0][0]
            self._problems.append(self._problem(rows, line, error))
            return
        line = found[0][0]
        if isinstance(record, RefundRecord):
            self._refunds.append(record)
            self._refund_sources.append((rows, line))
            self.refund_lines += len(rows)
        else:
            self._records.append(record)
            self._sources.append((rows, line))

    def _problem(self, rows: list[Row], line: int, error: FieldError) -> RecordProblem:
        key = _IDS.get(self._stream, "order_id")
        return RecordProblem(
            self._stream,
            self._rows.cell(rows[0], key) or f"line {line}",
            phrase("Line %(line)s: %(reason)s.", line=line, reason=error.reason),
            self._raw(rows, line),
            error.path or f"line {line}",
        )

    def _raw(self, rows: list[Row], line: int) -> str:
        raw = {
            "line": line,
            "mapping": self._mapping.document,
            "currency": self._told["currency"],
            "timezone": self._told["timezone"],
            "decimal": self._marks,
            "rows": rows,
        }
        return json.dumps(raw, ensure_ascii=False)

    def _raw_of(self, sources: list[tuple[list[Row], int]]) -> Callable[[int], str]:
        return lambda at: self._raw(*sources[at])

    def full(self, number: int) -> Iterator[Page]:
        if len(self._records) + len(self._problems) >= PAGE or len(self._refunds) >= PAGE:
            yield from self.rest(number)

    def rest(self, number: int) -> Iterator[Page]:
        if self._records or self._problems or self._skipped:
            yield Page(
                self._stream,
                tuple(self._records),
                str(number),
                problems=tuple(self._problems),
                skipped=self._skipped,
                raw_of=self._raw_of(self._sources),
            )
        if self._refunds:
            yield Page(Stream.REFUNDS, tuple(self._refunds), str(number), raw_of=self._raw_of(self._refund_sources))
        self._records, self._refunds, self._problems, self._skipped = [], [], [], 0
        self._sources, self._refund_sources = [], []


def _check_width(found: Sequence[Line], width: int) -> None:
    for place, (_, cells) in enumerate(found):
        if len(cells) == width:
            continue
        reason = phrase("the row has %(count)s cells, the first line names %(width)s", count=len(cells), width=width)
        if any("\n" in cell for cell in cells):
            reason = phrase("%(reason)s; a quotation mark is not closed", reason=reason)
        raise RowError(FieldError(reason, ""), place)
