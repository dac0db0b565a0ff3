"""How far a shop is in step with its store: what was heard last, what differed at night, what waits, and what needs somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import starmap
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext, ngettext
from sqlalchemy import Connection

from crm_plugin.jobs import following
from crm_plugin.store import hook_counts, runs
from crm_plugin.store.hook_counts import REFUSED, Odd
from crm_plugin.store.runs import Run
from crm_plugin.store.tenants import CONNECTED, Shop
from crm_plugin.sync import believed, heard
from crm_plugin.sync.believed import Word
from crm_plugin.web import formats
from crm_plugin.web.i18n import in_words
from crm_plugin.web.languages import sentences
from crm_plugin.web.reading import name_of

# What a store told is followed within a minute or two; what has waited longer waits for something.
_SOON = timedelta(minutes=15)
# A refusal that is older is no news.
_LATELY = timedelta(days=1)

_REFUSED: dict[Odd, Any] = {
    Odd.FORGED: lazy_gettext("The signature was not your store's. If this goes on, connect the store again."),
    Odd.MALFORMED: lazy_gettext("It was in a form that your store does not send."),
    Odd.TRUNCATED: lazy_gettext("It broke off on the way. Ask whoever looks after your server."),
    Odd.OVERSIZED: lazy_gettext("It was larger than anything your store sends."),
    Odd.NOT_SET_UP: lazy_gettext("Your store tells us something that it need not."),
    Odd.NOT_TAKEN: lazy_gettext("It could not be kept; your store was asked to tell it again."),
}
# What differed at night, in the order in which it is shown; the last three are not mended.
KINDS: tuple[tuple[str, Any], ...] = (
    ("added", lazy_gettext("Missing here, added")),
    ("gone", lazy_gettext("Gone there, taken out")),
    ("changed", lazy_gettext("Changed in silence, read again")),
    ("held_back", lazy_gettext("Not believed gone")),
    ("left", lazy_gettext("Left for the next night")),
    ("unread", lazy_gettext("Could not be read")),
)
# What differs in a record that changed in silence (`sync/silent.py`).
_DIFFERS: dict[str, Any] = {
    "new": lazy_gettext("was missing here"),
    "gone": lazy_gettext("is gone there"),
    "rest": lazy_gettext("details"),
    "email": lazy_gettext("e-mail address"),
    "phone": lazy_gettext("phone"),
    "name": lazy_gettext("name"),
    "place": lazy_gettext("place"),
    "language": lazy_gettext("language"),
    "birthday": lazy_gettext("birthday"),
    "joined": lazy_gettext("day of joining"),
    "state": lazy_gettext("state"),
    "total": lazy_gettext("total"),
    "parts": lazy_gettext("tax, shipping or discount"),
    "cost": lazy_gettext("cost"),
    "member": lazy_gettext("customer"),
    "dates": lazy_gettext("dates"),
    "coupons": lazy_gettext("coupons"),
    "code": lazy_gettext("code"),
    "title": lazy_gettext("title"),
    "category": lazy_gettext("category"),
    "price": lazy_gettext("price"),
    "links": lazy_gettext("links"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One kind of difference: how many, and the first of them as people know them."""

    kind: str
    text: Any
    count: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """One list of the store at night; `there` is None where the store does not tell.

    `doubted` is how many are too many to be believed gone, and wait for the merchant's `word`.
    """

    key: str
    name: str
    there: int | None
    here: int
    differences: tuple[Difference, ...]
    doubted: int
    word: Word | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Reports that were refused for one reason, since the store was connected."""

    count: int
    last_at: datetime
    why: Any


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that needs somebody; `where` is said on other pages: on Connections what settles it stands beneath."""

    title: str
    text: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class InStep:
    """What the section shows; `hears` is whether the store tells changes by itself."""

    hears: bool
    heard_at: datetime | None
    night: Run | None
    lists: tuple[Compared, ...]
    waiting: int
    oldest: datetime | None
    given_up: int
    why: str
    refused: tuple[Refused, ...]

    @property
    def differs(self) -> bool:
        return any(one.differences for one in self.lists)


def look(connection: Connection, shop: Shop, now: datetime) -> InStep:
    """How it stands."""
    night = runs.last(connection, shop.shop_id, following.RECONCILE)
    waiting, oldest = heard.waiting(connection, shop)
    given_up, why = heard.given_up(connection, shop)
    counts = hook_counts.counts(connection, shop.shop_id)
    refused = [one for one in counts if one.adapter == shop.platform and one.reason in REFUSED]
    return InStep(
        following.hears(shop),
        heard.last_at(connection, shop),
        night,
        tuple(_lists(night, believed.words(connection, shop.shop_id, now))),
        waiting,
        oldest,
        given_up,
        why,
        tuple(Refused(one.number, one.last_at, _REFUSED[one.reason]) for one in refused),
    )


def _lists(night: Run | None, words: Mapping[str, Word]) -> Iterator[Compared]:
    doubted = believed.held_back(night)
    for stream, told in (night.result.get("streams", {}) if night is not None else {}).items():
        names = {**told.get("names", {}), "changed": list(starmap(_differing, told.get("silent", {}).items()))}
        found = (
            Difference(kind, text, told[kind], tuple(names.get(kind, ()))) for kind, text in KINDS if told.get(kind)
        )
        word = words.get(stream)
        waits = 0 if word is not None and word.count >= doubted.get(stream, 0) else doubted.get(stream, 0)
        yield Compared(stream, name_of(stream), told.get("there"), told.get("here", 0), tuple(found), waits, word)


def _differing(name: str, what: list[str]) -> str:
    words = _(", ").join(str(_DIFFERS.get(one, _DIFFERS["rest"])) for one in what)
    return str(_("%(name)s (%(what)s)", name=name, what=words))


def warnings(connection: Connection, shop: Shop, now: datetime) -> Iterator[Warned]:
    """What somebody has to look at; a store that lets us in no more is told of elsewhere."""
    found = look(connection, shop, now)
    if found.given_up:
        yield Warned(
            ngettext(
                "%(count)s change that your store told was given up",
                "%(count)s changes that your store told were given up",
                found.given_up,
                count=formats.number(found.given_up),
            ),
            sentences((in_words(found.why), _("It was tried for two days. Try once more, or read everything again."))),
        )
    if found.oldest is not None and found.oldest < now - _SOON and shop.status == CONNECTED:
        yield Warned(
            ngettext(
                "%(count)s change that your store told waits since %(when)s",
                "%(count)s changes that your store told wait since %(when)s",
                found.waiting,
                count=formats.number(found.waiting),
                when=formats.moment(found.oldest),
            ),
            _("They are followed as soon as your store answers and the program that does it runs."),
        )
    for one in found.refused:
        if one.last_at > now - _LATELY:
            yield Warned(
                ngettext(
                    "%(count)s message of your store was refused, the last at %(when)s",
                    "%(count)s messages of your store were refused, the last at %(when)s",
                    one.count,
                    count=formats.number(one.count),
                    when=formats.moment(one.last_at),
                ),
                str(one.why),
            )
    for listed in found.lists:
        if listed.doubted:
            yield Warned(
                _(
                    "%(list)s: your store no longer lists %(count)s that are here",
                    list=listed.name,
                    count=formats.number(listed.doubted),
                ),
                _(
                    "They are too many to be believed gone, so none was touched. Look whether your key still sees all of them."
                ),
                _("If they are really gone, say so on Connections."),
            )
