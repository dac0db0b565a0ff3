"""Settling claimed touchpoints: what became of each is written together with how its attempt ended and what that taught of the address."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError

from crm_plugin.phrases import cut, packed
from crm_plugin.records import ConsentState, SendResult
from crm_plugin.store import attempts, consent
from crm_plugin.store.base import to_micros
from crm_plugin.store.bulk import update_rows
from crm_plugin.store.session import Database, again, is_away
from crm_plugin.touchpoints import claims, event_rows
from crm_plugin.touchpoints.noting import notes
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


def settle(db: Database, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Write what became of touchpoints of one shop, in one transaction; answers those that were still ours.

    Raises: DBAPIError when the database does not come back in time; then the touchpoints are left to recovery.
    """
    return patiently(lambda: _write(db, (), outcomes[0].at, outcomes)[1]) if outcomes else []


def begin(
    db: Database, made: Sequence[tuple[Row[Any], Rendered]], now: datetime, ended: Sequence[Outcome] = ()
) -> tuple[frozenset[int], list[Outcome]]:
    """Note attempts before anything leaves, and in the same transaction what became of those that have `ended`; all are of one shop.

    Answers which touchpoints no other worker has taken meanwhile, and of the ended ones those that were still ours.
    """
    return again(lambda: _write(db, made, now, ended)) if made or ended else (frozenset(), [])


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


def _write(
    db: Database, made: Sequence[tuple[Row[Any], Rendered]], now: datetime, ended: Sequence[Outcome]
) -> tuple[frozenset[int], list[Outcome]]:
    begun, settled = notes(made, now), _settled(ended)
    try:
        with db.write() as connection:
            begun.write(connection)
            settled.write(connection)
    except claims.Lost:
        # Hardly ever: then it is asked which are ours, and those alone are written.
        with db.write() as connection:
            ours = claims.held(connection, [*(row for row, _ in made), *(one.row for one in ended)])
            made = [(row, text) for row, text in made if row.touchpoint_id in ours]
            ended = [one for one in ended if one.row.touchpoint_id in ours]
            notes(made, now).write(connection)
            _settled(ended).write(connection)
    return frozenset(row.touchpoint_id for row, _ in made), list(ended)


_END = ("finished_at", "outcome", "error_code", "error", "parts", "shop_id", "touchpoint_id", "attempt_no")


@dataclass(frozen=True, slots=True)
class _Settled:
    """What is written of touchpoints that have ended, as stored, and those that teach something of an address."""

    changes: Mapping[tuple[str, ...], list[tuple[Any, ...]]]
    tries: Sequence[tuple[Any, ...]]
    learned: Sequence[Outcome]

    def write(self, connection: Connection) -> None:
        """Write it all. Raises: Lost when one of them is no longer ours."""
        claims.change_held(connection, self.changes)
        update_rows(connection, attempts, _END, _END[-3:], self.tries)
        for one in self.learned:
            _learn(connection, one)


def _settled(outcomes: Sequence[Outcome]) -> _Settled:
    changes: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
    tries = []
    for one in outcomes:
        row, at, result = one.row, to_micros(one.at), one.result
        key = row.shop_id, row.touchpoint_id
        said = one.state.value, str(one.reason), packed(cut(one.detail, 500)) if one.detail else ""
        # A column that stays as it is costs its index all the same, so it is left out.
        columns: tuple[str, ...] = ("state", "reason", "reason_detail", "claimed_until", "settled_at", "updated_at")
        values: tuple[Any, ...] = (*said, None, None if one.state in WAITING else at, at)
        if one.next_try_at is not None:
            columns, values = (*columns, "next_try_at"), (*values, to_micros(one.next_try_at))
        if result is not None:
            columns = (*columns, "provider_message_id", "accepted_at")
            values = (*values, event_rows.told_id(result.provider_message_id), at)
        changes[columns].append((*values, *key, row.fence))
        if one.attempt is not None:
            parts = None if result is None else min(max(result.parts, 0), _MOST_PARTS)
            tries.append((at, *said, parts, *key, one.attempt))
    return _Settled(changes, tries, [one for one in outcomes if one.dead or one.opted_out])


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
