"""Holidays by country, and the festivals that shops keep: which day each is in a year.

Holidays are those of the library `holidays`, which is read only when somebody asks. Festivals are computed here: by date, by weekday, by
Easter, or by the lunisolar calendar.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache
from threading import Lock
from types import MappingProxyType

from crm_plugin import lunar

_NONE: Mapping[date, str] = MappingProxyType({})
# The library has tables for these years; further away it computes with what held at their ends.
_FIRST_YEAR, _LAST_YEAR = 1900, 2100
# Which warnings are shown belongs to the whole process: one thread at a time may change it.
_WARNINGS = Lock()


def knows(country: str, region: str = "") -> bool:
    """Whether the holidays of a country (ISO 3166, two letters) are known; with a region, whether its own are."""
    regions = _countries().get(country)
    return regions is not None and (not region or region in regions)


def holidays(country: str, year: int, region: str = "") -> Mapping[date, str]:
    """The public holidays of a country in a year, with the days off that stand in for one: day → its name in English where there is one.

    Args: region: the letters of a state or province, whose own holidays are added; one that has none, or is not known, adds nothing.
    Returns: nothing for a country that is not known (`knows` says so) and for years before 1900 or after 2100.
    """
    regions = _countries().get(country)
    if regions is None or not _FIRST_YEAR <= year <= _LAST_YEAR:
        return _NONE
    return _holidays(country, year, region if region in regions else "")


def is_holiday(country: str, day: date, region: str = "") -> bool:
    """Whether the day is a public holiday there; never in a country that is not known."""
    return day in holidays(country, day.year, region)


@cache
def _countries() -> Mapping[str, frozenset[str]]:
    """Country → the regions with holidays of their own."""
    import holidays as library

    return {code: frozenset(regions) for code, regions in library.list_supported_countries().items()}


@lru_cache(maxsize=4096)
def _holidays(country: str, year: int, region: str) -> Mapping[date, str]:
    import holidays as library

    # Where its tables of a moving calendar end, the library warns and gives the rest, and there is nothing more to be had.
    with _WARNINGS, warnings.catch_warnings(category=UserWarning, action="ignore"):
        found = library.country_holidays(country, subdiv=region or None, years=year, expand=False, language="en_US")
    # What lies in the year before or after is found there.
    return MappingProxyType({day: name for day, name in sorted(found.items()) if day.year == year})


@dataclass(frozen=True, slots=True)
class Festival:
    """A day that shops keep, by its names; `day` gives it for a year, or None when it is not known."""

    en: str
    zh: str
    day: Callable[[int], date | None]


def festival(key: str, year: int) -> date | None:
    """The day of a festival in a year; None when it is not known, as of lunar ones after 2100.

    Raises: KeyError for what is no key of `FESTIVALS`.
    """
    return FESTIVALS[key].day(year)


def easter(year: int) -> date:
    """Easter Sunday by the Gregorian calendar."""
    golden, century = year % 19, year // 100
    moon = (19 * golden + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    week = (32 + 2 * (century % 4) + 2 * (year % 100 // 4) - moon - year % 4) % 7
    late = (golden + 11 * moon + 22 * week) // 451
    number = moon + week - 7 * late + 114
    return date(year, number // 31, number % 31 + 1)


def _on(month: int, day: int) -> Callable[[int], date]:
    return lambda year: date(year, month, day)


def _weekday(month: int, number: int, weekday: int, later: int = 0) -> Callable[[int], date]:
    """The n-th such weekday (0: Monday) of a month, or some days later."""

    def of(year: int) -> date:
        first = date(year, month, 1)
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1) + later)

    return of


def _after_easter(days: int) -> Callable[[int], date]:
    return lambda year: easter(year) + timedelta(days=days)


def _lunar(month: int, day: int, later: int = 0) -> Callable[[int], date | None]:
    """A lunar day or some days later. Those of the months 1 to 9 lie in the solar year that names the lunar one."""

    def of(year: int) -> date | None:
        if not lunar.FIRST_YEAR <= year <= lunar.LAST_YEAR:
            return None
        return lunar.to_solar(year, month, day) + timedelta(days=later)

    return of


_THURSDAY, _SUNDAY = 3, 6

# In the order of the year.
FESTIVALS: Mapping[str, Festival] = MappingProxyType(
    {
        "new_year": Festival("New Year", "元旦", _on(1, 1)),
        "lunar_new_years_eve": Festival("Chinese New Year's Eve", "除夕", _lunar(1, 1, -1)),
        "spring_festival": Festival("Spring Festival", "春节", _lunar(1, 1)),
        "lantern_festival": Festival("Lantern Festival", "元宵节", _lunar(1, 15)),
        "valentines": Festival("Valentine's Day", "情人节", _on(2, 14)),
        "womens_day": Festival("Women's Day", "妇女节", _on(3, 8)),
        "mothering_sunday": Festival("Mothering Sunday (UK)", "英国母亲节", _after_easter(-21)),
        "easter": Festival("Easter", "复活节", easter),
        "mothers_day": Festival("Mother's Day", "母亲节", _weekday(5, 2, _SUNDAY)),
        "520": Festival("520 (20 May)", "520 表白日", _on(5, 20)),
        "childrens_day": Festival("Children's Day", "儿童节", _on(6, 1)),
        "dragon_boat": Festival("Dragon Boat Festival", "端午节", _lunar(5, 5)),
        "618": Festival("618 (18 June)", "618 购物节", _on(6, 18)),
        "fathers_day": Festival("Father's Day", "父亲节", _weekday(6, 3, _SUNDAY)),
        "qixi": Festival("Qixi", "七夕", _lunar(7, 7)),
        "mid_autumn": Festival("Mid-Autumn Festival", "中秋节", _lunar(8, 15)),
        "national_day_cn": Festival("National Day (China)", "国庆节", _on(10, 1)),
        "double_ninth": Festival("Double Ninth Festival", "重阳节", _lunar(9, 9)),
        "halloween": Festival("Halloween", "万圣夜", _on(10, 31)),
        "double_eleven": Festival("Singles' Day (11.11)", "双十一", _on(11, 11)),
        "thanksgiving_us": Festival("Thanksgiving (US)", "感恩节", _weekday(11, 4, _THURSDAY)),
        "black_friday": Festival("Black Friday", "黑色星期五", _weekday(11, 4, _THURSDAY, 1)),
        "cyber_monday": Festival("Cyber Monday", "网络星期一", _weekday(11, 4, _THURSDAY, 4)),
        "double_twelve": Festival("Double Twelve (12.12)", "双十二", _on(12, 12)),
        "christmas_eve": Festival("Christmas Eve", "平安夜", _on(12, 24)),
        "christmas": Festival("Christmas", "圣诞节", _on(12, 25)),
        "boxing_day": Festival("Boxing Day", "节礼日", _on(12, 26)),
        "new_years_eve": Festival("New Year's Eve", "跨年夜", _on(12, 31)),
    }
)
