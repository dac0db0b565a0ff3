"""Birthdays in words, solar and lunar, in both languages; the time where a member is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flask import Flask
from flask_babel import Babel, force_locale

from crm_plugin.web.member_words import birthday, their_time


@pytest.mark.parametrize(
    ("year", "number", "english", "chinese"),
    [
        (1985, 605, "June 5, 1985", "1985年6月5日"),
        (None, 229, "February 29", "2月29日"),
        (None, 500, "May", "五月"),
        (None, 10815, "day 15 of month 8 in the Chinese lunar calendar", "农历八月十五"),
        (1985, 10101, "day 1 of month 1 of 1985 in the Chinese lunar calendar", "农历1985年正月初一"),
        (None, 30410, "day 10 of leap month 4 in the Chinese lunar calendar", "农历闰四月初十"),
        (None, 11223, "day 23 of month 12 in the Chinese lunar calendar", "农历腊月廿三"),
        (None, 11130, "day 30 of month 11 in the Chinese lunar calendar", "农历冬月三十"),
        (None, 11020, "day 20 of month 10 in the Chinese lunar calendar", "农历十月二十"),
        (None, 10900, "month 9 in the Chinese lunar calendar", "农历九月"),
        (None, None, "", ""),
    ],
)
def test_birthday_in_words(year: int | None, number: int | None, english: str, chinese: str) -> None:
    app = Flask(__name__)
    Babel(app)
    with app.test_request_context():
        for locale, expected in (("en", english), ("zh", chinese)):
            with force_locale(locale):
                assert birthday(year, number) == expected


def test_no_time_is_told_of_a_zone_that_is_not_known() -> None:
    assert their_time(datetime(2026, 6, 1, tzinfo=UTC), "Europe/Neverland", "Europe/Berlin") == ""
