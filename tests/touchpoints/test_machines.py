"""Which openings and clicks are a machine's: each rule, and what it must leave to people."""

from __future__ import annotations

from datetime import timedelta

import pytest

from crm_plugin.touchpoints.machines import PREFETCH, TOO_SOON, USER_AGENT, by_request, by_time
from tests.factories import NOON

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)


@pytest.mark.parametrize(
    ("told", "rule"),
    [
        ({"User-Agent": PHONE}, ""),
        ({"User-Agent": "Mozilla/5.0 (Linux; Android 8.0; CUBOT_X18_Plus) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36"}, ""),
        # Gmail's and Yahoo's proxies ask when somebody opens the mail; so does Outlook.
        ({"User-Agent": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"}, ""),
        ({"User-Agent": "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"}, ""),
        ({"User-Agent": "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"}, ""),
        ({"User-Agent": PHONE, "Sec-Purpose": "prefetch;prerender"}, PREFETCH),
        ({"User-Agent": PHONE, "Purpose": "prefetch"}, PREFETCH),
        ({"User-Agent": PHONE, "X-Purpose": "preview"}, PREFETCH),
        ({"User-Agent": PHONE, "X-Moz": "prefetch"}, PREFETCH),
        # Apple Mail's privacy proxy, and Gmail loading ahead.
        ({"User-Agent": "Mozilla/5.0"}, USER_AGENT),
        (
            {
                "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
                "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
            },
            USER_AGENT,
        ),
        ({}, USER_AGENT),
        ({"User-Agent": "Barracuda Sentinel (EE)"}, USER_AGENT),
        ({"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}, USER_AGENT),
        ({"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}, USER_AGENT),
        ({"User-Agent": "WhatsApp/2.23.20.0"}, USER_AGENT),
        ({"User-Agent": "python-requests/2.32.3"}, USER_AGENT),
    ],
)  # fmt: skip
def test_what_asks_says_who_it_is(told: dict[str, str], rule: str) -> None:
    assert by_request(told) == rule


def test_nobody_reads_within_two_seconds() -> None:
    almost = timedelta(seconds=2) - timedelta(microseconds=1)
    assert by_time(NOON, False, NOON + almost) == TOO_SOON
    assert by_time(NOON, False, NOON + timedelta(seconds=2)) == ""
    # While it is handed over it can be nobody; where the outcome was never told, time says nothing.
    assert by_time(None, True, NOON) == TOO_SOON
    assert by_time(None, False, NOON) == ""
