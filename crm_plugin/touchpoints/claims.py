"""Taking touchpoints for sending.

Only what changed in the UPDATE is ours. Once the lease has run out another may take it, with a new fence, and our claim is worth nothing.
A claim that has not begun is short, for nothing has left and whoever takes it anew does no harm; one that has begun outlasts any call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, bindparam, delete, not_, or_, select, tuple_, update

from crm_plugin.store import attempts, journey_waves, touchpoint_contents, touchpoints
from crm_plugin.store.base import Instant, unindexed
from crm_plugin.store.bulk import named, select_in, update_rows
from crm_plugin.store.lists import among
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import caps, glance
from crm_plugin.touchpoints.guard_settings import Limit
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.states import BY_INDEX, WAITING, State
from crm_plugin.touchpoints.versions import voices
from crm_plugin.touchpoints.waves import HELD

CLAIMED, BEGUN = timedelta(minutes=2), timedelta(minutes=10)
_WAITING = [state.value for state in WAITING]


@dataclass(slots=True)
class Place:
    """How far a round has come among what is due: what may not be taken is walked through once a round, not at each claim."""

    after: tuple[datetime, int] | None = None

    def reset(self) -> None:
        """Begin anew, for something before it may be taken again."""
        self.after = None

    def move(self, due: Sequence[Row[Any]], taken: Collection[int]) -> None:
        """Go on behind these rows, but not past one that waits only for another of its member that was taken."""
        busy = {row.member_id for row in due if row.touchpoint_id in taken}
        for row in due:
            if row.touchpoint_id not in taken and row.member_id in busy:
                return
            self.after = (row.next_try_at, row.touchpoint_id)


# A writer has SQLite to itself; on PostgreSQL the rows are locked, always in the same order.
_HELD = "SELECT touchpoint_id, fence FROM touchpoints WHERE state = ? AND shop_id = ? AND touchpoint_id IN ({marks})"


def held(connection: Connection, rows: Sequence[Row[Any]]) -> frozenset[int]:
    """Which of these touchpoints of one shop are still in flight under the claim they were read with; they stay locked."""
    fences = {row.touchpoint_id: row.fence for row in rows}
    sql = _HELD if connection.dialect.name == "sqlite" else f"{_HELD} ORDER BY touchpoint_id FOR UPDATE"
    found = select_in(connection, sql, (State.IN_FLIGHT.value, rows[0].shop_id), sorted(fences))
    return frozenset(number for number, fence in found if fences[number] == fence)


class Lost(Exception):
    """Not all touchpoints that were to be written are still in flight under our claim."""


_HELD_KEY = ("shop_id", "touchpoint_id", "fence")


def change_held(connection: Connection, changes: Mapping[tuple[str, ...], list[tuple[Any, ...]]]) -> None:
    """Set columns of touchpoints that are ours: (columns) → rows of their values, shop, touchpoint and fence.

    Nobody asks before whether they are: it is seen by how many were written. Raises: Lost, and then the transaction is to be undone.
    """
    held_now = f"touchpoints.state = '{State.IN_FLIGHT}'"
    for columns, rows in changes.items():
        # Locked in the same order by whoever locks several.
        rows.sort(key=itemgetter(-2))
        if update_rows(connection, touchpoints, (*columns, *_HELD_KEY), _HELD_KEY, rows, held_now) < len(rows):
            raise Lost


def claim(
    db: Database,
    shop_id: int,
    now: datetime,
    count: int,
    *,
    resting: Collection[str],
    limits: Sequence[Limit] = (),
    place: Place | None = None,
    told: Callable[[str, str], None] = lambda _state, _reason: None,
) -> Sequence[Row[Any]]:
    """Take at most `count` touchpoints that are due, those of resting senders left out; the first due comes first.

    Of what counts towards a member's limits one is taken at a time, the most important. What does not fit is put off or missed on the way;
    `told` hears of each. Of one `place` a round's claims go on where the last one stopped.
    """
    place = place or Place()
    if glance.nothing(db, glance.DUE, shop_id, now):
        return []
    while True:
        with db.write() as connection:
            caps.lock(connection, shop_id)
            journeys = voices(connection, shop_id, ())
            idle = _idle(connection, shop_id, journeys.journeys)
            asked = _asked(shop_id, now, resting, journeys.journeys, place)
            due = named(connection.execute(_DUE.where(*idle), {**asked, "b_count": count}))
            if not due:
                return []
            journeys.learn(connection, shop_id, due)
            counted = [row for row in due if caps.counts(row, journeys, now)]
            last = due[-1] if len(due) == count else None
            rivals = _rivals(connection, counted, last, idle, asked) if last or place.after else ()
            journeys.learn(connection, shop_id, rivals)
            counted += [row for row in rivals if caps.counts(row, journeys, now)]
            counting = caps.choose(connection, shop_id, counted, journeys, limits, now, told)
            free = {row.touchpoint_id for row in due}.difference(row.touchpoint_id for row in counted)
            place.move(due, counting | free)
            if counting or free:
                return _take(connection, shop_id, counting, free, now)


def _asked(
    shop_id: int, now: datetime, resting: Collection[str], journeys: Mapping[str, Journey], place: Place
) -> dict[str, Any]:
    """What the statements about what is due are told."""
    after_at, after_id = place.after or _FIRST
    paused = sorted(key for key, journey in journeys.items() if journey.paused_at is not None)
    told = {"b_shop": shop_id, "b_now": now, "b_resting": sorted(resting), "b_paused": paused}
    return {**told, "b_after_at": after_at, "b_after_id": after_id}


def _rivals(
    connection: Connection,
    counted: Sequence[Row[Any]],
    last: Row[Any] | None,
    idle: Collection[ColumnElement[bool]],
    asked: Mapping[str, Any],
) -> Sequence[Row[Any]]:
    """What else is due for the members of these; `last` is the last that was found, None where that was all behind the place."""
    members = sorted({row.member_id for row in counted})
    if not members:
        return ()
    last_at, last_id = (last.next_try_at, last.touchpoint_id) if last else (asked["b_now"], _LAST_ID)
    theirs = {
        "b_members": members,
        "b_since": caps.earliest(asked["b_now"]),
        "b_last_at": last_at,
        "b_last_id": last_id,
    }
    return named(connection.execute(_RIVALS.where(*idle), {**asked, **theirs}))


# What whoever sends a touchpoint needs to know of it.
_KEPT = "occasion channel adapter address subject_order_id occasion_on due_at next_try_at valid_until capped_at fence attempts"
_TAKEN = ("shop_id", "touchpoint_id", "journey_key", "journey_version", "member_id", "step", *_KEPT.split())
_t = touchpoints.c
_TAKE = (
    update(touchpoints)
    .where(
        _t.shop_id == bindparam("b_shop"),
        among(_t.touchpoint_id, "b_ids"),
        _t.state.in_(BY_INDEX),
    )
    .values(
        state=State.IN_FLIGHT.value,
        claimed_until=bindparam("b_until"),
        capped_at=bindparam("b_capped"),
        fence=_t.fence + 1,
        updated_at=bindparam("b_now"),
    )
    .returning(*(_t[name] for name in _TAKEN))
)
# Whatever is due lies behind the one and not behind the other.
_FIRST, _LAST_ID = (datetime(1, 1, 1, tzinfo=UTC), 0), 2**63 - 1
_NAMES = "touchpoint_id member_id next_try_at journey_key journey_version step channel due_at valid_until"
# What a paused journey planned waits untouched, and so does what stands still (`_idle`).
_MAY_LEAVE = select(*(_t[name] for name in _NAMES.split())).where(
    _t.shop_id == bindparam("b_shop"),
    _t.next_try_at <= bindparam("b_now"),
    not_(among(_t.adapter, "b_resting")),
    not_(among(_t.journey_key, "b_paused")),
)
_place, _after = (
    tuple_(_t.next_try_at, _t.touchpoint_id),
    tuple_(bindparam("b_after_at", type_=Instant), bindparam("b_after_id")),
)
# Touchpoints that may be taken, behind a place.
_DUE = (
    _MAY_LEAVE.where(_t.state.in_(BY_INDEX), _place > _after)
    .order_by(_t.next_try_at, _t.touchpoint_id)
    .limit(bindparam("b_count"))
)
# The same of some members, but those up to the last that were found; however many others are due before.
_RIVALS = _MAY_LEAVE.where(
    unindexed(_t.state).in_(_WAITING),
    unindexed(_t.due_at) > bindparam("b_since"),
    among(_t.member_id, "b_members"),
    or_(_place <= _after, _place > tuple_(bindparam("b_last_at", type_=Instant), bindparam("b_last_id"))),
)


def _idle(connection: Connection, shop_id: int, journeys: Mapping[str, Journey]) -> list[ColumnElement[bool]]:
    """What leaves alone a journey that stands still, but for its steps that are exempt."""
    t, w = touchpoints.c, journey_waves.c
    keys = connection.execute(select(w.journey_key).where(w.shop_id == shop_id, w.state == HELD)).scalars()
    held = {key: journeys[key] for key in keys if key in journeys}
    return [or_(t.journey_key.not_in(sorted(held)), caps.exempt_rows(connection, shop_id, held))] if held else []


def _take(
    connection: Connection, shop_id: int, counting: Collection[int], free: Collection[int], now: datetime
) -> Sequence[Row[Any]]:
    taken: list[Row[Any]] = []
    for numbers, capped_at in ((counting, now), (free, None)):
        if numbers:
            values = {"b_shop": shop_id, "b_ids": sorted(numbers), "b_until": now + CLAIMED, "b_capped": capped_at}
            taken += named(connection.execute(_TAKE, {**values, "b_now": now}))
    return sorted(taken, key=lambda row: (row.due_at, row.touchpoint_id))


def release(db: Database, rows: Sequence[Row[Any]], now: datetime) -> None:
    """Give back what was claimed and not begun, as it was."""
    if not rows:
        return
    with db.write() as connection:
        ours = held(connection, rows)
        for state in WAITING:
            some = [
                row.touchpoint_id
                for row in rows
                if row.touchpoint_id in ours and (state is State.RETRY_WAIT) == bool(row.attempts)
            ]
            if some:
                values = {"state": state.value, "claimed_until": None, "updated_at": now}
                connection.execute(update(touchpoints).where(_among(rows[0].shop_id, some)).values(**values))


def take_back(db: Database, rows: Sequence[Row[Any]], now: datetime) -> None:
    """Undo what was noted, where that came about, of messages whose call was never made; they stay claimed, as does the room in the limits.

    Twice is as good as once.
    """
    if not rows:
        return
    shop_id, t = rows[0].shop_id, touchpoints.c
    with db.write() as connection:
        open_ = select(attempts.c.touchpoint_id).where(
            *_of(attempts, shop_id, held(connection, rows)), attempts.c.outcome == ""
        )
        ours = set(connection.execute(open_).scalars())
        if not ours:
            return
        connection.execute(
            update(touchpoints).where(_among(shop_id, ours)).values(attempts=t.attempts - 1, updated_at=now)
        )
        connection.execute(delete(attempts).where(*_of(attempts, shop_id, ours), attempts.c.outcome == ""))
        first = [row.touchpoint_id for row in rows if row.touchpoint_id in ours and not row.attempts]
        connection.execute(delete(touchpoint_contents).where(*_of(touchpoint_contents, shop_id, first)))


def _among(shop_id: int, numbers: Collection[int]) -> ColumnElement[bool]:
    return (touchpoints.c.shop_id == shop_id) & among(touchpoints.c.touchpoint_id, sorted(numbers))


def _of(table: Table, shop_id: int, numbers: Collection[int]) -> tuple[ColumnElement[bool], ...]:
    return table.c.shop_id == shop_id, among(table.c.touchpoint_id, sorted(numbers))
