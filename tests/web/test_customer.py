"""What a customer opens: stopping messages asks first, one click from the mail program does not; the storefront's inbox."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert, select
from sqlalchemy.exc import OperationalError

from crm_plugin.clock import FixedClock
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.runtime import Runtime
from crm_plugin.store import consent, consents, delivery_events, inapp_messages, member_consents, members
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import link_events, tokens
from crm_plugin.touchpoints.tokens import Unsubscribe
from tests.factories import NOON, make_shop, member, write
from tests.touchpoints.guarding import journey, plant, shop_with
from tests.touchpoints.test_machines import PHONE
from tests.web.conftest import words

YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=NOON),)


@pytest.fixture
def anna(runtime: Runtime, shop: Shop) -> int:
    """A member who reads Chinese and said yes to e-mail."""
    write(
        runtime.db,
        shop,
        [member("1", email="anna@x.test", locale="zh-CN", consents=YES), member("2", email="b@x.test")],
    )
    return _id(runtime, "1")


def _id(runtime: Runtime, external_id: str) -> int:
    with runtime.db.read() as connection:
        found = connection.execute(select(members.c.member_id).where(members.c.external_id == external_id))
        return int(found.scalar_one())


def _link(runtime: Runtime, shop: Shop, member_id: int, channel: str = "email") -> str:
    return f"/u/{tokens.unsubscribe(runtime.box, Unsubscribe(shop.shop_id, member_id, channel, 'marketing'))}"


def _state(runtime: Runtime) -> list[str]:
    with runtime.db.read() as connection:
        query = select(member_consents.c.state).where(member_consents.c.channel == "email")
        return list(connection.execute(query).scalars())


def _said(runtime: Runtime) -> list[tuple[str, str]]:
    with runtime.db.read() as connection:
        query = select(consents.c.state, consents.c.source).order_by(consents.c.consent_id)
        return [(state, source) for state, source in connection.execute(query)]


def test_opening_the_link_asks_and_changes_nothing(
    stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int
) -> None:
    answer = stranger.get(_link(runtime, shop, anna))
    assert answer.status_code == 200
    assert 'lang="zh' in answer.text
    assert 'method="post"' in answer.text
    assert _state(runtime) == ["granted"]


def test_yes_stops_and_mistake_goes_on(
    stranger: FlaskClient, runtime: Runtime, clock: FixedClock, shop: Shop, anna: int
) -> None:
    link = _link(runtime, shop, anna)
    answer = stranger.post(link)
    assert (answer.status_code, answer.headers["Location"]) == (303, link)
    assert _state(runtime) == ["withdrawn"]
    assert 'name="again"' in stranger.get(link).text
    clock.move(seconds=5)
    assert stranger.post(link, data={"again": "1"}).status_code == 303
    assert _state(runtime) == ["granted"]
    assert [state for state, _ in _said(runtime)] == ["granted", "withdrawn", "granted"]


def test_one_click_needs_no_page_of_ours(stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int) -> None:
    answer = stranger.post(
        _link(runtime, shop, anna),
        data={"List-Unsubscribe": "One-Click"},
        headers={"Origin": "https://mail.example", "Sec-Fetch-Site": "cross-site"},
    )
    assert (answer.status_code, answer.data) == (200, b"")
    assert _state(runtime) == ["withdrawn"]
    assert _said(runtime)[-1] == ("withdrawn", "one-click")


def test_one_click_twice_is_said_once_more_safely(
    stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int
) -> None:
    for _ in range(2):
        assert stranger.post(_link(runtime, shop, anna), data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert _state(runtime) == ["withdrawn"]


def test_member_who_is_gone_is_left_alone(stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int) -> None:
    link = _link(runtime, shop, 12345)
    for again in ({}, {"again": "1"}):
        assert stranger.post(link, data=again).status_code == 303
    text = stranger.get(link).text
    assert "You will get no more of these" in words(text)
    assert "<form" not in text
    assert [state for state, _ in _said(runtime)] == ["granted"]


def test_refusal_made_elsewhere_is_not_undone(stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int) -> None:
    with runtime.db.write() as connection:
        consent.record(
            connection,
            shop.shop_id,
            anna,
            channel="email",
            topic="marketing",
            state=ConsentState.WITHDRAWN,
            at=runtime.clock.now(),
            source="woocommerce",
            recorded_at=runtime.clock.now(),
        )
    link = _link(runtime, shop, anna)
    assert "<form" not in stranger.get(link).text
    stranger.post(link, data={"again": "1"})
    assert _state(runtime) == ["withdrawn"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_broken_link_says_so(stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int, method: str) -> None:
    for link in (f"{_link(runtime, shop, anna)}x", "/u/none"):
        answer = stranger.open(link, method=method, data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 404
        assert "This link is not complete" in words(answer.text)
    assert _state(runtime) == ["granted"]


def test_shops_title_stays_text(stranger: FlaskClient, runtime: Runtime) -> None:
    with runtime.db.write() as connection:
        made = make_shop(connection, title="<b>Shop</b>")
    write(runtime.db, made, [member("1")])
    text = stranger.get(_link(runtime, made, _id(runtime, "1"))).text
    assert "<b>Shop" not in text
    assert "&lt;b&gt;Shop" in text


# The inbox in the storefront.


def _message(runtime: Runtime, shop: Shop, member_id: int, number: int, **more: Any) -> None:
    row = {"title": f"Title {number}", "body": "Body", "url": "https://x.test", "created_at": NOON, **more}
    with runtime.db.write() as connection:
        connection.execute(
            insert(inapp_messages).values(
                shop_id=shop.shop_id, message_id=number, touchpoint_key=f"k{number}", member_id=member_id, **row
            )
        )


def _bearer(runtime: Runtime, shop: Shop, member_id: int) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.member(runtime.box, shop.shop_id, member_id)}"}


def test_inbox_shows_own_messages(stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int) -> None:
    _message(runtime, shop, anna, 7)
    _message(runtime, shop, anna, 8, read_at=NOON)
    _message(runtime, shop, _id(runtime, "2"), 9)
    _message(runtime, shop, anna, 10, expires_at=NOON)
    token = tokens.member(runtime.box, shop.shop_id, anna)
    for answer in (
        stranger.get("/inapp/messages", headers=_bearer(runtime, shop, anna)),
        stranger.get(f"/inapp/messages?token={token}"),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        told = answer.get_json()
        assert ([one["title"] for one in told["messages"]], told["unread"]) == (["Title 8", "Title 7"], 1)
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("token", ["", "nonsense"])
def test_inbox_refuses_without_token(stranger: FlaskClient, runtime: Runtime, anna: int, token: str) -> None:
    answer = stranger.get("/inapp/messages", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert answer.get_json()["error"]["field"] == "token"
    # A script can only read why when the storefront's browser lets it.
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_browser_may_ask_before(stranger: FlaskClient) -> None:
    for path in ("/inapp/messages", "/inapp/messages/7/read"):
        answer = stranger.options(path)
        assert answer.status_code == 204
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("where", ["header", "body"])
def test_marks_are_kept(stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int, where: str) -> None:
    _message(runtime, shop, anna, 7)
    token = tokens.member(runtime.box, shop.shop_id, anna)
    told: dict[str, Any] = (
        {"headers": _bearer(runtime, shop, anna)} if where == "header" else {"data": {"token": token}}
    )
    for what in ("read", "click"):
        assert stranger.post(f"/inapp/messages/7/{what}", **told).status_code == 204
    with runtime.db.read() as connection:
        row = connection.execute(select(inapp_messages)).one()
    assert (row.read_at, row.clicked_at) == (NOON, NOON)


@pytest.mark.parametrize(("number", "what"), [(7, "burn"), (8, "read"), (99, "read")])
def test_others_messages_are_not_marked(
    stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int, number: int, what: str
) -> None:
    _message(runtime, shop, anna, 7)
    _message(runtime, shop, _id(runtime, "2"), 8)
    answer = stranger.post(f"/inapp/messages/{number}/{what}", headers=_bearer(runtime, shop, anna))
    assert answer.status_code == 404
    with runtime.db.read() as connection:
        query = select(inapp_messages.c.read_at, inapp_messages.c.clicked_at)
        assert [tuple(row) for row in connection.execute(query)] == [(None, None), (None, None)]


# Links that are counted.


@pytest.fixture
def mailed(runtime: Runtime) -> tokens.Link:
    """A message that was taken ten seconds ago, in a shop that counts openings too, and a link in it."""
    settings = {"tracking": {"clicks": True, "opens": True}}
    made = shop_with(runtime.db, settings=settings)
    journey(runtime.db, made, "hello")
    plant(runtime.db, "hello", state="accepted", accepted_at=NOON - timedelta(seconds=10))
    return tokens.Link(1, 1, "https://shop.example/ä?a=1&b=2#c")


def _counted(runtime: Runtime) -> list[tuple[str, bool]]:
    e = delivery_events.c
    with runtime.db.read() as connection:
        return [tuple(row) for row in connection.execute(select(e.kind, e.machine).order_by(e.event_id))]


def test_link_leads_on_and_is_counted(stranger: FlaskClient, runtime: Runtime, mailed: tokens.Link) -> None:
    address = f"/r/{tokens.link(runtime.box, mailed)}"
    for method in ("HEAD", "GET"):
        answer = stranger.open(address, method=method, headers={"User-Agent": PHONE})
        assert answer.status_code == 302
        assert answer.headers["Location"] == "https://shop.example/%C3%A4?a=1&b=2#c"
        assert answer.headers["Cache-Control"] == "no-store"
    assert _counted(runtime) == [("clicked", False)]
    with runtime.db.read() as connection:
        kept = str(connection.execute(select(delivery_events)).one())
    assert "iPhone" not in kept
    assert "127.0.0.1" not in kept


def test_picture_is_shown_and_counted(stranger: FlaskClient, runtime: Runtime, mailed: tokens.Link) -> None:
    answer = stranger.get(f"/o/{tokens.picture(runtime.box, 1, 1)}.gif", headers={"User-Agent": "Mozilla/5.0"})
    assert (answer.status_code, answer.mimetype, answer.headers["Cache-Control"]) == (200, "image/gif", "no-store")
    assert answer.data[:6] + answer.data[-1:] == b"GIF89a;"
    assert _counted(runtime) == [("opened", True)]
    assert stranger.get("/o/else.gif").status_code == 404


def test_link_that_is_not_ours_leads_nowhere(stranger: FlaskClient, runtime: Runtime, mailed: tokens.Link) -> None:
    for token in ("else", tokens.link(runtime.box, mailed)[:-2], tokens.picture(runtime.box, 1, 1)):
        answer = stranger.get(f"/r/{token}")
        assert answer.status_code == 404
        assert "Location" not in answer.headers
        assert "This link is not complete" in words(answer.text)
    assert _counted(runtime) == []


def test_link_leads_on_though_nothing_can_be_written(
    stranger: FlaskClient, runtime: Runtime, mailed: tokens.Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> bool:
        raise OperationalError("insert", {}, Exception("disk full"))

    monkeypatch.setattr(link_events, "note", refuse)
    answer = stranger.get(f"/r/{tokens.link(runtime.box, mailed)}", headers={"User-Agent": PHONE})
    assert answer.status_code == 302
