"""Sending to a real mail server: once, guarded again, and honest about what a crash or a refusal leaves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from sqlalchemy import func, select, update

from crm_plugin.adapters.channels.smtp.adapter import SmtpChannel
from crm_plugin.clock import FixedClock
from crm_plugin.demo import mail_sink
from crm_plugin.errors import TransientError
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.store import (
    attempts,
    connections,
    consent,
    journeys,
    members,
    suppressions,
    templates,
    touchpoint_contents,
    touchpoints,
)
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import senders, settling, tokens
from crm_plugin.touchpoints.calling import Pace
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.recover import miss_shop, recover_shop
from crm_plugin.touchpoints.settings import save_settings
from tests.factories import make_shop, member, write

BOX = SecretBox("A" * 43 + "=")
START = datetime(2026, 6, 1, 0, 0, tzinfo=UTC)
DUE = datetime(2026, 6, 2, 9, 0, tzinfo=UTC)
PUBLIC = "https://crm.example"


@pytest.fixture
def sink() -> Iterator[mail_sink.MailSink]:
    with mail_sink.serve() as server:
        yield server


@pytest.fixture
def shop(db: Database, sink: mail_sink.MailSink) -> Shop:
    """Three members with a birthday on 2 June, a text, a journey that is on, and a mail server."""
    return _set_up(db, sink)


def _set_up(db: Database, sink: mail_sink.MailSink) -> Shop:
    with db.write() as connection:
        made = make_shop(connection)
        text = {"template_key": "greet", "channel": "email", "locale": "en", "updated_at": START}
        body = "Hello {{ member.first_name }}! {{ unsubscribe_url }}"
        connection.execute(
            templates.insert().values(shop_id=1, subject="Hi", body_text=body, body_html="<p>Hi</p>", **text)
        )
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=START),)
    people = [
        member(str(n), email=f"m{n}@x.test", first_name=f"N{n}", birth_month=6, birth_day=2, consents=yes)
        for n in range(3)
    ]
    write(db, made, people, START)
    values = {"host": sink.host, "port": sink.port, "security": "none", "from_address": "shop@x.test"}
    assert senders.save_connection(db, BOX, made, "smtp", values, START) is not None
    draft = read_draft(
        {"key": "greet", "trigger": {"type": "birthday", "days": 0}, "channels": ["email"], "enabled": True}
    )
    with db.write() as connection:
        journey_store.save(connection, made, draft, START)
    return made


def _states(db: Database) -> dict[str, tuple[str, str]]:
    t = touchpoints.c
    with db.read() as connection:
        return {
            row.address: (row.state, row.reason) for row in connection.execute(select(t.address, t.state, t.reason))
        }


def _send(db: Database, shop: Shop, at: datetime = DUE, **more: Any) -> dict[str, int]:
    return dict(dispatch_shop(db, BOX, shop, at, public_url=PUBLIC, **more).states)


def test_each_gets_one_mail_with_one_click(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    assert _send(db, shop) == {"accepted": 3}
    assert _send(db, shop) == {}
    assert sorted(mail.recipients[0] for mail in sink.messages) == ["m0@x.test", "m1@x.test", "m2@x.test"]
    data = sink.messages[0].data
    assert b"List-Unsubscribe: <https://crm.example/u/" in data
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in data
    with db.read() as connection:
        rows = connection.execute(select(attempts.c.attempt_no, attempts.c.outcome)).all()
    assert [tuple(row) for row in rows] == [(1, "accepted")] * 3


def test_mail_leads_over_our_links_and_is_kept_plain(sqlite_db: Database, sink: mail_sink.MailSink) -> None:
    shop = _set_up(sqlite_db, sink)
    html = '<p><a href="https://shop.example/new">Look</a> <a href="{{ unsubscribe_url }}">Stop</a></p>'
    with sqlite_db.write() as connection:
        connection.execute(update(templates).values(body_html=html))
    plan_shop(sqlite_db, shop, DUE)
    assert _send(sqlite_db, shop) == {"accepted": 3}
    mail = message_from_bytes(sink.messages[0].data, policy=default).get_body(("html",)).get_content()
    (token,) = re.findall(r'href="https://crm\.example/r/([^"]+)"', mail)
    assert tokens.read_link(BOX, token).url == "https://shop.example/new"
    assert 'href="https://crm.example/u/' in mail
    assert "shop.example/new" not in mail
    with sqlite_db.read() as connection:
        kept = connection.execute(select(touchpoint_contents.c.body_html)).scalars().all()
    assert len(kept) == 3
    assert all("https://shop.example/new" in one and "/r/" not in one for one in kept)


def test_guards_are_asked_again(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    with db.write() as connection:
        ids = {row.email: row.member_id for row in connection.execute(select(members))}
        consent.record(
            connection, 1, ids["m0@x.test"], channel="email", topic="marketing", state=ConsentState.WITHDRAWN,
            at=DUE, source="link", recorded_at=DUE,
        )  # fmt: skip
        connection.execute(update(members).where(members.c.member_id == ids["m1@x.test"]).values(birth_md=701))
        consent.suppress(connection, 1, "email", "m2@x.test", reason="bounce", at=DUE, source="smtp")
    _send(db, shop)
    assert _states(db) == {
        "m0@x.test": ("skipped", "no_consent"),
        "m1@x.test": ("skipped", "no_longer_matches"),
        "m2@x.test": ("skipped", "suppressed"),
    }
    assert sink.messages == []


def test_address_blocked_in_another_shop_is_written_to(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    with db.write() as connection:
        make_shop(connection, 2)
        consent.suppress(connection, 2, "email", "m0@x.test", reason="bounce", at=DUE, source="smtp")
    assert _send(db, shop) == {"accepted": 3}


def test_night_defers_and_the_window_ends(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    night = DUE.replace(hour=20)
    assert _send(db, shop, night) == {"planned": 3}
    assert _states(db)["m0@x.test"] == ("planned", "quiet_hours")
    assert _send(db, shop, night + timedelta(hours=1)) == {}
    assert _send(db, shop, DUE + timedelta(days=4)) == {"missed": 3}
    assert sink.messages == []


def test_nobody_is_woken_in_any_zone_of_their_country(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=START),)
    person = {"birth_month": 6, "birth_day": 2, "consents": yes, "country": "US"}
    write(
        db,
        shop,
        [member("7", email="any@x.test", **person), member("8", email="ny@x.test", region="NY", **person)],
        START,
    )
    # 10:30 in New York, 04:30 in Honolulu, where the night ends at 18:00 UTC.
    now, morning = DUE.replace(hour=14, minute=30), DUE.replace(hour=18)
    plan_shop(db, shop, now)
    t = touchpoints.c
    with db.write() as connection:
        tries = {row.address: row.next_try_at for row in connection.execute(select(t.address, t.next_try_at))}
        connection.execute(update(touchpoints).values(next_try_at=now))
    assert (tries["any@x.test"], tries["ny@x.test"]) == (morning, DUE.replace(hour=14))
    assert _send(db, shop, now) == {"accepted": 4, "planned": 1}
    assert _states(db)["any@x.test"] == ("planned", "quiet_hours")
    assert _send(db, shop, morning - timedelta(minutes=1)) == {}
    assert _send(db, shop, morning) == {"accepted": 1}


def test_refused_recipient_stops_nobody_else(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    sink.refuse("m1@x.test", "550 5.1.1 no such user")
    plan_shop(db, shop, DUE)
    assert _send(db, shop) == {"accepted": 2, "failed": 1}
    assert _states(db)["m1@x.test"] == ("failed", "recipient_refused")
    with db.read() as connection:
        assert connection.execute(select(suppressions.c.address)).scalars().all() == ["m1@x.test"]


def test_without_public_address_marketing_waits(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    assert dict(dispatch_shop(db, BOX, shop, DUE).reasons) == {"no_public_url": 3}
    assert sink.messages == []
    assert _send(db, shop, DUE + timedelta(hours=1)) == {"accepted": 3}


def test_passing_trouble_is_tried_again_later(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    sink.refuse("*", "451 4.3.0 later")
    plan_shop(db, shop, DUE)
    _send(db, shop)
    assert {state for state, _ in _states(db).values()} == {"retry_wait"}
    sink.refusals.clear()
    assert _send(db, shop, DUE + timedelta(hours=2)) == {"accepted": 3}
    assert len(sink.messages) == 3


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (90.0, timedelta(seconds=90)),
        (1e14, timedelta(days=1)),
        (float("inf"), timedelta(days=1)),
        (float("nan"), timedelta(minutes=2)),
        (-5.0, timedelta(minutes=2)),
    ],
)
def test_any_pause_asked_for_is_kept_within_a_day(
    sqlite_db: Database, sink: mail_sink.MailSink, monkeypatch: pytest.MonkeyPatch, asked: float, pause: timedelta
) -> None:
    shop = _set_up(sqlite_db, sink)
    plan_shop(sqlite_db, shop, DUE)

    def busy(*_args: object, **_more: object) -> None:
        raise TransientError("Busy.", retry_after=asked)

    monkeypatch.setattr(SmtpChannel, "send", busy)
    monkeypatch.setattr(SmtpChannel, "flow", lambda _: None)
    assert _send(sqlite_db, shop, limit=1) == {"retry_wait": 1}
    t = touchpoints.c
    with sqlite_db.read() as connection:
        tried = connection.execute(select(t.next_try_at).where(t.state == "retry_wait")).scalar_one()
    # What nobody asked for is spread by a tenth.
    assert abs(tried - (DUE + pause)) <= (pause / 10 if pause == timedelta(minutes=2) else timedelta(0))


def test_crash_before_and_after_the_call(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    t = touchpoints.c
    with db.write() as connection:
        first = connection.execute(select(t.touchpoint_id).where(t.address == "m0@x.test")).scalar_one()
        connection.execute(update(touchpoints).values(state="in_flight", claimed_until=DUE, fence=1))
        connection.execute(
            attempts.insert().values(
                shop_id=1, touchpoint_id=first, attempt_no=1, adapter="smtp", started_at=DUE, outcome=""
            )
        )
    assert recover_shop(db, shop, DUE + timedelta(minutes=1)) == {"unconfirmed": 1, "planned": 2}
    assert _send(db, shop, DUE + timedelta(minutes=2)) == {"accepted": 2}
    assert _states(db)["m0@x.test"] == ("unconfirmed", "crashed")


def test_what_a_sender_that_is_gone_left_is_unconfirmed(db: Database, shop: Shop) -> None:
    """An adapter that is not installed any more knows no key: what it may have sent is shown, and keeps nothing else from being settled."""
    plan_shop(db, shop, DUE)
    t = touchpoints.c
    with db.write() as connection:
        first = connection.execute(select(t.touchpoint_id).where(t.address == "m0@x.test")).scalar_one()
        connection.execute(update(touchpoints).values(state="in_flight", claimed_until=DUE, fence=1))
        connection.execute(update(touchpoints).where(t.touchpoint_id == first).values(adapter="gone"))
        connection.execute(
            attempts.insert().values(
                shop_id=1, touchpoint_id=first, attempt_no=1, adapter="gone", started_at=DUE, outcome=""
            )
        )
    assert recover_shop(db, shop, DUE + timedelta(minutes=1)) == {"unconfirmed": 1, "planned": 2}
    assert _states(db)["m0@x.test"] == ("unconfirmed", "crashed")


def test_journey_switched_off_cancels(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    with db.write() as connection:
        journey_store.switch(connection, shop, "greet", False, DUE)
    assert _send(db, shop) == {}
    assert set(_states(db).values()) == {("cancelled", "journey_off")}


def test_paused_sender_keeps_its_messages(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    with db.write() as connection:
        senders.pause(connection, 1, "smtp", "The password is wrong.", DUE)
    assert _send(db, shop) == {}
    with db.write() as connection:
        connection.execute(update(connections).values(status="ok"))
    assert _send(db, shop) == {"accepted": 3}
    with db.read() as connection:
        assert connection.execute(select(journeys.c.enabled)).scalar_one()


def test_switched_off_sender_keeps_its_messages(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    senders.switch(db, shop, "smtp", False, DUE)
    assert _send(db, shop) == {}
    assert sink.messages == []
    senders.switch(db, shop, "smtp", True, DUE)
    assert _send(db, shop) == {"accepted": 3}


@pytest.mark.parametrize("rests", ["paused", "off"])
def test_resting_sender_sends_nothing_too_late(db: Database, shop: Shop, sink: mail_sink.MailSink, rests: str) -> None:
    plan_shop(db, shop, DUE)
    if rests == "off":
        senders.switch(db, shop, "smtp", False, DUE)
    else:
        with db.write() as connection:
            senders.pause(connection, 1, "smtp", "The password is wrong.", DUE)
    with db.read() as connection:
        over = connection.execute(select(func.max(touchpoints.c.valid_until))).scalar_one()
    assert miss_shop(db, shop, over - timedelta(microseconds=1)) == 0
    assert miss_shop(db, shop, over) == 3
    assert set(_states(db).values()) == {("missed", "window_over")}
    senders.switch(db, shop, "smtp", True, over)
    assert _send(db, shop, over) == {}
    assert sink.messages == []


def test_long_round_hears_of_a_sender_switched_off(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    clock = FixedClock(DUE)

    def switch_off(done: int) -> None:
        clock.move(minutes=1)
        if done == 1:
            senders.switch(db, shop, "smtp", False, clock.now())

    report = dispatch_shop(db, BOX, shop, DUE, public_url=PUBLIC, clock=clock.now, progress=switch_off)
    assert dict(report.states) == {"accepted": 1, "planned": 2}
    assert dict(report.reasons) == {"sender_paused": 2}
    assert len(sink.messages) == 1


def _break_settling(patched: pytest.MonkeyPatch, why: BaseException) -> None:
    write = settling._Settled.write

    def broken(settled: Any, connection: Any) -> None:
        if settled.changes:
            raise why
        write(settled, connection)

    patched.setattr(settling._Settled, "write", broken)


def test_lost_answer_of_the_database_is_never_a_failure(
    db: Database, shop: Shop, sink: mail_sink.MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_shop(db, shop, DUE)

    with monkeypatch.context() as patched:
        _break_settling(patched, RuntimeError("the disk is full"))
        with pytest.raises(RuntimeError):
            _send(db, shop)
    assert len(sink.messages) == 1
    assert {state for state, _ in _states(db).values()} == {"in_flight"}
    assert recover_shop(db, shop, DUE + timedelta(hours=1)) == {"unconfirmed": 1, "planned": 2}
    assert _send(db, shop, DUE + timedelta(hours=1)) == {"accepted": 2}
    assert sorted(mail.recipients[0] for mail in sink.messages) == ["m0@x.test", "m1@x.test", "m2@x.test"]


def test_long_round_sees_the_night_fall(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    # What is asked for one message is worth something for five seconds.
    evening = DUE.replace(hour=18, minute=59, second=50)
    clock = FixedClock(evening)
    report = dispatch_shop(
        db, BOX, shop, evening, public_url=PUBLIC, clock=clock.now, progress=lambda _done: clock.move(seconds=6)
    )
    assert dict(report.states) == {"accepted": 1, "planned": 2}
    assert dict(report.reasons) == {"quiet_hours": 2}
    assert len(sink.messages) == 1


def test_long_round_hears_of_a_refusal(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    clock = FixedClock(DUE)

    def refuse(done: int) -> None:
        clock.move(minutes=1)
        if done == 1:
            with db.write() as connection:
                for member_id in connection.execute(select(members.c.member_id)).scalars():
                    consent.record(
                        connection, 1, member_id, channel="email", topic="marketing", state=ConsentState.WITHDRAWN,
                        at=DUE, source="link", recorded_at=DUE,
                    )  # fmt: skip

    report = dispatch_shop(db, BOX, shop, DUE, public_url=PUBLIC, clock=clock.now, progress=refuse)
    assert dict(report.states) == {"accepted": 1, "skipped": 2}
    assert len(sink.messages) == 1


def test_claim_lasts_from_the_message_on(
    db: Database, shop: Shop, sink: mail_sink.MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "MOST", 1)
    plan_shop(db, shop, DUE)
    clock = FixedClock(DUE)
    seen: list[dict[str, int]] = []

    def slow(_done: int) -> None:
        clock.move(seconds=72)
        seen.append(recover_shop(db, shop, clock.now()))

    report = dispatch_shop(db, BOX, shop, DUE, public_url=PUBLIC, clock=clock.now, progress=slow)
    # The second was noted with the first, so its claim lasts. The third had been taken back: it is left alone, and sent by the next claim.
    assert seen == [{}, {"planned": 1}, {}, {}]
    assert dict(report.states) == {"accepted": 3}
    assert sorted(mail.recipients[0] for mail in sink.messages) == ["m0@x.test", "m1@x.test", "m2@x.test"]


@pytest.mark.parametrize("ended", [KeyboardInterrupt, RuntimeError])
def test_round_that_is_ended_gives_back_what_it_took(
    db: Database, shop: Shop, sink: mail_sink.MailSink, ended: type[BaseException]
) -> None:
    plan_shop(db, shop, DUE)

    def end(done: int) -> None:
        if done == 1:
            raise ended

    with pytest.raises(ended):
        dispatch_shop(db, BOX, shop, DUE, public_url=PUBLIC, progress=end)
    assert sorted(state for state, _ in _states(db).values()) == ["accepted", "planned", "planned"]
    assert _send(db, shop) == {"accepted": 2}
    assert len(sink.messages) == 3


def test_interrupt_in_mid_call_leaves_that_one_to_recovery(
    db: Database, shop: Shop, sink: mail_sink.MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_shop(db, shop, DUE)

    with monkeypatch.context() as patched:
        _break_settling(patched, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            _send(db, shop)
    assert sorted(state for state, _ in _states(db).values()) == ["in_flight", "planned", "planned"]
    assert _send(db, shop) == {"accepted": 2}
    assert recover_shop(db, shop, DUE + timedelta(hours=1)) == {"unconfirmed": 1}
    assert len(sink.messages) == 3


def test_text_that_is_missing_or_fails_is_told_apart(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    plan_shop(db, shop, DUE)
    with db.write() as connection:
        connection.execute(update(templates).values(body_text="{{ order.number }}"))
    assert _send(db, shop, limit=1) == {"failed": 1}
    with db.write() as connection:
        connection.execute(templates.delete())
    assert _send(db, shop) == {"failed": 2}
    assert sorted(reason for _, reason in _states(db).values()) == ["no_template", "no_template", "render"]
    assert sink.messages == []


def test_sender_name_of_the_shop_goes_before_the_senders(db: Database, shop: Shop, sink: mail_sink.MailSink) -> None:
    with db.write() as connection:
        named = save_settings(connection, shop, {"sender_name": "Lantern"}, START)
    plan_shop(db, named, DUE)
    assert _send(db, named) == {"accepted": 3}
    assert b"From: Lantern <shop@x.test>" in sink.messages[0].data
