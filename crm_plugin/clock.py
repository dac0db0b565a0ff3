"""The one way to ask what time it is, and the arithmetic of local days and zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from crm_plugin.places import zones_in

_DAY_ZERO = date(1970, 1, 1).toordinal()


class Clock(Protocol):
    """Anything that tells the present instant; tests and rehearsals pass their own."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock, aware, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands at one instant until it is moved."""

    def __init__(self, at: datetime) -> None:
        self.at = require_aware(at)

    def now(self) -> datetime:
        return self.at

    def move(self, **delta: float) -> None:
        """Move by a timedelta's keyword arguments, also backwards."""
        self.at += timedelta(**delta)


class MovedClock:
    """The machine's clock, moved by a fixed span: a demo lives on its own day, and time goes on there."""

    def __init__(self, at: datetime) -> None:
        self._moved = require_aware(at) - datetime.now(UTC)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._moved


def require_aware(value: datetime) -> datetime:
    """The instant in UTC. Raises: ValueError for a naive one."""
    if value.tzinfo is None:
        raise ValueError("a time without a zone cannot be placed; give an offset such as +00:00")
    return value.astimezone(UTC)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The zone of that IANA name, or the main one of a place (`places.py`). Raises: ValueError when there is none."""
    try:
        return ZoneInfo(next(iter(zones_in(name)), name))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}; use an IANA name such as Europe/London") from error


def is_known_zone(name: str) -> bool:
    """Whether this machine can count the days of a stored zone, whoever stored it."""
    try:
        zone(name)
    except ValueError:
        return False
    return True


def is_zone(name: str | None) -> bool:
    """Whether the name is one of IANA's, as it is spelled there: the days of any other would be in no calendar of ours."""
    return name in _zone_names()


@cache
def _zone_names() -> frozenset[str | None]:
    # The last two name no place: what a machine was set to, and that it was never set.
    names = available_timezones() - {"localtime", "Factory"}
    return frozenset(name for name in names if not name.startswith(("posix/", "right/")))


def local_day(at: datetime, zone_name: str) -> date:
    """The calendar day at that instant in that zone."""
    return at.astimezone(zone(zone_name)).date()


def at_local(day: date, at: time, zone_name: str) -> datetime:
    """The UTC instant of a wall-clock time on a local day.

    A time that the spring change skips is moved forward by the length of the gap (PEP 495, fold=0); one that the autumn
    change repeats is its first occurrence.
    """
    return datetime.combine(day, at, tzinfo=zone(zone_name)).astimezone(UTC)


def day_number(day: date) -> int:
    """Days since 1970-01-01: how local days are stored, so that both databases can subtract them."""
    return day.toordinal() - _DAY_ZERO


def from_day_number(number: int) -> date:
    """The date of a stored day number."""
    return date.fromordinal(number + _DAY_ZERO)
