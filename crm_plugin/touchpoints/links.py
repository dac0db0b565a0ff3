"""Links of our own in mails: who sends by a sender that tells nothing of openings and clicks learns of them by these.

Counted is what is promotional and goes by e-mail. A link leads over `/r/<token>` to the very address that stood there: the token holds it
and is signed, so nobody can make one that leads elsewhere. What a message says of itself (its kept text, previews) holds the plain links.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.records import Message
from crm_plugin.store.secrets import SecretBox
from crm_plugin.touchpoints import tokens
from crm_plugin.touchpoints.guard_settings import refuse_unknown
from crm_plugin.woven import Woven, apart, of_blocks

# A longer address is left as it is: with its token it would be too long for some mail programs.
LONGEST = 1500
# The pages of ours that a message leads to: unsubscribing, answering, and links and pictures that are counted already.
_OWN = ("/u/", "/a/", "/r/", "/o/")
# It begins with two letters that are always there: those are found in half the time.
_LINK = re.compile(r"""<a(?=\s)[^<>]*?\shref\s*=\s*(["'])(https?://[^"'\s<>]+)\1""", re.IGNORECASE)
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")
_END = re.compile(r"</body\s*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tracking:
    """What a shop counts of its mails. Opens are not counted unless it says so: many countries ask for consent to such a picture."""

    clicks: bool = True
    opens: bool = False


def read_tracking(told: Any) -> dict[str, bool]:
    """What is counted as its fields are called; what is not named stays as it is usual. Raises: InvalidInput."""
    if not isinstance(told, Mapping):
        raise InvalidInput(
            phrase("What is counted is written by name."),
            field="tracking",
            hint=phrase("Write {clicks: true, opens: false}."),
        )
    refuse_unknown(told, ("clicks", "opens"), "tracking")
    for name, value in told.items():
        if not isinstance(value, bool):
            field = f"tracking.{name}"
            raise InvalidInput(phrase("`%(field)s` is true or false.", field=field), field=field)
    return dict(told)


def counts(message: Message, channel: ChannelAdapter) -> bool:
    """Whether links of ours are for this message: a promotional mail by a sender that does not tell what became of it."""
    html = message.marketing and message.channel == "email" and message.html
    return bool(html) and Capability.DELIVERY_EVENTS not in channel.capabilities


def counted(
    message: Message, tracking: Tracking, box: SecretBox, public_url: str, shop_id: int, touchpoint_id: int
) -> Message:
    """The message with links, and where the shop wants it a picture, that tell of clicks and of being opened."""
    html = message.html
    if tracking.clicks:
        html = _led(html, box, public_url, shop_id, touchpoint_id)
    if tracking.opens:
        html = _pictured(html, f"{public_url}/o/{tokens.picture(box, shop_id, touchpoint_id)}.gif")
    return message if html is message.html else replace(message, html=html)


def _led(html: str, box: SecretBox, public_url: str, shop_id: int, touchpoint_id: int) -> str:
    """Every link of the mail over ours; the same address twice has one token."""
    own = tuple(public_url + path for path in _OWN)
    made: dict[str, str] = {}

    def over_ours(found: re.Match[str]) -> str:
        url = _as_meant(found[2])
        if url.startswith(own) or len(url) > LONGEST or _BLANK.search(url):
            return found[0]
        if url not in made:
            made[url] = f"{public_url}/r/{tokens.link(box, tokens.Link(shop_id, touchpoint_id, url))}"
        return f"{found[0][: found.start(2) - found.start()]}{made[url]}{found[1]}"

    if not isinstance(html, Woven):
        led = _LINK.sub(over_ours, html)
        return led if made else html
    # In what it has in common with others they are not looked for again.
    parts = [part for place, block in enumerate(html.blocks) for part in (_apart(block) if place % 2 else (block,))]
    blocks = [part if place % 2 else _LINK.sub(over_ours, part) for place, part in enumerate(parts)]
    return of_blocks(blocks) if made else html


def _as_meant(url: str) -> str:
    """An address as it is written in HTML, without its entities."""
    if "&" not in url:
        return url
    # Its table of names takes a third of a megabyte, and few mails need it.
    from html import unescape

    return unescape(url)


@lru_cache(maxsize=1024)
def _apart(common: str) -> tuple[str, ...]:
    return apart(common, _LINK)


def _pictured(html: str, address: str) -> str:
    from html import escape

    picture = f'<img src="{escape(address)}" width="1" height="1" alt="" style="display:block;border:0">'
    ends = list(_END.finditer(html))
    place = ends[-1].start() if ends else len(html)
    return f"{html[:place]}{picture}{html[place:]}"
