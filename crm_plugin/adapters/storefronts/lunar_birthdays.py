"""Birthdays of the Chinese lunisolar calendar as stores and files write them: `lunar:1985-08-15`, `lunar:leap-04-12`, `农历闰四月十二`."""

from __future__ import annotations

import re
from typing import NamedTuple

from crm_plugin.birthdays import Birthday, is_birthday

_PREFIX = re.compile(r"^(?:lunar\s*[:：\s]\s*|(?:农历|農曆|阴历|陰曆|旧历|舊曆|夏历)\s*[:：]?\s*)", re.IGNORECASE)
_FIGURES = re.compile(r"^(?:(\d{4})-)?(leap-)?(\d{1,2})-(\d{1,2})$", re.IGNORECASE)
_WRITTEN = re.compile(
    r"^(?:(\d{4}|[零〇一二三四五六七八九]{4})年)?([闰閏])?(正|冬|腊|臘|[一二三四五六七八九十]{1,2}|\d{1,2})月(.{1,3}?)日?$"
)
_DIGITS = {figure: value for value, figure in enumerate("〇一二三四五六七八九")} | {"零": 0}
_MONTHS = {"正": 1, "冬": 11, "腊": 12, "臘": 12}
_TENS = {"初": 0, "十": 10, "廿": 20, "卅": 30}


class LunarBirthday(NamedTuple):
    """A lunar birthday; the lunar year is None where it is not told."""

    year: int | None
    birthday: Birthday


def is_lunar(text: str) -> bool:
    """Whether the text says that it is of the lunar calendar."""
    return _PREFIX.match(text.strip()) is not None


def read_lunar(text: str) -> LunarBirthday | None:
    """The lunar birthday in this text, with or without the word for it; None when there is no such day in its year, or in any.

    Figures are year-month-day or month-day, with `leap-` before the month of a leap month; the year is that of the lunar calendar.
    """
    text = _PREFIX.sub("", text.strip()).strip()
    if found := _FIGURES.match(text):
        return _placed(int(found[1] or 0), int(found[3]), int(found[4]), bool(found[2]))
    if found := _WRITTEN.match(text.replace(" ", "")):
        year = int("".join(str(_DIGITS.get(one, one)) for one in found[1] or "0"))
        return _placed(year, _MONTHS.get(found[3]) or _number(found[3]), _number(found[4]), bool(found[2]))
    return None


def _placed(year: int, month: int, day: int, leap: bool) -> LunarBirthday | None:
    birthday = Birthday(month, day, lunar=True, leap=leap)
    return LunarBirthday(year or None, birthday) if day and is_birthday(birthday, year or None) else None


def _number(text: str) -> int:
    """A number up to 39 in figures or as days are written (初五, 十五, 二十, 廿三, 三十); 0 for what is none."""
    if text.isascii() and text.isdigit():
        return int(text)
    if text[:1] in _TENS and len(text) <= 2:
        rest = text[1:]
        # 初十 is the tenth.
        return 10 if text == "初十" else _TENS[text[0]] + _DIGITS.get(rest, 0) if not rest or rest in _DIGITS else 0
    if len(text) in (2, 3) and text[0] in _DIGITS and text[1] == "十":
        return _DIGITS[text[0]] * 10 + _DIGITS.get(text[2:], 0) if len(text) == 2 or text[2] in _DIGITS else 0
    return _DIGITS.get(text, 0)
