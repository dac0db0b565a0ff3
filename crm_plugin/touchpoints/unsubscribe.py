"""What a member asks for by a link: no more of this, at once, kept as a statement of consent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from crm_plugin.records import ConsentState
from crm_plugin.store import consent, journeys, member_consents, touchpoints
from crm_plugin.store.members import present_id
from crm_plugin.touchpoints.journeys import MARKETING
from crm_plugin.touchpoints.plan import CONSENT_CHANNEL
from crm_plugin.touchpoints.states import WAITING, Reason, State
from crm_plugin.touchpoints.tokens import Unsubscribe

# Sources of a refusal that a link wrote: pressed on our page, or by the mail program's own button.
BY_LINK = ("link", "one-click")


def who_now(connection: Connection, told: Unsubscribe) -> Unsubscribe | None:
    """The link as it has to be read today: its guest may have become an account since; None when the member is gone."""
    member_id = present_id(connection, told.shop_id, told.member_id)
    return None if member_id is None else replace(told, member_id=member_id)


def apply(connection: Connection, told: Unsubscribe, now: datetime, *, source: str = "link") -> bool:
    """Withdraw the consent and skip what waits under it; False when it was withdrawn already or the member is gone.

    Doing it twice is harmless: mail programs and people press twice.
    """
    about = who_now(connection, told)
    if about is None:
        return False
    if _state(connection, about) is ConsentState.WITHDRAWN:
        return False
    withdraw(connection, about, now, at=now, source=source)
    return True


def withdraw(
    connection: Connection,
    about: Unsubscribe,
    now: datetime,
    *,
    at: datetime,
    source: str,
    proof: Mapping[str, Any] | None = None,
) -> bool:
    """Keep a refusal that was made at `at`; answers whether it changed what holds. Unless the member has agreed again since, what waits
    under it is skipped.
    """
    named = {"touchpoint": str(about.touchpoint_id)} if about.touchpoint_id else {}
    changed = consent.record(
        connection,
        about.shop_id,
        about.member_id,
        channel=about.channel,
        topic=about.topic,
        state=ConsentState.WITHDRAWN,
        at=at,
        source=source,
        proof={**named, **(proof or {})},
        recorded_at=now,
    )
    if _state(connection, about) is ConsentState.WITHDRAWN:
        skip_waiting(connection, about, now)
    return changed


def _state(connection: Connection, about: Unsubscribe) -> ConsentState | None:
    return consent.state_of(connection, about.shop_id, about.member_id, about.channel, about.topic)


def by_link(connection: Connection, told: Unsubscribe) -> bool:
    """Whether a refusal stands that such a link made: only that can be taken back by one."""
    about = who_now(connection, told)
    if about is None:
        return False
    held = member_consents.c
    standing = connection.execute(
        select(held.source).where(
            held.shop_id == about.shop_id,
            held.member_id == about.member_id,
            held.channel == about.channel,
            held.topic == about.topic,
            held.state == ConsentState.WITHDRAWN.value,
        )
    ).scalar()
    return standing in BY_LINK


def resubscribe(connection: Connection, told: Unsubscribe, now: datetime, *, source: str = "link") -> bool:
    """Undo a slip: take back a refusal that was made by such a link, and no other. What was skipped meanwhile stays skipped.

    A mail may be forwarded, so a link must never give a consent that the member did not have before it was pressed.
    """
    about = who_now(connection, told)
    if about is None or not by_link(connection, about):
        return False
    return consent.record(
        connection,
        about.shop_id,
        about.member_id,
        channel=about.channel,
        topic=about.topic,
        state=ConsentState.GRANTED,
        at=now,
        source=source,
        recorded_at=now,
    )


def skip_waiting(connection: Connection, about: Unsubscribe, now: datetime) -> int:
    """Skip the member's waiting marketing messages that were under that consent; answers how many."""
    marketing = select(journeys.c.journey_key).where(
        journeys.c.shop_id == about.shop_id, journeys.c.kind == "marketing"
    )
    if about.topic != MARKETING:
        marketing = marketing.where(journeys.c.topic == about.topic)
    channels = [channel for channel, under in CONSENT_CHANNEL.items() if under == about.channel]
    columns = touchpoints.c
    done = connection.execute(
        update(touchpoints)
        .where(
            columns.shop_id == about.shop_id,
            columns.member_id == about.member_id,
            columns.channel.in_(channels),
            columns.state.in_([state.value for state in WAITING]),
            columns.journey_key.in_(marketing),
        )
        .values(state=State.SKIPPED.value, reason=Reason.NO_CONSENT.value, settled_at=now, updated_at=now)
    )
    return int(done.rowcount)
