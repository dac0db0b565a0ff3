"""Nobody is written to at an hour that the shop or the law of the place forbids, whatever is known of where they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumber
from phonenumbers.phonenumberutil import region_code_for_number
from sqlalchemy import update

from crm_plugin.errors import InvalidInput
from crm_plugin.rules.triggers import QuietHours
from crm_plugin.store import members
from crm_plugin.store.session import Database
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.quiet import Rest, open_after, place_of_number, zone_of
from crm_plugin.touchpoints.quiet_law import AREA_CODES, PLACELESS, SMS
from crm_plugin.touchpoints.settings import read_settings
from tests.touchpoints.guarding import NOON, journey, plant, send, shop_with, states

_NIGHT = QuietHours(time(21), time(8))
_NONE = QuietHours(time(), time())


@dataclass
class Person:
    zone: str = "Europe/Berlin"
    timezone: str = ""
    country: str = ""
    region: str = ""
    phone: str = ""


def _next(person: Person, told: str, zone: str, channel: str = "sms", **more: Any) -> str | None:
    """The first open instant from a local one on, both as told by the zone's clock."""
    at = datetime.fromisoformat(told).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    rest, quiet = more.pop("rest", Rest()), more.pop("quiet", _NIGHT)
    found = open_after(person, channel, quiet, rest, at, "UTC", **{"marketing": True, **more})
    return None if found is None else found.astimezone(ZoneInfo(zone)).strftime("%a %d %H:%M")


_EAST, _CENTRAL = "America/New_York", "America/Chicago"
_NEW_YORK = Person("America/New_York", country="US", region="NY", phone="+12125550123")
_TEXAS = Person("America/Chicago", country="US", region="US-TX", phone="+12145550123")


@pytest.mark.parametrize(
    ("person", "zone", "told", "expected"),
    [
        # 2026-06-03 is a Wednesday.
        (_NEW_YORK, _EAST, "2026-06-03T20:30", "Wed 03 20:30"),
        (_NEW_YORK, _EAST, "2026-06-03T21:00", "Thu 04 08:00"),
        (_TEXAS, _CENTRAL, "2026-06-03T08:30", "Wed 03 09:00"),
        (_TEXAS, _CENTRAL, "2026-06-06T21:30", "Sun 07 12:00"),
        (Person(_EAST, country="US", region="FL", phone="+13055550123"), _EAST, "2026-06-03T20:00", "Thu 04 08:00"),
        (Person(_EAST, country="US", region="RI", phone="+14015550123"), _EAST, "2026-06-06T17:30", "Sun 07 10:00"),
        # Saturday evening in Mississippi: not on Sundays.
        (Person(_CENTRAL, country="US", region="MS", phone="+16015550123"), _CENTRAL, "2026-06-06T20:30", "Mon 08 08:00"),
        # The Fourth of July is kept on the third, a Friday, in 2026; Sunday is the fifth.
        (Person(_CENTRAL, country="US", region="AL", phone="+12055550123"), _CENTRAL, "2026-07-02T20:30", "Mon 06 08:00"),
        # Lives in New York, with a Texan number: both must be open, and nine in El Paso is eleven there.
        (Person(_EAST, country="US", region="NY", phone="+12145550123"), _EAST, "2026-06-03T08:30", "Wed 03 11:00"),
        # Lives where it is not known: the hours within those of all states.
        (Person(_EAST, country="US", phone="+18005550123"), _EAST, "2026-06-03T17:30", "Thu 04 10:00"),
        # The country's state is not known, the number's is.
        (Person(_EAST, country="US", phone="+12125550123"), _EAST, "2026-06-03T17:30", "Wed 03 17:30"),
        (Person("Asia/Shanghai", country="CN", phone="+8613800138000"), "Asia/Shanghai", "2026-06-03T20:00", "Thu 04 09:00"),
        # A Chinese number in Berlin: it is 20:00 in Shanghai at 14:00 there.
        (Person("Europe/Berlin", country="DE", phone="+8613800138000"), "Europe/Berlin", "2026-06-03T15:00", "Thu 04 08:00"),
        (Person("Europe/Berlin", country="DE", phone="+4930901820"), "Europe/Berlin", "2026-06-07T20:30", "Sun 07 20:30"),
        (Person("America/Toronto", country="CA", phone="+14165550123"), "America/Toronto", "2026-06-07T20:30", "Sun 07 20:30"),
    ],
)  # fmt: skip
def test_law_of_the_place_holds_for_texts(person: Person, zone: str, told: str, expected: str) -> None:
    assert _next(person, told, zone) == expected


def test_mail_and_what_is_about_an_order_keep_the_shops_hours() -> None:
    told = ("2026-06-06T21:30", "America/Chicago")
    assert _next(_TEXAS, *told, channel="email") == "Sun 07 08:00"
    assert _next(_TEXAS, *told, marketing=False) == "Sun 07 08:00"
    assert _next(_TEXAS, *told, channel="inapp") == "Sat 06 21:30"


def test_shop_that_is_stricter_than_the_law() -> None:
    rest = Rest({"sms": QuietHours(time(18), time(11))}, sundays=True)
    assert _next(_TEXAS, "2026-06-06T18:30", "America/Chicago", rest=rest) == "Mon 08 11:00"
    assert _next(_TEXAS, "2026-06-06T18:30", "America/Chicago", "email", rest=rest) == "Sat 06 18:30"


def test_holidays_of_the_members_country() -> None:
    rest = Rest(holidays=True)
    here = Person("Europe/Berlin", country="DE")
    # 3 October is the day of unity.
    assert _next(here, "2026-10-03T10:00", "Europe/Berlin", "email", rest=rest) == "Sun 04 08:00"
    assert _next(Person(), "2026-10-03T10:00", "Europe/Berlin", "email", rest=rest) == "Sat 03 10:00"


def test_nothing_open_for_weeks_is_never() -> None:
    rhode_island = Person("America/New_York", country="US", region="RI", phone="+14015550123")
    always = QuietHours(time(9), time(20))
    assert _next(rhode_island, "2026-06-03T10:00", "America/New_York", quiet=always) is None


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        (Person("Europe/Paris"), "Europe/Paris"),
        (Person("Mars/Olympus", "Europe/Rome"), "Europe/Rome"),
        (Person("Mars/Olympus", "Nowhere", "US", "TX"), "any:US-TX"),
        (Person("any:ZZ", "", "", "", "+12125550123"), "America/New_York"),
        (Person("any:ZZ"), "Asia/Tokyo"),
    ],
)
def test_zone_is_the_first_known_of_the_chain(person: Person, expected: str) -> None:
    assert zone_of(person, "Asia/Tokyo") == expected


def test_unknown_zone_keeps_nobody_waiting(db: Database) -> None:
    shop = shop_with(db, 2)
    journey(db, shop, "a")
    plant(db, "a")
    with db.write() as connection:
        first = connection.exec_driver_sql("SELECT MIN(member_id) FROM members").scalar_one()
        connection.execute(update(members).where(members.c.member_id == first).values(zone="Mars/Olympus"))
    assert dict(send(db, shop, NOON).states) == {"accepted": 2}


def test_texts_wait_for_what_the_law_allows(db: Database) -> None:
    shop = shop_with(
        db, country="US", region="TX", phone="+12145550123", settings={"quiet_hours": {"from": "00:00", "to": "00:00"}}
    )
    journey(db, shop, "a", channels=["sms"])
    # Eight in the morning in Dallas.
    early = datetime(2026, 6, 2, 13, tzinfo=UTC)
    plant(db, "a", due=early, channel="sms", adapter="twilio", address="+12145550123")
    assert dict(send(db, shop, early).states) == {"planned": 1}
    assert states(db)["a"] == ("planned", "quiet_hours")
    assert dict(send(db, shop, early + timedelta(minutes=59)).states) == {}
    assert dict(send(db, shop, early + timedelta(hours=1)).states) == {"accepted": 1}


@given(
    st.sampled_from(sorted({state for line in SMS["US"] for state in line.split() if state != "?"} | {"", "NY"})),
    st.sampled_from(["+12125550123", "+12145550123", "+13055550123", "+18005550123", "+14165550123", ""]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
)
def test_what_is_found_is_open_and_nothing_before_it(state: str, phone: str, naive: datetime) -> None:
    person = Person("any:US" if not state else f"any:US-{state}", country="US", region=state, phone=phone)
    at = naive.replace(tzinfo=UTC)

    def after(instant: datetime) -> datetime | None:
        return open_after(person, "sms", _NONE, Rest(), instant, "UTC", marketing=True)

    found = after(at)
    assert found is not None
    assert found >= at
    assert after(found) == found
    # Federal law, by whatever clock of the country it is told.
    if found > at:
        assert after(found - timedelta(microseconds=1)) == found


def test_area_codes_are_of_states_and_of_no_two() -> None:
    codes = [code for told in AREA_CODES.values() for code in told.split()]
    assert len(codes) == len(set(codes))
    assert len(AREA_CODES) == 51
    assert {region_code_for_number(PhoneNumber(1, int(f"{code}2340123"))) for code in codes} == {"US"}
    assert not set(codes) & set(PLACELESS.split())
    assert place_of_number("+12145550123") == ("US", "TX")
    assert place_of_number("+14165550123") == ("", "")


def test_settings_of_hours_are_kept() -> None:
    told = {
        "from": "22:00",
        "to": "07:00",
        "channels": {"sms": {"from": "20:00", "to": "10:00"}},
        "sundays": True,
        "holidays": False,
    }
    assert read_settings({"quiet_hours": told})["quiet_hours"] == {
        "from": "22:00",
        "to": "07:00",
        "sundays": True,
        "channels": {"sms": {"from": "20:00", "to": "10:00"}},
    }


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"sundays": "yes"}, "quiet_hours.sundays"),
        ({"channels": {"fax": {}}}, "quiet_hours.channels.fax"),
        ({"channels": []}, None),
        ({"channels": {"sms": {"from": "25:00", "to": "10:00"}}}, "quiet_hours"),
        ({"saturdays": True}, "quiet_hours.saturdays"),
    ],
)
def test_wrong_hours_name_their_place(more: dict[str, Any], field: str | None) -> None:
    told = {"from": "22:00", "to": "07:00", **more}
    if field is None:
        assert read_settings({"quiet_hours": told})["quiet_hours"] == {"from": "22:00", "to": "07:00"}
        return
    with pytest.raises(InvalidInput) as caught:
        read_settings({"quiet_hours": told})
    assert caught.value.field == field


def test_kept_hours_that_cannot_be_read_add_nothing(db: Database) -> None:
    shop = shop_with(db)
    broken = {"from": "21:00", "to": "08:00", "channels": {"sms": "late"}, "sundays": "yes"}
    assert policy_of(replace(shop, settings={"quiet_hours": broken})).rest == Rest()
