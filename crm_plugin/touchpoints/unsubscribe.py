"""What a member asks for by a link: no more of this, at once, kept as a statement of consent."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, select, update

from crm_plugin.records import ConsentState
from crm_plugin.store import consent, journeys, member_consents, touchpoints
from crm_plugin.store.members import present_id
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
    present = consent.state_of(connection, about.shop_id, about.member_id, about.channel, about.topic)
    if present is ConsentState.WITHDRAWN:
        return False
    consent.record(
        connection,
        about.shop_id,
        about.member_id,
        channel=about.channel,
        topic=about.topic,
        state=ConsentState.WITHDRAWN,
        at=now,
        source=source,
        proof={"touchpoint": str(about.touchpoint_id)} if about.touchpoint_id else None,
        recorded_at=now,
    )
    skip_waiting(connection, about, now)
    return True


def resubscribe(connection: Connection, told: Unsubscribe, now: datetime, *, source: str = "link") -> bool:
    """Undo a slip: take back a refusal that was made by such a link, and no other. What was skipped meanwhile stays skipped.

    A mail may be forwarded, so a link must never give a consent that the member did not have before it was pressed.
    """
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
    if standing not in BY_LINK:
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
    """Skip the member's waiting marketing messages on that channel; answers how many."""
    marketing = select(journeys.c.journey_key).where(
        journeys.c.shop_id == about.shop_id, journeys.c.kind == "marketing", journeys.c.topic == about.topic
    )
    columns = touchpoints.c
    done = connection.execute(
        update(touchpoints)
        .where(
            columns.shop_id == about.shop_id,
            columns.member_id == about.member_id,
            columns.channel == about.channel,
            columns.state.in_([state.value for state in WAITING]),
            columns.journey_key.in_(marketing),
        )
        .values(state=State.SKIPPED.value, reason=Reason.NO_CONSENT.value, settled_at=now, updated_at=now)
    )
    return int(done.rowcount)
