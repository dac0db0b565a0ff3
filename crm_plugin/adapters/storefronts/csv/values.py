"""Cells of a file as values: days and times, amounts, countries, yes and no. Numbers are read in `decimals.py`."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import NamedTuple

from babel import Locale

from crm_plugin.adapters.raw import FieldError
from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.lunar_birthdays import is_lunar, read_lunar
from crm_plugin.birthdays import Birthday
from crm_plugin.clock import zone
from crm_plugin.money import to_minor
from crm_plugin.phrases import phrase

_YES = frozenset({"yes", "y", "1", "true", "on", "granted", "subscribed", "是"})
_NO = frozenset({"no", "n", "0", "false", "off", "withdrawn", "unsubscribed", "否"})
# Names that people use beside those of the standard.
_ALIASES = {
    "eire": "IE",
    "rsa": "ZA",
    "usa": "US",
    "uk": "GB",
    "great britain": "GB",
    "czech republic": "CZ",
    "holland": "NL",
}
_MONTH_DAY = re.compile(r"^(?:--)?(\d{1,2})-(\d{1,2})$")


def instant(text: str, zone_name: str, date_format: str, path: str) -> datetime:
    """A time as aware UTC; one without an offset is meant in the shop's zone. Raises: FieldError saying how to tell the form."""
    try:
        value = datetime.strptime(text, date_format) if date_format else datetime.fromisoformat(text)  # noqa: DTZ007
    except ValueError as error:
        raise FieldError(_no_instant(text, date_format), path) from error
    if value.tzinfo is None:
        value = value.replace(tzinfo=zone(zone_name))
    return limits.instant(value, path)


def _no_instant(text: str, date_format: str) -> str:
    if date_format:
        # The form was told already, and other rows may well have it.
        return phrase(
            "%(text)r is no time of the form %(form)s; correct it in the file, or date_format in the mapping",
            text=text,
            form=date_format,
        )
    wrong = phrase("%(text)r is not a date such as 2026-03-29 18:05:00", text=text)
    example = 'date_format: "%d/%m/%Y %H:%M"'
    return phrase("%(wrong)s; name the file's form as %(example)s in the mapping", wrong=wrong, example=example)


class Born(NamedTuple):
    """A birthday; its year, of its own calendar, is None where it is not told."""

    year: int | None
    birthday: Birthday


def birthday(text: str, date_format: str, path: str) -> Born:
    """A birthday of the solar calendar, or of the lunar one where the text says so. Raises: FieldError."""
    if is_lunar(text):
        return lunar_birthday(text, path)
    if found := _MONTH_DAY.match(text):
        month, day = int(found[1]), int(found[2])
        try:
            date(2000, month, day)
        except ValueError as error:
            raise FieldError(phrase("%(text)r is not a day of the year", text=text), path) from error
        return Born(None, Birthday(month, day))
    try:
        value = datetime.strptime(text, date_format) if date_format else datetime.fromisoformat(text)  # noqa: DTZ007
    except ValueError as error:
        raise FieldError(phrase("%(text)r is not a birthday such as 1985-06-05 or 06-05", text=text), path) from error
    return Born(value.year, Birthday(value.month, value.day))


def lunar_birthday(text: str, path: str) -> Born:
    """A birthday of the Chinese lunisolar calendar. Raises: FieldError."""
    found = read_lunar(text)
    if found is None:
        raise FieldError(
            phrase("%(text)r is not a lunar birthday such as 1985-08-15, 08-15 or leap-04-12", text=text), path
        )
    return Born(found.year, found.birthday)


def minor(amount: Decimal, currency: str, path: str) -> int:
    """The amount in minor units. Raises: FieldError for one too large to be kept."""
    try:
        return to_minor(amount, currency)
    except ValueError as error:
        raise FieldError(phrase("%(amount)s is too large an amount", amount=amount), path) from error


def yes_or_no(text: str, path: str) -> bool | None:
    """Whether it says yes; None when it says nothing. Raises: FieldError for another word."""
    word = text.lower()
    if not word:
        return None
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise FieldError(phrase("%(text)r is neither yes nor no", text=text), path)


@lru_cache(maxsize=4096)
def country(text: str) -> str:
    """ISO 3166 letters of a code or an English name; empty when it is no country."""
    if len(text) == 2 and text.isascii() and text.isalpha():
        code = text.upper()
        return "GB" if code == "UK" else code
    name = text.strip().lower()
    return _ALIASES.get(name) or _names().get(name, "")


@cache
def _names() -> dict[str, str]:
    found = {name.lower(): code for code, name in Locale("en").territories.items() if len(code) == 2 and code.isalpha()}
    # Unions of countries have letters too, but no citizens' zone or language.
    return {name: code for name, code in found.items() if code not in ("EU", "UN", "EZ")}
