"""The lunisolar calendar out of the sky: new moons and the sun's longitude by the formulas of Jean Meeus, Astronomical Algorithms (1998).

A second way to the table of `crm_plugin/lunar.py`, made from nothing but the rules of GB/T 33661-2017. New moons are good to about half a
minute, plus what is not yet known of the turning of the Earth; the sun's longitude to 0.01 degrees, a quarter of an hour.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import date
from math import floor, radians, sin

# Days, then the factors of the sun's anomaly, the moon's anomaly and the moon's latitude, and the power of the orbit's eccentricity.
_MOON = (
    (-0.40720, 0, 1, 0, 0),
    (0.17241, 1, 0, 0, 1),
    (0.01608, 0, 2, 0, 0),
    (0.01039, 0, 0, 2, 0),
    (0.00739, -1, 1, 0, 1),
    (-0.00514, 1, 1, 0, 1),
    (0.00208, 2, 0, 0, 2),
    (-0.00111, 0, 1, -2, 0),
    (-0.00057, 0, 1, 2, 0),
    (0.00056, 1, 2, 0, 1),
    (-0.00042, 0, 3, 0, 0),
    (0.00042, 1, 0, 2, 1),
    (0.00038, 1, 0, -2, 1),
    (-0.00024, -1, 2, 0, 1),
    (-0.00007, 2, 1, 0, 0),
    (0.00004, 0, 2, -2, 0),
    (0.00004, 3, 0, 0, 0),
    (0.00003, 1, 1, -2, 0),
    (0.00003, 0, 2, 2, 0),
    (-0.00003, 1, 1, 2, 0),
    (0.00003, -1, 1, 2, 0),
    (-0.00002, -1, 1, -2, 0),
    (-0.00002, 1, 3, 0, 0),
    (0.00002, 0, 4, 0, 0),
)
# Degrees, degrees a month, millionths of a day.
_PLANETS = (
    (251.88, 0.016321, 165),
    (251.83, 26.651886, 164),
    (349.42, 36.412478, 126),
    (84.66, 18.206239, 110),
    (141.74, 53.303771, 62),
    (207.14, 2.453732, 60),
    (154.84, 7.306860, 56),
    (34.52, 27.261239, 47),
    (207.19, 0.121824, 42),
    (291.34, 1.844379, 40),
    (161.72, 24.198154, 37),
    (239.56, 25.513099, 35),
    (331.55, 3.592518, 23),
)
# By how many seconds the even time of the planets is ahead of the clock, by year; from 2030 a forecast.
_AHEAD = (
    (1897, -5.0),
    (1900, -2.8),
    (1910, 10.4),
    (1920, 21.2),
    (1930, 24.0),
    (1940, 24.3),
    (1950, 29.1),
    (1960, 33.1),
    (1970, 40.2),
    (1980, 50.5),
    (1990, 56.9),
    (2000, 63.8),
    (2010, 66.1),
    (2020, 69.4),
    (2030, 71.0),
    (2050, 80.0),
    (2105, 116.0),
)
_EPOCH = 2451545.0
# Until the end of 1928 days were counted in Beijing's own mean time, 116 degrees 25 minutes east.
_SINCE_1929 = date(1929, 1, 1).toordinal() + 1721424.5 - 8 / 24
_OWN, _STANDARD = (7 + 45 / 60 + 40 / 3600) / 24, 8 / 24

Months = list[tuple[int, bool, date, int]]


def calendar(first: int, last: int) -> dict[int, Months]:
    """Lunar year → its months: number, whether leap, first day, days."""
    begins = [_day(_new_moon(k)) for k in range(round((first - 2003) * 12.3685), round((last - 1996) * 12.3685))]
    guesses = [(y, n) for y in range(first - 2, last + 3) for n in range(12)]
    terms = sorted(_day(_sun_at((300 + 30 * n) % 360, _noon(date(y, 1, 20)) + 30.44 * n)) for y, n in guesses)
    found: dict[int, Months] = {}
    for year in range(first - 1, last + 1):
        low, high = (bisect_right(begins, _solstice(y)) - 1 for y in (year, year + 1))
        extra = None
        if high - low == 13:
            bare = (
                n for n in range(low + 1, high) if bisect_left(terms, begins[n]) == bisect_left(terms, begins[n + 1])
            )
            extra = next(bare)
        month, of = 11, year
        for n in range(low, high):
            if n > low and n != extra:
                month, of = (month + 1, of) if month < 12 else (1, of + 1)
            found.setdefault(of, []).append((month, n == extra, _date(begins[n]), begins[n + 1] - begins[n]))
    return {year: found[year] for year in range(first, last + 1)}


def _new_moon(k: int) -> float:
    """The instant of a new moon as a Julian day in even time; k counts them from January 2000."""
    t = k / 1236.85
    at = 2451550.09766 + 29.530588861 * k + 0.00015437 * t**2 - 0.00000015 * t**3 + 0.00000000073 * t**4
    bent = 1 - 0.002516 * t - 0.0000074 * t**2
    sun = _turned(2.5534 + 29.10535670 * k - 0.0000014 * t**2 - 0.00000011 * t**3)
    moon = _turned(201.5643 + 385.81693528 * k + 0.0107582 * t**2 + 0.00001238 * t**3 - 0.000000058 * t**4)
    node = _turned(160.7108 + 390.67050284 * k - 0.0016118 * t**2 - 0.00000227 * t**3 + 0.000000011 * t**4)
    at += sum(days * bent**e * sin(s * sun + m * moon + f * node) for days, s, m, f, e in _MOON)
    at -= 0.00017 * sin(_turned(124.7746 - 1.56375588 * k + 0.0020672 * t**2 + 0.00000215 * t**3))
    at += 0.000325 * sin(_turned(299.77 + 0.107408 * k - 0.009173 * t**2))
    return at + sum(part * 1e-6 * sin(_turned(begin + step * k)) for begin, step, part in _PLANETS)


def _sun(at: float) -> float:
    """The sun's apparent longitude in degrees."""
    t = (at - _EPOCH) / 36525
    off = _turned(357.52911 + 35999.05029 * t - 0.0001537 * t**2)
    ahead = (1.914602 - 0.004817 * t - 0.000014 * t**2) * sin(off) + (0.019993 - 0.000101 * t) * sin(2 * off)
    mean = 280.46646 + 36000.76983 * t + 0.0003032 * t**2 + 0.000289 * sin(3 * off)
    return (mean + ahead - 0.00569 - 0.00478 * sin(_turned(125.04 - 1934.136 * t))) % 360


def _sun_at(longitude: float, near: float) -> float:
    """When the sun has this longitude, near an instant."""
    at = near
    for _ in range(8):
        at += ((longitude - _sun(at) + 180) % 360 - 180) * 365.2422 / 360
    return at


def _solstice(year: int) -> int:
    return _day(_sun_at(270, _noon(date(year, 12, 21))))


def _day(at: float) -> int:
    """The number of the day in Beijing in which an instant lies."""
    year = 2000 + (at - _EPOCH) / 365.25
    place = bisect_right(_AHEAD, year, key=lambda row: row[0])
    (low, less), (high, more) = _AHEAD[place - 1], _AHEAD[place]
    clock = at - (less + (more - less) * (year - low) / (high - low)) / 86400
    return floor(clock + (_STANDARD if clock >= _SINCE_1929 else _OWN) + 0.5)


def _date(day: int) -> date:
    return date.fromordinal(day - 1721425)


def _noon(day: date) -> float:
    return day.toordinal() + 1721425.0


def _turned(degrees: float) -> float:
    return radians(degrees % 360)
