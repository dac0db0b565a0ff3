"""Every state a touchpoint can be in, every way from one to another, what moves it there, and why something was not sent.

Two tables, nothing elsewhere.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ColumnElement, literal_column

from crm_plugin.events import DeliveryEventKind


class State(StrEnum):
    """What became of a touchpoint. `accepted` is the provider's word, `delivered` the recipient's side's."""

    PLANNED = "planned"
    IN_FLIGHT = "in_flight"
    RETRY_WAIT = "retry_wait"
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    UNCONFIRMED = "unconfirmed"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSED = "missed"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why a touchpoint was skipped, missed, deferred or failed."""

    NO_CONSENT = "no_consent"
    SUPPRESSED = "suppressed"
    NO_ADDRESS = "no_address"
    NO_SENDER = "no_sender"
    NO_LONGER_MATCHES = "no_longer_matches"
    GOAL = "goal"
    MEMBER_GONE = "member_gone"
    JOURNEY_OFF = "journey_off"
    JOURNEY_PAUSED = "journey_paused"
    HOLDOUT = "holdout"
    OPEN_CASE = "open_case"
    MEMBER_DIAL = "member_dial"
    GREETED = "greeted"
    DEALT_WITH = "dealt_with"
    QUIET_HOURS = "quiet_hours"
    FREQUENCY_CAP = "frequency_cap"
    BLAST_RADIUS = "blast_radius"
    AWAITING_ORDERS = "awaiting_orders"
    AWAITING_PAYMENT = "awaiting_payment"
    NO_AUDIENCE = "no_audience"
    WINDOW_OVER = "window_over"
    NO_PUBLIC_URL = "no_public_url"
    SENDER_PAUSED = "sender_paused"
    TRANSIENT = "transient"
    TOO_MANY_TRIES = "too_many_tries"
    REFUSED = "recipient_refused"
    OPTED_OUT = "opted_out"
    PERMANENT = "permanent"
    RENDER = "render"
    NO_TEMPLATE = "no_template"
    OUTCOME_UNKNOWN = "outcome_unknown"
    CRASHED = "crashed"
    ERROR = "error"
    BY_MERCHANT = "by_merchant"


S = State
# From each state the states it may go to. Delivery events come twice, late and out of order: what a later state cannot go back to is left.
# What waits can be told of too, after a merchant sent again what had arrived all along: then it must not leave a second time.
TRANSITIONS: dict[State, frozenset[State]] = {
    S.PLANNED: frozenset(
        {S.IN_FLIGHT, S.SKIPPED, S.CANCELLED, S.MISSED, S.ACCEPTED, S.DELIVERED, S.BOUNCED, S.COMPLAINED}
    ),
    S.IN_FLIGHT: frozenset(
        {
            S.PLANNED,
            S.ACCEPTED,
            S.RETRY_WAIT,
            S.FAILED,
            S.UNCONFIRMED,
            S.SKIPPED,
            S.MISSED,
            S.DELIVERED,
            S.BOUNCED,
            S.COMPLAINED,
        }
    ),
    S.RETRY_WAIT: frozenset(
        {S.IN_FLIGHT, S.SKIPPED, S.CANCELLED, S.MISSED, S.ACCEPTED, S.DELIVERED, S.BOUNCED, S.COMPLAINED}
    ),
    S.ACCEPTED: frozenset({S.DELIVERED, S.BOUNCED, S.COMPLAINED, S.FAILED}),
    S.DELIVERED: frozenset({S.COMPLAINED, S.BOUNCED}),
    S.BOUNCED: frozenset({S.COMPLAINED, S.DELIVERED}),
    S.UNCONFIRMED: frozenset({S.PLANNED, S.ACCEPTED, S.DELIVERED, S.BOUNCED, S.COMPLAINED, S.FAILED, S.CANCELLED}),
    S.FAILED: frozenset({S.PLANNED, S.DELIVERED, S.COMPLAINED}),
    S.SKIPPED: frozenset(),
    S.MISSED: frozenset(),
    S.CANCELLED: frozenset(),
    S.COMPLAINED: frozenset(),
}
_K = DeliveryEventKind
# What an event says of its message. An opening and a click prove that it left, and no more: machines make them too. An opt-out is about its
# member, and an unknown word says nothing.
EVENTS: dict[DeliveryEventKind, State] = {
    _K.QUEUED: S.ACCEPTED,
    _K.SENT: S.ACCEPTED,
    _K.DEFERRED: S.ACCEPTED,
    _K.OPENED: S.ACCEPTED,
    _K.CLICKED: S.ACCEPTED,
    _K.DELIVERED: S.DELIVERED,
    _K.BOUNCED: S.BOUNCED,
    _K.REJECTED: S.FAILED,
    _K.FAILED: S.FAILED,
    _K.COMPLAINED: S.COMPLAINED,
}
WAITING = (State.PLANNED, State.RETRY_WAIT)
# Written out, SQLite knows by these words that the index of what waits holds the rows; where others lead to fewer rows it is not told.
BY_INDEX: tuple[ColumnElement[str], ...] = tuple(literal_column(f"'{state}'") for state in WAITING)


def may_go(present: State | str, to: State) -> bool:
    """Whether the table allows this step."""
    return to in TRANSITIONS[State(present)]


def after(present: State | str, event: DeliveryEventKind) -> State:
    """The state in which a message is after an event: where no way leads on, the one in which it was."""
    to = EVENTS.get(event)
    return State(present) if to is None or not may_go(present, to) else to
