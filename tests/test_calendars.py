"""Holidays of countries and the festivals of shops, by days that are known."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_plugin import lunar
from crm_plugin.calendars import FESTIVALS, easter, festival, holidays, is_holiday, knows

YEARS = range(2020, 2030)
# Month and day from 2020 to 2029.
MOVING = {
    "lunar_new_years_eve": "01-24 02-11 01-31 01-21 02-09 01-28 02-16 02-05 01-25 02-12",
    "spring_festival": "01-25 02-12 02-01 01-22 02-10 01-29 02-17 02-06 01-26 02-13",
    "lantern_festival": "02-08 02-26 02-15 02-05 02-24 02-12 03-03 02-20 02-09 02-27",
    "mothering_sunday": "03-22 03-14 03-27 03-19 03-10 03-30 03-15 03-07 03-26 03-11",
    "easter": "04-12 04-04 04-17 04-09 03-31 04-20 04-05 03-28 04-16 04-01",
    "mothers_day": "05-10 05-09 05-08 05-14 05-12 05-11 05-10 05-09 05-14 05-13",
    "dragon_boat": "06-25 06-14 06-03 06-22 06-10 05-31 06-19 06-09 05-28 06-16",
    "fathers_day": "06-21 06-20 06-19 06-18 06-16 06-15 06-21 06-20 06-18 06-17",
    "qixi": "08-25 08-14 08-04 08-22 08-10 08-29 08-19 08-08 08-26 08-16",
    "mid_autumn": "10-01 09-21 09-10 09-29 09-17 10-06 09-25 09-15 10-03 09-22",
    "double_ninth": "10-25 10-14 10-04 10-23 10-11 10-29 10-18 10-08 10-26 10-16",
    "thanksgiving_us": "11-26 11-25 11-24 11-23 11-28 11-27 11-26 11-25 11-23 11-22",
    "black_friday": "11-27 11-26 11-25 11-24 11-29 11-28 11-27 11-26 11-24 11-23",
    "cyber_monday": "11-30 11-29 11-28 11-27 12-02 12-01 11-30 11-29 11-27 11-26",
}
FIXED = {
    "new_year": "01-01",
    "valentines": "02-14",
    "womens_day": "03-08",
    "520": "05-20",
    "childrens_day": "06-01",
    "618": "06-18",
    "national_day_cn": "10-01",
    "halloween": "10-31",
    "double_eleven": "11-11",
    "double_twelve": "12-12",
    "christmas_eve": "12-24",
    "christmas": "12-25",
    "boxing_day": "12-26",
    "new_years_eve": "12-31",
}


def test_every_festival_has_its_day_in_ten_years() -> None:
    assert FESTIVALS.keys() == MOVING.keys() | FIXED.keys()
    for key in FESTIVALS:
        expected = MOVING[key].split() if key in MOVING else [FIXED[key]] * len(YEARS)
        found = [festival(key, year) for year in YEARS]
        assert found == [date.fromisoformat(f"{year}-{day}") for year, day in zip(YEARS, expected, strict=True)], key


@given(st.sampled_from(sorted(FESTIVALS)), st.integers(lunar.FIRST_YEAR, lunar.LAST_YEAR))
def test_festival_lies_in_its_year(key: str, year: int) -> None:
    day = festival(key, year)
    assert day is not None
    assert day.year == year


def test_lunar_festivals_end_with_the_table_and_others_do_not() -> None:
    assert festival("spring_festival", 2100) == date(2100, 2, 9)
    assert festival("spring_festival", 2101) is None
    assert festival("black_friday", 2101) == date(2101, 11, 25)
    with pytest.raises(KeyError):
        festival("no such day", 2026)


def test_every_festival_has_a_name_of_its_own_in_both_languages() -> None:
    assert len({one.en for one in FESTIVALS.values()}) == len({one.zh for one in FESTIVALS.values()}) == len(FESTIVALS)


def test_easter_at_the_edges_of_its_range() -> None:
    assert [easter(year) for year in (1943, 1961, 2008, 2011, 2038)] == [
        date(1943, 4, 25),
        date(1961, 4, 2),
        date(2008, 3, 23),
        date(2011, 4, 24),
        date(2038, 4, 25),
    ]


@pytest.mark.parametrize(
    ("country", "day", "name"),
    [
        ("CN", date(2026, 2, 17), "Chinese New Year (Spring Festival)"),
        ("CN", date(2026, 10, 1), "National Day"),
        ("CN", date(2026, 4, 5), "Tomb-Sweeping Day"),
        ("DE", date(2026, 10, 3), "German Unity Day"),
        ("GB", date(2026, 4, 3), "Good Friday"),
        ("US", date(2026, 11, 26), "Thanksgiving Day"),
        ("FR", date(2026, 7, 14), "National Day"),
        ("JP", date(2026, 1, 1), "New Year's Day"),
    ],
)
def test_holidays_of_a_country(country: str, day: date, name: str) -> None:
    assert holidays(country, day.year)[day] == name
    assert is_holiday(country, day)


def test_weekdays_are_no_holidays() -> None:
    assert not is_holiday("DE", date(2026, 6, 17))
    assert not is_holiday("US", date(2026, 10, 3))


def test_region_adds_its_own() -> None:
    epiphany = date(2026, 1, 6)
    assert (is_holiday("DE", epiphany), is_holiday("DE", epiphany, "BY"), is_holiday("DE", epiphany, "HH")) == (
        False,
        True,
        False,
    )
    assert holidays("DE", 2026, "nowhere") == holidays("DE", 2026)
    assert (knows("DE"), knows("DE", "BY"), knows("DE", "nowhere")) == (True, True, False)


@pytest.mark.parametrize("country", ["", "ZZ", "cn", "XX"])
def test_unknown_country_has_none_and_is_said(country: str) -> None:
    assert not knows(country)
    assert holidays(country, 2026) == {}
    assert not is_holiday(country, date(2026, 1, 1))


@pytest.mark.parametrize("year", [1, 1899, 2101, 9999])
def test_years_out_of_reach_have_none(year: int) -> None:
    assert holidays("CN", year) == {}


@pytest.mark.parametrize("country", ["AU", "BR", "CA", "CN", "DE", "GB", "HK", "JP", "KR", "SG", "TW", "US"])
def test_every_year_can_be_asked(country: str) -> None:
    for year in range(2000, 2061):
        days = holidays(country, year)
        assert date(year, 1, 1) in days, year
        assert {day.year for day in days} == {year}


def test_end_of_a_moving_calendar_takes_nothing_else_away() -> None:
    assert holidays("IN", 2030)[date(2030, 10, 26)] == "Diwali"
    assert holidays("IN", 2040)[date(2040, 8, 15)] == "Independence Day"


def test_spring_festival_is_the_same_in_both_calendars() -> None:
    for year in range(2000, 2051):
        day = festival("spring_festival", year)
        assert day is not None
        assert is_holiday("CN", day), year
        assert is_holiday("CN", day + timedelta(days=1)), year


def test_library_is_read_only_when_asked() -> None:
    told = "import sys, crm_plugin.calendars; print('holidays' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
