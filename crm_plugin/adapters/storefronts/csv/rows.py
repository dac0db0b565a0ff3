"""Rows of named cells to records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import structs

from crm_plugin.adapters.raw import FieldError
from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.csv import values
from crm_plugin.adapters.storefronts.csv.decimals import POINT, number
from crm_plugin.adapters.storefronts.csv.mapping import STATUSES, FileMapping, Test, known_status
from crm_plugin.phrases import phrase
from crm_plugin.records import (
    CheckoutRecord,
    ConsentRecord,
    ConsentState,
    MemberRecord,
    OrderLineRecord,
    OrderRecord,
    OrderStatus,
    Record,
    RefundRecord,
    Stream,
)

Row = dict[str, str]
# A column of very many words holds no states.
_MOST_STATUSES = 50


class RowError(FieldError):
    """A row among those of one order that cannot be read; `place` counts from 0."""

    def __init__(self, error: FieldError, place: int) -> None:
        super().__init__(error.reason, error.path)
        self.place = place


class Rows:
    """Rows of named cells to records. Raises: FieldError naming the column.

    Args: marks: by key the mark before the decimals of its column, where it is no point.
    """

    def __init__(self, mapping: FileMapping, currency: str, timezone: str, marks: Mapping[str, str]) -> None:
        self._mapping = mapping
        self._marks = marks
        self._currency = currency
        self._zone = timezone
        # Each word for an order's state that was met, and what it was read as; None for one that nobody knows.
        self.statuses: dict[str, OrderStatus | None] = {}

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
            raise FieldError(phrase("there is neither a member id nor an e-mail"), self.path("member_id"))
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
        born = self._born(row)
        return MemberRecord(
            external_id=external_id,
            email=self.cell(row, "email"),
            phone=self.cell(row, "phone"),
            first_name=self.cell(row, "first_name"),
            last_name=self.cell(row, "last_name"),
            locale=self.cell(row, "locale"),
            timezone=self.cell(row, "timezone"),
            country=values.country(self.cell(row, "country")),
            region=self.cell(row, "region").upper(),
            birth_year=born.year if born else None,
            birth_month=born.birthday.month if born else None,
            birth_day=born.birthday.day if born else None,
            birth_lunar=born is not None and born.birthday.lunar,
            birth_leap=born is not None and born.birthday.leap,
            consents=self._consents(row),
            **more,
        )

    def _born(self, row: Row) -> values.Born | None:
        """The birthday; who tells a lunar one as well keeps that."""
        if lunar := self.cell(row, "lunar_birthday"):
            return values.lunar_birthday(lunar, self.path("lunar_birthday"))
        told = self.cell(row, "birthday")
        return values.birthday(told, self._mapping.date_format, self.path("birthday")) if told else None

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
            raise FieldError(phrase("the order id is empty"), self.path("order_id"))
        placed = self._time(row, "placed_at")
        if placed is None:
            raise FieldError(phrase("the time of the order is empty"), self.path("placed_at"))
        currency = (self.cell(row, "currency") or self._currency).upper()
        member = self.cell(row, "member_id")
        by_line = self._mapping.kind == "order_lines"
        lines = self._lines(rows, currency) if by_line else []
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

    def checkout(self, row: Row) -> CheckoutRecord:
        """One row of a file of checkouts."""
        checkout_id, started = self.cell(row, "checkout_id"), self._time(row, "started_at")
        if not checkout_id:
            raise FieldError(phrase("the checkout id is empty"), self.path("checkout_id"))
        if started is None:
            raise FieldError(phrase("the time of the checkout is empty"), self.path("started_at"))
        currency = (self.cell(row, "currency") or self._currency).upper()
        total, title = self._minor(row, "total", currency), self.cell(row, "title")
        return CheckoutRecord(
            external_id=checkout_id,
            member_external_id=self.cell(row, "member_id"),
            email=self.cell(row, "email"),
            currency=currency,
            total_minor=total,
            url=self.cell(row, "url"),
            lines=(OrderLineRecord(title=title, total_minor=total),) if title else (),
            started_at=started,
            updated_at=self._time(row, "updated_at"),
            completed_at=self._time(row, "completed_at"),
        )

    def record(self, stream: Stream, rows: list[Row]) -> Record:
        """The rows of one record of a stream."""
        if stream is Stream.MEMBERS:
            return self.member(rows[0])
        return self.checkout(rows[0]) if stream is Stream.CHECKOUTS else self.order(rows)

    def _contact(self, row: Row, member: str, placed: datetime) -> MemberRecord | None:
        told = self._person(row, member)
        if not member and not told.email and not told.phone:
            return None
        at = tuple(
            ConsentRecord(channel=c.channel, state=c.state, at=placed, source=c.source, proof=c.proof)
            for c in told.consents
        )
        return structs.replace(told, consents=at)

    def _lines(self, rows: list[Row], currency: str) -> list[tuple[OrderLineRecord, Decimal]]:
        lines: list[tuple[OrderLineRecord, Decimal]] = []
        for row in rows:
            try:
                lines.append(self._line(row, currency))
            except FieldError as error:
                raise RowError(error, len(lines)) from error
        return lines

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
        return self._read(text, key) if text else otherwise

    def _read(self, text: str, key: str) -> Decimal:
        return number(text, self._marks.get(key, POINT), self.path(key))

    def _minor(self, row: Row, key: str, currency: str) -> int:
        return values.minor(self._number(row, key), currency, self.path(key))

    def _cost(self, quantity: Decimal, cost: str, currency: str) -> int:
        path = self.path("unit_cost")
        return values.minor(quantity * self._read(cost, "unit_cost"), currency, path)

    def _time(self, row: Row, key: str) -> datetime | None:
        text = self.cell(row, key)
        return values.instant(text, self._zone, self._mapping.date_format, self.path(key)) if text else None

    def _status(self, word: str) -> OrderStatus:
        if not word:
            return OrderStatus.COMPLETED
        ours = self._mapping.status_words.get(word.lower()) or known_status(word)
        if len(self.statuses) < _MOST_STATUSES:
            self.statuses[word] = ours
        if ours is None:
            raise FieldError(
                phrase(
                    "%(word)r is no known state of an order; say in the mapping what it means, such as "
                    "status_words: {%(word)s: completed}; ours are %(names)s",
                    word=word,
                    names=STATUSES,
                ),
                self.path("status"),
            )
        return ours


def by_name(header: Sequence[str], cells: Sequence[str]) -> Row:
    """The cells by the names that the first line gives them."""
    return dict(zip(header, cells, strict=False))
