"""The CSV adapter: a file and its mapping to pages of records.

An order's lines may stand apart in the file: the first reading notes which orders do, the second keeps only those until the end, so that
memory stays flat however long the file is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType
from crm_plugin.adapters.raw import FieldError, whole
from crm_plugin.adapters.storefronts.base import FileStorefront
from crm_plugin.adapters.storefronts.csv.decimals import Columns
from crm_plugin.adapters.storefronts.csv.mapping import FileMapping, read_mapping
from crm_plugin.adapters.storefronts.csv.opening import Line, open_rows
from crm_plugin.adapters.storefronts.csv.pages import Pages
from crm_plugin.adapters.storefronts.csv.rows import Rows, by_name
from crm_plugin.errors import InvalidInput, MalformedResponse
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, Record, ShopInfo, Stream


class CsvStorefront(FileStorefront):
    """A shop that hands in files. Without a path it has nothing to pull: `import` opens it with one."""

    name = "csv"
    label = "CSV files"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.BACKFILL, Capability.BIRTHDAY, Capability.CONSENT, Capability.COST}
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("path", "File", required=False, default=""),
        Setting("mapping", "Mapping", SettingType.JSON, required=False, default=None),
        Setting("currency", "Currency", required=False, default=""),
        Setting("timezone", "Time zone", required=False, default="UTC"),
    )
    streams: ClassVar[tuple[Stream, ...]] = ()

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(told)
        mapping = self.values["mapping"]
        self.mapping = read_mapping(mapping) if mapping is not None else None
        self.kind = self.mapping.kind if self.mapping else ""
        self.rows = 0
        self.refund_lines = 0
        self.statuses: dict[str, str] = {}
        self._split: set[str] = set()
        self._marks: dict[str, str] = {}

    def check(self) -> list[Problem]:
        """Nothing can be wrong before there is a file."""
        return []

    def shop_info(self) -> ShopInfo:
        """A file tells nothing of its shop but what was given."""
        return ShopInfo(
            name="", currency=self.values["currency"], timezone=self.values["timezone"] if self.kind else ""
        )

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        """Nothing to pull: files are handed in."""
        yield Page(stream, (), cursor, last=True)

    def parse(self, stream: Stream, raw: str) -> Record:
        """Read the rows again that a problem kept with their mapping."""
        try:
            told = json.loads(raw)
            marks = told.get("decimal", {})
            reader = Rows(read_mapping(told["mapping"]), told["currency"], told["timezone"], marks)
            rows = [dict(row) for row in told["rows"]]
        except (ValueError, TypeError, KeyError) as error:
            raise MalformedResponse(
                phrase("The kept text is not complete."),
                adapter=self.name,
                hint=phrase("Mend the file and import it again."),
            ) from error
        try:
            return reader.record(stream, rows)
        except FieldError as error:
            raise MalformedResponse(whole(error.reason), adapter=self.name, path=error.path) from error

    def look_at_columns(self) -> None:
        """See FileStorefront."""
        with self._open() as (_reader, header):
            _check_columns(header, self._mapping())

    def look_through(self) -> None:
        """See FileStorefront; also notes which orders' lines stand apart, and how numbers are written."""
        mapping = self._mapping()
        apart = _Apart()
        self.rows = 0
        with self._open() as (reader, header):
            _check_columns(header, mapping)
            column = _column(header, mapping, "order_id") if mapping.kind == "order_lines" else None
            rows = Rows(mapping, "", "", {})
            numbers = Columns(header, mapping, counts=lambda cells: not rows.is_skipped(by_name(header, cells)))
            for line, cells in reader:
                self.rows += 1
                if len(cells) == len(header):
                    numbers.look(line, cells)
                if column is not None and len(cells) > column:
                    apart.note(cells[column])
        self._split = apart.found
        self._marks = numbers.marks()

    def file_pages(self) -> Iterator[Page]:
        """Pages of up to 100 members or orders."""
        mapping = self._mapping()
        collector = Pages(self.values, mapping, self._marks)
        self.statuses, self.refund_lines = {}, 0
        with self._open() as (reader, header):
            groups = self._grouped(reader, header) if mapping.kind == "order_lines" else _one_by_one(reader)
            for number, found in groups:
                collector.take(header, found)
                yield from collector.full(number)
            yield from collector.rest(self.rows)
        self.statuses, self.refund_lines = collector.statuses, collector.refund_lines

    def _grouped(self, reader: Iterator[Line], header: Sequence[str]) -> Iterator[tuple[int, list[Line]]]:
        """The lines of one order after the other, with how many rows were read before."""
        column = _column(header, self._mapping(), "order_id")
        apart: dict[str, list[Line]] = {}
        group: list[Line] = []
        current: str | None = None
        number = 0
        for number, (line, cells) in enumerate(reader):
            if not cells:
                continue
            order_id = cells[column] if column is not None and len(cells) > column else ""
            if order_id in self._split:
                apart.setdefault(order_id, []).append((line, cells))
                continue
            if order_id != current and group:
                yield number, group
                group = []
            current = order_id
            group.append((line, cells))
        if group:
            yield number, group
        for found in apart.values():
            yield number, found

    def _mapping(self) -> FileMapping:
        if self.mapping is None:
            raise InvalidInput(
                phrase("There is no mapping."),
                field="mapping",
                hint=phrase("Say which column is what: --mapping FILE."),
            )
        return self.mapping

    def _open(self) -> AbstractContextManager[tuple[Iterator[Line], list[str]]]:
        return open_rows(Path(self.values["path"]), self._mapping())


class _Apart:
    """Which orders have lines that stand apart in the file. Of the others only a number is kept."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._seen: set[int] = set()
        self._before: str | None = None

    def note(self, order_id: str) -> None:
        """The order of the next line."""
        if order_id == self._before:
            return
        mark = hash(order_id)
        if mark in self._seen:
            self.found.add(order_id)
        self._seen.add(mark)
        self._before = order_id


def _one_by_one(reader: Iterator[Line]) -> Iterator[tuple[int, list[Line]]]:
    for number, (line, cells) in enumerate(reader, 1):
        if cells:
            yield number, [(line, cells)]


def _column(header: Sequence[str], mapping: FileMapping, key: str) -> int | None:
    name = mapping.columns.get(key)
    return header.index(name) if name in header else None


def _check_columns(header: Sequence[str], mapping: FileMapping) -> None:
    wanted = {**mapping.columns, **mapping.attributes}
    missing = [
        phrase("%(name)s (for %(key)s)", name=name, key=key) for key, name in wanted.items() if name not in header
    ]
    if missing:
        raise InvalidInput(
            phrase("The file has no column %(names)s.", names=missing),
            field="mapping",
            hint=phrase("Its columns are: %(names)s.", names=list(header)),
        )
    for key, name in wanted.items():
        places = [str(place) for place, there in enumerate(header, 1) if there == name]
        if len(places) > 1:
            raise InvalidInput(
                phrase(
                    "The file has several columns %(name)s (for %(key)s): the columns %(places)s.",
                    name=name,
                    key=key,
                    places=places,
                ),
                field="mapping",
                hint=phrase("Give each a name of its own in the file's first line."),
            )
