"""Zones of a place: a country, or a state of one, whose people may live by several clocks.

Where a zone is wanted and only such a place is known, `any:US` or `any:US-TX` stands for it: its days are those of the clock that most
people there live by, and its night is over when it is over by all of them.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

_ANY = "any:"
_Clock = tuple[timedelta | None, ...]
# Two zones keep one clock when they agree in every week of these years.
_WEEKS = tuple(datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(weeks=week) for week in range(520))
# Where the first zone of IANA's list is not the one that most people live by.
_MAIN = {
    "AU": "Australia/Sydney",
    "BR": "America/Sao_Paulo",
    "CA": "America/Toronto",
    "RU": "Europe/Moscow",
    "UA": "Europe/Kyiv",
}
# All of China has one official time.
_ONE = {"CN": ("Asia/Shanghai",)}
_EASTERN, _CENTRAL, _MOUNTAIN, _PACIFIC = "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles"


def _each(states: str, *zones: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(states.split(), zones)


# The zones of each state, the one that most people live by first.
_STATES: dict[str, dict[str, tuple[str, ...]]] = {
    "US": {
        **_each("CT DC DE GA MA MD ME NC NH NJ NY OH PA RI SC VA VT WV", _EASTERN),
        **_each("FL IN KY MI", _EASTERN, _CENTRAL),
        "TN": (_CENTRAL, _EASTERN),
        **_each("AL AR IA IL LA MN MO MS OK WI", _CENTRAL),
        **_each("KS ND NE SD TX", _CENTRAL, _MOUNTAIN),
        **_each("CO MT NM UT WY", _MOUNTAIN),
        "AZ": ("America/Phoenix", _MOUNTAIN),
        "ID": (_MOUNTAIN, _PACIFIC),
        **_each("NV OR", _PACIFIC, _MOUNTAIN),
        **_each("CA WA", _PACIFIC),
        "AK": ("America/Anchorage", "America/Adak"),
        "HI": ("Pacific/Honolulu",),
    },
    "CA": {
        "AB": ("America/Edmonton",),
        "BC": ("America/Vancouver", "America/Edmonton", "America/Dawson_Creek"),
        "MB": ("America/Winnipeg",),
        "NB": ("America/Moncton",),
        "NL": ("America/St_Johns", "America/Goose_Bay"),
        "NS": ("America/Halifax",),
        "NT": ("America/Edmonton", "America/Inuvik"),
        "NU": ("America/Iqaluit", "America/Rankin_Inlet", "America/Cambridge_Bay", "America/Atikokan"),
        "ON": ("America/Toronto", "America/Winnipeg", "America/Atikokan"),
        "PE": ("America/Halifax",),
        "QC": ("America/Toronto", "America/Halifax", "America/Blanc-Sablon"),
        "SK": ("America/Regina", "America/Edmonton"),
        "YT": ("America/Whitehorse",),
    },
    "AU": {
        "ACT": ("Australia/Sydney",),
        "NSW": ("Australia/Sydney", "Australia/Broken_Hill", "Australia/Lord_Howe"),
        "NT": ("Australia/Darwin",),
        "QLD": ("Australia/Brisbane",),
        "SA": ("Australia/Adelaide",),
        "TAS": ("Australia/Hobart",),
        "VIC": ("Australia/Melbourne",),
        "WA": ("Australia/Perth", "Australia/Eucla"),
    },
}


@lru_cache(maxsize=4096)
def zone_at(country: str, region: str = "") -> str:
    """The zone of a country, or of a state of it where its letters are known: `any:…` where clocks differ; empty for no country.

    Args: country: ISO 3166. region: the state's letters, with or without those of the country (ISO 3166-2).
    """
    country = country.upper()
    state = region.upper().removeprefix(f"{country}-")
    place = f"{country}-{state}" if state in _STATES.get(country, ()) else country
    zones = list(_clocks(place).values())
    return zones[0] if len(zones) == 1 else f"{_ANY}{place}" if zones else ""


def zones_in(name: str) -> tuple[str, ...]:
    """The IANA zones that a stored zone stands for: itself, or one for each clock of its place, the main one first."""
    return tuple(_clocks(name.removeprefix(_ANY)).values()) if name.startswith(_ANY) else (name,)


def lies_in(name: str, place: str) -> bool:
    """Whether one stored zone says more than another: all its clocks are kept there too."""
    return {_clock(zone) for zone in zones_in(name)} <= {_clock(zone) for zone in zones_in(place)}


def place_of(name: str) -> tuple[str, str]:
    """Country and state that a stored zone stands for; empty for a single zone."""
    country, _, state = name.removeprefix(_ANY).partition("-") if name.startswith(_ANY) else ("", "", "")
    return country, state


@lru_cache(maxsize=1024)
def _clocks(place: str) -> dict[_Clock, str]:
    """The clocks that are kept there, each with one zone."""
    country, _, state = place.partition("-")
    zones = _STATES.get(country, {}).get(state, ()) if state else _countries().get(country, ())
    found: dict[_Clock, str] = {}
    for name in zones:
        found.setdefault(_clock(name), name)
    return found


@lru_cache(maxsize=1024)
def _clock(zone_name: str) -> _Clock:
    zone = ZoneInfo(zone_name)
    return tuple(week.astimezone(zone).utcoffset() for week in _WEEKS)


@cache
def _countries() -> dict[str, tuple[str, ...]]:
    zones: defaultdict[str, list[str]] = defaultdict(list)
    for line in (files("tzdata") / "zoneinfo" / "zone.tab").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            country, _place, name, *_ = line.split("\t")
            zones[country].append(name)
    listed = {
        country: tuple(sorted(names, key=lambda name: name != _MAIN.get(country))) for country, names in zones.items()
    }
    return {**listed, **_ONE}
