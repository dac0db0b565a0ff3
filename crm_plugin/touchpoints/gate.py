"""The guards, asked again just before sending: between planning and now consent can go, an order can come, a night can fall."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from crm_plugin.phrases import phrase
from crm_plugin.records import ConsentState, OrderStatus
from crm_plugin.rules.triggers import kind_of
from crm_plugin.touchpoints.batch import Batch
from crm_plugin.touchpoints.caps import exempt
from crm_plugin.touchpoints.cases import COMPLAINT, LATE_PARCEL, RETURN, concerns
from crm_plugin.touchpoints.holdout import held_out
from crm_plugin.touchpoints.journey import MARKETING, WEBHOOK, Journey
from crm_plugin.touchpoints.policy import Policy
from crm_plugin.touchpoints.quiet import open_after
from crm_plugin.touchpoints.reach import CONSENT_CHANNEL, by_account
from crm_plugin.touchpoints.relevance import said_before, still_relevant
from crm_plugin.touchpoints.states import Reason, State

# How soon it is looked at again whether an order was paid.
_UNPAID_PAUSE = timedelta(minutes=10)
# And whether an audience can be asked again.
_UNASKED_PAUSE = timedelta(minutes=10)
# And whether another journey's greeting has left.
_GREETING_PAUSE = timedelta(minutes=10)
# What was in hand when its journey was stopped; from then on the claim leaves it.
_HELD_PAUSE = timedelta(minutes=1)
# Which case is open.
_CASES = {
    COMPLAINT: phrase("They have complained, and it is not settled."),
    RETURN: phrase("An order or a return of theirs is not settled."),
    LATE_PARCEL: phrase("A parcel of theirs is late."),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Go on (no state), or not: the state to settle in with its reason, for `planned` the instant (aware UTC) to try again."""

    state: State | None = None
    reason: str = ""
    detail: str = ""
    again_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether the message may leave now."""
        return self.state is None


OPEN = Verdict()


def judge(row: Row[Any], batch: Batch, policy: Policy, now: datetime) -> Verdict:
    """Whether this touchpoint may leave now. What is refused here is a result with a reason, never an error."""
    journey = batch.journey_of(row)
    if journey is None or not journey.enabled:
        unread = journey is None and row.step
        why = phrase("The step or the version it was planned by cannot be read.") if unread else ""
        return Verdict(State.SKIPPED, Reason.JOURNEY_OFF, why)
    if row.valid_until <= now:
        return Verdict(State.MISSED, Reason.WINDOW_OVER)
    if journey.paused_at is not None:
        return Verdict(State.PLANNED, Reason.JOURNEY_PAUSED)
    member = batch.members.get(row.member_id)
    if member is None or member.state != "active":
        return Verdict(State.SKIPPED, Reason.MEMBER_GONE)
    if address_of(row.channel, member, row.adapter) != row.address or not row.address:
        return Verdict(State.SKIPPED, Reason.NO_ADDRESS, phrase("The address has changed since this was planned."))
    if not agreed(journey, row.channel, batch.consents.get(row.member_id, {})):
        return Verdict(State.SKIPPED, Reason.NO_CONSENT)
    blocked = batch.suppressed.get((CONSENT_CHANNEL[row.channel], row.address))
    if blocked:
        return Verdict(State.SKIPPED, Reason.SUPPRESSED, blocked)
    if journey.key in batch.held and not exempt(journey):
        return Verdict(State.PLANNED, Reason.BLAST_RADIUS, again_at=now + _HELD_PAUSE)
    if not (dialled := _dialled(row, journey, batch, now)).open:
        return dialled
    if row.member_id in batch.cases and concerns(journey):
        return Verdict(State.SKIPPED, Reason.OPEN_CASE, _CASES[batch.cases[row.member_id]])
    if held_out(member.shop_id, journey, row.member_id):
        return Verdict(State.SKIPPED, Reason.HOLDOUT)
    if journey.name in batch.unasked:
        # It may be mended while the message is still worth reading.
        return Verdict(State.PLANNED, Reason.NO_AUDIENCE, batch.unasked[journey.name], again_at=now + _UNASKED_PAUSE)
    if row.member_id in batch.at_goal.get(journey.name, ()):
        return Verdict(State.SKIPPED, Reason.GOAL)
    if not still_relevant(row, journey, batch) or said_before(row, journey, batch):
        return Verdict(State.SKIPPED, Reason.NO_LONGER_MATCHES)
    if (greeted := batch.greeted.get((row.touchpoint_id, row.due_at))) is not None:
        later = Verdict(State.PLANNED, Reason.GREETED, again_at=now + _GREETING_PAUSE)
        return Verdict(State.SKIPPED, Reason.GREETED) if greeted else later
    kind = kind_of(journey.trigger)
    if kind.awaits_orders and not batch.in_step.covers(row.due_at):
        return Verdict(State.PLANNED, Reason.AWAITING_ORDERS, again_at=now + batch.in_step.pause)
    if kind.awaits_payment and _is_unpaid(row, batch):
        return Verdict(State.PLANNED, Reason.AWAITING_PAYMENT, again_at=now + _UNPAID_PAUSE)
    if row.channel == WEBHOOK:
        # It disturbs nobody's night.
        return OPEN
    if not (awake := _awake(row, journey, batch, policy, now)).open:
        return awake
    return OPEN if exempt(journey) else _in_measure(row, batch, policy, now)


def _awake(row: Row[Any], journey: Journey, batch: Batch, policy: Policy, now: datetime) -> Verdict:
    """Whether it is an hour at which the member may be written to on this channel."""
    member, marketing = batch.members[row.member_id], not exempt(journey)
    allowed = open_after(member, row.channel, policy.quiet, policy.rest, now, policy.zone, marketing=marketing)
    if allowed is None or (allowed > now and allowed >= row.valid_until):
        return Verdict(State.MISSED, Reason.WINDOW_OVER, phrase("Its window ends within the quiet hours."))
    return Verdict(State.PLANNED, Reason.QUIET_HOURS, again_at=allowed) if allowed > now else OPEN


def _is_unpaid(row: Row[Any], batch: Batch) -> bool:
    order = batch.orders.get(row.subject_order_id)
    return order is not None and order.status == OrderStatus.PENDING


def _dialled(row: Row[Any], journey: Journey, batch: Batch, now: datetime) -> Verdict:
    """Whether the member's own dial lets it through."""
    dial = batch.ledger.dials.get(row.member_id)
    if dial is None or exempt(journey):
        return OPEN
    if not dial.allows(journey):
        return Verdict(State.SKIPPED, Reason.MEMBER_DIAL)
    if dial.snooze_until is None or dial.snooze_until <= now:
        return OPEN
    if dial.snooze_until >= row.valid_until:
        return Verdict(State.SKIPPED, Reason.MEMBER_DIAL)
    return Verdict(State.PLANNED, Reason.MEMBER_DIAL, again_at=dial.snooze_until)


def _in_measure(row: Row[Any], batch: Batch, policy: Policy, now: datetime) -> Verdict:
    """Whether the member has room for one more, asked when it was taken too (`claims.py`)."""
    room = batch.ledger.room(row, policy.limits, now)
    if room.at is None:
        return OPEN
    if room.at >= row.valid_until:
        return Verdict(State.MISSED, room.reason)
    return Verdict(State.PLANNED, room.reason, again_at=room.at)


def address_of(channel: str, member: Row[Any], adapter: str) -> str:
    """Where the member is reached on that channel by that sender now; empty when nowhere."""
    if by_account(adapter):
        return str(member.external_id or "")
    if channel == "sms":
        return str(member.phone)
    if channel == WEBHOOK:
        return WEBHOOK
    if channel == "inapp":
        return str(member.external_id or "")
    return str(member.email)


def agreed(journey: Journey, channel: str, said: dict[tuple[str, str], str]) -> bool:
    """Whether consent covers it; the same rule as planning's (`reach.py`)."""
    name = CONSENT_CHANNEL[channel]
    own, all_ = said.get((name, journey.topic)), said.get((name, MARKETING))
    if journey.kind == "transactional":
        return journey.topic == MARKETING or own != ConsentState.WITHDRAWN
    if ConsentState.WITHDRAWN in (own, all_):
        return False
    return channel == "inapp" or ConsentState.GRANTED in (own, all_)
