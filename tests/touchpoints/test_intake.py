"""Delivery events: kept once, in any order, twice, early and late; what they move and what they teach about an address."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, insert, select, update

from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.demo import sms_sink
from crm_plugin.errors import NotFound, WebhookRejected
from crm_plugin.events import DeliveryEvent, DeliveryEventKind
from crm_plugin.ids import new_id
from crm_plugin.records import ConsentRecord, ConsentState, RawRequest
from crm_plugin.store import (
    attempts,
    consent,
    consents,
    delivery_events,
    hook_counts,
    journeys,
    members,
    suppressions,
    touchpoints,
)
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import intake, outbox, senders
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.recover import recover_shop
from crm_plugin.touchpoints.states import TRANSITIONS, State, after
from tests.factories import make_shop, member, write

BOX = SecretBox("A" * 43 + "=")
NOW = datetime(2026, 6, 2, 9, 0, tzinfo=UTC)
README = Path(intake.__file__).parent / "README.md"
PUBLIC = "https://crm.example"
HOOK = f"{PUBLIC}/hooks/shop-1/twilio"
NUMBER = "+447700900123"
Kind = DeliveryEventKind
REQUEST = RawRequest("POST", HOOK, {}, b"")


@pytest.fixture
def sink() -> Iterator[sms_sink.SmsSink]:
    with sms_sink.serve() as server:
        yield server


@pytest.fixture
def shop(db: Database, sink: sms_sink.SmsSink) -> Shop:
    """One member with a phone who agreed, a journey by text that is on, and Twilio."""
    with db.write() as connection:
        made = make_shop(connection)
        row = {"trigger": "birthday", "trigger_params": {"days": 0}, "template_key": "greet", "channels": ["sms"]}
        connection.execute(
            insert(journeys).values(shop_id=1, journey_key="greet", enabled=True, enabled_at=NOW, updated_at=NOW, **row)
        )
        connection.exec_driver_sql(
            "INSERT INTO templates (shop_id, template_key, channel, locale, subject, body_text, body_html, url, version, updated_at)"
            " VALUES (1, 'greet', 'sms', 'en', '', 'Hello', '', '', 1, 0)"
        )
    yes = (ConsentRecord(channel="sms", state=ConsentState.GRANTED, at=NOW - timedelta(days=9)),)
    write(db, made, [member("1", phone=NUMBER, birth_month=6, birth_day=2, consents=yes)])
    values = {
        "account_sid": sink.account_sid,
        "auth_token": sink.auth_token,
        "from_number": "+15550100123",
        "base_url": sink.url,
    }
    senders.save_connection(db, BOX, made, "twilio", values, NOW)
    return made


@pytest.fixture
def put(db: Database, shop: Shop) -> Callable[..., int]:
    """Write one touchpoint of the member; answers its id."""

    def make(state: str, occasion: str = "2026", **more: Any) -> int:
        touchpoint_id = new_id()
        row = {
            "occasion": occasion,
            "occasion_on": NOW.date(),
            "channel": "sms",
            "adapter": "twilio",
            "address": NUMBER,
            "due_at": NOW,
            "next_try_at": NOW,
            "valid_until": NOW + timedelta(days=3),
            "planned_at": NOW,
            "updated_at": NOW,
            "provider_message_id": "SM1",
            **more,
        }
        with db.write() as connection:
            owner = connection.execute(select(members.c.member_id)).scalars().first()
            ids = {"shop_id": 1, "touchpoint_id": touchpoint_id, "journey_key": "greet", "member_id": owner}
            connection.execute(insert(touchpoints).values(state=state, **ids, **row))
        return touchpoint_id

    return make


@pytest.fixture
def put_all(db: Database, put: Callable[..., int]) -> Callable[..., None]:
    """Write many at once, each in a state, its occasion also the provider's name for it."""

    def make(named: dict[str, State]) -> None:
        first = put(next(iter(named.values())))
        with db.write() as connection:
            one = dict(connection.execute(select(touchpoints)).one()._mapping)
            connection.execute(touchpoints.delete())
            rows = [
                {**one, "touchpoint_id": first + n, "occasion": name, "provider_message_id": name, "state": state}
                for n, (name, state) in enumerate(named.items())
            ]
            connection.execute(insert(touchpoints), rows)

    return make


@pytest.fixture
def tell(db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Callable[..., intake.IntakeReport]:
    """Let the provider tell events, as if its webhook held them."""
    numbers = itertools.count(1)

    def told(*kinds: Kind, at: datetime = NOW, message: str = "SM1", **more: Any) -> intake.IntakeReport:
        events = [
            DeliveryEvent(f"e{next(numbers)}", message, kind, at, **{"address": NUMBER, **more}) for kind in kinds
        ]
        return receive(*events)

    def receive(*events: DeliveryEvent) -> intake.IntakeReport:
        with monkeypatch.context() as patched:
            cls = senders.channel_class("twilio")
            patched.setattr(cls, "verify_webhook", lambda _self, _request: None)
            patched.setattr(cls, "parse_events", lambda _self, _request: list(events))
            return intake.receive(db, BOX, shop, "twilio", REQUEST, NOW)

    told.events = receive  # type: ignore[attr-defined]
    return told


def _row(db: Database, touchpoint_id: int) -> Any:
    with db.read() as connection:
        return connection.execute(select(touchpoints).where(touchpoints.c.touchpoint_id == touchpoint_id)).one()


def _count(db: Database, table: Any) -> int:
    with db.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _told_states() -> dict[tuple[State, Kind], State]:
    """What the README says of every state and event."""
    lines = README.read_text(encoding="utf-8").partition("## Delivery events\n")[2].partition("\n- ")[0].splitlines()
    head, _, *body = [line.strip().strip("|").split("|") for line in lines if line.startswith("|")]
    found = {}
    for name, *cells in body:
        for kinds, to in zip(head[1:], cells, strict=True):
            for kind in re.findall(r"`(\w+)`", kinds):
                found[State(name.strip(" `")), Kind(kind)] = State(to.strip(" `") or name.strip(" `"))
    return found


def _named(db: Database) -> dict[str, str]:
    with db.read() as connection:
        t = touchpoints.c
        return {row.occasion: row.state for row in connection.execute(select(t.occasion, t.state))}


@pytest.mark.slow
def test_every_state_and_event_is_stated_and_kept(
    db: Database, put_all: Callable[..., None], tell: Callable[..., intake.IntakeReport]
) -> None:
    told = _told_states()
    assert set(told) == set(itertools.product(State, Kind))
    put_all({f"{state}-{kind}": state for state, kind in told})
    # An opt-out skips all that waits for its member: it comes last.
    for opt_out in (False, True):
        pairs = [pair for pair in told if (pair[1] is Kind.UNSUBSCRIBED) == opt_out]
        tell.events(  # type: ignore[attr-defined]
            *(DeliveryEvent(f"{state}-{kind}", f"{state}-{kind}", kind, NOW, address=NUMBER) for state, kind in pairs)
        )
        found = _named(db)
        assert {(state, kind): found[f"{state}-{kind}"] for state, kind in pairs} == {one: told[one] for one in pairs}
    assert all(after(state, kind) == to for (state, kind), to in told.items() if kind is not Kind.UNSUBSCRIBED)
    assert _count(db, delivery_events) == len(told)


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_every_two_events_come_to_what_is_stated(
    db: Database, late: bool, put_all: Callable[..., None], tell: Callable[..., intake.IntakeReport]
) -> None:
    told = _told_states()
    pairs = list(itertools.product(Kind, Kind))
    put_all({f"{first}-{second}": State.ACCEPTED for first, second in pairs})
    events, wanted = [], {}
    for first, second in pairs:
        name = f"{first}-{second}"
        # Each at its own time; `late`, the one that happened first is told last.
        at = (NOW, NOW - timedelta(minutes=1)) if late else (NOW - timedelta(minutes=1), NOW)
        events += [DeliveryEvent(f"{name}-{n}", name, kind, at[n]) for n, kind in enumerate((first, second))]
        wanted[name] = told[told[State.ACCEPTED, first], second]
    if late:
        wanted |= {"delivered-bounced": State.DELIVERED, "bounced-delivered": State.BOUNCED}
    tell.events(*events)  # type: ignore[attr-defined]
    assert _named(db) == wanted


def test_table_lets_no_event_undo_an_end(db: Database) -> None:
    for state in (State.SKIPPED, State.MISSED, State.CANCELLED, State.COMPLAINED):
        assert TRANSITIONS[state] == frozenset()


def test_repeat_is_kept_once_and_moves_once(
    db: Database, put: Callable[..., int], tell: Callable[..., intake.IntakeReport]
) -> None:
    touchpoint_id = put("accepted")
    event = DeliveryEvent("e1", "SM1", Kind.BOUNCED, NOW, address=NUMBER, permanent=True)
    first, second = tell.events(event), tell.events(event, event)  # type: ignore[attr-defined]
    assert (first.events, first.repeated, dict(first.states), first.suppressed) == (1, 0, {"bounced": 1}, 1)
    assert (second.events, second.repeated, dict(second.states), second.suppressed) == (2, 2, {}, 0)
    assert (_row(db, touchpoint_id).state, _count(db, delivery_events)) == ("bounced", 1)


def test_what_moves_nothing_is_counted(
    db: Database, put: Callable[..., int], tell: Callable[..., intake.IntakeReport]
) -> None:
    put("accepted")
    delivered = DeliveryEvent("a", "SM1", Kind.DELIVERED, NOW, address=NUMBER)
    tell.events(delivered)  # type: ignore[attr-defined]
    with db.read() as connection:
        assert hook_counts.counts(connection) == []
    for _ in range(2):
        tell.events(delivered, DeliveryEvent("b", "SM1", Kind.SENT, NOW))  # type: ignore[attr-defined]
    tell(Kind.OPENED, Kind.UNKNOWN)
    tell(Kind.DELIVERED, Kind.UNKNOWN, message="SM9")
    with db.read() as connection:
        counted = {one.reason.value: (one.number, one.last_at) for one in hook_counts.counts(connection, 1)}
    told = {"repeated": 3, "late": 1, "unmatched": 2, "unknown": 2}
    assert counted == {reason: (number, NOW) for reason, number in told.items()}


def test_event_settles_what_was_unconfirmed(
    db: Database, put: Callable[..., int], tell: Callable[..., intake.IntakeReport]
) -> None:
    touchpoint_id = put("unconfirmed", reason="outcome_unknown", reason_detail="no answer", provider_message_id=None)
    member_id = _row(db, touchpoint_id).member_id
    tell(Kind.SENT, message="SM7", touchpoint_key=f"greet:{member_id}:0:2026")
    row = _row(db, touchpoint_id)
    assert (row.state, row.reason, row.reason_detail, row.provider_message_id) == ("accepted", "", "", "SM7")
    assert row.accepted_at == NOW


@pytest.mark.parametrize(
    "key", ["greet:x:0:2026", "greet:1", "", "greet:99999999999999999999:0:2026", "greet:1:0:2026"]
)
def test_key_that_is_not_ours_finds_nothing(
    db: Database, put: Callable[..., int], tell: Callable[..., intake.IntakeReport], key: str
) -> None:
    touchpoint_id = put("unconfirmed")
    assert tell(Kind.DELIVERED, message="SM-other", touchpoint_key=key).unmatched == 1
    assert _row(db, touchpoint_id).state == "unconfirmed"


def test_event_that_overtakes_the_answer_is_matched_later(
    db: Database, shop: Shop, put: Callable[..., int], tell: Callable[..., intake.IntakeReport]
) -> None:
    touchpoint_id = put("in_flight", provider_message_id=None)
    assert tell(Kind.DELIVERED).unmatched == 1
    assert intake.match_early(db, shop, NOW) == {}
    with db.write() as connection:
        connection.execute(update(touchpoints).values(state="accepted", provider_message_id="SM1"))
    assert intake.match_early(db, shop, NOW) == {"delivered": 1}
    assert intake.match_early(db, shop, NOW) == {}
    assert _row(db, touchpoint_id).state == "delivered"
    with db.read() as connection:
        assert connection.execute(select(delivery_events.c.touchpoint_id)).scalar_one() == touchpoint_id


def test_event_in_mid_call_takes_the_row_from_its_sender(
    db: Database, shop: Shop, put: Callable[..., int], tell: Callable[..., intake.IntakeReport]
) -> None:
    touchpoint_id = put("in_flight", provider_message_id=None, claimed_until=NOW, attempts=1, fence=1)
    with db.write() as connection:
        connection.execute(
            insert(attempts).values(
                shop_id=1, touchpoint_id=touchpoint_id, attempt_no=1, adapter="twilio", started_at=NOW, outcome=""
            )
        )
    tell(Kind.DELIVERED, touchpoint_key=f"greet:{_row(db, touchpoint_id).member_id}:0:2026")
    assert recover_shop(db, shop, NOW + timedelta(hours=1)) == {}
    assert _row(db, touchpoint_id).state == "delivered"
    with db.read() as connection:
        assert connection.execute(select(attempts.c.outcome)).scalar_one() == "delivered"


def test_what_arrived_after_all_is_not_sent_again(
    db: Database, shop: Shop, sink: sms_sink.SmsSink, put: Callable[..., int], tell: Callable[..., intake.IntakeReport]
) -> None:
    touchpoint_id = put("unconfirmed")
    with db.write() as connection:
        outbox.send_again(connection, shop, touchpoint_id, NOW, "cli")
    tell(Kind.DELIVERED)
    assert dict(dispatch_shop(db, BOX, shop, NOW, public_url=PUBLIC).states) == {}
    assert (_row(db, touchpoint_id).state, sink.messages) == ("delivered", [])


def test_event_of_an_earlier_attempt_moves_nothing(
    db: Database, put: Callable[..., int], tell: Callable[..., intake.IntakeReport]
) -> None:
    touchpoint_id = put("accepted", provider_message_id="SM2")
    key = f"greet:{_row(db, touchpoint_id).member_id}:0:2026"
    report = tell(Kind.FAILED, message="SM1", touchpoint_key=key)
    assert (report.unmatched, dict(report.states)) == (0, {})
    assert _row(db, touchpoint_id).state == "accepted"


@pytest.mark.parametrize(
    ("waited", "moved"), [(timedelta(days=7, seconds=-1), {"delivered": 1}), (timedelta(days=7), {})]
)
def test_early_event_is_looked_at_for_a_week(
    db: Database,
    shop: Shop,
    put: Callable[..., int],
    tell: Callable[..., intake.IntakeReport],
    waited: timedelta,
    moved: dict[str, int],
) -> None:
    touchpoint_id = put("in_flight", provider_message_id=None)
    assert tell(Kind.DELIVERED).unmatched == 1
    with db.write() as connection:
        connection.execute(update(touchpoints).values(state="accepted", provider_message_id="SM1"))
    assert intake.match_early(db, shop, NOW + waited) == moved
    assert _row(db, touchpoint_id).state == ("delivered" if moved else "accepted")


@pytest.mark.parametrize(
    ("kind", "permanent", "reasons"),
    [
        (Kind.BOUNCED, True, ["bounce"]),
        (Kind.FAILED, True, ["bounce"]),
        (Kind.BOUNCED, False, []),
        (Kind.COMPLAINED, False, ["complaint"]),
        (Kind.DELIVERED, True, []),
    ],
)
def test_dead_and_unwelcome_addresses_are_suppressed(
    db: Database,
    put: Callable[..., int],
    tell: Callable[..., intake.IntakeReport],
    kind: Kind,
    permanent: bool,
    reasons: list[str],
) -> None:
    put("accepted")
    tell(kind, permanent=permanent)
    with db.read() as connection:
        rows = connection.execute(select(suppressions)).all()
    assert [row.reason for row in rows] == reasons
    assert all((row.channel, row.address, row.source) == ("sms", NUMBER, "twilio") for row in rows)


def _said(db: Database) -> dict[str, ConsentState | None]:
    with db.read() as connection:
        ids = connection.execute(select(members.c.external_id, members.c.member_id)).all()
        return {row.external_id: consent.state_of(connection, 1, row.member_id, "sms", "marketing") for row in ids}


def test_opt_out_withdraws_for_all_who_hold_the_number(
    db: Database, shop: Shop, put: Callable[..., int], tell: Callable[..., intake.IntakeReport]
) -> None:
    write(db, shop, [member("2", phone=NUMBER), member("3", phone="+447700900124")])
    waiting = put("planned", provider_message_id=None)
    report = tell(Kind.UNSUBSCRIBED, message="")
    assert (report.unmatched, report.withdrawn, report.suppressed) == (1, 2, 0)
    assert _said(db) == {"1": ConsentState.WITHDRAWN, "2": ConsentState.WITHDRAWN, "3": None}
    row = _row(db, waiting)
    assert (row.state, row.reason) == ("skipped", "no_consent")
    with db.read() as connection:
        proofs = connection.execute(select(consents.c.proof).where(consents.c.source == "twilio")).scalars().all()
    assert proofs == [{"event": "e1"}, {"event": "e1"}]


def test_late_opt_out_does_not_undo_a_newer_yes(
    db: Database, shop: Shop, put: Callable[..., int], tell: Callable[..., intake.IntakeReport]
) -> None:
    waiting = put("planned", provider_message_id=None)
    report = tell(Kind.UNSUBSCRIBED, message="", at=NOW - timedelta(days=30))
    assert (report.withdrawn, _said(db), _row(db, waiting).state) == (0, {"1": ConsentState.GRANTED}, "planned")


def test_opt_out_of_an_unknown_number_is_remembered(db: Database, tell: Callable[..., intake.IntakeReport]) -> None:
    assert tell(Kind.UNSUBSCRIBED, message="", address=" +447700900999").suppressed == 1
    with db.read() as connection:
        assert consent.is_suppressed(connection, 1, "sms", "+447700900999") == "opted_out"


def _signed(sink: sms_sink.SmsSink, url: str, form: dict[str, str]) -> RawRequest:
    from crm_plugin.adapters.channels.twilio.webhooks import signature

    signed = signature(sink.auth_token, url, form.items())
    return RawRequest("POST", url, {"x-twilio-signature": signed}, urlencode(form).encode())


def test_twilio_is_told_our_hook_and_reports_there(
    db: Database, shop: Shop, sink: sms_sink.SmsSink, put: Callable[..., int]
) -> None:
    touchpoint_id = put("planned", provider_message_id=None)
    assert dict(dispatch_shop(db, BOX, shop, NOW, public_url=f"{PUBLIC}/").states) == {"accepted": 1}
    [text] = sink.messages
    assert text.status_callback.startswith(f"{HOOK}?touchpoint=greet:")
    form = {"MessageSid": text.sid, "MessageStatus": "delivered", "To": NUMBER}
    inside = RawRequest(
        "POST", text.status_callback.replace(PUBLIC, "http://127.0.0.1:8000"), *_parts(sink, text, form)
    )
    report = intake.receive(db, BOX, shop, "twilio", inside, NOW, public_url=PUBLIC)
    assert dict(report.states) == {"delivered": 1}
    assert _row(db, touchpoint_id).state == "delivered"


def _parts(sink: sms_sink.SmsSink, text: sms_sink.Text, form: dict[str, str]) -> tuple[dict[str, str], bytes]:
    request = _signed(sink, text.status_callback, form)
    return request.headers, request.body


@pytest.mark.parametrize("public_url", ["", "http://127.0.0.1:8000", "http://localhost:8000"])
def test_address_that_nobody_can_reach_is_not_told(
    db: Database, shop: Shop, sink: sms_sink.SmsSink, put: Callable[..., int], public_url: str
) -> None:
    put("planned", provider_message_id=None)
    dispatch_shop(db, BOX, shop, NOW, public_url=public_url)
    assert [text.status_callback for text in sink.messages] == [""]


def test_stop_reply_by_twilio(db: Database, shop: Shop, sink: sms_sink.SmsSink) -> None:
    form = {"MessageSid": "SM9", "SmsStatus": "received", "From": NUMBER, "To": "+15550100123", "Body": "STOP"}
    assert intake.receive(db, BOX, shop, "twilio", _signed(sink, HOOK, form), NOW).withdrawn == 1
    assert _said(db) == {"1": ConsentState.WITHDRAWN}


def test_forged_webhook_writes_nothing(
    db: Database, shop: Shop, sink: sms_sink.SmsSink, put: Callable[..., int]
) -> None:
    touchpoint_id = put("accepted")
    form = {"MessageSid": "SM1", "MessageStatus": "failed", "To": NUMBER}
    forged = RawRequest("POST", HOOK, {"x-twilio-signature": "AAAA"}, urlencode(form).encode())
    with pytest.raises(WebhookRejected):
        intake.receive(db, BOX, shop, "twilio", forged, NOW)
    assert (_row(db, touchpoint_id).state, _count(db, delivery_events)) == ("accepted", 0)


@pytest.mark.parametrize("adapter", ["smtp", "inapp", "carrier-pigeon"])
def test_sender_that_reports_nothing_is_not_found(db: Database, shop: Shop, adapter: str) -> None:
    with pytest.raises(NotFound):
        intake.receive(db, BOX, shop, adapter, REQUEST, NOW)
    assert _count(db, delivery_events) == 0


def test_other_shop_is_never_touched(
    db: Database, shop: Shop, put: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    touchpoint_id = put("accepted")
    with db.write() as connection:
        other = make_shop(connection, 2)
    channel: type[ChannelAdapter] = senders.channel_class("twilio")
    monkeypatch.setattr(channel, "verify_webhook", lambda _self, _request: None)
    event = DeliveryEvent("e1", "SM1", Kind.BOUNCED, NOW, address=NUMBER, permanent=True)
    monkeypatch.setattr(channel, "parse_events", lambda _self, _request: [event])
    values = {"account_sid": "AC1", "auth_token": "t", "from_number": "+15550100123"}
    senders.save_connection(db, BOX, other, "twilio", values, NOW, probe=False)
    assert intake.receive(db, BOX, other, "twilio", REQUEST, NOW).unmatched == 1
    assert _row(db, touchpoint_id).state == "accepted"
    with db.read() as connection:
        assert consent.is_suppressed(connection, 1, "sms", NUMBER) == ""


def test_machine_opening_is_told_apart(
    db: Database, put: Callable[..., int], tell: Callable[..., intake.IntakeReport]
) -> None:
    touchpoint_id = put("delivered")
    tell(Kind.OPENED, machine=True)
    tell(Kind.OPENED)
    with db.read() as connection:
        shown = outbox.show(connection, 1, touchpoint_id).events
    assert sorted((event.kind, event.machine) for event in shown) == [("opened", False), ("opened", True)]
