"""Records and problems collected until a page is full."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from crm_plugin.adapters.raw import FieldError
from crm_plugin.adapters.storefronts.csv.mapping import FileMapping
from crm_plugin.adapters.storefronts.csv.rows import Row, Rows, by_name
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, Record, RecordProblem, RefundRecord, Stream

PAGE = 100


class Pages:
    """Collects records and problems until a page is full."""

    def __init__(self, rows: Rows, told: Mapping[str, Any], mapping: FileMapping) -> None:
        self._rows = rows
        self._told = told
        self._mapping = mapping
        self._stream = Stream.MEMBERS if mapping.kind == "members" else Stream.ORDERS
        self._records: list[Record] = []
        # Which rows each record is of, and the number of the first.
        self._sources: list[tuple[list[Row], int]] = []
        self._refunds: list[Record] = []
        self._refund_sources: list[tuple[list[Row], int]] = []
        self._problems: list[RecordProblem] = []
        self._skipped = 0
        self.refund_lines = 0

    def take_group(self, header: Sequence[str], group: list[list[str]], number: int) -> None:
        first = number - len(group) + 1
        wrong = next((cells for cells in group if len(cells) != len(header)), group[0])
        named = [by_name(header, cells) for cells in group]
        self._take(named, wrong, first, len(header))

    def take(self, row: Row, group: list[list[str]], number: int, width: int) -> None:
        self._take([row], group[0], number, width)

    def _take(self, rows: list[Row], cells: list[str], number: int, width: int) -> None:
        if self._rows.is_skipped(rows[0]):
            self._skipped += 1
            return
        try:
            if len(cells) != width:
                reason = phrase(
                    "the row has %(count)s cells, the first line names %(width)s", count=len(cells), width=width
                )
                if any("\n" in cell for cell in cells):
                    reason = phrase("%(reason)s; a quotation mark is not closed", reason=reason)
                raise FieldError(reason, f"row {number}")
            record = self._rows.member(rows[0]) if self._stream is Stream.MEMBERS else self._rows.order(rows)
        except FieldError as error:
            self._problems.append(self._problem(rows, number, error))
            return
        if isinstance(record, RefundRecord):
            self._refunds.append(record)
            self._refund_sources.append((rows, number))
            self.refund_lines += len(rows)
        else:
            self._records.append(record)
            self._sources.append((rows, number))

    def _problem(self, rows: list[Row], number: int, error: FieldError) -> RecordProblem:
        key = "member_id" if self._stream is Stream.MEMBERS else "order_id"
        name = self._rows.cell(rows[0], key) or f"row {number}"
        return RecordProblem(
            self._stream,
            name,
            phrase("Row %(number)s: %(reason)s.", number=number, reason=error.reason),
            self._raw(rows, number),
            error.path,
        )

    def _raw(self, rows: list[Row], number: int) -> str:
        raw = {
            "row": number,
            "mapping": self._mapping.document,
            "currency": self._told["currency"],
            "timezone": self._told["timezone"],
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
