"""What members of an audience lack that a journey uses, counted before it is published, each with the rule for those who lack it.

Only what this journey's texts, steps and trigger ask for is looked at. One statement goes once through the audience, after one that asks
which languages members of the shop have: grouped by language the database would sort the whole audience.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, case, func, literal_column, select, text

from crm_plugin.clock import local_day
from crm_plugin.phrases import phrase
from crm_plugin.rules.sql import ACTIVE
from crm_plugin.rules.triggers import BIRTHDAY, kind_of
from crm_plugin.store import members
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import senders, texts
from crm_plugin.touchpoints.audience import meant
from crm_plugin.touchpoints.caps import exempt
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.locales import choose_locale
from crm_plugin.touchpoints.reach import flags, is_open
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.scene import UNNAMED
from crm_plugin.touchpoints.steps.document import walk
from crm_plugin.touchpoints.wording import asked_of_member

# What stands for a missing rule in SQL: all rows are kept, and what is asked of each is asked once.
_ALL = 2**62
_OWN, _PLACE, _PHONE, _SHOP = "zone_own", "zone_place", "zone_phone", "zone_shop"
# What a member lacks, as SQL over the members `m`. Of the zone it is told how the one in use was found, as `sync/addresses.py` finds it.
_LACKS = {
    "first_name": "m.first_name = ''",
    "name": "m.first_name = '' AND m.last_name = ''",
    "birthday": "m.birth_md IS NULL",
    "birth_day": "m.birth_md - m.birth_md / 100 * 100 = 0",
    "joined_on": "m.joined_on IS NULL",
    _PLACE: "m.timezone <> m.zone AND m.country <> ''",
    _PHONE: "m.timezone <> m.zone AND m.country = '' AND m.phone <> ''",
    _SHOP: "m.timezone <> m.zone AND m.country = '' AND m.phone = ''",
}


# What a channel is called in a sentence.
_WAYS = {
    "email": phrase("e-mail"),
    "sms": phrase("text message"),
    "inapp": phrase("in-app message"),
    "note": phrase("a note on the order"),
}
# What a language is called in a sentence; any other by its tag.
_CALLED = {"en": phrase("English"), "zh-CN": phrase("Simplified Chinese"), "zh": phrase("Chinese")}


@dataclass(frozen=True, slots=True)
class Gap:
    """How many of the audience lack something, and what holds for them, as a sentence. `steps` are empty where it concerns the whole.

    `lacks` is first_name, name, birthday, birth_day, joined_on, zone, address, consent, language or text.
    """

    lacks: str
    members: int
    share_pct: int
    told: str
    steps: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "lacks": self.lacks,
            "members": self.members,
            "share_pct": self.share_pct,
            "told": str(self.told),
            "steps": list(self.steps),
        }


@dataclass(frozen=True, slots=True)
class AudienceCheck:
    """The audience as it is now, and what is missing in it, in the order in which a reader asks.

    `rules` are gaps that nobody has to mend: they say how the hour of a message is found for those whose own zone is not known.
    """

    members: int
    gaps: tuple[Gap, ...]
    rules: tuple[Gap, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        gaps, rules = ([one.as_dict() for one in listed] for listed in (self.gaps, self.rules))
        return {"members": self.members, "gaps": gaps, "rules": rules}


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of writing to members, and the steps that go it: channels with their senders, one topic and kind."""

    number: int
    voice: Journey
    channels: tuple[tuple[str, str], ...]
    steps: tuple[str, ...]


def audience_check(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> AudienceCheck:
    """What is missing in the audience of a journey, on or off. Raises: RuleError when the audience cannot be asked."""
    written = {key: texts.texts(connection, shop.shop_id, key) for key in {one.template_key for one in journey.voices}}
    ways, names, readers = (
        _ways(connection, shop, journey),
        _names(journey, written),
        _readers(connection, shop, journey, written),
    )
    wanted = [*_of_whom(journey), *names]
    row = connection.execute(_count(connection, shop, journey, wanted, ways, readers, now)).one()
    count = {name: int(value or 0) for name, value in row._mapping.items()}
    told = [
        *_of_trigger(count),
        *_of_ways(ways, count),
        *_of_languages(readers, count),
        *_of_names(names, count),
    ]
    total = count["members"]

    def counted(found: Iterable[_Told]) -> tuple[Gap, ...]:
        return tuple(Gap(what, some, _share(some, total), words, steps) for what, some, words, steps in found if some)

    return AudienceCheck(total, counted(told), counted(_of_zone(shop, count)))


_Told = tuple[str, int, str, tuple[str, ...]]
# Whether their language is known, and which one they get.
_Readers = tuple[bool, str]


def _share(members: int, total: int) -> int:
    """Whole percent; never 0 for somebody and never 100 for fewer than all."""
    if not members or members == total:
        return 100 if members else 0
    return min(99, max(1, round(100 * members / total)))


def _count(
    connection: Connection,
    shop: Shop,
    journey: Journey,
    wanted: Sequence[str],
    ways: Sequence[_Way],
    readers: Mapping[_Readers, Sequence[str]],
    now: datetime,
) -> Select[Any]:
    """One row: how many the audience has, and how many of them lack each thing."""
    as_of = local_day(now, shop.timezone)
    columns: list[Any] = [literal_column("m.locale").label("locale")]
    columns += [literal_column(f"CASE WHEN {_LACKS[name]} THEN 1 ELSE 0 END").label(name) for name in wanted]
    for way in ways:
        columns += [one.element.label(f"{one.name}_{way.number}") for one in flags(way.voice, list(way.channels))]
    base: Select[Any] = select(*columns).select_from(text("members AS m"))
    base = base.where(text(f"m.shop_id = :shop_id AND m.state = '{ACTIVE}'").bindparams(shop_id=shop.shop_id))
    base = base.where(meant(connection, shop, journey, as_of, literal_column("m.member_id"))).limit(_ALL)
    reached = base.subquery("reached")
    sums = {name: name for name in wanted}
    for way in ways:
        names = [f"{channel}_{way.number}" for channel, _adapter in way.channels]
        addressed = " OR ".join(f"reached.address_{name} <> ''" for name in names)
        may = " OR ".join(map(is_open, names))
        sums[f"address_{way.number}"] = f"CASE WHEN {addressed} THEN 0 ELSE 1 END"
        sums[f"consent_{way.number}"] = f"CASE WHEN ({addressed}) AND NOT ({may}) THEN 1 ELSE 0 END"
    found: list[Any] = [func.sum(literal_column(told)).label(name) for name, told in sums.items()]
    for number, locales in enumerate(readers.values()):
        found.append(func.sum(case((reached.c.locale.in_(locales), 1), else_=0)).label(f"readers_{number}"))
    return select(func.count().label("members"), *found).select_from(reached)


def _ways(connection: Connection, shop: Shop, journey: Journey) -> list[_Way]:
    """How the journey writes; channels that nobody sends by are looked at only where no other is."""
    there = senders.available(connection, shop)
    steps = [step.key for step in journey.flow.sends] if journey.flow.steps else [""]
    alike: defaultdict[tuple[Any, ...], list[tuple[str, Journey]]] = defaultdict(list)
    for step, voice in zip(steps, journey.voices, strict=True):
        named = [name for name in voice.channels if name in there] or voice.channels
        channels = tuple((name, there.get(name, "")) for name in named)
        alike[channels, voice.topic, voice.kind].append((step, voice))
    one = len(alike) == 1
    return [
        _Way(number, spoken[0][1], key[0], () if one else tuple(step for step, _voice in spoken))
        for number, (key, spoken) in enumerate(alike.items())
    ]


def _of_whom(journey: Journey) -> Iterator[str]:
    """What trigger and hours ask of a member: the day it counts from, and a zone where a message keeps the member's own hours."""
    if journey.trigger.type == BIRTHDAY:
        yield from ("birthday", "birth_day")
    elif kind_of(journey.trigger).source(journey.trigger).day == "m.joined_on":
        yield "joined_on"
    waits = any(step.kind == "wait" and "until" in step.told for step in walk(journey.flow.steps))
    if waits or not all(exempt(voice) for voice in journey.voices):
        yield from (_PLACE, _PHONE, _SHOP)


def _of_trigger(count: Mapping[str, int]) -> Iterator[_Told]:
    for name, told in (
        ("birthday", phrase("Without a birthday: never reached.")),
        ("birth_day", phrase("With a month of birth and no day: the first of that month counts.")),
        ("joined_on", phrase("Without a day of joining: never reached.")),
    ):
        yield name, count.get(name, 0), told, ()


def _of_ways(ways: Sequence[_Way], count: Mapping[str, int]) -> Iterator[_Told]:
    for way in ways:
        channels = [_WAYS[name] for name, _adapter in way.channels]
        without = phrase("Without an address for %(channels)s: not written to.", channels=channels)
        refused = phrase(
            "Have not agreed to %(channels)s, or the address is blocked: not written to.", channels=channels
        )
        if exempt(way.voice):
            refused = phrase("Have refused %(channels)s, or the address is blocked: not written to.", channels=channels)
        if len(ways) > 1:
            steps = list(way.steps)
            without, refused = (phrase("%(what)s (%(steps)s)", what=one, steps=steps) for one in (without, refused))
        yield "address", count[f"address_{way.number}"], without, way.steps
        yield "consent", count[f"consent_{way.number}"], refused, way.steps


def _of_zone(shop: Shop, count: Mapping[str, int]) -> Iterator[_Told]:
    """Those whose own zone is not known, by what is used in its place."""
    by = {
        _PLACE: phrase("The hour is that of their state or country, for their own zone is not known."),
        _PHONE: phrase("The hour is that of their phone number's country, else the shop's: no other place is known."),
        _SHOP: phrase("The hour is the shop's (%(zone)s), for no place of theirs is known.", zone=shop.timezone),
    }
    for name, told in by.items():
        yield "zone", count.get(name, 0), told, ()


def _readers(
    connection: Connection, shop: Shop, journey: Journey, written: Mapping[str, list[Text]]
) -> dict[_Readers, list[str]]:
    """Languages of members in which nothing is written, "" for none known, by whether it is known and the language they get."""
    there = {
        text.locale
        for voice in journey.voices
        for text in written[voice.template_key]
        if text.channel in voice.channels
    }
    found: defaultdict[_Readers, list[str]] = defaultdict(list)
    query = select(members.c.locale).where(members.c.shop_id == shop.shop_id).distinct()
    for locale in connection.execute(query).scalars() if there else ():
        chosen = choose_locale(locale, there, shop.locale)
        if not (locale and _alike(locale, chosen)):
            found[bool(locale), chosen].append(locale)
    return dict(sorted(found.items()))


def _of_languages(readers: Iterable[_Readers], count: Mapping[str, int]) -> Iterator[_Told]:
    for number, (known, chosen) in enumerate(readers):
        language = _CALLED.get(chosen, chosen)
        told = phrase("Without a language: they get %(language)s.", language=language)
        if known:
            told = phrase("Read a language that nothing is written in: they get %(language)s.", language=language)
        yield "text" if known else "language", count[f"readers_{number}"], told, ()


def _alike(wanted: str, given: str) -> bool:
    return wanted.replace("_", "-").split("-")[0].lower() == given.split("-")[0].lower()


def _names(journey: Journey, written: Mapping[str, list[Text]]) -> dict[str, list[str]]:
    """first_name and name, where a text calls members by them → the texts that have no words for whoever has none."""
    bare: dict[str, list[str]] = {}
    for voice in journey.voices:
        for one in written[voice.template_key]:
            for part, kept in asked_of_member(one).items() if one.channel in voice.channels else ():
                if part in ("first_name", "name"):
                    bare.setdefault(part, []).extend(
                        [] if kept else [f"{one.template_key} ({one.channel}, {one.locale})"]
                    )
    return bare


def _of_names(names: Mapping[str, list[str]], count: Mapping[str, int]) -> Iterator[_Told]:
    if "first_name" in names:
        told = phrase("Without a first name: the words that the text has for that are used.")
        if places := list(dict.fromkeys(names["first_name"])):
            told = phrase("Without a first name: nothing stands in its place in %(texts)s.", texts=places)
        yield "first_name", count["first_name"], told, ()
    if "name" in names:
        words = {"english": UNNAMED["en"], "chinese": UNNAMED["zh"]}
        told = phrase("Without any name: “%(english)s” stands in its place, in Chinese “%(chinese)s”.", **words)
        yield "name", count["name"], told, ()
