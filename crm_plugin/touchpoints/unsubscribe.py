"""What a member asks for by a link: no more of this, at once, kept as a statement of consent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, or_, select, update

from crm_plugin.records import ConsentState
from crm_plugin.store import consent, consents, identities, journeys, member_consents, members, touchpoints
from crm_plugin.store.members import present_id
from crm_plugin.touchpoints import dial
from crm_plugin.touchpoints.journey import MARKETING
from crm_plugin.touchpoints.reach import CONSENT_CHANNEL
from crm_plugin.touchpoints.states import WAITING, Reason, State
from crm_plugin.touchpoints.tokens import Unsubscribe

# Sources of a refusal that a link wrote: pressed on our page, or by the mail program's own button.
BY_LINK = ("link", "one-click")
# By what a member is reached under the consent of a channel, as identities and members name it.
_IDENTITY = {"email": "email", "sms": "phone"}


def who_now(connection: Connection, told: Unsubscribe) -> Unsubscribe | None:
    """The link as it has to be read today: its guest may have become an account since; None when the member is gone."""
    member_id = present_id(connection, told.shop_id, told.member_id)
    return None if member_id is None else replace(told, member_id=member_id)


def apply(connection: Connection, told: Unsubscribe, now: datetime, *, source: str = "link") -> bool:
    """Withdraw the consent and skip what waits under it; False when it was withdrawn already or the member is gone.

    Whoever else is reached at the same address is left alone too: who opened the mailbox cannot know for whom a message was. Doing it twice
    is harmless: mail programs and people press twice.
    """
    about = who_now(connection, told)
    if about is None:
        return False
    done = False
    for member_id in holders(connection, about.shop_id, about.channel, _address(connection, about), about.member_id):
        one = replace(about, member_id=member_id)
        if _state(connection, one) is not ConsentState.WITHDRAWN:
            withdraw(connection, one, now, at=now, source=source)
            done = True
    return done


def holders(connection: Connection, shop_id: int, channel: str, address: str, also: int | None = None) -> list[int]:
    """Every member who is reached at that address, and the one the message was for."""
    i, m = identities.c, members.c
    held = select(i.member_id).where(i.shop_id == shop_id, i.kind == _IDENTITY.get(channel, ""), i.value == address)
    found = set(connection.execute(held).scalars()) | ({also} - {None})
    query = select(m.member_id).where(m.shop_id == shop_id, m.member_id.in_(sorted(found)), m.state == "active")
    return sorted(connection.execute(query).scalars())


def _address(connection: Connection, about: Unsubscribe) -> str:
    """Where the message with the link went, else where the member is reached today; empty on a channel without addresses."""
    t, m = touchpoints.c, members.c
    sent = select(t.address).where(
        t.shop_id == about.shop_id,
        t.touchpoint_id == about.touchpoint_id,
        t.channel.in_([channel for channel, under in CONSENT_CHANNEL.items() if under == about.channel]),
    )
    if address := connection.execute(sent).scalar():
        return str(address)
    kind = _IDENTITY.get(about.channel)
    if kind is None:
        return ""
    today = select(m[kind]).where(m.shop_id == about.shop_id, m.member_id == about.member_id)
    return connection.execute(today).scalar() or ""


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
    """Whether a refusal stands that such a link made of a consent there was: only that can be taken back by one."""
    about = who_now(connection, told)
    return about is not None and _refused_at(connection, about) is not None


def _refused_at(connection: Connection, about: Unsubscribe) -> datetime | None:
    """When a link withdrew what the member had agreed to; None when it was not so, or does not hold any more."""
    held = member_consents.c
    at: datetime | None = connection.execute(
        select(held.at).where(
            held.shop_id == about.shop_id,
            held.member_id == about.member_id,
            held.channel == about.channel,
            held.topic == about.topic,
            held.state == ConsentState.WITHDRAWN.value,
            held.source.in_(BY_LINK),
        )
    ).scalar()
    return at if at is not None and _agreed_before(connection, about, at) else None


def _agreed_before(connection: Connection, about: Unsubscribe, at: datetime) -> bool:
    """What the member had said of this topic before a link refused it, else of all marketing."""
    c = consents.c
    said = connection.execute(
        select(c.topic, c.state)
        .where(
            c.shop_id == about.shop_id,
            c.member_id == about.member_id,
            c.channel == about.channel,
            c.topic.in_({about.topic, MARKETING}),
            c.at <= at,
            or_(c.state != ConsentState.WITHDRAWN.value, c.source.not_in(BY_LINK)),
        )
        .order_by(c.at, c.consent_id)
    )
    last = {row.topic: row.state for row in said}
    return last.get(about.topic, last.get(MARKETING)) == ConsentState.GRANTED.value


def resubscribe(connection: Connection, told: Unsubscribe, now: datetime, *, source: str = "link") -> bool:
    """Undo a slip: take back what the same press withdrew, and no other refusal. What was skipped meanwhile stays skipped.

    A mail may be forwarded, so a link must never give a consent that the member did not have before it was pressed.
    """
    about = who_now(connection, told)
    at = None if about is None else _refused_at(connection, about)
    if about is None or at is None:
        return False
    address = _address(connection, about)
    reached = holders(connection, about.shop_id, about.channel, address, about.member_id)
    everybody = [replace(about, member_id=member_id) for member_id in reached]
    done = [_grant(connection, one, now, source) for one in everybody if _refused_at(connection, one) == at]
    return any(done)


def _grant(connection: Connection, about: Unsubscribe, now: datetime, source: str) -> bool:
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


# What the page offers beside stopping: fewer messages, or none for a while.
FEWER = ("all", "two", "birthday", "pause")
_TWO, _PAUSE = 2, timedelta(days=30)


def fewer(connection: Connection, told: Unsubscribe, choice: str, now: datetime) -> bool:
    """Turn the member's own dial as the link's page offers it; False for a choice that is none, and when the member is gone."""
    about = who_now(connection, told)
    if about is None or choice not in FEWER:
        return False
    frequency = {"two": dial.MONTHLY, "birthday": dial.ONLY_BIRTHDAY}.get(choice, dial.ALL)
    dial.turn(
        connection,
        about.shop_id,
        about.member_id,
        now,
        # Who pauses goes on as before when it is over.
        frequency=None if choice == "pause" else frequency,
        per_month=_TWO if choice == "two" else None,
        snooze_until=now + _PAUSE if choice == "pause" else None,
        awake=choice != "pause",
        source="link",
    )
    return True


def chosen(connection: Connection, told: Unsubscribe, now: datetime) -> str:
    """Which of them holds now."""
    held = dial.of(connection, told.shop_id, told.member_id)
    if held.snooze_until is not None and held.snooze_until > now:
        return "pause"
    return {dial.MONTHLY: "two", dial.ONLY_BIRTHDAY: "birthday"}.get(held.frequency, "all")


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
