"""Who buys in the made-up shop, and on which days: a few buy often, most once or twice, some never.

A fixed number of accounts is given a date that a trigger asks for (see `Part`), so that a tick at the simulated date has work to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from itertools import chain, cycle, repeat
from random import Random

from crm_plugin.demo.calendar import Calendar
from crm_plugin.demo.names import COUNTRIES, FIRST, LAST, MAIL_DOMAINS, Country, Place
from crm_plugin.demo.phones import PhoneBook

ACCOUNTS_PCT = 78
# The tail of the number of orders: P(n or more) falls like n to the minus this.
_TAIL = 1.15
_MOST_ORDERS = 60
# Days from the simulated date to the birthdays that are set near it; half of them fall on the day itself.
_NEAR = (1, -1, 2, 3, -2, 5, 7, -3)


class Part(StrEnum):
    """What a person is there for, besides buying."""

    NONE = ""
    BIRTHDAY = "birthday"
    LEAP_DAY = "leap day"
    LAPSED_60 = "lapsed 60"
    LAPSED_90 = "lapsed 90"
    BOUGHT_14 = "bought 14"


# Days before the simulated date of the order that a part asks for.
DAYS_BEFORE = {Part.LAPSED_60: 60, Part.LAPSED_90: 90, Part.BOUGHT_14: 14}


@dataclass(slots=True)
class Person:
    """One customer. `birthday`, `consent` and `locale` are as the shop's meta data holds them, empty for what was not told.

    `days` are the days of their orders, ascending; the order of `fixed_day` is one that a part asks for, so nothing may become of it.
    `customer_id` is 0 for guests.
    """

    first_name: str
    last_name: str
    email: str
    phone: str
    country: Country
    place: Place
    street: str
    joined_at: datetime
    days: list[int]
    birthday: str = ""
    consent: str = ""
    locale: str = ""
    role: str = "customer"
    part: Part = Part.NONE
    fixed_day: int | None = None
    customer_id: int = 0


def make_people(rng: Random, calendar: Calendar, members: int) -> list[Person]:
    """Accounts in the order in which they joined, with ids from 1 on, then guests."""
    accounts = members * ACCOUNTS_PCT // 100
    parts = _parts(members)
    placing = iter(rng.sample(range(2, accounts), len(parts)))
    part_of = {next(placing): part for part in parts}
    near = chain(repeat(0, len(parts) // 8), cycle(_NEAR))
    phones, seen = PhoneBook(), dict[str, int]()
    people = []
    for number in range(members):
        is_account = number < accounts
        person = _person(rng, calendar, phones, seen, is_account=is_account, part=part_of.get(number, Part.NONE))
        if number < 2:
            person.role = ("administrator", "shop_manager")[number]
            person.joined_at = calendar.at(0, time(5, number))
        elif is_account and rng.random() < 0.03:
            person.role = "subscriber"
        if is_account:
            _tell(rng, person, calendar.until, near)
        elif rng.random() < 0.5:
            person.consent = "yes" if rng.random() < 0.6 else "no"
        people.append(person)
    known = sorted(people[:accounts], key=lambda person: person.joined_at)
    for number, person in enumerate(known, 1):
        person.customer_id = number
    return known + people[accounts:]


def _parts(members: int) -> list[Part]:
    each = max(2, members // 200)
    shared = (Part.BIRTHDAY, Part.LAPSED_60, Part.LAPSED_90, Part.BOUGHT_14)
    return [part for part in shared for _ in range(each)] + [Part.LEAP_DAY] * max(1, each // 3)


def _person(
    rng: Random, calendar: Calendar, phones: PhoneBook, seen: dict[str, int], *, is_account: bool, part: Part
) -> Person:
    country = rng.choices(COUNTRIES, [each.share for each in COUNTRIES])[0]
    # Chinese names are at home in other countries too.
    names = "zh" if country.code in ("GB", "US", "AU") and rng.random() < 0.05 else country.names
    first, last = rng.choice(FIRST[names]), rng.choice(LAST[names])
    fixed = calendar.days - DAYS_BEFORE[part] if part in DAYS_BEFORE else None
    days = _days(rng, calendar, fixed, never=is_account)
    if part in (Part.LAPSED_60, Part.LAPSED_90):
        days = [day for day in days if fixed is None or day <= fixed]
    started = days[0] if days else calendar.pick(rng, 0, calendar.days - 1)
    if is_account and rng.random() < 0.3:
        started = rng.randint(0, started)
    street = rng.choice(country.streets)
    house = rng.randint(1, 180)
    is_chinese = names == "zh"
    return Person(
        first_name=first[0],
        last_name=last[0],
        email=_email(rng, f"{first[1]}.{last[1]}", seen),
        phone=phones.take(country.code) if rng.random() < 0.7 else "",
        country=country,
        place=rng.choice(country.places),
        street=f"{street}{house}号" if country.code == "CN" else f"{house} {street}",
        joined_at=calendar.at(started, time(6, rng.randrange(60), rng.randrange(60))),
        days=days,
        locale=("zh_CN" if is_chinese else "en") if is_chinese or rng.random() < 0.8 else "",
        part=part,
        fixed_day=fixed,
    )


def _email(rng: Random, name: str, seen: dict[str, int]) -> str:
    address = f"{name}@{rng.choice(MAIL_DOMAINS)}"
    seen[address] = seen.get(address, 0) + 1
    return address if seen[address] == 1 else address.replace("@", f"{seen[address]}@", 1)


def _days(rng: Random, calendar: Calendar, fixed: int | None, *, never: bool) -> list[int]:
    """The days of a person's orders within the time that they keep coming back; some accounts never order where `never`."""
    last = calendar.days - 1
    wanted = min(_MOST_ORDERS, int((1 - rng.random()) ** (-1 / _TAIL)))
    if never and fixed is None and rng.random() < 0.15:
        return []
    start = calendar.pick(rng, 0, last if fixed is None else fixed)
    # Few stay for ever: half have gone after ten months.
    end = min(last, start + 20 + int(rng.expovariate(1 / 420)))
    days = {start, *(calendar.pick(rng, start, end) for _ in range(wanted - 1))}
    if fixed is not None:
        days.add(fixed)
    return sorted(days)


def _tell(rng: Random, person: Person, until: date, near: Iterator[int]) -> None:
    """What an account's profile says of birthday and consent; a person with a part has agreed to mail."""
    born = date(rng.randint(1948, 2006), 1, 1) + timedelta(days=rng.randrange(365))
    year, month, day = born.year, born.month, born.day
    told = rng.random() < 0.6
    if person.part is Part.BIRTHDAY:
        on = until + timedelta(days=next(near))
        month, day, told = on.month, on.day, True
    elif person.part is Part.LEAP_DAY:
        month, day, told = 2, 29, True
    if (month, day) == (2, 29):
        year -= year % 4
    if told:
        person.birthday = f"{year}-{month:02}-{day:02}" if rng.random() < 0.88 else f"--{month:02}-{day:02}"
    opinion = rng.random()
    person.consent = "yes" if opinion < 0.55 or person.part else "no" if opinion < 0.7 else ""
