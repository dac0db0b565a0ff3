"""How often one member is written to, over all journeys: so many in a day, in a week, on a channel, and what they chose themselves.

A day is any 24 hours and a week any seven days: that holds wherever the member is, also when they move or the clocks change, and is
stricter than days of the calendar. What has left counts, and so does what may have: in flight, of unknown outcome, or interrupted where
the sender knows it again; also while it waits to be sent again. `capped_at` says from when; an instant ahead of the clock counts too,
for the clock may have been put back.
Messages about a member's own order (transactional) neither count nor wait.

Who may go is decided while the touchpoint is taken, for one shop by one worker at a time (`claims.py`), and asked again before it leaves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Row,
    and_,
    bindparam,
    exists,
    false,
    or_,
    select,
    text,
    true,
    union_all,
    update,
)

from crm_plugin.store import attempts, touchpoints
from crm_plugin.store.base import unindexed
from crm_plugin.store.lists import among
from crm_plugin.touchpoints import dial
from crm_plugin.touchpoints.dial import MONTH, Dial
from crm_plugin.touchpoints.guard_settings import Limit
from crm_plugin.touchpoints.journey import LONGEST_VALIDITY, Journey
from crm_plugin.touchpoints.states import WAITING, Reason, State
from crm_plugin.touchpoints.versions import Voices, readable

# Another worker has a message of the same member in hand: soon it is known whether it left.
BUSY = timedelta(minutes=1)
_LEFT = (State.ACCEPTED, State.DELIVERED, State.BOUNCED, State.COMPLAINED, State.UNCONFIRMED)


class Counted(NamedTuple):
    """A message that counts towards the limits of its member; `open` while it is in flight."""

    touchpoint_id: int
    member_id: int
    channel: str
    at: datetime
    open: bool


@dataclass(frozen=True, slots=True)
class Room:
    """When the next message fits, and by what it is kept until then; now when `at` is None."""

    at: datetime | None = None
    reason: Reason = Reason.FREQUENCY_CAP


FREE = Room()


@dataclass(slots=True)
class Ledger:
    """What counts towards the limits, and the dials, of the members in hand."""

    counted: dict[int, list[Counted]] = field(default_factory=lambda: defaultdict(list))
    dials: dict[int, Dial] = field(default_factory=dict)

    def room(self, row: Any, limits: Iterable[Limit], now: datetime) -> Room:
        """When this touchpoint fits beside what its member got, as it stands now."""
        own = getattr(row, "touchpoint_id", None)
        others = [one for one in self.counted.get(row.member_id, ()) if one.touchpoint_id != own]
        if not others:
            # No limit is below one message.
            return FREE
        per_month = self.dials[row.member_id].per_month if row.member_id in self.dials else None
        mine = [*limits, *([Limit(MONTH, per_month, reason=Reason.MEMBER_DIAL)] if per_month else [])]
        return max((_room(limit, others, row.channel, now) for limit in mine), key=_latest, default=FREE)


def exempt(journey: Journey | None) -> bool:
    """Whether the law and the merchant's limits let a journey's messages out uncounted: those about a member's own order."""
    return journey is not None and journey.kind == "transactional"


def exempt_rows(connection: Connection, shop_id: int, journeys: Mapping[str, Journey]) -> ColumnElement[bool]:
    """Which touchpoints of these journeys are exempt: by step and version of each, without steps by the journey."""
    t = touchpoints.c
    exempted = [
        and_(t.journey_key == key, t.journey_version == number, t.step == version.numbers[name])
        for key, journey in sorted(journeys.items())
        for number, version in readable(connection, shop_id, journey).items()
        for name, place in version.journey.flow.path.items()
        if place.step.kind in ("send", "webhook") and exempt(version.voice(name))
    ]
    whole = sorted(key for key, journey in journeys.items() if exempt(journey))
    return or_(false(), and_(t.step == 0, t.journey_key.in_(whole)) if whole else false(), *exempted)


def load(connection: Connection, shop_id: int, member_ids: Collection[int], now: datetime) -> Ledger:
    """What counts for these members, in two statements."""
    ledger = Ledger(dials=dial.load(connection, shop_id, member_ids))
    theirs = {"b_shop": shop_id, "b_ids": sorted(member_ids), "b_since": now - MONTH}
    for one in map(Counted._make, connection.execute(_counted(), theirs).all()):
        ledger.counted[one.member_id].append(one)
    return ledger


@cache
def _counted() -> CompoundSelect[Any]:
    """What counts for the members `b_ids` of the shop `b_shop` if it left after `b_since`, or is in flight."""
    t, a = touchpoints.c, attempts.c
    columns = (t.touchpoint_id, t.member_id, t.channel, t.capped_at)
    mine = and_(t.shop_id == bindparam("b_shop"), among(t.member_id, "b_ids"), t.capped_at.is_not(None))
    tried = exists().where(a.shop_id == t.shop_id, a.touchpoint_id == t.touchpoint_id, may_have_left())
    interrupted = and_(t.state.in_([state.value for state in WAITING]), tried)
    gone = or_(t.state.in_([state.value for state in _LEFT]), interrupted)
    left = select(*columns, false().label("open")).where(mine, t.capped_at > bindparam("b_since"), gone)
    # However long ago it was taken: its worker may only sleep.
    held = select(*columns, true().label("open")).where(mine, unindexed(t.state) == State.IN_FLIGHT.value)
    return union_all(left, held)


def may_have_left() -> ColumnElement[bool]:
    """Attempts after which nobody knows whether the message left: no answer came, or the process died."""
    a = attempts.c
    interrupted = and_(a.outcome == State.RETRY_WAIT.value, a.error_code == Reason.CRASHED.value)
    return or_(a.outcome == State.UNCONFIRMED.value, interrupted)


def lock(connection: Connection, shop_id: int) -> None:
    """One at a time takes touchpoints of a shop, until the end of the transaction: two would each find the room that is left for one."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))"), {"what": f"caps:{shop_id}"}
        )


def choose(
    connection: Connection,
    shop_id: int,
    counted: Iterable[Row[Any]],
    journeys: Voices,
    limits: Sequence[Limit],
    now: datetime,
    told: Callable[[str, str], None],
) -> set[int]:
    """Which of those that are due and count may be taken, one a member at most; of each member here these are all there are.

    The best of a member's goes first. What does not fit is put off until there is room, or missed when its window ends before that; `told`
    hears state and reason of each.
    """
    by_member: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in counted:
        by_member[row.member_id].append(row)
    ledger = load(connection, shop_id, by_member, now) if by_member else Ledger()
    taken: set[int] = set()
    for rows in by_member.values():
        if len(rows) > 1:
            rows.sort(key=lambda row: _rank(row, journeys))
        for row in rows:
            room = ledger.room(row, limits, now)
            if room.at is None:
                taken.add(row.touchpoint_id)
                break
            told(*_put_off(connection, shop_id, row, room, now))
    return taken


def counts(row: Row[Any], journeys: Voices, now: datetime) -> bool:
    """Whether it takes room; what is past its window will not leave."""
    return not exempt(journeys.of(row)) and row.valid_until > now


def earliest(now: datetime) -> datetime:
    """Nothing that fell due before this is still worth sending."""
    return now - timedelta(days=LONGEST_VALIDITY + 1)


def _put_off(connection: Connection, shop_id: int, row: Row[Any], room: Room, now: datetime) -> tuple[str, str]:
    t = touchpoints.c
    assert room.at is not None
    values: dict[str, Any] = {"reason": room.reason.value, "reason_detail": "", "updated_at": now}
    if room.at >= row.valid_until:
        values |= {"state": State.MISSED.value, "settled_at": now}
    else:
        values |= {"next_try_at": room.at}
    connection.execute(
        update(touchpoints)
        .where(t.shop_id == shop_id, t.touchpoint_id == row.touchpoint_id, t.state.in_([one.value for one in WAITING]))
        .values(**values)
    )
    return values.get("state", State.PLANNED.value), room.reason.value


def _rank(row: Row[Any], journeys: Voices) -> tuple[Any, ...]:
    """The first goes first: by priority, by what it is expected to bring, by when it fell due."""
    journey = journeys.of(row)
    priority, value = (journey.priority, journey.value_minor or 0) if journey is not None else (0, 0)
    return -priority, -value, row.due_at, row.touchpoint_id


def _room(limit: Limit, others: Iterable[Counted], channel: str, now: datetime) -> Room:
    if limit.channel not in ("", channel):
        return FREE
    there = [one for one in others if limit.channel in ("", one.channel) and (one.open or one.at > now - limit.span)]
    if len(there) < limit.most:
        return FREE
    if any(one.open for one in there):
        return Room(now + BUSY, limit.reason)
    # So many have to grow older than the span.
    return Room(sorted(one.at for one in there)[len(there) - limit.most] + limit.span, limit.reason)


def _latest(room: Room) -> float:
    return room.at.timestamp() if room.at is not None else float("-inf")
