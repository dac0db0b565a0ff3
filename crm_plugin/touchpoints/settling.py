"""Settling claimed touchpoints: what became of each is written together with how its attempt ended and what that taught of the address."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, bindparam, func, update
from sqlalchemy.exc import DBAPIError

from crm_plugin.phrases import cut
from crm_plugin.records import ConsentState, SendResult
from crm_plugin.store import attempts, consent, touchpoints
from crm_plugin.store.session import Database, again, is_away
from crm_plugin.touchpoints import claims, event_rows
from crm_plugin.touchpoints.reach import CONSENT_CHANNEL
from crm_plugin.touchpoints.states import WAITING, State, may_go

# With what has been called for, a database that is away or full is waited for: the claim lasts longer, and what is not written is doubtful.
PATIENCE_SECONDS, PAUSE_SECONDS = 90.0, 1.0
# Of one message; what a provider tells beyond it is nonsense.
_MOST_PARTS = 1000
_Answer = TypeVar("_Answer")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one claimed touchpoint at `at`.

    `attempt` is the number of the call that ended, None where none was made. `dead` and `opted_out` are the provider's word on the address.
    """

    row: Row[Any]
    state: State
    at: datetime
    reason: str = ""
    detail: str = ""
    attempt: int | None = None
    next_try_at: datetime | None = None
    result: SendResult | None = None
    dead: bool = False
    opted_out: bool = False

    def __post_init__(self) -> None:
        if not may_go(State.IN_FLIGHT, self.state):
            raise ValueError(f"no way leads from in_flight to {self.state}")


_t, _a = touchpoints.c, attempts.c
_SETTLE = (
    update(touchpoints)
    .where(_t.shop_id == bindparam("b_shop"), _t.touchpoint_id == bindparam("b_id"))
    .values(
        state=bindparam("b_state"),
        reason=bindparam("b_reason"),
        reason_detail=bindparam("b_detail"),
        claimed_until=None,
        next_try_at=bindparam("b_next"),
        settled_at=bindparam("b_settled"),
        provider_message_id=func.coalesce(
            bindparam("b_message", type_=_t.provider_message_id.type), _t.provider_message_id
        ),
        accepted_at=func.coalesce(bindparam("b_accepted", type_=_t.accepted_at.type), _t.accepted_at),
        updated_at=bindparam("b_at"),
    )
)
_END = (
    update(attempts)
    .where(
        _a.shop_id == bindparam("b_shop"), _a.touchpoint_id == bindparam("b_id"), _a.attempt_no == bindparam("b_number")
    )
    .values(
        finished_at=bindparam("b_at"),
        outcome=bindparam("b_state"),
        error_code=bindparam("b_reason"),
        error=bindparam("b_detail"),
        parts=bindparam("b_parts"),
    )
)


def settle(db: Database, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Write what became of touchpoints of one shop, in one transaction; answers those that were still ours.

    Raises: DBAPIError when the database does not come back in time; then the touchpoints are left to recovery.
    """
    return patiently(lambda: _write(db, outcomes)) if outcomes else []


def patiently(work: Callable[[], _Answer]) -> _Answer:
    """Run a whole transaction, which may be run twice, when the database is there again.

    Raises: DBAPIError when it does not come back in time, or something else is wrong.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return again(work)
        except DBAPIError as error:
            if not is_away(error) or time.monotonic() >= until:
                raise
            _log.warning("what became of messages is not written yet: %s", type(error.orig).__name__)
            time.sleep(PAUSE_SECONDS)


def _write(db: Database, outcomes: Sequence[Outcome]) -> list[Outcome]:
    with db.write() as connection:
        held = claims.held(connection, [one.row for one in outcomes])
        ours = [one for one in outcomes if one.row.touchpoint_id in held]
        if not ours:
            return []
        connection.execute(_SETTLE, [_settled(one) for one in ours])
        ended = [_ended(one) for one in ours if one.attempt is not None]
        if ended:
            connection.execute(_END, ended)
        for one in ours:
            if one.dead or one.opted_out:
                _learn(connection, one)
    return ours


def _settled(one: Outcome) -> dict[str, Any]:
    result = one.result
    return {
        "b_shop": one.row.shop_id,
        "b_id": one.row.touchpoint_id,
        "b_state": one.state.value,
        "b_reason": str(one.reason),
        "b_detail": cut(one.detail, 500),
        "b_next": one.next_try_at or one.row.next_try_at,
        "b_settled": None if one.state in WAITING else one.at,
        "b_message": None if result is None else event_rows.told_id(result.provider_message_id),
        "b_accepted": None if result is None else one.at,
        "b_at": one.at,
    }


def _ended(one: Outcome) -> dict[str, Any]:
    return {
        "b_shop": one.row.shop_id,
        "b_id": one.row.touchpoint_id,
        "b_number": one.attempt,
        "b_at": one.at,
        "b_state": one.state.value,
        "b_reason": str(one.reason),
        "b_detail": cut(one.detail, 500),
        "b_parts": None if one.result is None else min(max(one.result.parts, 0), _MOST_PARTS),
    }


def _learn(connection: Connection, one: Outcome) -> None:
    """The provider knows that this address is dead, or that its holder refuses."""
    row = one.row
    channel = CONSENT_CHANNEL[row.channel]
    reason = "opted_out" if one.opted_out else "refused"
    consent.suppress(connection, row.shop_id, channel, row.address, reason=reason, at=one.at, source=row.adapter)
    if one.opted_out:
        consent.record(
            connection,
            row.shop_id,
            row.member_id,
            channel=channel,
            topic="marketing",
            state=ConsentState.WITHDRAWN,
            at=one.at,
            source=row.adapter,
            recorded_at=one.at,
        )
