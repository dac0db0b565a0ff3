"""The CSV adapter: a file and its mapping to pages of records.

An order's lines may stand apart in the file: the first reading notes which orders do, the second keeps only those until the end, so that
memory stays flat however long the file is.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType
from crm_plugin.adapters.raw import FieldError
from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.base import FileStorefront
from crm_plugin.adapters.storefronts.csv import values
from crm_plugin.adapters.storefronts.csv.mapping import FileMapping, Test, read_mapping
from crm_plugin.errors import InvalidInput, MalformedResponse
from crm_plugin.records import (
    ConsentRecord,
    ConsentState,
    MemberRecord,
    OrderLineRecord,
    OrderRecord,
    OrderStatus,
    Page,
    Record,
    RecordProblem,
    RefundRecord,
    ShopInfo,
    Stream,
)

PAGE = 100
# A first line that is longer names no columns: somebody chose a picture or an archive.
_LONGEST_LINE = 1_000_000
_DELIMITERS = (",", ";", "\t", "|")
Row = dict[str, str]


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
        self._split: set[str] = set()

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
            reader = _Rows(read_mapping(told["mapping"]), told["currency"], told["timezone"])
            rows = [dict(row) for row in told["rows"]]
        except (ValueError, TypeError, KeyError) as error:
            raise MalformedResponse(
                "The kept text is not complete.", adapter=self.name, hint="Mend the file and import it again."
            ) from error
        try:
            return reader.member(rows[0]) if stream is Stream.MEMBERS else reader.order(rows)
        except FieldError as error:
            raise MalformedResponse(f"{error.reason}.", adapter=self.name, path=error.path) from error

    def look_at_columns(self) -> None:
        """See FileStorefront."""
        with self._open() as (_reader, header):
            _check_columns(header, self._mapping())

    def look_through(self) -> None:
        """See FileStorefront; also notes which orders' lines stand apart."""
        mapping = self._mapping()
        seen: set[int] = set()
        before = None
        self.rows = 0
        self._split = set()
        with self._open() as (reader, header):
            column = _column(header, mapping, "order_id") if mapping.kind == "order_lines" else None
            _check_columns(header, mapping)
            try:
                for cells in reader:
                    self.rows += 1
                    if column is None or len(cells) <= column:
                        continue
                    order_id = cells[column]
                    if order_id != before:
                        mark = hash(order_id)
                        if mark in seen:
                            self._split.add(order_id)
                        seen.add(mark)
                        before = order_id
            except UnicodeDecodeError as error:
                raise InvalidInput(
                    f"After row {self.rows} the file is not in the encoding {error.encoding}.",
                    field="file",
                    hint="Name its encoding in the mapping, such as encoding: cp1252, or save the file as UTF-8.",
                ) from error
            except csv.Error as error:
                raise InvalidInput(
                    f"Row {self.rows + 1} cannot be read as CSV: {error}.",
                    field="file",
                    hint="Save it again as CSV (UTF-8).",
                ) from error
            except (EOFError, OSError) as error:
                raise InvalidInput(
                    f"The file breaks off after row {self.rows}.", field="file", hint="Copy or export it again, whole."
                ) from error

    def file_pages(self) -> Iterator[Page]:
        """Pages of up to 100 members or orders."""
        mapping = self._mapping()
        rows = _Rows(mapping, self.values["currency"], self.values["timezone"])
        collector = _Pages(rows, self.values, mapping)
        self.refund_lines = 0
        with self._open() as (reader, header):
            if mapping.kind == "order_lines":
                yield from self._grouped(reader, header, rows, collector)
            else:
                for number, cells in enumerate(reader, 1):
                    if cells:
                        collector.take(_named(header, cells), [cells], number, len(header))
                        yield from collector.full(number)
            yield from collector.rest(self.rows)
        self.refund_lines = collector.refund_lines

    def _grouped(
        self, reader: Iterator[list[str]], header: Sequence[str], rows: _Rows, collector: _Pages
    ) -> Iterator[Page]:
        column = _column(header, self._mapping(), "order_id")
        apart: dict[str, list[list[str]]] = {}
        group: list[list[str]] = []
        current: str | None = None
        number = 0
        for number, cells in enumerate(reader, 1):
            if not cells:
                continue
            order_id = cells[column] if column is not None and len(cells) > column else ""
            if order_id in self._split:
                apart.setdefault(order_id, []).append(cells)
                continue
            if order_id != current and group:
                collector.take_group(header, group, number - 1)
                yield from collector.full(number)
                group = []
            current = order_id
            group.append(cells)
        for cells_of in (group, *apart.values()):
            if cells_of:
                collector.take_group(header, cells_of, number)
                yield from collector.full(number)

    def _mapping(self) -> FileMapping:
        if self.mapping is None:
            raise InvalidInput(
                "There is no mapping.", field="mapping", hint="Say which column is what: --mapping FILE."
            )
        return self.mapping

    @contextmanager
    def _open(self) -> Iterator[tuple[Iterator[list[str]], list[str]]]:
        path = Path(self.values["path"])
        mapping = self._mapping()
        try:
            raw: Any = path.open("rb")
        except OSError as error:
            raise InvalidInput(f"The file {path.name} cannot be opened: {error.strerror}.", field="file") from error
        with raw:
            if raw.peek(2)[:2] == b"\x1f\x8b":
                raw = gzip.GzipFile(fileobj=raw)
            text = io.TextIOWrapper(raw, encoding=mapping.encoding or "utf-8-sig", newline="")
            try:
                first = text.readline(_LONGEST_LINE)
            except UnicodeDecodeError as error:
                raise InvalidInput(
                    f"The first line is not in the encoding {error.encoding}.",
                    field="file",
                    hint="Name the file's encoding in the mapping, such as encoding: cp1252, or save it as UTF-8.",
                ) from error
            except (EOFError, OSError) as error:
                raise InvalidInput("The file is not a whole gzip file.", field="file", hint="Copy it again.") from error
            if len(first) == _LONGEST_LINE:
                raise InvalidInput(
                    "The file's first line does not end.", field="file", hint="Choose a CSV file; this is none."
                )
            if not first.strip():
                raise InvalidInput("The file is empty.", field="file", hint="Its first line must name the columns.")
            delimiter = mapping.delimiter or max(_DELIMITERS, key=first.count)
            header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter))]
            yield csv.reader(text, delimiter=delimiter), header


class _Rows:
    """Rows of named cells to records. Raises: FieldError naming the column."""

    def __init__(self, mapping: FileMapping, currency: str, timezone: str) -> None:
        self._mapping = mapping
        self._currency = currency
        self._zone = timezone

    def cell(self, row: Row, key: str) -> str:
        column = self._mapping.columns.get(key)
        if column is None:
            return self._mapping.constants.get(key, "")
        return row.get(column, "").strip()

    def holds(self, tests: tuple[Test, ...], row: Row) -> bool:
        return bool(tests) and all(test.holds(self.cell(row, test.key)) for test in tests)

    def is_refund(self, row: Row) -> bool:
        return self.holds(self._mapping.refund_when, row)

    def is_skipped(self, row: Row) -> bool:
        return self.holds(self._mapping.skip_when, row)

    def path(self, key: str) -> str:
        return self._mapping.columns.get(key, key)

    def member(self, row: Row) -> MemberRecord:
        """One row of a members file."""
        email = self.cell(row, "email")
        external_id = self.cell(row, "member_id") or email.lower()
        if not external_id:
            raise FieldError("there is neither a member id nor an e-mail", self.path("member_id"))
        attributes = {name: row.get(column, "").strip() for name, column in self._mapping.attributes.items()}
        tags = None
        if "tags" in self._mapping.columns:
            text = self.cell(row, "tags").replace(";", ",").replace("|", ",")
            tags = tuple(tag.strip() for tag in text.split(",") if tag.strip())
        return self._person(
            row,
            external_id,
            joined_at=self._time(row, "joined_at"),
            updated_at=self._time(row, "updated_at"),
            tags=tags,
            attributes={name: value for name, value in attributes.items() if value},
        )

    def _person(self, row: Row, external_id: str, **more: Any) -> MemberRecord:
        born = self.cell(row, "birthday")
        year, month, day = (
            values.birthday(born, self._mapping.date_format, self.path("birthday")) if born else (None, None, None)
        )
        return MemberRecord(
            external_id=external_id,
            email=self.cell(row, "email"),
            phone=self.cell(row, "phone"),
            first_name=self.cell(row, "first_name"),
            last_name=self.cell(row, "last_name"),
            locale=self.cell(row, "locale"),
            timezone=self.cell(row, "timezone"),
            country=values.country(self.cell(row, "country")),
            birth_year=year,
            birth_month=month,
            birth_day=day,
            consents=self._consents(row),
            **more,
        )

    def _consents(self, row: Row) -> tuple[ConsentRecord, ...]:
        told = []
        for key, channel in (("email_consent", "email"), ("sms_consent", "sms")):
            said = values.yes_or_no(self.cell(row, key), self.path(key))
            if said is not None:
                state = ConsentState.GRANTED if said else ConsentState.WITHDRAWN
                told.append(
                    ConsentRecord(channel=channel, state=state, source="file", proof={"column": self.path(key)})
                )
        return tuple(told)

    def order(self, rows: list[Row]) -> Record:
        """The rows of one order (one row in a file of orders)."""
        row = rows[0]
        order_id = self.cell(row, "order_id")
        if not order_id:
            raise FieldError("the order id is empty", self.path("order_id"))
        placed = self._time(row, "placed_at")
        if placed is None:
            raise FieldError("the time of the order is empty", self.path("placed_at"))
        currency = (self.cell(row, "currency") or self._currency).upper()
        member = self.cell(row, "member_id")
        by_line = self._mapping.kind == "order_lines"
        lines = [self._line(one, currency) for one in rows] if by_line else []
        total = sum((amount for _, amount in lines), Decimal(0)) if by_line else self._number(row, "total")
        total_path = self.path("line_total" if by_line else "total")
        if self.is_refund(row):
            return RefundRecord(
                external_id=order_id,
                amount_minor=abs(values.minor(total, currency, total_path)),
                currency=currency,
                order_external_id=self.cell(row, "refund_of"),
                member_external_id=member,
                refunded_at=placed,
                reason=self.cell(row, "reason"),
            )
        if by_line:
            total += self._number(row, "tax") + self._number(row, "shipping") - self._number(row, "discount")
        word = self.cell(row, "status")
        return OrderRecord(
            external_id=order_id,
            number=self.cell(row, "number") or order_id,
            status=self._status(word),
            platform_status=word,
            currency=currency,
            total_minor=values.minor(total, currency, total_path),
            tax_minor=self._minor(row, "tax", currency),
            shipping_minor=self._minor(row, "shipping", currency),
            discount_minor=self._minor(row, "discount", currency),
            cost_minor=self._minor(row, "cost", currency) if self.cell(row, "cost") else None,
            member_external_id=member,
            contact=self._contact(row, member, placed),
            placed_at=placed,
            paid_at=self._time(row, "paid_at"),
            shipped_at=self._time(row, "shipped_at"),
            delivered_at=self._time(row, "delivered_at"),
            updated_at=self._time(row, "updated_at"),
            coupon_codes=tuple(code for code in self.cell(row, "coupon_codes").replace(";", ",").split(",") if code),
            lines=tuple(line for line, _ in lines),
        )

    def _contact(self, row: Row, member: str, placed: datetime) -> MemberRecord | None:
        told = self._person(row, member)
        if not member and not told.email and not told.phone:
            return None
        at = tuple(
            ConsentRecord(channel=c.channel, state=c.state, at=placed, source=c.source, proof=c.proof)
            for c in told.consents
        )
        return MemberRecord(
            external_id=told.external_id,
            email=told.email,
            phone=told.phone,
            first_name=told.first_name,
            last_name=told.last_name,
            locale=told.locale,
            timezone=told.timezone,
            country=told.country,
            birth_year=told.birth_year,
            birth_month=told.birth_month,
            birth_day=told.birth_day,
            consents=at,
        )

    def _line(self, row: Row, currency: str) -> tuple[OrderLineRecord, Decimal]:
        quantity = self._number(row, "quantity", Decimal(1))
        price = "line_total" if "line_total" in self._mapping.columns else "unit_price"
        amount = self._number(row, price) * (1 if price == "line_total" else quantity)
        cost = self.cell(row, "unit_cost")
        line = OrderLineRecord(
            sku=self.cell(row, "sku"),
            product_external_id=self.cell(row, "product_id"),
            title=self.cell(row, "title"),
            quantity=limits.quantity(float(quantity), self.path("quantity")),
            total_minor=values.minor(amount, currency, self.path(price)),
            cost_minor=self._cost(quantity, cost, currency) if cost else None,
        )
        return line, amount

    def _number(self, row: Row, key: str, otherwise: Decimal = Decimal(0)) -> Decimal:
        text = self.cell(row, key)
        return values.number(text, self.path(key)) if text else otherwise

    def _minor(self, row: Row, key: str, currency: str) -> int:
        return values.minor(self._number(row, key), currency, self.path(key))

    def _cost(self, quantity: Decimal, cost: str, currency: str) -> int:
        path = self.path("unit_cost")
        return values.minor(quantity * values.number(cost, path), currency, path)

    def _time(self, row: Row, key: str) -> datetime | None:
        text = self.cell(row, key)
        return values.instant(text, self._zone, self._mapping.date_format, self.path(key)) if text else None

    def _status(self, word: str) -> OrderStatus:
        if not word:
            return OrderStatus.COMPLETED
        ours = self._mapping.status_words.get(word.lower(), word.lower().replace(" ", "_").replace("-", "_"))
        return next((status for status in OrderStatus if status.value == ours), OrderStatus.UNKNOWN)


class _Pages:
    """Collects records and problems until a page is full."""

    def __init__(self, rows: _Rows, told: Mapping[str, Any], mapping: FileMapping) -> None:
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
        named = [_named(header, cells) for cells in group]
        self._take(named, wrong, first, len(header))

    def take(self, row: Row, group: list[list[str]], number: int, width: int) -> None:
        self._take([row], group[0], number, width)

    def _take(self, rows: list[Row], cells: list[str], number: int, width: int) -> None:
        if self._rows.is_skipped(rows[0]):
            self._skipped += 1
            return
        try:
            if len(cells) != width:
                raise FieldError(f"the row has {len(cells)} cells, the first line names {width}", f"row {number}")
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
        return RecordProblem(self._stream, name, f"Row {number}: {error.reason}.", self._raw(rows, number), error.path)

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


def _named(header: Sequence[str], cells: Sequence[str]) -> Row:
    return dict(zip(header, cells, strict=False))


def _column(header: Sequence[str], mapping: FileMapping, key: str) -> int | None:
    name = mapping.columns.get(key)
    return header.index(name) if name in header else None


def _check_columns(header: Sequence[str], mapping: FileMapping) -> None:
    wanted = {**mapping.columns, **mapping.attributes}
    missing = [f"{name} (for {key})" for key, name in wanted.items() if name not in header]
    if missing:
        raise InvalidInput(
            f"The file has no column {', '.join(missing)}.",
            field="mapping",
            hint=f"Its columns are: {', '.join(header)}.",
        )
