"""The one vocabulary for what happens to a message, whatever words a provider uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class DeliveryEventKind(StrEnum):
    """What came back about one message; a word we do not know is kept as `unknown`."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    REJECTED = "rejected"
    FAILED = "failed"
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """One event as a provider told it.

    `provider_event_id` makes a repeat harmless; `provider_message_id` finds the touchpoint, and so does `touchpoint_key` where the
    provider hands our own key back. `permanent` is True for a bounce after which the address is dead; `machine`
    for an opening or a click that the provider holds for a mail system's own.
    """

    provider_event_id: str
    provider_message_id: str
    kind: DeliveryEventKind
    at: datetime
    address: str = ""
    reason: str = ""
    permanent: bool = False
    machine: bool = False
    touchpoint_key: str = ""
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of what a provider tells when it is asked; `next_cursor` is its own word for the next one, empty after the last."""

    events: list[DeliveryEvent]
    next_cursor: str = ""
