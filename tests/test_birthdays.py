"""Birthdays, solar and lunar: each is kept once in each year of its calendar, and greeted once, in any zone, however time is cut up."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crm_plugin import lunar
from crm_plugin.birthdays import (
    AFTER,
    BEFORE,
    LEAP,
    LUNAR,
    Birthday,
    birthday_of,
    is_birthday,
    is_kept_on,
    kept_around,
    kept_in,
    kept_on,
    years_old,
)
from crm_plugin.clock import at_local, day_number, is_zone, zone
from crm_plugin.lunar import from_solar, leap_month, month_days
from crm_plugin.rules.triggers import BIRTHDAY, QuietHours, read_trigger, slots
from crm_plugin.store.base import from_micros, to_micros

ZONES = sorted(name for name in available_timezones() if is_zone(name))

SOLAR = [month * 100 + day for month in range(1, 13) for day in range(calendar.monthrange(2000, month)[1] + 1)]
OF_LUNAR = [kind + month * 100 + day for kind in (LUNAR, LEAP) for month in range(1, 13) for day in range(31)]
NUMBERS = st.sampled_from(SOLAR) | st.sampled_from(OF_LUNAR)
POLICIES = st.sampled_from([BEFORE, AFTER])


def test_number_stands_for_the_birthday() -> None:
    for number in (*SOLAR, *OF_LUNAR):
        assert birthday_of(number).number == number
        assert is_birthday(birthday_of(number))
    assert Birthday(8, 15, lunar=True).number == 10815
    assert Birthday(4, 12, lunar=True, leap=True).number == 30412
    assert len({*SOLAR, *OF_LUNAR}) == 12 + 366 + 2 * 12 * 31


@pytest.mark.slow
@pytest.mark.parametrize("leap_day", [BEFORE, AFTER])
@pytest.mark.parametrize("years", [range(1950, 1990), range(2020, 2060), range(2085, 2100)], ids=str)
def test_each_birthday_is_kept_once_in_each_year_of_its_calendar(years: range, leap_day: str) -> None:
    """Day by day over whole years, every number there is; by the day alone and by the year alone it is the same day."""
    day, last = date(years[0], 1, 1), lunar.new_year(years[-1] + 1)
    found: dict[tuple[int, int], list[date]] = {}
    while day < last:
        for number, year in kept_on(day, leap_day):
            found.setdefault((number, year), []).append(day)
        day += timedelta(days=1)
    for year in years:
        for number in (*SOLAR, *OF_LUNAR):
            assert found[number, year] == [kept_in(year, number, leap_day)], (number, year)


def test_leap_day_is_kept_before_or_after() -> None:
    assert [kept_in(year, 229) for year in (2027, 2028)] == [date(2027, 2, 28), date(2028, 2, 29)]
    assert [kept_in(year, 229, AFTER) for year in (2027, 2028)] == [date(2027, 3, 1), date(2028, 2, 29)]
    assert is_kept_on(date(2100, 2, 28), 229)
    assert not is_kept_on(date(2100, 2, 28), 229, AFTER)


def test_month_alone_is_kept_on_its_first_day() -> None:
    assert kept_in(2026, 500) == date(2026, 5, 1)
    assert kept_in(2026, LUNAR + 800) == lunar.to_solar(2026, 8, 1)
    # 2025 has a leap sixth month.
    assert kept_in(2025, LEAP + 600) == lunar.to_solar(2025, 6, 1, True)
    assert kept_in(2026, LEAP + 600) == lunar.to_solar(2026, 6, 1)


def test_solar_year_holds_none_of_a_lunar_birthday_or_two() -> None:
    """The first day of the twelfth month: 2025-01-01 no, 2024-12-31 and its like; each lunar year greets once."""
    days = {year: kept_in(year, LUNAR + 1201) for year in range(2000, 2060)}
    per_year = [sum(day.year == year for day in days.values()) for year in range(2001, 2060)]
    assert {0, 1, 2} == set(per_year)
    assert len(set(days.values())) == 60
    for year, day in days.items():
        assert list(kept_on(day))[-2:][0][1] == year


def test_around_a_day_is_the_year_it_lies_in() -> None:
    january = date(2026, 1, 20)
    assert kept_around(january, 305) == date(2026, 3, 5)
    assert kept_around(january, LUNAR + 815) == date(2025, 10, 6)
    assert kept_around(date(2026, 2, 17), LUNAR + 815) == date(2026, 9, 25)
    assert kept_around(date(2150, 1, 1), LUNAR + 815) == date(2150, 1, 1)


@pytest.mark.parametrize(
    ("birthday", "year", "there"),
    [
        (Birthday(2, 29), None, True),
        (Birthday(2, 29), 2026, False),
        (Birthday(2, 30), None, False),
        (Birthday(13, 1), None, False),
        (Birthday(8, 30, True), None, True),
        (Birthday(8, 31, True), None, False),
        (Birthday(6, 29, True, True), 2025, True),
        (Birthday(6, 30, True, True), 2025, False),
        (Birthday(6, 1, True, True), 2026, False),
        (Birthday(6, 1, True, True), None, True),
        (Birthday(1, 1, True), 1899, False),
    ],
)
def test_whether_there_is_such_a_day(birthday: Birthday, year: int | None, there: bool) -> None:
    assert is_birthday(birthday, year) is there


@pytest.mark.slow
@given(st.dates(date(1950, 1, 1), date(2099, 12, 31)), st.integers(1920, 2099), NUMBERS)
@example(date(2025, 7, 25), 2000, LEAP + 601)
@example(date(2025, 7, 24), 2000, LUNAR + 630)
@example(date(2025, 6, 25), 2000, LEAP + 601)
def test_years_are_full_from_the_day_it_is_kept(day: date, born: int, number: int) -> None:
    this = from_solar(day).year if number >= LUNAR else day.year
    if number == 229:
        # By the year alone 29 February is over with 1 March.
        kept = kept_in(this, number, AFTER)
    else:
        kept = kept_in(this, number)
    expected = this - born - (day < kept) if born <= this else None
    assert years_old(day, born, number) == expected


def test_years_without_a_birthday_or_calendar() -> None:
    assert years_old(date(2026, 1, 1), 1990, None) == 36
    assert years_old(date(2025, 12, 31), 1990, None) == 35
    assert years_old(date(2150, 6, 1), 1990, LUNAR + 815) is None


# Greeting.


def _night(begins: int, minutes: int) -> QuietHours:
    ends = (begins + minutes) % 1440
    return QuietHours(time(begins // 60, begins % 60), time(ends // 60, ends % 60))


# Up to sixteen hours, from any minute on; none at all is among them.
QUIET = st.builds(_night, st.integers(0, 1439), st.integers(0, 960))
# Zones whose days are odd: a day left out (2011, 1993), a day twice (1969), half an hour, clocks changed at midnight, twice and again.
ODD = ["Pacific/Apia", "Pacific/Kwajalein", "Australia/Lord_Howe", "America/Havana", "Africa/Casablanca", "Asia/Gaza"]


@st.composite
def _around(draw: st.DrawFn) -> tuple[str, int, int]:
    """A zone, a birthday and a year; half the time the birthday lies on a day on which the clocks change there."""
    name = draw(st.sampled_from(ZONES) | st.sampled_from(ODD))
    year = draw(st.integers(1950, 2098))
    if draw(st.booleans()):
        changes = _changes(name, year)
        if changes:
            day = draw(st.sampled_from(changes))
            return name, draw(st.sampled_from([number for number, _ in kept_on(day)])), year
    return name, draw(NUMBERS), year


def _changes(name: str, year: int) -> list[date]:
    where, found = zone(name), []
    offset = datetime(year, 1, 1, tzinfo=where).utcoffset()
    for number in range(1, 366):
        at = datetime(year, 1, 1, tzinfo=where) + timedelta(days=number)
        if at.utcoffset() != offset:
            found.append((at - timedelta(days=1)).date())
            offset = at.utcoffset()
    return found


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    _around(),
    POLICIES,
    st.integers(-10, 10),
    st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    QUIET,
    st.integers(1, 10),
    st.lists(st.integers(0, 900 * 24 * 60), max_size=30),
)
@example(("Pacific/Apia", 1230, 2011), BEFORE, 0, time(9), QuietHours(time(21), time(8)), 3, [])
@example(("Pacific/Kwajalein", 821, 1993), AFTER, 0, time(23), QuietHours(time(21), time(8)), 1, [])
@example(("Asia/Shanghai", LUNAR + 1230, 2024), BEFORE, -1, time(9), QuietHours(time(21), time(8)), 3, [])
def test_greeted_once_a_year_when_allowed_and_while_valid(
    at: tuple[str, int, int],
    leap_day: str,
    days: int,
    send_at: time,
    quiet: QuietHours,
    validity_days: int,
    ticks: list[int],
) -> None:
    """Two years and a half, cut into rounds anywhere, with any pauses between: together they give each year's occasion once."""
    name, number, year = at
    trigger = read_trigger(BIRTHDAY, {"days": days, "leap_day": leap_day})
    told = {"send_at": send_at, "validity_days": validity_days, "quiet": quiet, "zones": {name}}
    begin = datetime(year, 1, 1, tzinfo=UTC)
    rounds = sorted({0, *ticks, 900 * 24 * 60})
    found = [
        slot
        for low, high in pairwise(rounds)
        for slot in slots(
            trigger,
            after=begin + timedelta(minutes=low),
            until=begin + timedelta(minutes=high),
            **told,  # type: ignore[arg-type]
        )
        if slot.match == number
    ]
    occasions = [slot.occasion for slot in found]
    assert len(occasions) == len(set(occasions))
    end = begin + timedelta(days=900)
    kept = {}
    for one in range(year - 1, year + 4):
        if one > lunar.LAST_YEAR and number >= LUNAR:
            continue
        on = kept_in(one, number, leap_day)
        if begin < at_local(on + timedelta(days=days), send_at, name) <= end:
            kept[str(one)] = on
    assert {slot.occasion: slot.occasion_on for slot in found} == {year: day_number(on) for year, on in kept.items()}
    for slot in found:
        allowed = from_micros(slot.next_try_at)
        on = kept[slot.occasion]
        assert slot.due_at == to_micros(at_local(on + timedelta(days=days), send_at, name)) <= slot.next_try_at
        assert not quiet.covers(allowed.astimezone(zone(name)).time())
        if days < 0:
            # What announces the day is over when it begins; held back until then by quiet hours, it is never said.
            assert slot.valid_until <= to_micros(at_local(on, time(), name))
        else:
            assert slot.next_try_at < slot.valid_until == slot.due_at + validity_days * 86_400_000_000


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(NUMBERS, st.integers(1950, 2095), st.integers(1, 900), st.integers(1, 5))
def test_after_an_outage_only_what_is_still_valid_is_left(number: int, year: int, outage: int, validity: int) -> None:
    """One round after any pause: of the occasions that fell due meanwhile those past their window are over, and none is there twice."""
    begin = datetime(year, 1, 1, tzinfo=UTC)
    now = begin + timedelta(days=outage)
    found = slots(
        read_trigger(BIRTHDAY, {}),
        after=begin,
        until=now,
        send_at=time(9),
        validity_days=validity,
        quiet=QuietHours(time(21), time(8)),
        zones={"Asia/Shanghai"},
    )
    mine = [slot for slot in found if slot.match == number]
    assert len({slot.occasion for slot in mine}) == len(mine)
    valid = [slot for slot in mine if slot.valid_until > to_micros(now)]
    assert len(valid) <= 1
    for slot in valid:
        assert now - from_micros(slot.due_at) < timedelta(days=validity)


@pytest.mark.slow
def test_every_zone_greets_a_lunar_birthday_once() -> None:
    """All zones of the database, around the day on which a lunar birthday is kept."""
    number, on = LUNAR + 815, date(2026, 9, 25)
    found = slots(
        read_trigger(BIRTHDAY, {}),
        after=datetime(2026, 9, 20, tzinfo=UTC),
        until=datetime(2026, 10, 1, tzinfo=UTC),
        send_at=time(9),
        validity_days=3,
        quiet=QuietHours(time(21), time(8)),
        zones=ZONES,
    )
    mine = [slot for slot in found if slot.match == number]
    assert sorted(slot.zone for slot in mine) == sorted(ZONES)
    assert {(slot.occasion, slot.occasion_on) for slot in mine} == {("2026", day_number(on))}
    assert {from_micros(slot.due_at).astimezone(zone(slot.zone)).replace(tzinfo=None) for slot in mine} == {
        datetime(2026, 9, 25, 9)
    }


def test_leap_month_of_the_year_is_kept_in_it_alone() -> None:
    assert (leap_month(2025), month_days(2025, 6), month_days(2025, 6, True)) == (6, 30, 29)
    plain, leap = date(2025, 7, 9), date(2025, 8, 8)
    assert sorted(kept_on(plain)) == [(709, 2025), (LUNAR + 615, 2025)]
    assert sorted(kept_on(leap)) == [(808, 2025), (LEAP + 615, 2025)]
    # The leap month has no day 30: who was born on one keeps the 29th.
    assert sorted(kept_on(date(2025, 8, 22))) == [(822, 2025), (LEAP + 629, 2025), (LEAP + 630, 2025)]


@pytest.mark.parametrize(
    ("number", "said"), [(721, "07-21"), (700, "07"), (LUNAR + 815, "08-15"), (LEAP + 615, "leap-06-15")]
)
def test_month_and_day_are_told_in_figures(number: int, said: str) -> None:
    assert birthday_of(number).month_and_day == said
