"""Rows of delivery events: each is kept once, whoever told it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from crm_plugin.events import DeliveryEvent
from crm_plugin.ids import new_id
from crm_plugin.store import delivery_events
from crm_plugin.store.upserts import insert_into

# Indexes take no longer ones; a provider's are shorter than this.
_LONGEST_ID = 200


def told_id(text: str) -> str:
    """An id of a provider's in the form in which it is kept and looked for."""
    return text.replace("\0", "")[:_LONGEST_ID]


def keep(
    connection: Connection, shop_id: int, adapter: str, event: DeliveryEvent, touchpoint_id: int | None, now: datetime
) -> bool:
    """Keep the event; False when it is known already. `touchpoint_id` None: its touchpoint is not known yet."""
    message_id = told_id(event.provider_message_id)
    nameless = f"{message_id}:{event.kind}:{event.at.isoformat()}"
    row = {
        "shop_id": shop_id,
        "event_id": new_id(),
        "adapter": adapter,
        "provider_event_id": told_id(event.provider_event_id) or nameless,
        "provider_message_id": message_id,
        "touchpoint_id": touchpoint_id,
        "kind": event.kind.value,
        "at": event.at,
        "reason": event.reason.replace("\0", "")[:500],
        "machine": event.machine,
        "raw": event.raw,
        "received_at": now,
    }
    return (
        connection.execute(insert_into(connection, delivery_events).values(row).on_conflict_do_nothing()).rowcount > 0
    )
