"""The mapping file: which column of the file is what here.

Keys are the product's words, values the file's column names; `{value: X}` stands for the same value in every row.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Collection
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass, field
from typing import Any

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.records import OrderStatus

# Our words for an order's state, as a mapping may use them.
STATUSES = tuple(status.value for status in OrderStatus if status is not OrderStatus.UNKNOWN)
KINDS = ("members", "orders", "order_lines", "checkouts")
_PERSON = (
    "email",
    "phone",
    "first_name",
    "last_name",
    "locale",
    "timezone",
    "country",
    "region",
    "birthday",
    "lunar_birthday",
    "email_consent",
    "sms_consent",
)
MEMBER_KEYS = ("member_id", *_PERSON, "joined_at", "updated_at", "tags")
ORDER_KEYS = (
    "order_id",
    "number",
    "placed_at",
    "paid_at",
    "shipped_at",
    "delivered_at",
    "updated_at",
    "status",
    "currency",
    "total",
    "tax",
    "shipping",
    "discount",
    "cost",
    "coupon_codes",
    "member_id",
    "refund_of",
    "reason",
    *_PERSON,
)
LINE_KEYS = (
    *(key for key in ORDER_KEYS if key != "total"),
    "sku",
    "title",
    "product_id",
    "quantity",
    "unit_price",
    "line_total",
    "unit_cost",
)
CHECKOUT_KEYS = (
    "checkout_id",
    "member_id",
    "email",
    "started_at",
    "updated_at",
    "completed_at",
    "currency",
    "total",
    "url",
    "title",
)
_REQUIRED = {
    "members": (),
    "orders": ("order_id", "placed_at", "total"),
    "order_lines": ("order_id", "placed_at"),
    "checkouts": ("checkout_id", "started_at"),
}
_OPTIONS = ("kind", "encoding", "delimiter", "decimal", "date_format", "refund_when", "skip_when", "status_words")
_DECIMALS = {"point": ".", "comma": ",", ".": ".", ",": ","}
# The file's words for an order's state that need no `status_words`, beside our own.
_STATUS_WORDS = {
    "canceled": OrderStatus.CANCELLED,
    "complete": OrderStatus.COMPLETED,
    "delivered": OrderStatus.COMPLETED,
    "fulfilled": OrderStatus.SHIPPED,
    "processing": OrderStatus.PAID,
    **{status.value: status for status in OrderStatus if status is not OrderStatus.UNKNOWN},
}
_TESTS = ("prefix", "equals", "one_of")


@dataclass(frozen=True, slots=True)
class Test:
    """One condition on one mapped value: begins with, is, or is one of."""

    key: str
    how: str
    values: tuple[str, ...]

    def holds(self, value: str) -> bool:
        if self.how == "prefix":
            return value.startswith(self.values)
        return value in self.values


@dataclass(frozen=True, slots=True)
class FileMapping:
    """A checked mapping. `constants` are values that every row has."""

    kind: str
    columns: dict[str, str]
    constants: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    refund_when: tuple[Test, ...] = ()
    skip_when: tuple[Test, ...] = ()
    status_words: dict[str, OrderStatus] = field(default_factory=dict)
    encoding: str = ""
    delimiter: str = ""
    # The mark before the decimals; empty where it is to be found out.
    decimal: str = ""
    date_format: str = ""
    document: dict[str, Any] = field(default_factory=dict)


def read_mapping(document: AbstractMapping[str, Any]) -> FileMapping:
    """Check a mapping document. Raises: InvalidInput naming the key and what to write instead."""
    kind = str(document.get("kind", ""))
    if kind not in KINDS:
        raise InvalidInput(
            phrase("`kind` is %(kind)r.", kind=kind) if kind else phrase("`kind` is missing."),
            field="mapping",
            hint=phrase("Use one of: %(names)s.", names=KINDS),
        )
    known = {"members": MEMBER_KEYS, "orders": ORDER_KEYS, "order_lines": LINE_KEYS, "checkouts": CHECKOUT_KEYS}[kind]
    columns: dict[str, str] = {}
    constants: dict[str, str] = {}
    attributes: dict[str, str] = {}
    for key, value in document.items():
        if key in _OPTIONS:
            continue
        if isinstance(value, dict) and set(value) == {"value"}:
            constants[key] = str(value["value"])
        elif not isinstance(value, (str, int)) or isinstance(value, bool):
            raise InvalidInput(
                phrase("`%(key)s` must be a column's name.", key=key),
                field="mapping",
                hint=phrase("A constant is written {value: X}."),
            )
        elif key in known:
            columns[key] = str(value)
        elif kind == "members":
            attributes[key] = str(value)
        if key not in known and kind != "members":
            raise InvalidInput(
                phrase("`%(key)s` is not a key of %(kind)s.", key=key, kind=kind),
                field="mapping",
                hint=_suggest(key, known),
            )
    _require(kind, {*columns, *constants}, columns)
    return FileMapping(
        kind=kind,
        columns=columns,
        constants=constants,
        attributes=attributes,
        refund_when=_tests(document, "refund_when", known),
        skip_when=_tests(document, "skip_when", known),
        status_words=_status_words(document),
        encoding=_encoding(document),
        delimiter=_delimiter(document),
        decimal=_decimal(document),
        date_format=str(document.get("date_format", "")),
        document=dict(document),
    )


def _require(kind: str, told: Collection[str], columns: Collection[str]) -> None:
    """Refuse a mapping that leaves out what such a file cannot do without."""
    for needed in _REQUIRED[kind]:
        if needed not in told:
            raise InvalidInput(
                phrase("`%(key)s` is missing.", key=needed),
                field="mapping",
                hint=phrase("Name the column that holds the %(key)s.", key=needed),
            )
    if kind in ("members", "checkouts") and "member_id" not in columns and "email" not in columns:
        raise InvalidInput(
            phrase("Neither `member_id` nor `email` is there."),
            field="mapping",
            hint=phrase("One of them must tell who is meant."),
        )
    if kind == "order_lines" and "line_total" not in columns and "unit_price" not in columns:
        raise InvalidInput(
            phrase("Neither `unit_price` nor `line_total` is there."),
            field="mapping",
            hint=phrase("Name the column of the price."),
        )


def _encoding(document: AbstractMapping[str, Any]) -> str:
    encoding = str(document.get("encoding", ""))
    if encoding:
        try:
            # Also refuses what `codecs` knows but no text is written in, such as rot13.
            io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        except LookupError as error:
            raise InvalidInput(
                phrase("There is no encoding %(name)r.", name=encoding),
                field="mapping",
                hint=phrase("Try utf-8 or cp1252."),
            ) from error
    return encoding


def _delimiter(document: AbstractMapping[str, Any]) -> str:
    delimiter = str(document.get("delimiter", ""))
    if delimiter and (len(delimiter) > 1 or delimiter in '\r\n"'):
        raise InvalidInput(
            phrase("%(told)r cannot stand between columns.", told=delimiter),
            field="mapping",
            hint=phrase('Give one character, such as ";".'),
        )
    return delimiter


def _decimal(document: AbstractMapping[str, Any]) -> str:
    told = str(document.get("decimal", ""))
    if told and told not in _DECIMALS:
        raise InvalidInput(
            phrase("`decimal` is %(told)r.", told=told), field="mapping", hint=phrase("Use point or comma.")
        )
    return _DECIMALS.get(told, "")


def _status_words(document: AbstractMapping[str, Any]) -> dict[str, OrderStatus]:
    told = document.get("status_words") or {}
    if not isinstance(told, dict):
        raise InvalidInput(phrase("`status_words` must map the file's words to ours."), field="mapping")
    for word, ours in told.items():
        if ours not in STATUSES:
            raise InvalidInput(
                phrase("`status_words` makes %(word)r %(ours)r.", word=word, ours=ours),
                field="mapping",
                hint=_suggest(str(ours), STATUSES),
            )
    return {str(word).lower(): OrderStatus(ours) for word, ours in told.items()}


def known_status(word: str) -> OrderStatus | None:
    """What a word for an order's state means without being mapped; None for one that nobody knows."""
    return _STATUS_WORDS.get(word.lower().replace(" ", "_").replace("-", "_"))


def _tests(document: AbstractMapping[str, Any], option: str, known: tuple[str, ...]) -> tuple[Test, ...]:
    told = document.get(option) or {}
    if not isinstance(told, dict):
        raise InvalidInput(
            phrase("`%(option)s` must name a key, such as {order_id: {prefix: C}}.", option=option), field="mapping"
        )
    tests = []
    for key, condition in told.items():
        if key not in known:
            raise InvalidInput(
                phrase("`%(option)s` speaks of %(key)r.", option=option, key=key),
                field="mapping",
                hint=_suggest(str(key), known),
            )
        if not isinstance(condition, dict) or len(condition) != 1 or next(iter(condition)) not in _TESTS:
            raise InvalidInput(
                phrase("`%(option)s` of %(key)s is not understood.", option=option, key=key),
                field="mapping",
                hint=phrase("Use one of: %(names)s.", names=_TESTS),
            )
        how, value = next(iter(condition.items()))
        values = value if isinstance(value, list) else [value]
        tests.append(Test(str(key), str(how), tuple(str(item) for item in values)))
    return tuple(tests)


def _suggest(key: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return phrase("Did you mean %(name)s?", name=close[0]) if close else phrase("Known are: %(names)s.", names=known)
