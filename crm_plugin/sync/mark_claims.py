"""Taking marks for writing and settling them.

A claim is a conditional UPDATE with a lease; only what it changed is ours, and once the lease has run out another may take it under a new
fence. Writing one mark twice does no harm, so what a crash left in flight simply waits again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, case, select, tuple_, update

from crm_plugin.store import bulk, members, tier_levels, tier_writebacks
from crm_plugin.store.members import lock
from crm_plugin.store.session import Database
from crm_plugin.store.writebacks import MarkReason, MarkState

LEASE = timedelta(minutes=10)


class Outcome(NamedTuple):
    """What became of one claimed row; `level` is what the store holds now, None when that is not known."""

    row: Row[Any]
    state: MarkState
    level: str | None = None
    changed_at: datetime | None = None
    reason: str = ""
    detail: str = ""
    attempts: int = 0
    next_try_at: datetime | None = None


def recover(db: Database, shop_id: int, now: datetime) -> int:
    """Let what a worker left in flight wait again, once its lease has run out; how many that is."""
    w = tier_writebacks.c
    with db.write() as connection:
        lock(connection, shop_id)
        left = connection.execute(
            update(tier_writebacks)
            .where(w.shop_id == shop_id, w.state == MarkState.IN_FLIGHT, w.claimed_until < now)
            .values(state=MarkState.WAITING, reason=MarkReason.CRASHED, claimed_until=None, fence=w.fence + 1)
        )
    return int(left.rowcount)


def claim(db: Database, shop_id: int, now: datetime, most: int) -> Sequence[Row[Any]]:
    """Take what is due, the first due first. Rows that failed before are taken with their like alone, and in ever smaller groups.

    One account that makes the store fall over thus soon falls alone, and keeps nobody else from being written.
    """
    w = tier_writebacks.c
    due = select(w.program_key, w.member_id, w.attempts).where(
        w.shop_id == shop_id, w.state == MarkState.WAITING, w.next_try_at <= now
    )
    in_order = (w.next_try_at, w.program_key, w.member_id)
    with db.write() as connection:
        lock(connection, shop_id)
        first = connection.execute(due.order_by(*in_order).limit(1)).first()
        if first is None:
            return []
        count = max(1, most >> (2 * first.attempts))
        alike = due.where(w.attempts == first.attempts).order_by(*in_order).limit(count).cte("due")
        taken = (
            update(tier_writebacks)
            .where(w.shop_id == shop_id, w.state == MarkState.WAITING)
            .where(tuple_(w.program_key, w.member_id).in_(select(alike.c.program_key, alike.c.member_id)))
            # From here on the store may hold either level.
            .values(state=MarkState.IN_FLIGHT, claimed_until=now + LEASE, fence=w.fence + 1, store_level=None)
            .returning(*tier_writebacks.columns)
        )
        return sorted(connection.execute(taken).all(), key=lambda row: (row.program_key, row.member_id))


def settle(db: Database, shop_id: int, outcomes: Sequence[Outcome], now: datetime) -> None:
    """Write what became of claimed rows, of those that are still ours. Whatever was done, another level wanted since then waits."""
    if not outcomes:
        return
    w = tier_writebacks.c
    same = w.wanted_level == bindparam("b_wanted")
    statement = (
        update(tier_writebacks)
        .where(
            w.shop_id == shop_id,
            w.program_key == bindparam("b_program"),
            w.member_id == bindparam("b_member"),
            w.fence == bindparam("b_fence"),
            w.state == MarkState.IN_FLIGHT,
        )
        .values(
            state=case((same, bindparam("b_state")), else_=MarkState.WAITING.value),
            reason=case((same, bindparam("b_reason")), else_=""),
            attempts=case((same, bindparam("b_attempts")), else_=0),
            next_try_at=bindparam("b_next", type_=w.next_try_at.type),
            detail=bindparam("b_detail", type_=w.detail.type),
            store_level=bindparam("b_level"),
            store_changed_at=bindparam("b_changed", type_=w.store_changed_at.type),
            written_at=bindparam("b_written", type_=w.written_at.type),
            claimed_until=None,
        )
    )
    with db.write() as connection:
        lock(connection, shop_id)
        connection.execute(statement, [_values(one, now) for one in outcomes])


def _values(one: Outcome, now: datetime) -> dict[str, Any]:
    row, written = one.row, one.state is MarkState.WRITTEN
    return {
        "b_program": row.program_key,
        "b_member": row.member_id,
        "b_fence": row.fence,
        "b_wanted": row.wanted_level,
        "b_state": one.state.value,
        "b_reason": one.reason,
        "b_attempts": one.attempts,
        "b_next": one.next_try_at or now,
        "b_detail": one.detail,
        "b_level": one.level,
        "b_changed": one.changed_at if written else row.store_changed_at,
        "b_written": now if written else row.written_at,
    }


def accounts(connection: Connection, shop_id: int, member_ids: Iterable[int]) -> dict[int, tuple[str | None, bool]]:
    """Of each member the store's own id, None for a guest, and whether the member is still there."""
    sql = f"SELECT member_id, external_id, state FROM {members.name} WHERE shop_id = ? AND member_id IN ({{marks}})"  # noqa: S608
    found = bulk.select_in(connection, sql, (shop_id,), set(member_ids))
    return {member_id: (external_id, state == "active") for member_id, external_id, state in found}


def titles(connection: Connection, shop_id: int, locale: str) -> dict[tuple[str, str], tuple[str, int]]:
    """Of each level its name in the shop's language and its rank."""
    t = tier_levels.c
    rows = connection.execute(select(t.program_key, t.level_key, t.title, t.rank).where(t.shop_id == shop_id))
    return {
        (row.program_key, row.level_key): (str(row.title.get(locale) or row.title.get("en") or row.level_key), row.rank)
        for row in rows
    }
