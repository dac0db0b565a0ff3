"""What a merchant reads of each message and why it is where it is; what each act writes, and what it refuses."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert, select, update

from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.runtime import Runtime
from crm_plugin.store import (
    attempts,
    audit_log,
    delivery_events,
    member_consents,
    members,
    templates,
    touchpoint_contents,
    touchpoints,
)
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.web.pages import outbox as page_module
from tests.factories import NOON, make_shop, member, write
from tests.web.conftest import Page, Post, words

AT = NOON + timedelta(hours=2)


@pytest.fixture
def ada(runtime: Runtime, shop: Shop) -> int:
    """A member with a birthday today, and a journey with texts for each channel."""
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=NOON),)
    record = member("1", email="ada@x.test", first_name="Ada", birth_month=6, birth_day=1, consents=yes)
    write(runtime.db, shop, [record])
    told = {
        "key": "greet",
        "title": {"en": "Birthday greeting", "zh-CN": "生日祝福"},
        "trigger": {"type": "birthday", "days": 0},
        "channels": ["email", "sms", "inapp"],
    }
    with runtime.db.write() as connection:
        for channel in ("email", "sms", "inapp"):
            text = {"template_key": "greet", "channel": channel, "locale": "en", "updated_at": NOON}
            html = "<h1>Hello {{ member.first_name }}</h1>" if channel == "email" else ""
            body = "Happy birthday, {{ member.first_name }}!"
            connection.execute(
                templates.insert().values(shop_id=1, subject="A wish", body_text=body, body_html=html, **text)
            )
        journeys.save(connection, shop, read_draft({**told, "enabled": True}), NOON)
        return int(connection.execute(select(members.c.member_id)).scalar_one())


def _put(runtime: Runtime, member_id: int, touchpoint_id: int, state: str, reason: str = "", **values: Any) -> int:
    """A touchpoint, with the mail as it was rendered for those that were."""
    row = {
        "shop_id": 1, "touchpoint_id": touchpoint_id, "journey_key": "greet", "member_id": member_id,
        "occasion": str(touchpoint_id), "state": state, "reason": reason, "channel": "email", "adapter": "smtp",
        "address": "ada@x.test", "occasion_on": NOON.date(), "due_at": AT, "next_try_at": AT,
        "valid_until": AT + timedelta(days=1), "planned_at": NOON, "updated_at": NOON, **values,
    }  # fmt: skip
    made = {
        "shop_id": 1, "touchpoint_id": touchpoint_id, "locale": "en", "subject": "A wish", "body_text": "Kept text",
        "body_html": "<h1>Kept <script>x</script></h1>", "rendered_at": NOON,
    }  # fmt: skip
    with runtime.db.write() as connection:
        connection.execute(insert(touchpoints).values(**row))
        if state not in ("planned", "skipped", "missed", "cancelled"):
            connection.execute(insert(touchpoint_contents).values(**made))
    return touchpoint_id


def _state(runtime: Runtime, touchpoint_id: int) -> tuple[str, str]:
    t = touchpoints.c
    with runtime.db.read() as connection:
        row = connection.execute(select(t.state, t.reason).where(t.touchpoint_id == touchpoint_id)).one()
    return (row.state, row.reason)


def _acts(runtime: Runtime) -> list[tuple[str, str]]:
    a = audit_log.c
    with runtime.db.read() as connection:
        rows = connection.execute(select(a.actor, a.action).where(a.action.like("touchpoint.%")).order_by(a.audit_id))
        return [tuple(row) for row in rows]


def test_empty_outbox_teaches(page: Page) -> None:
    told = words(page("outbox"))
    assert "Every message that a journey plans stands here" in told
    assert "Switch on a journey, such as a birthday greeting." in told


def test_list_says_what_became_of_each(page: Page, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "accepted", accepted_at=NOON)
    _put(runtime, ada, 11, "skipped", "no_consent", channel="", settled_at=NOON)
    _put(runtime, ada, 12, "planned", "quiet_hours")
    _put(runtime, ada, 13, "unconfirmed", "crashed", settled_at=NOON)
    html = page("outbox")
    told = words(html)
    assert (
        "1 message went out, 1 waits, 1 was held back or came too late. Of 1 it is not known whether it arrived."
        in told
    )
    assert "All 4 Waiting 1 Sent 1 Outcome unknown 1 Held back 1" in told
    assert "Jun 1, 2026 14:00 Ada Birthday greeting A wish E-mail Sent" in told
    assert "Jun 1, 2026 16:00 goes out then Ada Birthday greeting E-mail Waiting Quiet hours" in told
    assert "Birthday greeting – Held back No permission" in told
    assert re.findall(r"/outbox/(\d+)\"", html) == ["13", "12", "11", "10"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=skipped", ["11"]),
        ("reason=no_consent", ["11"]),
        ("journey=greet", ["11", "10"]),
        ("state=skipped&reason=suppressed", []),
    ],
)
def test_filters_narrow(page: Page, runtime: Runtime, ada: int, query: str, found: list[str]) -> None:
    _put(runtime, ada, 10, "accepted", accepted_at=NOON)
    _put(runtime, ada, 11, "skipped", "no_consent", settled_at=NOON)
    html = page(f"outbox?{query}")
    assert re.findall(r"/outbox/(\d+)\"", html) == found
    assert ("None of this kind" in html) == (not found)


@pytest.mark.slow
def test_one_members_messages(page: Page, runtime: Runtime, shop: Shop, ada: int) -> None:
    write(runtime.db, shop, [member("2", first_name="Bo")])
    with runtime.db.read() as connection:
        bo = connection.execute(select(members.c.member_id).where(members.c.first_name == "Bo")).scalar_one()
    _put(runtime, ada, 10, "accepted", accepted_at=NOON)
    _put(runtime, bo, 11, "accepted", accepted_at=NOON)
    html = page(f"outbox?member={bo}")
    assert re.findall(r"/outbox/(\d+)\"", html) == ["11"]
    assert "Only messages for Bo." in words(html)


def test_unknown_filter_says_what_there_is(page: Page, ada: int) -> None:
    assert "There is no state" in words(page("outbox?state=lost", status=422))


def test_pages_hold_each_once(page: Page, runtime: Runtime, ada: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "PAGE", 2)
    for number in range(10, 15):
        _put(runtime, ada, number, "accepted", accepted_at=NOON)
    seen: list[str] = []
    path = "outbox?state=accepted"
    while path:
        html = page(path)
        seen += re.findall(r"/outbox/(\d+)\"", html)
        more = re.search(r'href="/s/shop-1/(outbox\?[^"]*before=[^"]*)"', html)
        path = more[1].replace("&amp;", "&") if more else ""
    assert seen == ["14", "13", "12", "11", "10"]


def test_sent_mail_is_shown_as_it_was(client: FlaskClient, page: Page, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "accepted", accepted_at=NOON)
    html = page("outbox/10")
    assert "Birthday greeting: Ada" in words(html)
    assert "Kept text" in words(html)
    assert "Kept <script>" not in html
    frame = re.search(r"<iframe[^>]*>", html)
    assert frame is not None
    assert "sandbox" in frame[0]
    assert 'src="/s/shop-1/outbox/10/message"' in frame[0]
    mail = client.get("/s/shop-1/outbox/10/message")
    assert mail.text == "<h1>Kept <script>x</script></h1>"
    policy = mail.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script" not in policy


def test_waiting_mail_is_previewed(client: FlaskClient, page: Page, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "planned")
    told = words(page("outbox/10"))
    assert "This is a preview: how it would read if it went out now." in told
    assert "Happy birthday, Ada!" in told
    assert "Cancel this message" in told
    assert "Hello Ada</h1>" in client.get("/s/shop-1/outbox/10/message").text
    with runtime.db.write() as connection:
        connection.execute(update(templates).values(body_text="{{ nobody }}"))
    assert "there is no `nobody`; there are member, shop," in words(page("outbox/10"))


def test_text_message_tells_its_parts(page: Page, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "planned", channel="sms", adapter="twilio", address="+49301")
    told = words(page("outbox/10"))
    assert "Happy birthday, Ada!" in told
    assert "Billed as 1 text message · 20 characters" in told


def test_card_is_shown_as_a_card(page: Page, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "planned", channel="inapp", adapter="inapp", address="1")
    html = page("outbox/10")
    assert 'class="inapp-card"' in html
    assert "A wish Happy birthday, Ada!" in words(html)


def test_held_back_was_never_written(client: FlaskClient, page: Page, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "skipped", "suppressed", reason_detail="bounce", settled_at=NOON)
    told = words(page("outbox/10"))
    assert "Held back: Address is blocked" in told
    assert "mail came back for good" in told
    assert "there is nothing to show" in told
    assert "Send it again" not in told
    assert client.get("/s/shop-1/outbox/10/message").status_code == 404


def test_attempts_and_events_are_told(page: Page, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "bounced", accepted_at=NOON)
    with runtime.db.write() as connection:
        tried = {"shop_id": 1, "touchpoint_id": 10, "adapter": "smtp", "started_at": NOON}
        connection.execute(
            insert(attempts).values(
                attempt_no=1, outcome="retry_wait", error_code="transient", error="451 later", **tried
            )
        )
        connection.execute(insert(attempts).values(attempt_no=2, outcome="accepted", **tried))
        connection.execute(
            insert(delivery_events).values(
                shop_id=1, event_id=1, adapter="smtp", provider_event_id="e", touchpoint_id=10, kind="bounced",
                at=AT, reason="550 no such user", received_at=AT,
            )
        )  # fmt: skip
    told = words(page("outbox/10"))
    assert "Attempt 1 by SMTP Will be tried again Sender was busy 451 later Jun 1, 2026 14:00" in told
    assert "Attempt 2 by SMTP Sent" in told
    assert "It came back (SMTP) 550 no such user Jun 1, 2026 16:00" in told


def test_cancel_takes_back_what_waits(page: Page, post: Post, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "planned")
    answer = post("outbox/10", {"do": "cancel"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/s/shop-1/outbox/10")
    assert _state(runtime, 10) == ("cancelled", "by_merchant")
    assert "Cancelled: it will not be sent." in words(page("outbox/10"))
    assert _acts(runtime) == [("page:owner", "touchpoint.cancel")]


def test_failed_is_sent_again(post: Post, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "failed", "permanent", settled_at=NOON)
    assert post("outbox/10", {"do": "again"}).status_code == 303
    assert _state(runtime, 10) == ("planned", "")
    assert _acts(runtime) == [("page:owner", "touchpoint.send_again")]


@pytest.mark.slow
def test_unknown_is_sent_again_only_when_told_twice(page: Page, post: Post, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "unconfirmed", "crashed", settled_at=NOON)
    assert "I know that the member may get this message twice." in words(page("outbox/10"))
    answer = post("outbox/10", {"do": "again"})
    assert answer.status_code == 422
    assert "Tick the box first" in words(answer.text)
    assert _state(runtime, 10) == ("unconfirmed", "crashed")
    assert _acts(runtime) == []
    assert post("outbox/10", {"do": "again", "sure": "yes"}).status_code == 303
    assert _state(runtime, 10) == ("planned", "")


@pytest.mark.parametrize(("act", "state"), [("arrived", "accepted"), ("lost", "failed")])
def test_unknown_is_settled(post: Post, runtime: Runtime, ada: int, act: str, state: str) -> None:
    _put(runtime, ada, 10, "unconfirmed", "crashed", settled_at=NOON)
    assert post("outbox/10", {"do": act}).status_code == 303
    assert _state(runtime, 10) == (state, "by_merchant")
    assert _acts(runtime) == [("page:owner", "touchpoint.settle")]


@pytest.mark.parametrize(("sent", "state"), [("yes", "accepted"), ("no", "failed")])
def test_all_unknown_are_settled_at_once(
    page: Page, post: Post, runtime: Runtime, ada: int, sent: str, state: str
) -> None:
    for number in (10, 11, 12):
        _put(runtime, ada, number, "unconfirmed", "crashed", settled_at=NOON)
    _put(runtime, ada, 13, "planned")
    told = words(page("outbox?state=unconfirmed"))
    assert "All were sent (3) None was sent (3)" in told
    assert post("outbox/settle", {"sent": sent, "count": "3"}).status_code == 303
    assert {_state(runtime, number) for number in (10, 11, 12)} == {(state, "by_merchant")}
    assert _state(runtime, 13) == ("planned", "")
    assert _acts(runtime) == [("page:owner", "touchpoint.settle_all")]


def test_all_that_failed_for_one_reason_go_again_at_once(page: Page, post: Post, runtime: Runtime, ada: int) -> None:
    for number, reason in ((10, "permanent"), (11, "permanent"), (12, "render")):
        _put(runtime, ada, number, "failed", reason, settled_at=NOON)
    assert "Send all again (2)" in words(page("outbox?state=failed"))
    assert post("outbox/again", {"reason": "permanent", "count": "3"}).status_code == 422
    assert _state(runtime, 10) == ("failed", "permanent")
    assert post("outbox/again", {"reason": "permanent", "count": "2"}).status_code == 303
    assert [_state(runtime, number) for number in (10, 11, 12)] == [
        ("planned", ""),
        ("planned", ""),
        ("failed", "render"),
    ]


def test_more_unknown_than_were_seen_are_left(post: Post, runtime: Runtime, ada: int) -> None:
    for number in (10, 11):
        _put(runtime, ada, number, "unconfirmed", "crashed", settled_at=NOON)
    answer = post("outbox/settle", {"sent": "yes", "count": "1"})
    assert answer.status_code == 422
    assert "Their number has changed since you looked." in words(answer.text)
    assert _state(runtime, 10) == ("unconfirmed", "crashed")
    assert post("outbox/settle", {"sent": "perhaps", "count": "2"}).status_code == 400


def test_act_that_no_longer_fits_is_refused(post: Post, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "accepted", accepted_at=NOON)
    for act in ("cancel", "again", "lost"):
        answer = post("outbox/10", {"do": act})
        assert answer.status_code == 422
        assert "This message is accepted now." in words(answer.text)
    assert _state(runtime, 10) == ("accepted", "")
    assert post("outbox/10", {"do": "frame"}).status_code == 400
    assert post("outbox/5", {"do": "cancel"}).status_code == 404


def test_only_from_our_page_and_signed_in(
    client: FlaskClient, stranger: FlaskClient, runtime: Runtime, ada: int
) -> None:
    _put(runtime, ada, 10, "planned")
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert client.post("/s/shop-1/outbox/10", data={"do": "cancel"}, headers=foreign).status_code == 403
    assert stranger.post("/s/shop-1/outbox/10", data={"do": "cancel"}).status_code == 401
    for path in ("outbox", "outbox/10", "outbox/10/message"):
        answer = stranger.get(f"/s/shop-1/{path}")
        assert answer.status_code == 401
        assert "Ada" not in answer.text
    assert _state(runtime, 10) == ("planned", "")


def test_other_shops_messages_are_not_there(client: FlaskClient, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "accepted", accepted_at=NOON)
    with runtime.db.write() as connection:
        make_shop(connection, 2)
    for path in ("outbox/10", "outbox/10/message"):
        assert client.get(f"/s/shop-2/{path}").status_code == 404
    assert client.post("/s/shop-2/outbox/10", data={"do": "cancel"}).status_code == 404
    assert "Ada" not in client.get("/s/shop-2/outbox").text


def test_no_consent_shows_in_the_preview(page: Page, runtime: Runtime, ada: int) -> None:
    _put(runtime, ada, 10, "planned")
    with runtime.db.write() as connection:
        connection.execute(update(member_consents).values(state="withdrawn"))
    assert "As things stand it would be held back: No permission" in words(page("outbox/10"))
