"""Birthday, consent, language and cost out of keys and values: plugins keep under their own keys what a platform has no field for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple

from crm_plugin.adapters.base import Setting, SettingType
from crm_plugin.adapters.raw import any_json
from crm_plugin.adapters.storefronts.birthday_texts import (
    CERTAIN,
    ORDERS,
    Birthday,
    read_birthday,
    read_lunar_birthday,
)
from crm_plugin.money import parse_minor
from crm_plugin.records import ConsentRecord, ConsentState

_YES = frozenset({"yes", "1", "on", "true", "y", "checked", "subscribed", "opt_in", "opt-in", "granted"})
_NO = frozenset({"no", "0", "off", "false", "n", "unsubscribed", "opt_out", "opt-out", "withdrawn"})

_LOCALE = re.compile(r"^[A-Za-z]{2,3}(?:[_-][A-Za-z0-9]{2,8})*$")


class Found(NamedTuple):
    """One entry under a key that is looked for: of two for one purpose the lower rank counts. `value` gives it as plain Python."""

    purpose: str
    rank: int
    key: str
    value: Callable[[], Any]


class Said(NamedTuple):
    """What one record's entries said; `unread` is a birthday that could not be placed, as it was written, `sms` consent to texts."""

    birthday: Birthday | None = None
    unread: str = ""
    consent: ConsentState | None = None
    consent_key: str = ""
    sms: ConsentState | None = None
    sms_key: str = ""
    locale: str = ""


NOTHING = Said()
LUNAR, BIRTHDAY, CONSENT, SMS, LOCALE, COST = "lunar", "birthday", "consent", "sms", "locale", "cost"
# The settings that name the keys; of two purposes that name the same key the earlier one has it.
KEYS = {
    LUNAR: "lunar_birthday_keys",
    BIRTHDAY: "birthday_keys",
    CONSENT: "consent_keys",
    SMS: "sms_consent_keys",
    LOCALE: "locale_keys",
    COST: "cost_keys",
}
# In place of keys: there are none.
NONE = "-"


def settings(
    *,
    birthday: str = "birthday, birth_date, date_of_birth, dob",
    lunar: str = "lunar_birthday",
    consent: str = "accepts_marketing, marketing_opt_in, newsletter, email_marketing_consent",
    locale: str = "locale, language",
    cost: str | None = None,
) -> tuple[Setting, ...]:
    """The settings by which a storefront's `KnownKeys` are made, with the keys usual there; `cost` is None where it has a field."""
    told = (
        Setting(KEYS[BIRTHDAY], "Metadata keys of the birthday", required=False, default=birthday),
        Setting(
            "birthday_order",
            "Order of day and month",
            SettingType.CHOICE,
            "How a birthday such as 05/06/1985 is meant; only what is certain is read until you say.",
            required=False,
            default=CERTAIN,
            choices=ORDERS,
        ),
        Setting(KEYS[LUNAR], "Metadata keys of the lunar birthday", required=False, default=lunar),
        Setting(KEYS[CONSENT], "Metadata keys of consent to e-mail", required=False, default=consent),
        Setting(KEYS[SMS], "Metadata keys of consent to texts", required=False, default=""),
        # For each of the two consents whose values are the store's own words: which say yes and which no.
        Setting("consent_words", "Words of consent", SettingType.JSON, required=False, hidden=True),
        Setting(KEYS[LOCALE], "Metadata keys of the language", required=False, default=locale),
    )
    if cost is None:
        return told
    return (*told, Setting(KEYS[COST], "Metadata keys of the cost of a product", required=False, default=cost))


class KnownKeys:
    """Under which keys a store keeps what, by the values of `settings`. Earlier keys win over later ones.

    Keys are compared without leading underscores and name space, `-` like `_`: `_wc_other/acme/marketing-opt-in` is found as
    `marketing_opt_in`.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._ranks: dict[str, tuple[str, int]] = {}
        for purpose, name in KEYS.items():
            for rank, key in enumerate(split_keys(values.get(name) or "")):
                self._ranks.setdefault(plain_key(key), (purpose, rank))
        self._known: dict[str | int, tuple[str, int] | None] = {}
        self._order = values.get("birthday_order") or CERTAIN
        self._words = words_of(values.get("consent_words"))

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
        birthday, unread = _first_birthday(by.get(LUNAR, ()), read_lunar_birthday)
        if birthday is None:
            # Who tells both keeps the lunar one.
            birthday, other = _first_birthday(by.get(BIRTHDAY, ()), partial(read_birthday, order=self._order))
            unread = "" if birthday else unread or other
        email, sms = (_first_consent(by.get(one, ()), self._words.get(one)) for one in (CONSENT, SMS))
        return Said(birthday, unread, *email, *sms, _first_locale(by.get(LOCALE, ())))

    def cost(self, entries: Iterable[tuple[str | int, Any]], currency: str) -> int | None:
        """What one piece of a product costs, in minor units; None where none of them is an amount."""
        told = (self.find(key, partial(_same, value)) for key, value in entries)
        found = [one for one in told if one is not None and one.purpose == COST]
        costs = (read_cost(only(one.value()), currency) for one in sorted(found, key=_by_rank))
        return next((cost for cost in costs if cost is not None), None)

    def _purpose(self, key: str | int) -> tuple[str, int] | None:
        purpose = self._known[key] = self._ranks.get(plain_key(str(key)))
        return purpose


def split_keys(keys: str) -> list[str]:
    """The keys of a setting."""
    return [key for key in re.split(r"[,\s]+", keys) if key and key != NONE]


def words_of(told: Any) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """The words that say yes and those that say no, by purpose, out of a setting such as {"consent": {"yes": ["oui"], "no": ["non"]}}."""
    rows = any_json(told.encode()) if isinstance(told, str) else told
    if not isinstance(rows, Mapping):
        return {}
    return {
        purpose: (_lowered(row.get("yes")), _lowered(row.get("no")))
        for purpose, row in rows.items()
        if purpose in (CONSENT, SMS) and isinstance(row, Mapping)
    }


def consents(said: Said, at: datetime | None, adapter: str, proof: str = "metadata_key") -> tuple[ConsentRecord, ...]:
    """What was said to each way of being written to: `at` is when its order was placed, None for an account, which does not tell when."""
    where = "customer" if at is None else "order"
    told = (("email", said.consent, said.consent_key), ("sms", said.sms, said.sms_key))
    return tuple(
        ConsentRecord(channel=channel, state=state, at=at, source=f"{adapter}:{where}", proof={proof: key})
        for channel, state, key in told
        if state is not None
    )


def plain_key(key: str) -> str:
    """The key without name space, leading underscores and case."""
    return key.rsplit("/", 1)[-1].lstrip("_").replace("-", "_").lower()


def read_consent(value: Any, words: tuple[frozenset[str], frozenset[str]] | None = None) -> ConsentState | None:
    """Granted, withdrawn, or None when the value says neither; an empty one says nothing. `words` are the store's own yes and no."""
    yes, no = words or (_YES, _NO)
    word = text_of(value).lower()
    if word in yes:
        return ConsentState.GRANTED
    return ConsentState.WITHDRAWN if word in no else None


def read_cost(value: Any, currency: str) -> int | None:
    """An amount such as "12.50" in minor units; None for what is none, or below nothing."""
    text = "" if isinstance(value, bool) else text_of(value)
    try:
        cost = parse_minor(text, currency) if currency and text else -1
    except ValueError:
        return None
    return cost if cost >= 0 else None


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
        text = date_text(found.value())
        if birthday := read(text):
            return birthday, ""
        unread = unread or text[:40]
    return None, unread


def _first_consent(
    entries: Iterable[Found], words: tuple[frozenset[str], frozenset[str]] | None
) -> tuple[ConsentState | None, str]:
    for found in sorted(entries, key=_by_rank):
        state = read_consent(only(found.value()), words)
        if state is not None:
            return state, found.key
    return None, ""


def _first_locale(entries: Iterable[Found]) -> str:
    for found in sorted(entries, key=_by_rank):
        if locale := read_locale(text_of(only(found.value()))):
            return locale
    return ""


def _lowered(words: Any) -> frozenset[str]:
    return frozenset(text_of(word).lower() for word in words) if isinstance(words, list) else frozenset()


def _same(value: Any) -> Any:
    return value


def _by_rank(found: Found) -> int:
    return found.rank


def only(value: Any) -> Any:
    """What a list of one holds: check boxes and repeatable fields come as such."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def date_text(value: Any) -> str:
    """A date as text, also one whose year, month and day are kept apart; empty when there is no month or no day."""
    value = only(value)
    return _joined_date(value) if isinstance(value, Mapping) else text_of(value)


def _joined_date(value: Mapping[str, Any]) -> str:
    year, month, day = (text_of(value.get(name)) for name in ("year", "month", "day"))
    if not (month.isdigit() and day.isdigit()):
        return ""
    return f"{year}-{month:0>2}-{day:0>2}" if year.isdigit() and len(year) == 4 else f"{month}-{day}"


def text_of(value: Any) -> str:
    """A plain value as stripped text, yes or no; empty for lists, objects and null."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).strip() if isinstance(value, (str, int, float)) else ""
