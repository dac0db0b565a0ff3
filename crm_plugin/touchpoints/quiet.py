"""When a message may reach a member: the shop's quiet hours and days of rest, and for text messages what the law of the place allows.

All of them must be open; so the stricter one holds. Times are the member's own. Their zone is, in this order, the one their days are
counted in (`members.zone`: own, state or country, phone, shop), the one the store told, the state's or country's, the phone's, the shop's:
one that this machine does not know is passed over, and keeps nobody else from being written to.

The law is about marketing (`quiet_law.py`): a message about a member's own order keeps the shop's hours alone. An in-app message rests
never: it waits until somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from crm_plugin import calendars
from crm_plugin.clock import at_local, is_known_zone, zone
from crm_plugin.places import zone_at, zones_in
from crm_plugin.rules.triggers import QuietHours
from crm_plugin.touchpoints.quiet_law import AREA_CODES, PLACELESS, SMS

# Where nothing is open for as long, nothing ever is.
_HORIZON = timedelta(days=21)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MIDNIGHT = time()
_Open = Callable[[datetime], datetime | None]


@dataclass(frozen=True, slots=True)
class Rest:
    """What a shop adds to its quiet hours: more of them by channel, and days on which no marketing leaves."""

    channels: dict[str, QuietHours] = field(default_factory=dict)
    sundays: bool = False
    holidays: bool = False


@dataclass(frozen=True, slots=True)
class Hours:
    """Open hours of each day of the week, Monday first: (from, until), until None is midnight, None is closed all day."""

    days: tuple[tuple[time, time | None] | None, ...]
    # Country and state whose holidays are closed too; empty for none.
    holidays: tuple[str, str] = ("", "")

    def after(self, at: datetime, zone_name: str) -> datetime | None:
        """The instant itself, or the first that is open; None when there is none for weeks."""
        first = at.astimezone(zone(zone_name)).date()
        for day in (first + timedelta(days=ahead) for ahead in range(_HORIZON.days)):
            hours = self.days[day.weekday()]
            if hours is None or (self.holidays[0] and calendars.is_holiday(self.holidays[0], day, self.holidays[1])):
                continue
            opens, closes = at_local(day, hours[0], zone_name), _end(day, hours[1], zone_name)
            if at < closes:
                return max(at, opens)
        return None


def open_after(
    member: Any, channel: str, quiet: QuietHours, rest: Rest, now: datetime, shop_zone: str, *, marketing: bool
) -> datetime | None:
    """The instant itself, or the first at which the channel may be used; None when it may not be for weeks."""
    if channel == "inapp":
        return now
    home = zone_of(member, shop_zone)
    if (at := quiet.after(now, home)) == now and not _is_stricter(channel, rest, marketing):
        # The usual case: the shop's quiet hours are all there is.
        return now
    rules = list(_rules(member, channel, quiet, rest, home, marketing))
    while at <= now + _HORIZON:
        opened = [rule(at) for rule in rules]
        latest = max((one for one in opened if one is not None), default=at)
        if None in opened:
            return None
        if latest == at:
            return at
        at = latest
    return None


def zone_of(member: Any, shop_zone: str) -> str:
    """The zone a member's hours are counted in; the first in the chain that is known here."""
    if (own := member.zone) and is_known_zone(own):
        return str(own)
    chain = (
        lambda: member.timezone,
        lambda: zone_at(member.country, member.region) if member.country else "",
        lambda: _zone_of_phone(member.phone),
        lambda: shop_zone,
    )
    return next((name for name in (tell() for tell in chain) if name and is_known_zone(name)), "UTC")


def _is_stricter(channel: str, rest: Rest, marketing: bool) -> bool:
    """Whether anything but the shop's quiet hours may close the channel."""
    return channel in rest.channels or (marketing and (rest.sundays or rest.holidays or channel == "sms"))


def _rules(member: Any, channel: str, quiet: QuietHours, rest: Rest, home: str, marketing: bool) -> Iterator[_Open]:
    yield lambda at: quiet.after(at, home)
    if (own := rest.channels.get(channel)) is not None:
        yield lambda at: own.after(at, home)
    if not marketing:
        return
    if rest.sundays or rest.holidays:
        place = (member.country.upper(), _state(member)) if rest.holidays else ("", "")
        yield from _everywhere(Hours(_closed_on_sundays(rest.sundays), place), home)
    if channel == "sms":
        for country, state, where in _places(member, home):
            if (hours := _law(country, state)) is not None:
                yield from _everywhere(hours, where)


def _everywhere(hours: Hours, zone_name: str) -> Iterator[_Open]:
    for name in zones_in(zone_name):
        yield lambda at, name=name: hours.after(at, name)  # type: ignore[misc]


def _places(member: Any, home: str) -> Iterator[tuple[str, str, str]]:
    """Country, state ("?" is not known) and zone of where a text message may be read: by the address, and by the number."""
    country, state = member.country.upper(), _state(member)
    called, of_number = place_of_number(member.phone)
    if called == "CN":
        # All of China has one official time, wherever its number is carried.
        yield called, "", zone_at(called)
    elif called:
        # A number of their own state, or of no place in their country, says nothing more of where they are.
        at_home = called == country and of_number in ("", state)
        yield called, of_number or state or "?", home if at_home else zone_at(called, of_number)
    if country and (country, state) != (called, of_number) and (state or called != country):
        yield country, state or "?", home


def place_of_number(phone: str) -> tuple[str, str]:
    """Country and state of a number in E.164, of those whose law is in the table; the state empty where it is not known."""
    if phone.startswith("+86"):
        return "CN", ""
    code = phone[2:5]
    if phone.startswith("+1") and (code in _states_by_code() or code in PLACELESS.split()):
        return "US", _states_by_code().get(code, "")
    return "", ""


def _state(member: Any) -> str:
    return str(member.region).upper().removeprefix(f"{member.country.upper()}-")


@lru_cache(maxsize=1)
def _states_by_code() -> dict[str, str]:
    return {code: state for state, codes in AREA_CODES.items() for code in codes.split()}


@lru_cache(maxsize=256)
def _law(country: str, state: str) -> Hours | None:
    """What holds in a place; None where no law is known."""
    lines = SMS.get(country)
    if lines is None:
        return None
    line = next((told for states, told in lines.items() if state in states.split()), lines[""])
    return _read(line, country, "" if state == "?" else state)


def _read(line: str, country: str, state: str) -> Hours:
    """Such as "8-20 sun 12-18", "8-20 sun - holidays"."""
    usual, *words = line.split()
    days = dict.fromkeys(range(7), _span(usual))
    on_holidays = words and words[-1] == "holidays"
    pairs = words[:-1] if on_holidays else words
    days |= {_DAYS.index(day): _span(hours) for day, hours in zip(pairs[::2], pairs[1::2], strict=True)}
    return Hours(tuple(days[day] for day in range(7)), (country, state) if on_holidays else ("", ""))


def _span(told: str) -> tuple[time, time | None] | None:
    if told == "-":
        return None
    first, last = told.split("-")
    return time(int(first)), time(int(last))


def _closed_on_sundays(sundays: bool) -> tuple[tuple[time, time | None] | None, ...]:
    whole: tuple[time, time | None] = (_MIDNIGHT, None)
    return (*[whole] * 6, None if sundays else whole)


def _end(day: date, closes: time | None, zone_name: str) -> datetime:
    return (
        at_local(day + timedelta(days=1), _MIDNIGHT, zone_name) if closes is None else at_local(day, closes, zone_name)
    )


@lru_cache(maxsize=4096)
def _zone_of_phone(phone: str) -> str:
    country, state = place_of_number(phone)
    return zone_at(country, state) if country else ""
