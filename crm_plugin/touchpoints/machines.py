"""Who opened a mail or followed its link: a person, or a machine that looks into every message. These are the rules, each with its name.

A person's click that is taken for a machine's costs a step in a journey; a machine's that is taken for a person's says of somebody what is
not so. Where a rule is in doubt it says machine. A scanner that waits, calls itself a browser and follows one link alone is not found out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

# A scanner at the door of a mailbox follows links as the mail comes in, before anybody can have read it.
SOON = timedelta(seconds=2)
# Nobody follows two links of one message at once.
TOGETHER = timedelta(seconds=1)

PREFETCH, USER_AGENT, TOO_SOON, AT_ONCE = "prefetch", "user_agent", "too_soon", "at_once"

# Browsers and mail programs say by these that nobody has asked for it yet.
_EARLY_HEADERS = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
_EARLY = re.compile(r"prefetch|prerender|preview", re.IGNORECASE)

# Apple Mail's privacy proxy and Gmail's loading ahead have a name that no browser has. Gmail's and Yahoo's picture proxies
# (`GoogleImageProxy`, `YahooMailProxy`) ask when somebody opens the mail and are not here; nor is Outlook (`ms-office`).
_WHOLE = re.compile(r"mozilla/5\.0|.*edge/12\.246 mozilla/5\.0", re.IGNORECASE)
_WORDS = re.compile(
    # Crawlers and previews of chats; Cubot makes telephones.
    r"(?<!cu)bot\b|crawler|spider|facebookexternalhit|whatsapp/|skypeuripreview|bingpreview|linkexpanding|existence discovery"
    # Mail filters.
    r"|scanner|barracuda|proofpoint|mimecast|safelinks|forcepoint|fireeye|trendmicro|symantec|messagelabs|cloudmark|sophos|bitdefender"
    # Programs.
    r"|curl/|wget/|python|aiohttp|httpx|libwww-perl|go-http-client|java/|apache-httpclient|node-fetch|axios/|ruby\b"
    r"|headlesschrome|phantomjs|puppeteer|playwright",
    re.IGNORECASE,
)


def by_request(headers: Mapping[str, str]) -> str:
    """The rule by which what asked says itself that it is a machine; empty where it does not."""
    if any(_EARLY.search(headers.get(name, "")) for name in _EARLY_HEADERS):
        return PREFETCH
    agent = headers.get("User-Agent", "").strip()
    return USER_AGENT if not agent or _WHOLE.fullmatch(agent) or _WORDS.search(agent) else ""


def by_time(accepted_at: datetime | None, on_its_way: bool, at: datetime) -> str:
    """The rule by which it came too soon after the provider took the message, or while it was being handed over; else empty."""
    soon = on_its_way if accepted_at is None else at < accepted_at + SOON
    return TOO_SOON if soon else ""
