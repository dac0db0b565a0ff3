"""Settling claimed touchpoints: what became of each is written together with how its attempt ended and what that taught of the address."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError

from crm_plugin.phrases import cut, packed
from crm_plugin.records import ConsentState, SendResult
from crm_plugin.store import attempts, consent, touchpoints
from crm_plugin.store.base import to_micros
from crm_plugin.store.bulk import update_rows
from crm_plugin.store.session import Database, again, is_away
from crm_plugin.touchpoints import claims, event_rows
from crm_plugin.touchpoints.reach import CONSENT_CHANNEL
from crm_plugin.touchpoints.render import Rendered
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


_KEY = ("shop_id", "touchpoint_id")
_END = ("finished_at", "outcome", "error_code", "error", "parts", *_KEY, "attempt_no")


def settle(db: Database, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Write what became of touchpoints of one shop, in one transaction; answers those that were still ours.

    Raises: DBAPIError when the database does not come back in time; then the touchpoints are left to recovery.
    """

    def write() -> list[Outcome]:
        with db.write() as connection:
            return _write(connection, claims.held(connection, [one.row for one in outcomes]), outcomes)

    return patiently(write) if outcomes else []


def begin(
    db: Database, made: Sequence[tuple[Row[Any], Rendered]], now: datetime, ended: Sequence[Outcome] = ()
) -> tuple[frozenset[int], list[Outcome]]:
    """Note attempts before anything leaves, and in the same transaction what became of those that have `ended`; all are of one shop.

    Answers which touchpoints no other worker has taken meanwhile, and of the ended ones those that were still ours.
    """

    def write() -> tuple[frozenset[int], list[Outcome]]:
        with db.write() as connection:
            ours = claims.held(connection, [*(row for row, _ in made), *(one.row for one in ended)])
            claims.note_begun(connection, ours, made, now)
            return ours, _write(connection, ours, ended)

    return again(write) if made or ended else (frozenset(), [])


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


def _write(connection: Connection, held: Collection[int], outcomes: Sequence[Outcome]) -> list[Outcome]:
    ours = [one for one in outcomes if one.row.touchpoint_id in held]
    alike: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for one in ours:
        values = _settled(one)
        alike[tuple(values)].append((*values.values(), one.row.shop_id, one.row.touchpoint_id))
    for columns, rows in alike.items():
        update_rows(connection, touchpoints, (*columns, *_KEY), _KEY, rows)
    ended = [_ended(one) for one in ours if one.attempt is not None]
    update_rows(connection, attempts, _END, (*_KEY, "attempt_no"), ended)
    for one in ours:
        if one.dead or one.opted_out:
            _learn(connection, one)
    return ours


def _settled(one: Outcome) -> dict[str, Any]:
    """What changes of the touchpoint, as stored. A column that stays as it is costs its index all the same, so it is left out."""
    at, result = to_micros(one.at), one.result
    values: dict[str, Any] = {
        "state": one.state.value,
        "reason": str(one.reason),
        "reason_detail": packed(cut(one.detail, 500)),
        "claimed_until": None,
        "settled_at": None if one.state in WAITING else at,
        "updated_at": at,
    }
    if one.next_try_at is not None:
        values["next_try_at"] = to_micros(one.next_try_at)
    if result is not None:
        values["provider_message_id"] = event_rows.told_id(result.provider_message_id)
        values["accepted_at"] = at
    return values


def _ended(one: Outcome) -> tuple[Any, ...]:
    parts = None if one.result is None else min(max(one.result.parts, 0), _MOST_PARTS)
    told = (to_micros(one.at), one.state.value, str(one.reason), packed(cut(one.detail, 500)), parts)
    return *told, one.row.shop_id, one.row.touchpoint_id, one.attempt


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
