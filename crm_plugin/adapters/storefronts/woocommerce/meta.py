"""Birthday, consent and language out of meta data: WooCommerce has no field for them, plugins keep them under keys of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from crm_plugin.adapters.raw import any_json
from crm_plugin.adapters.storefronts.lunar_birthdays import is_lunar, read_lunar
from crm_plugin.adapters.storefronts.woocommerce.payloads import Meta
from crm_plugin.adapters.storefronts.woocommerce.tracking import SHIPMENTS, shipment_of
from crm_plugin.records import ConsentState

BIRTHDAY_KEYS = (
    "birthday, birth_date, birthdate, billing_birth_date, billing_birthday, billing_birthdate, date_of_birth, dob"
)
CONSENT_KEYS = (
    "marketing_opt_in, email_marketing_consent, email_opt_in, accepts_marketing, newsletter, newsletter_opt_in, "
    "billing_newsletter, mailchimp_woocommerce_is_subscribed"
)
LUNAR_KEYS = "lunar_birthday, birthday_lunar, billing_lunar_birthday"
LOCALE_KEYS = "locale, language, wpml_language, pll_language"
# Under this and the programme's key the level of an account is kept. What begins with an underscore the REST API does not show.
MARK_PREFIX = "crm_tier_"
UTM_SOURCE = "_wc_order_attribution_utm_source"

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


class Told(NamedTuple):
    """What one record's meta data told us; `unread` is a birthday that could not be placed, as it was written."""

    birthday: Birthday | None = None
    unread: str = ""
    consent: ConsentState | None = None
    consent_key: str = ""
    locale: str = ""
    source: str = ""
    shipment: Mapping[str, str] = {}


_NOTHING = Told()


class MetaKeys:
    """Under which keys this store keeps what. Earlier keys in a list win over later ones.

    Keys are compared without leading underscores and name space, `-` like `_`: `_wc_other/acme/marketing-opt-in`, the form of the block
    checkout's own fields, is found as `marketing_opt_in`.
    """

    def __init__(
        self,
        birthday: str = BIRTHDAY_KEYS,
        consent: str = CONSENT_KEYS,
        locale: str = LOCALE_KEYS,
        lunar: str = LUNAR_KEYS,
    ) -> None:
        self._ranks: dict[str, tuple[str, int]] = {}
        named = (("lunar", lunar), ("birthday", birthday), ("consent", consent), ("locale", locale))
        for purpose, keys in named:
            for rank, key in enumerate(part for part in re.split(r"[,\s]+", keys) if part):
                self._ranks.setdefault(plain_key(key), (purpose, rank))
        self._known: dict[str | int, tuple[str, int] | None] = {}

    def read(self, entries: Iterable[Meta] | None) -> Told:
        """What these entries tell; unreadable values are passed over, so they never stop the record they hang on."""
        found: dict[str, list[tuple[int, str, msgspec.Raw]]] = {}
        source, shipment = "", {}
        known = self._known
        for entry in entries or ():
            key = entry.key
            # A store has few distinct keys and many entries, so each key is looked at once.
            purpose = known[key] if key in known else self._purpose(key)
            if purpose is not None:
                found.setdefault(purpose[0], []).append((purpose[1], str(key), entry.value))
            elif key == UTM_SOURCE:
                source = _text(any_json(entry.value))
            elif key == SHIPMENTS:
                shipment = shipment_of(entry.value)
        if not found:
            return Told(source=source, shipment=shipment) if source or shipment else _NOTHING
        birthday, unread = _first_birthday(found.get("lunar", ()), read_lunar_birthday)
        if birthday is None:
            # Who tells both keeps the lunar one.
            birthday, other = _first_birthday(found.get("birthday", ()), read_birthday)
            unread = "" if birthday else unread or other
        consent, consent_key = _first_consent(found.get("consent", ()))
        return Told(birthday, unread, consent, consent_key, _first_locale(found.get("locale", ())), source, shipment)

    def _purpose(self, key: str | int) -> tuple[str, int] | None:
        purpose = self._known[key] = self._ranks.get(plain_key(str(key)))
        return purpose


def marks_of(entries: Iterable[Meta] | None) -> dict[str, str] | None:
    """Our marks among an account's meta data, by programme; None where the key shows none of it. Of two under one key the first counts."""
    if entries is None:
        return None
    found: dict[str, str] = {}
    for entry in entries:
        key = entry.key
        if isinstance(key, str) and key.startswith(MARK_PREFIX):
            level = any_json(entry.value)
            if level not in (None, "", False):
                found.setdefault(key.removeprefix(MARK_PREFIX), str(level))
    return found


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
    word = _text(value).lower()
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


def _first_birthday(
    entries: Iterable[tuple[int, str, msgspec.Raw]], read: Callable[[str], Birthday | None]
) -> tuple[Birthday | None, str]:
    unread = ""
    for _, _, raw in sorted(entries, key=lambda entry: entry[0]):
        value = _only(any_json(raw))
        text = _date_text(value) if isinstance(value, dict) else _text(value)
        if birthday := read(text):
            return birthday, ""
        unread = unread or text[:40]
    return None, unread


def _first_consent(entries: Iterable[tuple[int, str, msgspec.Raw]]) -> tuple[ConsentState | None, str]:
    for _, key, raw in sorted(entries, key=lambda entry: entry[0]):
        state = read_consent(_only(any_json(raw)))
        if state is not None:
            return state, key
    return None, ""


def _first_locale(entries: Iterable[tuple[int, str, msgspec.Raw]]) -> str:
    for _, _, raw in sorted(entries, key=lambda entry: entry[0]):
        if locale := read_locale(_text(_only(any_json(raw)))):
            return locale
    return ""


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
    year, month, day = (_text(value.get(name)) for name in ("year", "month", "day"))
    if not (month.isdigit() and day.isdigit()):
        return ""
    return f"{year}-{month:0>2}-{day:0>2}" if year.isdigit() and len(year) == 4 else f"{month}-{day}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).strip() if isinstance(value, (str, int, float)) else ""
