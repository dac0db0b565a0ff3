"""When a journey speaks: the types of trigger there are, and which local days are due between two instants.

A trigger is turned into a small calendar of slots (zone, what to match, when it is due), in the zones that members live in; SQL then joins
the slots with an index that begins with what they match. So planning costs what is due, not what is stored, and every zone has its own due
instant, also across a change of the clocks. What speaks at once has no slots: it is found by when it was written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from crm_plugin.birthdays import LUNAR
from crm_plugin.clock import at_local, day_number, from_day_number, local_day, zone
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.places import zones_in
from crm_plugin.rules import trigger_events, trigger_gifts, trigger_members, trigger_orders, trigger_rhythm
from crm_plugin.rules.trigger_kinds import MINUTES, Kind, Trigger, is_at_once
from crm_plugin.rules.trigger_members import BIRTHDAY
from crm_plugin.rules.trigger_orders import LAPSE, POST_PURCHASE
from crm_plugin.store.base import from_micros, to_micros

__all__ = [
    "BIRTHDAY",
    "KINDS",
    "LAPSE",
    "POST_PURCHASE",
    "SLOT_COLUMNS",
    "QuietHours",
    "Slot",
    "Trigger",
    "kind_of",
    "params_of",
    "read_time",
    "read_trigger",
    "slots",
]

# Every type of trigger, in the order in which documents and pages tell them.
_ALL = (
    *trigger_members.KINDS,
    *trigger_orders.KINDS,
    *trigger_rhythm.KINDS,
    *trigger_events.KINDS,
    *trigger_gifts.KINDS,
)
KINDS: dict[str, Kind] = {kind.type: kind for kind in _ALL}


def kind_of(trigger: Trigger) -> Kind:
    """The type of a trigger that was read."""
    return KINDS[trigger.type]


@dataclass(frozen=True, slots=True)
class QuietHours:
    """The local hours in which nobody is written to; from later than to means over midnight, equal means none."""

    start: time
    end: time

    def covers(self, at: time) -> bool:
        """Whether this wall-clock time lies within; the end does not."""
        if self.start <= self.end:
            return self.start <= at < self.end
        return at >= self.start or at < self.end

    def after(self, at: datetime, zone_name: str) -> datetime:
        """The instant itself, or the end of the quiet hours it falls into; in a place of several zones, of those of all of them.

        Where no hour of the day is free in all of them, those of the main zone count.
        """
        names = zones_in(zone_name)
        if len(names) == 1 and self._after(at, zone_name) == at:
            return at
        allowed, over = at, at + timedelta(days=2)
        while (later := max(self._after(allowed, name) for name in names)) > allowed:
            if later > over:
                return self._after(at, names[0])
            allowed = later
        return allowed

    def _after(self, at: datetime, zone_name: str) -> datetime:
        local = at.astimezone(zone(zone_name))
        clock = local.time()
        if not self.covers(clock):
            return at
        day = local.date()
        if self.start > self.end and clock >= self.start:
            day += timedelta(days=1)
        ends = at_local(day, self.end, zone_name)
        if ends > at:
            return ends
        # The autumn change repeats this hour, and its first end is over: the night goes on until the second.
        return datetime.combine(day, self.end.replace(fold=1), tzinfo=zone(zone_name)).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Slot:
    """One zone and one day that is due; instants in microseconds, days as numbers."""

    zone: str
    match: int
    occasion: str
    occasion_on: int
    due_at: int
    next_try_at: int
    valid_until: int

    def row(self) -> tuple[Any, ...]:
        """In the order of `SLOT_COLUMNS`."""
        return (
            self.zone,
            self.match,
            self.occasion,
            self.occasion_on,
            self.due_at,
            self.next_try_at,
            self.valid_until,
        )


SLOT_COLUMNS = (
    ("zone", "text"),
    ("match", "integer"),
    ("occasion", "text"),
    ("occasion_on", "integer"),
    ("due_at", "bigint"),
    ("next_try_at", "bigint"),
    ("valid_until", "bigint"),
)


def read_trigger(name: str, params: Mapping[str, Any]) -> Trigger:
    """A trigger out of what was stored or typed. Raises: InvalidInput naming the parameter."""
    kind = KINDS.get(name)
    if kind is None:
        raise InvalidInput(
            phrase("There is no trigger %(kind)r.", kind=name),
            field="trigger",
            hint=phrase("Use one of: %(names)s.", names=list(KINDS)),
        )
    unknown = set(params) - set(kind.names)
    if unknown:
        raise InvalidInput(
            phrase("%(kind)s does not know %(unknown)s.", kind=name, unknown=sorted(unknown)),
            field="trigger",
            hint=phrase("It takes: %(names)s.", names=kind.names) if kind.params else "",
        )
    days, more = 0, {}
    for param in kind.params:
        if param.name not in params:
            if param.needed:
                raise InvalidInput(
                    phrase("%(kind)s needs `%(name)s`.", kind=name, name=param.name),
                    field=param.name,
                    hint=phrase("It takes: %(names)s.", names=kind.names),
                )
            value = param.usual
        else:
            value = param.read(params[param.name])
        if param.name == "days":
            days = value
        elif value != param.usual:
            more[param.name] = value
    trigger = Trigger(name, days, more)
    if trigger.days and MINUTES.name in more:
        raise InvalidInput(
            phrase("`days` and `minutes` do not go together."),
            field=MINUTES.name,
            hint=phrase("With days it goes out at the time of day; with days 0, so many minutes after it happened."),
        )
    kind.check(trigger)
    return trigger


def params_of(trigger: Trigger) -> dict[str, Any]:
    """The parameters as a file tells them and as they are kept: the days, and what else is not as usual."""
    days = {"days": trigger.days} if "days" in kind_of(trigger).names else {}
    return {**days, **trigger.more}


def read_time(text: str) -> time:
    """A time of day such as "09:30". Raises: InvalidInput."""
    try:
        hours, minutes = text.split(":")
        if len(hours) != 2 or len(minutes) != 2:
            raise ValueError(text)
        return time(int(hours), int(minutes))
    except ValueError as error:
        raise InvalidInput(
            phrase("%(text)r is not a time of day such as 09:30.", text=text), field="send_at"
        ) from error


def slots(
    trigger: Trigger,
    *,
    after: datetime,
    until: datetime,
    send_at: time,
    validity_days: int,
    quiet: QuietHours,
    zones: Iterable[str],
    begun: datetime | None = None,
    lunar: bool = True,
) -> list[Slot]:
    """Everything due after `after`, up to and with `until`, in each of the zones; without those of lunar birthdays where nobody has one.

    `begun` is when the journey was switched on, None while it is off: what begins then is due an instant later.
    """
    low, high = to_micros(after), to_micros(until)
    validity = validity_days * 86_400_000_000
    found: list[Slot] = []
    if high <= low:
        return found
    # Zones lie between 12 hours behind and 14 ahead of UTC, so a day on either side holds them all.
    first, last = local_day(after, "UTC") - timedelta(days=1), local_day(until, "UTC") + timedelta(days=1)
    days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
    kind = kind_of(trigger)
    if is_at_once(kind, trigger):
        return found
    if kind.begins(trigger):
        return _begun(low if begun is None else to_micros(begun), low, high, validity, quiet, zones)
    send_at = kind.time_of(trigger) or send_at
    left_out = LUNAR if trigger.type == BIRTHDAY and not lunar else _NEVER
    matches = {day: [one for one in kind.matches(trigger, day) if one[0] < left_out] for day in days}
    for name in sorted(zones):
        for day in days:
            due = _due(day, send_at, name)
            if low < due <= high:
                allowed = _allowed(due, name, quiet)
                found += [
                    Slot(name, match, occasion, on, due, allowed, min(due + validity, _overtaken(trigger, on, name)))
                    for match, occasion, on in matches[day]
                ]
    return found


def _begun(begun: int, low: int, high: int, validity: int, quiet: QuietHours, zones: Iterable[str]) -> list[Slot]:
    due = begun + 1
    on = day_number(local_day(from_micros(due), "UTC"))
    return [
        Slot(name, 0, "campaign", on, due, _allowed(due, name, quiet), due + validity)
        for name in sorted(zones)
        if low < due <= high
    ]


def _overtaken(trigger: Trigger, occasion_on: int, zone_name: str) -> int:
    """When the day that is announced begins; for all else never."""
    if trigger.days >= 0 or not kind_of(trigger).announces:
        return _NEVER
    return _due(from_day_number(occasion_on), time(), zone_name)


_NEVER = 2**62


@lru_cache(maxsize=65536)
def _due(day: date, send_at: time, zone_name: str) -> int:
    return to_micros(at_local(day, send_at, zone_name))


@lru_cache(maxsize=65536)
def _allowed(due: int, zone_name: str, quiet: QuietHours) -> int:
    return to_micros(quiet.after(from_micros(due), zone_name))
