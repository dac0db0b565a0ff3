"""What links of our own tell: each click and opening is a delivery event, as a provider would have told it, a machine's kept apart.

Kept are the address that was followed, when, and by which rule a machine was known; no IP address and no name of a program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, update

from crm_plugin.errors import NotFound
from crm_plugin.events import DeliveryEvent, DeliveryEventKind
from crm_plugin.store import delivery_events, touchpoints
from crm_plugin.store.tenants import shop_by_id
from crm_plugin.touchpoints import event_rows, machines
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.states import State, after
from crm_plugin.touchpoints.tokens import Link

ADAPTER = "link"
# The same again within this is one.
ONCE = timedelta(minutes=1)
_CLICKED, _OPENED = DeliveryEventKind.CLICKED, DeliveryEventKind.OPENED


def note(connection: Connection, seen: Link, headers: Mapping[str, str], now: datetime) -> bool:
    """Count that a link was followed, or with an empty address that the message was opened; False where it is not counted.

    It is not where the shop no longer counts it, for a message that is gone, and for the same again within a minute.
    """
    kind = _CLICKED if seen.url else _OPENED
    try:
        tracking = policy_of(shop_by_id(connection, seen.shop_id)).tracking
    except NotFound:
        return False
    if not (tracking.clicks if kind is _CLICKED else tracking.opens):
        return False
    t = touchpoints.c
    mine = (t.shop_id == seen.shop_id) & (t.touchpoint_id == seen.touchpoint_id)
    # Held, so that of two requests at once the later one sees the other.
    asked = select(t.state, t.accepted_at).where(mine).with_for_update(key_share=True)
    sent = connection.execute(asked).first()
    if sent is None:
        return False
    before = _lately(connection, seen, kind, now)
    rule = machines.by_request(headers) or machines.by_time(sent.accepted_at, sent.state == State.IN_FLIGHT, now)
    others = [one for one in before if one.raw["url"] != seen.url and abs(now - one.at) <= machines.TOGETHER]
    if others:
        rule = rule or machines.AT_ONCE
        _were_machines(connection, seen.shop_id, [one for one in others if not one.machine], now)
    if sent.state != State.IN_FLIGHT and after(sent.state, kind) != sent.state:
        # Its link stands in no other message: it has left. What is in flight is told of by whoever sends it.
        proven = {"state": State.ACCEPTED.value, "reason": "", "reason_detail": "", "accepted_at": now}
        connection.execute(update(touchpoints).where(mine).values(**proven, settled_at=now, updated_at=now))
    if any(one.raw["url"] == seen.url and one.machine == bool(rule) for one in before):
        return False
    raw = {"url": seen.url, **({"machine": rule} if rule else {})}
    name = f"{seen.touchpoint_id}:{kind}:{len(before)}:{now.isoformat()}"
    event = DeliveryEvent(name, "", kind, now, machine=bool(rule), raw=raw)
    return event_rows.keep(connection, seen.shop_id, ADAPTER, event, seen.touchpoint_id, now)


def _lately(connection: Connection, seen: Link, kind: DeliveryEventKind, now: datetime) -> Sequence[Row[Any]]:
    """What our links told of this message within the last minute."""
    e = delivery_events.c
    query = select(delivery_events).where(
        e.shop_id == seen.shop_id,
        e.touchpoint_id == seen.touchpoint_id,
        e.adapter == ADAPTER,
        e.kind == kind.value,
        e.at > now - ONCE,
    )
    return connection.execute(query).all()


def _were_machines(connection: Connection, shop_id: int, rows: Sequence[Row[Any]], now: datetime) -> None:
    """What was taken for a person's a moment ago was a machine's; it counts as news, so that who has read it reads it again."""
    e = delivery_events.c
    for row in rows:
        changed = {"machine": True, "raw": {**row.raw, "machine": machines.AT_ONCE}, "received_at": now}
        connection.execute(
            update(delivery_events).where(e.shop_id == shop_id, e.event_id == row.event_id).values(**changed)
        )
