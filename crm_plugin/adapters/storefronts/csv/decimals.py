"""Which mark stands before the decimals: named in the mapping, else found out from what the columns of the file show."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from crm_plugin.adapters.raw import FieldError
from crm_plugin.adapters.storefronts.csv.mapping import FileMapping
from crm_plugin.errors import InvalidInput
from crm_plugin.money import LARGEST_MINOR
from crm_plugin.phrases import phrase

POINT, COMMA = ".", ","
NUMBERS = ("total", "tax", "shipping", "discount", "cost", "quantity", "unit_price", "line_total", "unit_cost")
# What may part thousands beside the mark that does not stand before the decimals.
_SPACES = "\\s'’"
_OPEN = "?"
_ONE_MARK = re.compile(r"[+-]?(\d*)[.,](\d*)")
_GROUPED = {
    POINT: re.compile(rf"[+-]?\d{{1,3}}(?:[,{_SPACES}]\d{{3}})+(?:\.\d*)?"),
    COMMA: re.compile(rf"[+-]?\d{{1,3}}(?:[.{_SPACES}]\d{{3}})+(?:,\d*)?"),
}
_LARGEST = Decimal(LARGEST_MINOR)


@lru_cache(maxsize=65536)
def shown_by(text: str) -> str:
    """The mark that must stand before the decimals of a number written so; `?` where 1.250 may be either, empty where none shows."""
    text = text.strip()
    points, commas = text.count(POINT), text.count(COMMA)
    if points + commas > 1:
        mark = max(POINT, COMMA, key=text.rfind) if points and commas else COMMA if points else POINT
        return mark if _GROUPED[mark].fullmatch(text) else ""
    mark = POINT if points else COMMA
    found = _ONE_MARK.fullmatch(text)
    if not found:
        # Thousands may be parted by spaces.
        return mark if points + commas and _GROUPED[mark].fullmatch(text) else ""
    if not (found[1] or found[2]):
        return ""
    if len(found[2]) == 3 and 1 <= len(found[1]) <= 3 and not found[1].startswith("0"):
        return _OPEN
    return mark


class Columns:
    """What the columns of numbers show while the file is looked through, in the rows that count."""

    def __init__(
        self, header: Sequence[str], mapping: FileMapping, counts: Callable[[Sequence[str]], bool] = bool
    ) -> None:
        self._counts = counts
        self._named = mapping.decimal
        self._columns = {key: mapping.columns[key] for key in NUMBERS if key in mapping.columns}
        # By key and mark: the line that showed it first, and what stood there.
        self._seen: dict[str, dict[str, tuple[int, str]]] = {key: {} for key in self._columns}
        found = () if self._named else self._columns.items()
        self._places = [(header.index(name), self._seen[key]) for key, name in found]

    def look(self, line: int, cells: Sequence[str]) -> None:
        """Take in what a row shows."""
        for place, seen in self._places:
            shown = shown_by(cells[place])
            if shown and shown not in seen and self._counts(cells):
                seen[shown] = (line, cells[place].strip())

    def marks(self) -> dict[str, str]:
        """The mark of each column. Raises: InvalidInput for one that is written in two ways, or may be read in two."""
        if self._named:
            return dict.fromkeys(self._columns, self._named)
        shown = {key: [mark for mark in seen if mark != _OPEN] for key, seen in self._seen.items()}
        # A file that writes all its clear numbers in one way writes the others so, too.
        everywhere = {mark for marks in shown.values() for mark in marks}
        usual = everywhere.pop() if len(everywhere) == 1 else ""
        for key, marks in shown.items():
            if len(marks) > 1:
                raise self._in_two_ways(key)
            if not marks and not usual and _OPEN in self._seen[key]:
                raise self._open(key)
        return {key: marks[0] if marks else usual or POINT for key, marks in shown.items()}

    def _in_two_ways(self, key: str) -> InvalidInput:
        (line, one), (other_line, other) = (self._seen[key][mark] for mark in (POINT, COMMA))
        return InvalidInput(
            phrase(
                "The column %(name)s writes its numbers in two ways: %(one)s in line %(line)s, %(other)s in line %(other_line)s.",
                name=self._columns[key],
                one=one,
                line=line,
                other=other,
                other_line=other_line,
            ),
            field="mapping",
            hint=_name_it(),
        )

    def _open(self, key: str) -> InvalidInput:
        line, text = self._seen[key][_OPEN]
        return InvalidInput(
            phrase(
                "%(text)s in the column %(name)s, line %(line)s, may be %(small)s or %(large)s, and nothing else in the file tells which.",
                text=text,
                name=self._columns[key],
                line=line,
                small=format(Decimal(text.replace(COMMA, POINT)).normalize(), "f"),
                large=text.replace(COMMA, "").replace(POINT, ""),
            ),
            field="mapping",
            hint=_name_it(),
        )


def _name_it() -> str:
    return phrase("Name the mark before the decimals in the mapping: `decimal: point` or `decimal: comma`.")


def number(text: str, mark: str, path: str) -> Decimal:
    """A decimal number, with or without marks between thousands. Raises: FieldError."""
    try:
        # Most are plain.
        value = Decimal(text if mark == POINT else _plain(text, mark))
    except InvalidOperation:
        try:
            value = Decimal(_plain(text, mark))
        except InvalidOperation as error:
            example = "1250.00" if mark == POINT else "1250,00"
            raise FieldError(
                phrase("%(text)r is not a number such as %(example)s", text=text, example=example), path
            ) from error
    if not value.is_finite():
        raise FieldError(phrase("%(text)r is not a number", text=text), path)
    if not -_LARGEST <= value <= _LARGEST:
        raise FieldError(phrase("%(text)s is too large a number", text=text), path)
    return value


def _plain(text: str, mark: str) -> str:
    """The number with a point and nothing between thousands; one that is written otherwise comes back as no number."""
    if _GROUPED[mark].fullmatch(text):
        whole, _, part = text.partition(mark)
        return f"{re.sub('[^0-9+-]', '', whole)}.{part}"
    return text if mark == POINT else text.replace(POINT, "?").replace(COMMA, POINT)
