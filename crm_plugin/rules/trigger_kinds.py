"""What a type of trigger is: its parameters, the rows it is found by, its occasion, and what finds it again when it comes late.

One type is one `Kind` in a registry (`triggers.KINDS`); all that has to do with triggers reads that: planner, guards, files, forms and
documents. A type speaks on days that a calendar finds (`matches`), or at once, minutes after something happened (`Source.at`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules.spec import Text

# What a local day that is due matches: stored number, occasion (empty where each row makes its own), the occasion's day.
Match = tuple[int, str, int]

# Which guard of `touchpoints/once.py` keeps a journey from saying the same again: of one pause, of one order, to one member ever.
PAUSE, ORDER, MEMBER = "pause", "order", "member"
# The occasion of what a day alone tells.
BY_DAY = "cal.occasion"
NO_ORDER = "CAST(NULL AS BIGINT)"


@dataclass(frozen=True, slots=True)
class Trigger:
    """What starts a journey. `days` is 0 where a type has none; `more` holds the other parameters that were told."""

    type: str
    days: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """A parameter other than `days`, or None."""
        return self.more.get(name)


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter. `read` turns what was told into the value or raises ValueError; `usual` None means that it may be left out.

    `takes` says what it takes, for documents and errors.
    """

    name: str
    label: Text
    takes: Any
    read: Callable[[Any], Any]
    usual: Any = None
    needed: bool = False
    low: int | None = None
    high: int | None = None
    choices: tuple[tuple[str, Text], ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """How what comes late is found: by the rows whose instant `changed` is new, which `index` has. `of_member` begins with the member."""

    changed: str
    index: str
    of_member: bool = False
    where: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """The rows an occasion is found by, as SQL beside the member `m` and the calendar `cal`.

    `tables` holds what stands beside the member, empty where the member's own row tells it; `of_member` the same in the order in which it
    is reached from a member. `hangs` joins them to the member, `holds` is what else has to be true, also when it is planned late.
    `day` is what a slot matches, in local days; it is led by an index that begins with it, or with the zone where `by_zone`. `index` names
    that index. `at` is the instant something happened and `seen` how it is found by when it was written, for what speaks at once.
    Where the day is calculated, `found` lists the members (member_id, match) for the calendar's `days`, by the indexes `found_by`.
    """

    day: str
    index: str
    tables: str = ""
    of_member: str = ""
    hangs: str = ""
    holds: str = ""
    by_zone: bool = False
    occasion: str = BY_DAY
    occasion_on: str = "cal.occasion_on"
    order_id: str = NO_ORDER
    at: str = ""
    seen: Arrival | None = None
    late: tuple[Arrival, ...] = ()
    found: str = ""
    found_by: Mapping[str, str] = field(default_factory=dict)
    binds: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of trigger. `event` is what its days and minutes count from, inside a sentence.

    `about_order`: its texts have an order to speak of, and it may be about the member's own order, without marketing consent.
    `announces`: with days below zero it is worth nothing once the day it announces has begun.
    `once` names the guards that the key alone cannot give; `awaits_orders` holds it until the store's orders are known, `awaits_payment`
    while the order is not paid. What is `rechecked` is looked for again by the same SQL before it is sent.
    `rule` is what must hold of the member beside the journey's audience, empty for nothing; `time_of` a time of day in place of the
    journey's; `begins` says that it is due once, as soon as the journey is on.
    """

    type: str
    label: Text
    event: Text
    help: Text
    occasion_help: Text
    params: tuple[Param, ...]
    source: Callable[[Trigger], Source]
    matches: Callable[[Trigger, date], Iterator[Match]]
    about_order: bool = False
    transactional: bool = False
    announces: bool = False
    once: tuple[str, ...] = ()
    awaits_orders: bool = False
    awaits_payment: bool = False
    rechecked: bool = False
    rule: Callable[[Trigger], str] = lambda _trigger: ""
    time_of: Callable[[Trigger], time | None] = lambda _trigger: None
    begins: Callable[[Trigger], bool] = lambda _trigger: False
    check: Callable[[Trigger], None] = lambda _trigger: None

    @property
    def names(self) -> list[str]:
        """The parameters it takes."""
        return [param.name for param in self.params]

    def param(self, name: str) -> Param:
        """The parameter of that name. Raises: KeyError."""
        return next(one for one in self.params if one.name == name)


def whole(name: str, low: int, high: int, usual: int, label: Text) -> Param:
    """A whole number between two bounds."""
    return Param(
        name, label, f"{low} … {high}", lambda value: read_whole(value, name, low, high), usual, low=low, high=high
    )


def read_whole(value: Any, name: str, low: int, high: int) -> int:
    """A value that is a whole number between two bounds, both included. Raises: InvalidInput with the field `name`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(
            phrase(
                "`%(name)s` must be a whole number from %(low)s to %(high)s, not %(value)r.",
                name=name,
                low=low,
                high=high,
                value=value,
            ),
            field=name,
        )
    return value


def words(name: str, label: Text, *, needed: bool = False, most: int = 200) -> Param:
    """A text that is not empty."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > most:
            raise InvalidInput(
                phrase(
                    "`%(name)s` must be a text of at most %(most)s characters, not %(value)r.",
                    name=name,
                    most=most,
                    value=value,
                ),
                field=name,
            )
        return value.strip()

    return Param(name, label, phrase("a text"), read, needed=needed)


def key(name: str, label: Text, *, needed: bool = False, usual: str | None = None) -> Param:
    """The key of something that the shop has."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not _KEY.fullmatch(value):
            raise InvalidInput(
                phrase("`%(name)s` is %(value)r.", name=name, value=value),
                field=name,
                hint=phrase("Small letters, digits, _ and -."),
            )
        return value

    return Param(name, label, phrase("a key"), read, usual, needed)


_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def choice(name: str, label: Text, choices: tuple[tuple[str, Text], ...], *, usual: bool = True) -> Param:
    """One of a few words; the first when nothing is said, or none where there is no usual one."""
    names = [one for one, _label in choices]

    def read(value: Any) -> str:
        if value not in names:
            raise InvalidInput(
                phrase("`%(name)s` is %(value)r.", name=name, value=value),
                field=name,
                hint=phrase("Use one of: %(names)s.", names=names),
            )
        return str(value)

    return Param(name, label, " | ".join(names), read, names[0] if usual else None, choices=choices)


# How long after something happened it speaks, where it does not wait for days.
MINUTES = whole("minutes", 0, 2880, 0, Text("minutes after it, where the days are 0", "之后的分钟数（天数为 0 时）"))


def minutes_of(kind: Kind, trigger: Trigger) -> int:
    """How many minutes after something happened it speaks."""
    return int(trigger.more.get(MINUTES.name, kind.param(MINUTES.name).usual))


def is_at_once(kind: Kind, trigger: Trigger) -> bool:
    """Whether it speaks at once or minutes after something happened, and not at a time of day."""
    return trigger.days == 0 and MINUTES.name in kind.names
