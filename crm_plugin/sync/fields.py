"""Which of the keys that plugins keep with a store's records is the birthday, consent, cost: what is there, and how it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.birthday_texts import DAY_FIRST, MONTH_FIRST, Birthday, read_birthday
from crm_plugin.adapters.storefronts.metadata import (
    BIRTHDAY,
    CONSENT,
    COST,
    KEYS,
    SMS,
    KnownKeys,
    date_text,
    only,
    plain_key,
    read_consent,
    read_cost,
    split_keys,
    text_of,
)
from crm_plugin.errors import AdapterError, TransientError
from crm_plugin.records import ConsentState, Stream
from crm_plugin.store import audit
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import anew, connect
from crm_plugin.sync.keeper import keep_in

# What a merchant may say of keys, and with which lists each is looked for.
_MEMBERS = frozenset({Stream.MEMBERS, Stream.ORDERS})
PURPOSES = {BIRTHDAY: _MEMBERS, CONSENT: _MEMBERS, SMS: _MEMBERS, COST: frozenset({Stream.PRODUCTS})}
# By what its name has in it a key is likely to be one.
_HINTS = {
    BIRTHDAY: ("birth", "dob", "bday", "geburt", "naissance", "nacimiento", "shengri", "生日"),
    CONSENT: ("consent", "opt", "market", "newsletter", "subscri", "mailing", "gdpr"),
    SMS: ("sms", "text", "phone", "mobile"),
    COST: ("cost", "cog", "purchase", "buy", "wholesale", "supplier"),
}
# A consent has few words; a key with more different values is something else.
MOST_WORDS = 12
_LONGEST_WORD, _MOST_DIGITS = 40, 4


@dataclass(slots=True)
class Field:
    """One key as the newest records have it: how many of each list, and its values as text with how often each stands there."""

    key: str
    places: Counter[Stream] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.places.total()


@dataclass(slots=True)
class Found:
    """What was found: the fields by key, how many records of each list were looked at, and what the store refused."""

    fields: dict[str, Field] = field(default_factory=dict)
    looked_at: dict[Stream, int] = field(default_factory=dict)
    refused: list[AdapterError] = field(default_factory=list)


def can_show(shop: Shop) -> bool:
    """Whether the store shows what is kept with its records."""
    return Capability.FIELDS in storefront_class(shop.platform).capabilities


def purposes(shop: Shop) -> tuple[str, ...]:
    """What can be told of this store's keys."""
    told = {setting.key for setting in storefront_class(shop.platform).settings}
    return tuple(purpose for purpose in PURPOSES if KEYS[purpose] in told)


def ask(db: Database, box: SecretBox, shop: Shop) -> Found:
    """Ask the store; what it refuses of one list is told, and the others are asked. Raises: ConfigError when its keys cannot be opened."""
    storefront = connect.open_storefront(db, box, shop)
    try:
        return look(storefront)
    finally:
        storefront.close()


def look(storefront: StorefrontAdapter) -> Found:
    """The fields of the newest records."""
    found = Found()
    for stream in storefront.field_streams:
        try:
            records = storefront.recent_fields(stream)
        except AdapterError as error:
            if all(str(known) != str(error) for known in found.refused):
                found.refused.append(error)
            # Who gets no answer, or is not let in, would get none of the next list either.
            if isinstance(error, TransientError) or error.code == "unauthorised":
                break
            continue
        found.looked_at[stream] = len(records)
        for record in records:
            _count(found.fields, stream, record)
    return found


def _count(fields: dict[str, Field], stream: Stream, record: Mapping[str, Any]) -> None:
    for key, value in record.items():
        text = date_text(value) or text_of(only(value)) or _kind_of(value)
        if text:
            one = fields.setdefault(key, Field(key))
            one.places[stream] += 1
            one.values[text] += 1


def _kind_of(value: Any) -> str:
    """What stands for a value that is no text; empty for an empty one."""
    return ("{…}" if isinstance(value, dict) else "[…]") if isinstance(value, (dict, list)) and value else ""


def candidates(found: Found, purpose: str, currency: str) -> tuple[list[Field], list[Field]]:
    """The keys that could be it: those whose name says so, and the others; those that most records have come first."""
    able = [one for one in found.fields.values() if _could_be(one, purpose, currency)]
    able.sort(key=lambda one: (-one.count, one.key))
    likely = [one for one in able if any(hint in plain_key(one.key) for hint in _HINTS[purpose])]
    return likely, [one for one in able if one not in likely]


def _could_be(one: Field, purpose: str, currency: str) -> bool:
    # Several keys stand in one setting with commas or spaces between them.
    if split_keys(one.key) != [one.key] or not PURPOSES[purpose] & one.places.keys():
        return False
    if purpose == BIRTHDAY:
        return any(read_birthday(text, order) for text in one.values for order in (DAY_FIRST, MONTH_FIRST))
    if purpose == COST:
        return any(read_cost(text, currency) is not None for text in one.values)
    short = len(one.values) <= MOST_WORDS and all(
        len(text) <= _LONGEST_WORD and sum(map(str.isdigit, text)) <= _MOST_DIGITS for text in one.values
    )
    return short and not any(read_birthday(text) for text in one.values)


def in_use(keys: str, found: Found, purpose: str) -> list[Field]:
    """Of these keys of a setting those that are there, the one that wins first."""
    known = KnownKeys({KEYS[purpose]: keys})
    there = [one for one in found.fields.values() if PURPOSES[purpose] & one.places.keys()]
    told = [(one, known.find(one.key, str)) for one in there]
    mine = [(entry.rank, -one.count, one) for one, entry in told if entry is not None]
    return [one for _, _, one in sorted(mine, key=lambda row: row[:2])]


def read_as(shop: Shop, values: Mapping[str, Any], found: Found) -> dict[str, str]:
    """For what the keys that are there are read, by key; `values` are what the shop's settings say, else the usual keys hold."""
    usual = {setting.key: setting.default for setting in storefront_class(shop.platform).settings}
    read: dict[str, str] = {}
    for purpose in purposes(shop):
        keys = str(values.get(KEYS[purpose]) or usual[KEYS[purpose]] or "")
        read.update(dict.fromkeys((one.key for one in in_use(keys, found, purpose)[:1]), purpose))
    return read


def birthdays(one: Field, order: str) -> list[tuple[str, Birthday | None]]:
    """Its different values, those that most records have first, each with how it is read."""
    return [(text, read_birthday(text, order)) for text, _ in one.values.most_common()]


def words(one: Field, told: Mapping[str, Sequence[str]] | None) -> list[tuple[str, int, ConsentState | None]]:
    """Its different values with how many records have each, and what it says; `told` are the words that were said to mean yes and no."""
    known = None if told is None else (_lowered(told.get("yes", ())), _lowered(told.get("no", ())))
    return [(text, count, read_consent(text, known)) for text, count in one.values.most_common()]


def _lowered(told: Iterable[str]) -> frozenset[str]:
    return frozenset(word.lower() for word in told)


def costs(one: Field, currency: str) -> list[tuple[str, int | None]]:
    """Its different values, each as an amount in minor units."""
    return [(text, read_cost(text, currency)) for text, _ in one.values.most_common()]


def save(db: Database, box: SecretBox, shop: Shop, told: Mapping[str, Any], now: datetime, actor: str) -> None:
    """Keep these settings of the connection, and have everything read again by them."""
    with db.write() as connection:
        keep_in(connection, box, shop.shop_id, told)
        anew.ask(connection, shop.shop_id, now)
        audit.note(
            connection, shop.shop_id, actor, "shop.fields", {key: str(value) for key, value in told.items()}, now
        )
