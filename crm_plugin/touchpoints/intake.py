"""What providers tell us afterwards: each event is kept once, moves its touchpoint where the table of states allows it, and teaches us
about the address. Events come twice, late and out of order; none of that is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, update

from crm_plugin.adapters.registry import channel_class, channel_names, is_channel
from crm_plugin.errors import NotFound, UnsupportedFeature
from crm_plugin.events import DeliveryEvent, DeliveryEventKind
from crm_plugin.phrases import cut, phrase
from crm_plugin.records import RawRequest
from crm_plugin.store import attempts, consent, delivery_events, hook_counts, touchpoints
from crm_plugin.store.members import present_id
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import event_rows, senders, unsubscribe
from crm_plugin.touchpoints.event_rows import told_id
from crm_plugin.touchpoints.intake_report import IntakeReport
from crm_plugin.touchpoints.journey import MARKETING
from crm_plugin.touchpoints.reach import CONSENT_CHANNEL
from crm_plugin.touchpoints.states import EVENTS, Reason, State, after
from crm_plugin.touchpoints.tokens import Unsubscribe

Kind = DeliveryEventKind
_DEAD = frozenset({Kind.BOUNCED, Kind.REJECTED, Kind.FAILED})
# Of these, one that does not lead on comes late; openings and clicks do so all the time.
_MOVING = frozenset(EVENTS) - {Kind.OPENED, Kind.CLICKED}
# Between these two the later event decides; a provider may give up and then succeed, or the other way round.
_EITHER = {Kind.DELIVERED.value: State.DELIVERED, Kind.BOUNCED.value: State.BOUNCED}
# An event that came before its touchpoint was known is looked at again for so long.
_EARLY = timedelta(days=7)
_LONGEST_ADDRESS = 320


def receive(
    db: Database,
    box: SecretBox,
    shop: Shop,
    adapter_name: str,
    request: RawRequest,
    now: datetime,
    *,
    public_url: str = "",
) -> IntakeReport:
    """Take in one delivery webhook, all of it or nothing.

    Raises: WebhookRejected when it is not the provider's, NotFound when the shop has no such sender or it reports nothing.
    """
    if not is_channel(adapter_name):
        raise NotFound(
            phrase("There is no sender %(name)r.", name=adapter_name),
            hint=phrase("There are: %(names)s.", names=list(channel_names())),
        )
    channel = senders.open_channel(db, box, shop, adapter_name, now, public_url=public_url)
    try:
        channel.verify_webhook(request)
        told = channel.parse_events(request)
    except UnsupportedFeature as error:
        raise NotFound(error.message) from error
    finally:
        channel.close()
    return take(db, shop, adapter_name, told, now)


def take(db: Database, shop: Shop, adapter_name: str, told: Iterable[DeliveryEvent], now: datetime) -> IntakeReport:
    """Take in events of one sender in one transaction, however they came."""
    report = IntakeReport()
    with db.write() as connection:
        # By message, so that two requests at once take the rows in one order; within a message as it was told.
        for event in sorted(told, key=lambda one: one.provider_message_id):
            _take(connection, shop, adapter_name, event, now, report)
        hook_counts.count(connection, shop.shop_id, adapter_name, report.odd, now)
    return report


def take_listed(
    db: Database, shop: Shop, adapter: str, events: Sequence[DeliveryEvent], now: datetime
) -> dict[str, int]:
    """Take in what a provider told when it was asked; answers what it moved.

    Its list holds all that its account ever sent, so only that is kept which moves a message of ours; where nothing is new it is one look.
    """
    t = touchpoints.c
    named = {told_id(event.provider_message_id) for event in events}
    query = select(t.provider_message_id, t.state).where(
        t.shop_id == shop.shop_id, t.adapter == adapter, t.provider_message_id.in_(sorted(named))
    )
    with db.read() as connection:
        present = {row.provider_message_id: row.state for row in connection.execute(query)} if named else {}
    moving = {
        name
        for event in events
        if (state := present.get(name := told_id(event.provider_message_id))) and after(state, event.kind) != state
    }
    report = IntakeReport()
    if moving:
        with db.write() as connection:
            for event in sorted(events, key=lambda one: one.provider_message_id):
                if told_id(event.provider_message_id) in moving:
                    _take(connection, shop, adapter, event, now, report)
    return dict(report.states)


def match_early(db: Database, shop: Shop, now: datetime) -> dict[str, int]:
    """Find the touchpoints of events that came before the answer of the call they speak of; answers what they moved."""
    e = delivery_events.c
    waiting = and_(
        e.shop_id == shop.shop_id,
        e.touchpoint_id.is_(None),
        e.received_at > now - _EARLY,
        e.provider_message_id != "",
    )
    with db.read() as connection:
        if connection.execute(select(e.event_id).where(waiting).limit(1)).first() is None:
            return {}
    report = IntakeReport()
    with db.write() as connection:
        for row in connection.execute(select(delivery_events).where(waiting).order_by(e.at, e.event_id)).all():
            event = DeliveryEvent(
                row.provider_event_id, row.provider_message_id, Kind(row.kind), row.at, reason=row.reason
            )
            touchpoint = _find(connection, shop, row.adapter, event)
            if touchpoint is None:
                continue
            connection.execute(
                update(delivery_events)
                .where(e.shop_id == shop.shop_id, e.event_id == row.event_id)
                .values(touchpoint_id=touchpoint.touchpoint_id)
            )
            _move(connection, touchpoint, event, now, report)
    return dict(report.states)


def _take(
    connection: Connection, shop: Shop, adapter: str, event: DeliveryEvent, now: datetime, report: IntakeReport
) -> None:
    report.events += 1
    touchpoint = _find(connection, shop, adapter, event)
    found = None if touchpoint is None else touchpoint.touchpoint_id
    if not event_rows.keep(connection, shop.shop_id, adapter, event, found, now):
        report.repeated += 1
        return
    report.unknown += event.kind is Kind.UNKNOWN
    if touchpoint is None:
        report.unmatched += 1
    else:
        _move(connection, touchpoint, event, now, report)
    _learn(connection, shop, adapter, event, touchpoint, now, report)


def _find(connection: Connection, shop: Shop, adapter: str, event: DeliveryEvent) -> Row[Any] | None:
    """The touchpoint an event speaks of, locked: by the provider's id of the message, else by our own key."""
    t = touchpoints.c
    ways: list[ColumnElement[bool]] = []
    if told_id(event.provider_message_id):
        ways.append(and_(t.adapter == adapter, t.provider_message_id == told_id(event.provider_message_id)))
    parts = event.touchpoint_key.split(":", 3)
    if len(parts) == 4 and all(part.isdecimal() and len(part) < 19 for part in parts[1:3]):
        key, named, step, occasion = parts
        # A guest may have become an account since the message left.
        member_id = present_id(connection, shop.shop_id, int(named))
        ways.append(
            and_(
                t.journey_key == key,
                t.member_id == member_id,
                t.step == int(step),
                t.occasion == occasion,
                t.adapter == adapter,
            )
        )
    for way in ways:
        query = select(touchpoints).where(t.shop_id == shop.shop_id, way)
        if (row := connection.execute(query.with_for_update().limit(1)).first()) is not None:
            return row
    return None


def _move(
    connection: Connection, touchpoint: Row[Any], event: DeliveryEvent, now: datetime, report: IntakeReport
) -> None:
    t = touchpoints.c
    known, told = touchpoint.provider_message_id or "", told_id(event.provider_message_id)
    if known and told and known != told:
        # It speaks of an attempt before the last one.
        report.late += 1
        return
    own = and_(t.shop_id == touchpoint.shop_id, t.touchpoint_id == touchpoint.touchpoint_id)
    values: dict[str, Any] = {}
    if not known and told:
        values["provider_message_id"] = told
    to = after(touchpoint.state, event.kind)
    if to != touchpoint.state and not _outdated(connection, touchpoint, event):
        arrived = to in (State.ACCEPTED, State.DELIVERED)
        values |= {
            "state": to.value,
            "reason": _reason(to, event),
            "reason_detail": "" if arrived else cut(event.reason, 500),
            "claimed_until": None,
            "settled_at": now,
            "accepted_at": touchpoint.accepted_at or (event.at if to is not State.FAILED else None),
        }
        report.states[to.value] += 1
        _end_attempts(connection, touchpoint, to, event, now)
    elif event.kind in _MOVING and EVENTS[event.kind] != touchpoint.state:
        report.late += 1
    if values:
        connection.execute(update(touchpoints).where(own).values(**values, updated_at=now))


def _reason(to: State, event: DeliveryEvent) -> str:
    if to is State.FAILED:
        return Reason.PERMANENT.value
    return Reason.REFUSED.value if to is State.BOUNCED and event.permanent else ""


def _outdated(connection: Connection, touchpoint: Row[Any], event: DeliveryEvent) -> bool:
    """Whether between delivered and bounced a later event has decided already."""
    if event.kind.value not in _EITHER or touchpoint.state not in _EITHER.values():
        return False
    e = delivery_events.c
    newest = connection.execute(
        select(func.max(e.at)).where(
            e.shop_id == touchpoint.shop_id,
            e.touchpoint_id == touchpoint.touchpoint_id,
            e.kind.in_([kind for kind, state in _EITHER.items() if state == touchpoint.state]),
        )
    ).scalar()
    return newest is not None and newest > event.at


def _end_attempts(connection: Connection, touchpoint: Row[Any], to: State, event: DeliveryEvent, now: datetime) -> None:
    """An event may tell how an attempt ended before its own call has come back, or when that never did."""
    a = attempts.c
    connection.execute(
        update(attempts)
        .where(a.shop_id == touchpoint.shop_id, a.touchpoint_id == touchpoint.touchpoint_id, a.outcome == "")
        .values(outcome=to.value, error=cut(event.reason, 500), finished_at=now)
    )


def _plain(address: str) -> str:
    return address.replace("\0", "").strip().lower()[:_LONGEST_ADDRESS]


def _learn(
    connection: Connection,
    shop: Shop,
    adapter: str,
    event: DeliveryEvent,
    touchpoint: Row[Any] | None,
    now: datetime,
    report: IntakeReport,
) -> None:
    """What the event says of the address: dead, unwelcome, or refusing what is promotional."""
    channel = CONSENT_CHANNEL.get(channel_class(adapter).channel, "")
    address = touchpoint.address if touchpoint is not None else _plain(event.address)
    if not channel or not address:
        return
    complained = event.kind is Kind.COMPLAINED
    if complained or (event.permanent and event.kind in _DEAD):
        reason = "complaint" if complained else "bounce"
        report.suppressed += consent.suppress(
            connection, shop.shop_id, channel, address, reason=reason, at=event.at, source=adapter, recorded_at=now
        )
    if event.kind is Kind.UNSUBSCRIBED:
        whom = None if touchpoint is None else touchpoint.member_id
        holders = unsubscribe.holders(connection, shop.shop_id, channel, address, whom)
        for member_id in holders:
            about = Unsubscribe(
                shop.shop_id, member_id, channel, MARKETING, touchpoint.touchpoint_id if touchpoint else 0
            )
            proof = {"event": event.provider_event_id}
            report.withdrawn += unsubscribe.withdraw(connection, about, now, at=event.at, source=adapter, proof=proof)
        if not holders:
            # Whoever takes this number or address next must not be written to either.
            report.suppressed += consent.suppress(
                connection,
                shop.shop_id,
                channel,
                address,
                reason="opted_out",
                at=event.at,
                source=adapter,
                recorded_at=now,
            )
