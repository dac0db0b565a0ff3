"""Links of our own in mails: what is led over them, to where alone, and what their events say of people and machines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.errors import InvalidInput
from crm_plugin.records import Message
from crm_plugin.rehearsal.ways import Paper
from crm_plugin.store import delivery_events, shops, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import link_events, links, tokens
from crm_plugin.touchpoints.links import Tracking
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.readying import LIVE
from crm_plugin.woven import Woven, of_blocks
from tests.factories import make_shop
from tests.touchpoints.guarding import BOX, NOON, PUBLIC, journey, plant, rows, shop_with
from tests.touchpoints.test_machines import PHONE

PERSON = {"User-Agent": PHONE}
SCANNER = {"User-Agent": "Barracuda Sentinel (EE)"}
_OURS = re.compile(rf"{PUBLIC}/r/([^\"']+)")


def _counted(html: str, tracking: Tracking = Tracking()) -> str:  # noqa: B008
    message = Message("email", "a@x.test", "k", "text", html=html)
    return links.counted(message, tracking, BOX, PUBLIC, 1, 7).html


def _led_to(html: str) -> list[str]:
    told = [tokens.read_link(BOX, token) for token in _OURS.findall(html)]
    assert {(one.shop_id, one.touchpoint_id) for one in told} <= {(1, 7)}
    return [one.url for one in told]


def test_links_lead_over_ours() -> None:
    html = _counted(
        '<body><a class="b" href="https://shop.example/a?x=1&amp;y=2">A</a><a\nhref=\'http://shop.example/ä\'>B</a>'
        '<A HREF = "https://shop.example/a?x=1&amp;y=2">again</A></body>'
    )
    assert _led_to(html) == [
        "https://shop.example/a?x=1&y=2",
        "http://shop.example/ä",
        "https://shop.example/a?x=1&y=2",
    ]
    assert "shop.example" not in html
    assert len(set(_OURS.findall(html))) == 2
    assert html.startswith('<body><a class="b" href="')
    # No picture unless the shop wants it.
    assert "<img" not in html


@pytest.mark.parametrize(
    "html",
    [
        f'<a href="{PUBLIC}/u/token">stop</a><a href="{PUBLIC}/a/token">yes</a><a href="{PUBLIC}/r/token">counted</a>',
        '<a href="mailto:a@x.test">a</a><a href="tel:+49">b</a><a href="#top">c</a><a href="/page">d</a>',
        '<link href="https://fonts.example/a.css"><a data-href="https://shop.example">a</a><img src="https://x.test/l.png">',
        '<a href="https://shop.example/&#10;Set-Cookie: a">a</a><a href="https://">b</a>',
        f'<a href="https://shop.example/{"x" * links.LONGEST}">long</a>',
        "<p>https://shop.example/</p>",
    ],
)  # fmt: skip
def test_what_is_no_link_of_the_shop_stays(html: str) -> None:
    assert _counted(html) == html


def test_links_of_a_woven_text_are_led_as_those_of_a_plain_one() -> None:
    common = (
        '<p>\n<a href="https://shop.example/a">A</a></p>\n<p>Hello</p>\n',
        "<p>Bye</p>\n",
        '<a\nhref="https://shop.example/b">B</a><b>\n</b>\n<a href="https://shop.example/a">A</a>\n',
    )
    html = of_blocks(
        ("", common[0], "<p>Anna</p>\n", common[1], "", common[2], '<a href="https://shop.example/c">C</a>')
    )
    led = [_counted(html), _counted(html)]
    assert led == [_counted("".join(html.blocks))] * 2
    assert _led_to(led[0]) == ["https://shop.example/" + one for one in "abac"]
    assert all(isinstance(one, Woven) and "".join(one.blocks) == one for one in led)
    # No link stands in what is common still, and all the rest of that is the same in both.
    left = [one.blocks[1::2] for one in led if isinstance(one, Woven)]
    assert "".join(left[0]) == "<p>\n<p>Hello</p>\n<p>Bye</p>\n</b>\n"
    assert all(one is other for one, other in zip(*left, strict=True))


def test_message_without_links_stays_the_very_one() -> None:
    for html in ("<p>Hello</p>", of_blocks(("", "<p>Hello</p>\n", "<p>Anna</p>"))):
        message = Message("email", "a@x.test", "k", "text", html=html)
        assert links.counted(message, Tracking(), BOX, PUBLIC, 1, 7) is message


def test_picture_stands_at_the_end() -> None:
    opens = Tracking(clicks=False, opens=True)
    html = _counted('<body><a href="https://shop.example/">a</a></body></html>', opens)
    found = re.fullmatch(
        rf'<body><a href="https://shop.example/">a</a><img src="{PUBLIC}/o/([^"]+)\.gif"[^>]+></body></html>', html
    )
    assert found is not None
    assert tokens.read_picture(BOX, found[1]) == tokens.Link(1, 7)
    assert _counted("<p>Hi</p>", opens).startswith("<p>Hi</p><img ")
    assert _counted("<p>Hi</p>", Tracking(clicks=False)) == "<p>Hi</p>"


def test_only_our_own_tokens_lead_anywhere() -> None:
    token = tokens.link(BOX, tokens.Link(1, 7, "https://shop.example/"))
    other = tokens.link(SecretBox("B" * 43 + "="), tokens.Link(1, 7, "https://shop.example/"))
    for wrong in (token[:-1], other, tokens.picture(BOX, 1, 7), tokens.member(BOX, 1, 7), ""):
        with pytest.raises(InvalidInput):
            tokens.read_link(BOX, wrong)
    with pytest.raises(InvalidInput):
        tokens.read_picture(BOX, token)


def test_rehearsals_count_nothing() -> None:
    assert LIVE.counted
    assert not Paper(every=True).ways().counted


def test_setting_that_cannot_be_read_counts_nothing(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
    assert policy_of(shop).tracking == Tracking(clicks=True, opens=False)
    shop.settings["tracking"] = {"clicks": True, "opens": 1}
    assert policy_of(shop).tracking == Tracking(clicks=False, opens=False)


# What the links tell.


def _sent(db: Database, *, state: str = "accepted", **settings: bool) -> None:
    """One message, touchpoint 1, that was accepted at noon."""
    shop = shop_with(db, settings={"tracking": {"clicks": True, "opens": True, **settings}})
    journey(db, shop, "hello")
    plant(db, "hello", state=state, accepted_at=NOON if state == "accepted" else None)


def _note(db: Database, path: str, at: float, headers: dict[str, str] = PERSON, touchpoint_id: int = 1) -> bool:
    """A link that was followed, or the picture that was shown (""), so many seconds after noon."""
    seen = tokens.Link(1, touchpoint_id, path and f"https://shop.example/{path}")
    with db.write() as connection:
        return link_events.note(connection, seen, headers, _at(at))


def _at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def _events(db: Database) -> Sequence[Any]:
    e = delivery_events.c
    with db.read() as connection:
        return connection.execute(select(delivery_events).order_by(e.received_at, e.at)).all()


def _told(db: Database) -> list[tuple[str, str, str]]:
    """Of each event its kind, the last part of its address, and the rule by which it is a machine's."""
    return [
        (one.kind, one.raw["url"].rpartition("/")[2], one.raw.get("machine", "") if one.machine else "")
        for one in _events(db)
    ]


def test_click_and_opening_are_kept_apart(db: Database) -> None:
    _sent(db)
    assert _note(db, "a", 60)
    assert _note(db, "", 61)
    assert _told(db) == [("clicked", "a", ""), ("opened", "", "")]
    event = _events(db)[0]
    assert (event.adapter, event.touchpoint_id, event.at, event.raw) == (
        "link", 1, _at(60), {"url": "https://shop.example/a"},
    )  # fmt: skip
    assert rows(db)[0].state == "accepted"


def test_same_again_within_a_minute_is_one(sqlite_db: Database) -> None:
    _sent(sqlite_db)
    assert [_note(sqlite_db, "a", at) for at in (60, 61, 119.9, 120)] == [True, False, False, True]


def test_scanner_does_not_hide_the_person(sqlite_db: Database) -> None:
    _sent(sqlite_db)
    assert [_note(sqlite_db, "a", 1), _note(sqlite_db, "a", 5, SCANNER), _note(sqlite_db, "a", 30)] == [
        True,
        False,
        True,
    ]
    assert _told(sqlite_db) == [("clicked", "a", "too_soon"), ("clicked", "a", "")]


def test_two_links_at_once_are_a_machines_both(db: Database) -> None:
    _sent(db)
    for path, at in (("a", 60), ("b", 60.4), ("c", 61.3), ("a", 75), ("b", 78)):
        assert _note(db, path, at)
    assert _told(db) == [
        ("clicked", "a", "at_once"), ("clicked", "b", "at_once"), ("clicked", "c", "at_once"),
        ("clicked", "a", ""), ("clicked", "b", ""),
    ]  # fmt: skip
    # What was a person's for a moment is news again.
    assert _events(db)[0].received_at == _at(60.4)


def test_link_proves_that_the_message_left(sqlite_db: Database) -> None:
    _sent(sqlite_db, state="unconfirmed")
    assert _note(sqlite_db, "a", 600)
    assert _told(sqlite_db) == [("clicked", "a", "")]
    row = rows(sqlite_db)[0]
    assert (row.state, row.accepted_at) == ("accepted", _at(600))


def test_what_is_not_counted(sqlite_db: Database) -> None:
    _sent(sqlite_db, opens=False)
    # Of a message or a shop that is gone, and what the shop counts no longer.
    assert not _note(sqlite_db, "a", 60, touchpoint_id=99)
    assert not _note(sqlite_db, "", 60)
    with sqlite_db.write() as connection:
        connection.execute(update(shops).values(settings={"tracking": {"clicks": False}}))
    assert not _note(sqlite_db, "a", 60)
    with sqlite_db.write() as connection:
        gone = tokens.Link(2, 1, "https://shop.example/")
        assert not link_events.note(connection, gone, PERSON, NOON)
    assert _events(sqlite_db) == []


def test_message_on_its_way_is_read_by_nobody(sqlite_db: Database) -> None:
    _sent(sqlite_db, state="in_flight")
    assert _note(sqlite_db, "", 60)
    assert _told(sqlite_db) == [("opened", "", "too_soon")]
    with sqlite_db.read() as connection:
        assert connection.execute(select(touchpoints.c.state)).scalar() == "in_flight"
