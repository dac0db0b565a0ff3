"""Words for where an enrolment is, and ending all that are inside a journey."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from crm_plugin.store.base import to_micros
from crm_plugin.touchpoints.states import State

ACTIVE, ENDED = "active", "ended"
# Where someone stands at a step: it is to be taken; a wait lasts; what was waited for has happened; a touchpoint is not settled yet.
DUE, WAITS, HEARD, SENT = "due", "waits", "heard", "sent"
# A wait for an event is of the phase `event:<what>`; it is over at `due_at` all the same.
EVENT = "event:"
# What the occasion of somebody begins with who was taken in by hand when the journey was switched on.
INSIDE = "inside:"
# What happened.
ENROLLED, BEGUN, DONE, MOVED = "enrolled", "begun", "done", "moved"
# Why somebody left before the end, or came to it.
GOAL, AUDIENCE, GONE, OFF, ARCHIVED, HOLDOUT = "goal", "audience", "member_gone", "journey_off", "archived", "holdout"
# Why a step was passed by: it had been taken on an earlier version.
BEFORE = "before"

# A message has left, or may have.
_LEFT = (State.ACCEPTED, State.DELIVERED, State.BOUNCED, State.COMPLAINED, State.UNCONFIRMED)


def left_from(due_at: int, state: str, left_at: int | None) -> int:
    """From what instant counts what follows a message: when it left, else when its step fell due."""
    return left_at if state in _LEFT and left_at is not None else due_at


_EVENTS = text(
    "INSERT INTO enrolment_events (shop_id, enrolment_id, seq, at, what, version, step_key, to_step, phase, base_at, due_at, reason, "
    "detail) SELECT e.shop_id, e.enrolment_id, e.seq + 1, "
    " CAST(:now AS BIGINT), 'ended', e.version, e.step_key, '', '', e.base_at, e.due_at, "
    "CAST(:reason AS TEXT), '' FROM enrolments AS e WHERE e.shop_id = :shop_id AND e.journey_key = :journey_key AND e.state = 'active' "
    "ON CONFLICT DO NOTHING"
)
_ENROLMENTS = text(
    "UPDATE enrolments SET state = 'ended', end_reason = :reason, phase = '', seq = seq + 1, ended_at = :now, updated_at = :now "
    "WHERE shop_id = :shop_id AND journey_key = :journey_key AND state = 'active'"
)
# Whoever did nothing about a task because the journey settled it: the word in the place of their name. Its outcome is why.
BY_JOURNEY = "journey"
_TASKS = text(
    f"UPDATE tasks SET done_at = :now, done_by = '{BY_JOURNEY}', outcome = :reason "  # noqa: S608
    "WHERE shop_id = :shop_id AND journey_key = :journey_key AND done_at IS NULL"
)


def end_all(connection: Connection, shop_id: int, journey_key: str, reason: str, now: datetime) -> int:
    """End every enrolment of a journey, and what people still had to do for it; answers how many enrolments there were."""
    values = {"shop_id": shop_id, "journey_key": journey_key, "reason": reason, "now": to_micros(now)}
    connection.execute(_EVENTS, values)
    connection.execute(_TASKS, values)
    return int(connection.execute(_ENROLMENTS, values).rowcount)
