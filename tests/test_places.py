"""Zones of places: states against IANA's own notes, and a night that is over everywhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from importlib.resources import files

import pytest

from crm_plugin.clock import is_zone, local_day, zone
from crm_plugin.places import _STATES, lies_in, place_of, zone_at, zones_in
from crm_plugin.rules.triggers import QuietHours

NIGHT = QuietHours(time(21), time(8))
# Winter, so that London is at UTC, New York five hours behind and Honolulu ten.
MORNING = datetime(2026, 1, 14, 10, 0, tzinfo=UTC)


def _noted() -> list[tuple[str, str, str]]:
    """(country, state, zone) wherever IANA's list of zones notes a state by its letters."""
    listed = (files("tzdata") / "zoneinfo" / "zone.tab").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in listed if line[:2] in ("US", "CA")]
    return [
        (country, state, name)
        for country, _, name, *note in rows
        for state in re.findall(r"\b[A-Z]{2}\b", note[0] if note else "")
        if state in _STATES[country]
    ]


def test_states_have_the_zones_that_iana_notes() -> None:
    noted = _noted()
    assert len(noted) > 25
    assert [(state, name) for country, state, name in noted if not lies_in(name, zone_at(country, state))] == []


def test_states_are_all_there() -> None:
    assert {country: len(states) for country, states in _STATES.items()} == {"US": 51, "CA": 13, "AU": 8}
    for country, states in _STATES.items():
        kept = {zone for state in states for zone in zones_in(zone_at(country, state))}
        assert all(is_zone(zone) for zone in kept)
        assert all(lies_in(zone, zone_at(country)) for zone in kept)


@pytest.mark.parametrize(
    ("country", "region", "found"),
    [
        ("DE", "", "Europe/Berlin"),
        ("gb", "LND", "Europe/London"),
        ("CN", "", "Asia/Shanghai"),
        ("US", "", "any:US"),
        ("US", "ca", "America/Los_Angeles"),
        ("US", "US-NY", "America/New_York"),
        ("US", "TX", "any:US-TX"),
        ("US", "AE", "any:US"),
        ("CA", "ON", "any:CA-ON"),
        ("AU", "WA", "any:AU-WA"),
        ("XX", "TX", ""),
        ("X-Y", "", ""),
        ("", "TX", ""),
    ],
)
def test_zone_of_a_place(country: str, region: str, found: str) -> None:
    assert zone_at(country, region) == found


def test_place_has_the_days_of_its_main_zone() -> None:
    assert zone("any:US").key == "America/New_York"
    assert zone("any:RU").key == "Europe/Moscow"
    assert local_day(datetime(2026, 1, 14, 4, 30, tzinfo=UTC), "any:AU-NSW").day == 14
    assert (place_of("any:US-TX"), place_of("any:US"), place_of("Asia/Tokyo")) == (("US", "TX"), ("US", ""), ("", ""))
    assert not is_zone("any:US")
    with pytest.raises(ValueError, match="any:XX"):
        zone("any:XX")


@pytest.mark.parametrize(
    ("place", "at", "allowed"),
    [
        ("any:US-TX", (14, 14, 30), (14, 15, 0)),  # 08:30 in Dallas, 07:30 in El Paso
        ("any:US-TX", (15, 3, 0), (15, 15, 0)),  # 21:00 in Dallas
        ("any:US-TX", (14, 16, 0), (14, 16, 0)),
        ("any:US", (14, 14, 0), (14, 18, 0)),  # 09:00 in New York; 08:00 in Honolulu comes at 18:00 UTC
        ("any:US", (15, 1, 59), (15, 1, 59)),
        ("any:US", (15, 2, 0), (15, 18, 0)),  # 21:00 in New York
    ],
)
def test_night_is_over_in_all_zones(place: str, at: tuple[int, int, int], allowed: tuple[int, int, int]) -> None:
    told = NIGHT.after(datetime(2026, 1, *at, tzinfo=UTC), place)
    assert told == datetime(2026, 1, *allowed, tzinfo=UTC)
    assert not any(NIGHT.covers(told.astimezone(zone(name)).time()) for name in zones_in(place))


def test_nights_that_leave_no_hour_are_those_of_the_main_zone() -> None:
    long = QuietHours(time(17), time(10))
    assert long.after(MORNING, "any:RU") == MORNING
    assert long.after(MORNING.replace(hour=15), "any:RU") == datetime(2026, 1, 15, 7, 0, tzinfo=UTC)
    assert QuietHours(time(0), time(0)).after(MORNING, "any:RU") == MORNING
