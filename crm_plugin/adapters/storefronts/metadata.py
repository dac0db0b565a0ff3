"""Birthday, consent and language out of keys and values: where a platform has no field for them, plugins keep them under their own keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple

from crm_plugin.adapters.storefronts.lunar_birthdays import is_lunar, read_lunar
from crm_plugin.records import ConsentState

_YES = frozenset({"yes", "1", "on", "true", "y", "checked", "subscribed", "opt_in", "opt-in", "granted"})
_NO = frozenset({"no", "0", "off", "false", "n", "unsubscribed", "opt_out", "opt-out", "withdrawn"})

_ISO = re.compile(r"^(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?:[T ].*)?$")
_MONTH_DAY = re.compile(r"^(?:--)?(\d{1,2})-(\d{1,2})$")
_DAY_FIRST = re.compile(r"^(\d{1,2})([./-])(\d{1,2})\2(\d{4})$")
_LOCALE = re.compile(r"^[A-Za-z]{2,3}(?:[_-][A-Za-z0-9]{2,8})*$")


class Birthday(NamedTuple):
    """A birthday; the year, of its own calendar, is None where it is not told. `lunar` and `leap` as in `birthdays.py`."""

    year: int | None
    month: int
    day: int
    lunar: bool = False
    leap: bool = False


class Found(NamedTuple):
    """One entry under a key that is looked for: of two for one purpose the lower rank counts. `value` gives it as plain Python."""

    purpose: str
    rank: int
    key: str
    value: Callable[[], Any]


class Said(NamedTuple):
    """What one record's entries said; `unread` is a birthday that could not be placed, as it was written."""

    birthday: Birthday | None = None
    unread: str = ""
    consent: ConsentState | None = None
    consent_key: str = ""
    locale: str = ""


NOTHING = Said()


class KnownKeys:
    """Under which keys a store keeps what, by purpose; a list of keys is split at commas and spaces, and earlier keys win over later ones.

    Keys are compared without leading underscores and name space, `-` like `_`: `_wc_other/acme/marketing-opt-in` is found as
    `marketing_opt_in`.
    """

    def __init__(self, birthday: str, consent: str, locale: str, lunar: str) -> None:
        self._ranks: dict[str, tuple[str, int]] = {}
        named = (("lunar", lunar), ("birthday", birthday), ("consent", consent), ("locale", locale))
        for purpose, keys in named:
            for rank, key in enumerate(part for part in re.split(r"[,\s]+", keys) if part):
                self._ranks.setdefault(plain_key(key), (purpose, rank))
        self._known: dict[str | int, tuple[str, int] | None] = {}

    def find(self, key: str | int, value: Callable[[], Any]) -> Found | None:
        """The entry, where its key is one of those looked for."""
        # A store has few distinct keys and many entries, so each key is looked at once.
        purpose = self._known[key] if key in self._known else self._purpose(key)
        return None if purpose is None else Found(*purpose, str(key), value)

    def read(self, entries: Mapping[str, Any]) -> Said:
        """What the values under these keys say; unreadable ones are passed over, so they never stop the record they hang on."""
        found = [self.find(key, partial(_same, value)) for key, value in entries.items()]
        return self.say(one for one in found if one is not None)

    def say(self, found: Iterable[Found]) -> Said:
        """The same of entries that `find` gave."""
        by: dict[str, list[Found]] = {}
        for one in found:
            by.setdefault(one.purpose, []).append(one)
        if not by:
            return NOTHING
        birthday, unread = _first_birthday(by.get("lunar", ()), read_lunar_birthday)
        if birthday is None:
            # Who tells both keeps the lunar one.
            birthday, other = _first_birthday(by.get("birthday", ()), read_birthday)
            unread = "" if birthday else unread or other
        return Said(birthday, unread, *_first_consent(by.get("consent", ())), _first_locale(by.get("locale", ())))

    def _purpose(self, key: str | int) -> tuple[str, int] | None:
        purpose = self._known[key] = self._ranks.get(plain_key(str(key)))
        return purpose


def born(birthday: Birthday | None) -> dict[str, Any]:
    """The birthday as fields of a MemberRecord."""
    if birthday is None:
        return {}
    return {
        "birth_year": birthday.year,
        "birth_month": birthday.month,
        "birth_day": birthday.day,
        "birth_lunar": birthday.lunar,
        "birth_leap": birthday.leap,
    }


def plain_key(key: str) -> str:
    """The key without name space, leading underscores and case."""
    return key.rsplit("/", 1)[-1].lstrip("_").replace("-", "_").lower()


def read_birthday(text: str) -> Birthday | None:
    """The birthday in this text, or None when it is not certain which day is meant.

    Taken are lunar ones that say so (`lunar:08-15`), year-month-day in any separator, month-day alone, and day-month-year. `05/06/1985` is
    read by nobody the same way, so slashes and dashes are taken only when one number is past twelve; with dots the day always comes first.
    """
    text = text.strip()
    if is_lunar(text):
        return read_lunar_birthday(text)
    if found := _ISO.match(text):
        return _placed(int(found[1]), int(found[2]), int(found[3]))
    if found := _MONTH_DAY.match(text):
        return _placed(0, int(found[1]), int(found[2]))
    if found := _DAY_FIRST.match(text):
        first, second, year = int(found[1]), int(found[3]), int(found[4])
        if found[2] == "." or first > 12 or first == second:
            return _placed(year, second, first)
        if second > 12:
            return _placed(year, first, second)
    return None


def read_lunar_birthday(text: str) -> Birthday | None:
    """The birthday of the Chinese lunisolar calendar in this text, which need not name the calendar; None when there is no such day."""
    found = read_lunar(text)
    if found is None:
        return None
    year = found.year if found.year and found.year <= datetime.now(UTC).year else None
    return Birthday(year, *found.birthday)


def read_consent(value: Any) -> ConsentState | None:
    """Granted, withdrawn, or None when the value says neither; an empty one says nothing."""
    if isinstance(value, bool):
        return ConsentState.GRANTED if value else ConsentState.WITHDRAWN
    word = text_of(value).lower()
    if word in _YES:
        return ConsentState.GRANTED
    return ConsentState.WITHDRAWN if word in _NO else None


@lru_cache(maxsize=256)
def read_locale(text: str) -> str:
    """A language tag with hyphens, `zh_CN` as `zh-CN`; empty for anything else."""
    text = text.strip().removesuffix("_formal").removesuffix("_informal")
    if not _LOCALE.match(text):
        return ""
    language, *rest = text.replace("_", "-").split("-")
    return "-".join([language.lower(), *(_subtag(part) for part in rest)])


def _subtag(part: str) -> str:
    # BCP 47 writes a script in title case and a region in capitals.
    return part.title() if len(part) == 4 else part.upper() if len(part) == 2 else part.lower()


def _first_birthday(entries: Iterable[Found], read: Callable[[str], Birthday | None]) -> tuple[Birthday | None, str]:
    unread = ""
    for found in sorted(entries, key=_by_rank):
        value = _only(found.value())
        text = _date_text(value) if isinstance(value, dict) else text_of(value)
        if birthday := read(text):
            return birthday, ""
        unread = unread or text[:40]
    return None, unread


def _first_consent(entries: Iterable[Found]) -> tuple[ConsentState | None, str]:
    for found in sorted(entries, key=_by_rank):
        state = read_consent(_only(found.value()))
        if state is not None:
            return state, found.key
    return None, ""


def _first_locale(entries: Iterable[Found]) -> str:
    for found in sorted(entries, key=_by_rank):
        if locale := read_locale(text_of(_only(found.value()))):
            return locale
    return ""


def _same(value: Any) -> Any:
    return value


def _by_rank(found: Found) -> int:
    return found.rank


def _placed(year: int, month: int, day: int) -> Birthday | None:
    try:
        # 2000 has a 29 February, which a birthday without a year may be.
        date(year or 2000, month, day)
    except ValueError:
        return None
    known = 1900 <= year <= datetime.now(UTC).year
    return Birthday(year if known else None, month, day)


def _only(value: Any) -> Any:
    """What a list of one holds: check boxes and repeatable fields come as such."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _date_text(value: Mapping[str, Any]) -> str:
    """Year, month and day kept apart, as text; empty when there is no month or no day."""
    year, month, day = (text_of(value.get(name)) for name in ("year", "month", "day"))
    if not (month.isdigit() and day.isdigit()):
        return ""
    return f"{year}-{month:0>2}-{day:0>2}" if year.isdigit() and len(year) == 4 else f"{month}-{day}"


def text_of(value: Any) -> str:
    """A plain value as stripped text, yes or no; empty for lists, objects and null."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).strip() if isinstance(value, (str, int, float)) else ""
