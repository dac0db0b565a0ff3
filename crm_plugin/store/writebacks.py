"""Levels on their way into the store: one row a member and programme, written in the transaction that changes the level.

Only the newest level counts: another change before it is written takes its place. A row that is in flight stays so, and whoever settles it
sees that another level is wanted by now. `store_level` is emptied before each call, so that it never says more than is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    Select,
    Table,
    Text,
    TextClause,
    func,
    literal,
    or_,
    select,
    text,
)

from crm_plugin.store import bulk
from crm_plugin.store.base import Instant, PhraseText, belongs_to, metadata, shop_key, to_json, to_micros
from crm_plugin.store.indexes import partial_index
from crm_plugin.store.rows import whole
from crm_plugin.store.upserts import insert_into

_HAS_DRIFTED = text("drifts > 0")


class MarkState(StrEnum):
    """Where one member's mark stands. `impossible` has a reason: a guest has no account to hold it, or the account is gone."""

    WAITING = "waiting"
    IN_FLIGHT = "in_flight"
    WRITTEN = "written"
    FAILED = "failed"
    IMPOSSIBLE = "impossible"


class MarkReason(StrEnum):
    """Why a mark waits longer, failed or cannot be written."""

    GUEST = "guest"
    GONE = "gone"
    REFUSED = "refused"
    TRANSIENT = "transient"
    CRASHED = "crashed"
    ERROR = "error"


# One row: a shop whose levels are written into its store, or were. It is no part of the programme: it changes another system. `stopped_at`
# is set while the merchant has to act first; until `resting_until` the store is left alone. `detail` says what to do, or why it rests.
writeback_switches = Table(
    "writeback_switches",
    metadata,
    shop_key(),
    Column("enabled", Boolean, nullable=False),
    Column("stopped_at", Instant),
    Column("detail", PhraseText, nullable=False, default=""),
    Column("resting_until", Instant),
    Column("updated_at", Instant, nullable=False),
    belongs_to("shops"),
)

# One row: the level that the store is to hold for a member in a programme, empty for none, and how far that is. `store_level` is what the
# store is known to hold, NULL when that is not known; `store_changed_at` is when that came about by the store's own clock. `drifts` counts
# how often the store told of another level than the one written, `drifted_to` the last of these.
tier_writebacks = Table(
    "tier_writebacks",
    metadata,
    shop_key(),
    Column("program_key", Text, primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("wanted_level", Text, nullable=False),
    Column("wanted_at", Instant, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, default="", server_default=""),
    Column("detail", PhraseText, nullable=False, default="", server_default=""),
    Column("attempts", Integer, nullable=False, default=0, server_default="0"),
    Column("next_try_at", Instant, nullable=False),
    Column("claimed_until", Instant),
    Column("fence", Integer, nullable=False, default=0, server_default="0"),
    Column("store_level", Text),
    Column("store_changed_at", Instant),
    Column("written_at", Instant),
    Column("drifts", Integer, nullable=False, default=0, server_default="0"),
    Column("drifted_at", Instant),
    Column("drifted_to", Text),
    belongs_to("members", "member_id"),
    # To its end in the order in which rows are claimed: thousands may be due at the same instant.
    Index("ix_tier_writebacks_due", "shop_id", "state", "next_try_at", "program_key", "member_id"),
    Index("ix_tier_writebacks_member", "shop_id", "member_id"),
    # Few ever drift, and the page counts them.
    partial_index("ix_tier_writebacks_drifted", "shop_id", where=_HAS_DRIFTED),
)

_KEY = ("shop_id", "program_key", "member_id")
_QUEUED = (*_KEY, "wanted_level", "wanted_at", "state", "next_try_at")
_SETTLED = "tier_writebacks.state = 'in_flight' OR tier_writebacks.store_level = excluded.wanted_level"
_AS_QUEUED = f"""
wanted_level = excluded.wanted_level, wanted_at = excluded.wanted_at, detail = '', attempts = 0, next_try_at = excluded.next_try_at,
reason = CASE WHEN {_SETTLED} THEN '' ELSE excluded.reason END, state = CASE WHEN tier_writebacks.state = 'in_flight' THEN 'in_flight'
WHEN tier_writebacks.store_level = excluded.wanted_level THEN 'written' ELSE excluded.state END
"""
_DRIFTED = """
state = 'waiting', reason = '', detail = '', attempts = 0, next_try_at = excluded.next_try_at, store_level = excluded.store_level,
drifts = tier_writebacks.drifts + 1, drifted_at = excluded.drifted_at, drifted_to = excluded.drifted_to
"""
# Why a level cannot be written for the member of a row, empty where it can.
_WHY_NOT = """
(SELECT CASE WHEN m.external_id IS NULL THEN 'guest' WHEN m.state <> 'active' THEN 'gone' ELSE '' END
FROM members AS m WHERE m.shop_id = {row}.shop_id AND m.member_id = {row}.member_id)
"""


@dataclass(frozen=True, slots=True)
class Switch:
    """Whether a shop's levels are written into its store, and what keeps them from it: `detail` says why it stopped, or rests."""

    enabled: bool = False
    stopped_at: datetime | None = None
    detail: str = ""
    resting_until: datetime | None = None

    def rests(self, now: datetime) -> bool:
        """Whether the store is to be left alone for now."""
        return self.resting_until is not None and now < self.resting_until


def switch_of(connection: Connection, shop_id: int) -> Switch:
    """The shop's switch; off where it was never touched."""
    s = writeback_switches.c
    row = connection.execute(
        select(s.enabled, s.stopped_at, s.detail, s.resting_until).where(s.shop_id == shop_id)
    ).first()
    return Switch(*row) if row is not None else Switch()


def turn(connection: Connection, shop_id: int, now: datetime, *, on: bool) -> None:
    """Switch it on or off; with that, what stopped it is forgotten. On, everybody who holds a level is queued."""
    _put_switch(connection, shop_id, {"enabled": on, "stopped_at": None, "detail": "", "resting_until": None}, now)
    if on:
        queue_everybody(connection, shop_id, now)


def stop(connection: Connection, shop_id: int, detail: str, now: datetime, until: datetime) -> None:
    """The merchant has to act first; `until` is when the store is asked whether that was done."""
    s = writeback_switches.c
    since = connection.execute(select(s.stopped_at).where(s.shop_id == shop_id)).scalar() or now
    _put_switch(connection, shop_id, {"stopped_at": since, "detail": detail, "resting_until": until}, now)


def rest(connection: Connection, shop_id: int, until: datetime | None, now: datetime, why: str = "") -> None:
    """Leave the store alone until then; with None it may be written to again, and nothing stands against it."""
    values: dict[str, Any] = {"resting_until": until, "detail": why}
    if until is None:
        values["stopped_at"] = None
    _put_switch(connection, shop_id, values, now)


def lift(connection: Connection, shop_id: int) -> None:
    """The merchant has given the store new keys: nothing stands against writing until it is tried."""
    sql = "UPDATE writeback_switches SET stopped_at = NULL, detail = '', resting_until = NULL WHERE shop_id = ?"
    bulk.execute(connection, sql, (shop_id,))


def _put_switch(connection: Connection, shop_id: int, values: Mapping[str, Any], now: datetime) -> None:
    values = {**values, "updated_at": now}
    statement = insert_into(connection, writeback_switches).values(
        shop_id=shop_id, **{"enabled": False, "detail": "", **values}
    )
    connection.execute(statement.on_conflict_do_update(index_elements=["shop_id"], set_=values))


def is_on(connection: Connection, shop_id: int) -> bool:
    """Whether the shop's levels are written into its store."""
    return bool(connection.execute(switch(shop_id)).scalar())


def switch(shop_id: int) -> Select[tuple[bool]]:
    """The same as a query, without a row where nobody ever said so."""
    columns = writeback_switches.c
    return select(columns.enabled).where(columns.shop_id == shop_id)


def queue_levels(
    connection: Connection,
    shop_id: int,
    program: str,
    levels: Sequence[tuple[int, str]],
    now: datetime,
    *,
    is_told: bool | None = None,
) -> None:
    """Note that these members hold another level now, empty for none; nothing where the store is not written to.

    `is_told` says whether it is, where that is known.
    """
    if not levels or not (is_on(connection, shop_id) if is_told is None else is_told):
        return
    values = {"shop_id": shop_id, "program": program, "now": to_micros(now), "rows": to_json(sorted(levels))}
    connection.execute(_queueing(connection.dialect.name == "sqlite"), values)


@lru_cache
def _queueing(is_sqlite: bool) -> TextClause:
    """As one statement, by members: two who queue some at once never wait for one another."""
    wanted = whole(is_sqlite, {"member_id": "BIGINT", "wanted_level": "TEXT"})
    return text(
        f"INSERT INTO tier_writebacks ({', '.join(_QUEUED)}, reason) SELECT shop_id, CAST(:program AS TEXT), member_id, wanted_level, "  # noqa: S608
        "CAST(:now AS BIGINT), CASE reason WHEN '' THEN 'waiting' ELSE 'impossible' END, CAST(:now AS BIGINT), reason "
        f"FROM (SELECT w.*, {_WHY_NOT.format(row='w')} AS reason FROM {wanted}) "
        f"AS queued WHERE TRUE ORDER BY member_id ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {_AS_QUEUED}"
    )


def queue_everybody(connection: Connection, shop_id: int, now: datetime) -> None:
    """Queue all who hold a level, and whoever no longer holds the one that was wanted last: after a time in which nothing was queued."""
    at = to_micros(now)
    bulk.execute(
        connection,
        f"INSERT INTO tier_writebacks ({', '.join(_QUEUED)}) SELECT shop_id, program_key, member_id, level_key, "  # noqa: S608
        f"CAST(? AS BIGINT), 'waiting', CAST(? AS BIGINT) FROM member_tiers WHERE shop_id = ? "
        f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {_AS_QUEUED}",
        (at, at, shop_id),
    )
    bulk.execute(
        connection,
        "UPDATE tier_writebacks SET wanted_level = '', wanted_at = ?, reason = '', detail = '', attempts = 0, next_try_at = ?, "
        "state = CASE WHEN state = 'in_flight' THEN 'in_flight' WHEN store_level = '' THEN 'written' ELSE 'waiting' END "
        "WHERE shop_id = ? AND wanted_level <> '' AND NOT EXISTS (SELECT 1 FROM member_tiers AS t WHERE "
        "t.shop_id = tier_writebacks.shop_id AND t.program_key = tier_writebacks.program_key "
        "AND t.member_id = tier_writebacks.member_id)",
        (at, at, shop_id),
    )
    why_not = _WHY_NOT.format(row="tier_writebacks")
    bulk.execute(
        connection,
        f"UPDATE tier_writebacks SET state = 'impossible', reason = {why_not} "  # noqa: S608
        f"WHERE shop_id = ? AND state = 'waiting' AND {why_not} <> ''",
        (shop_id,),
    )


def follow(connection: Connection, shop_id: int, member_id: int, now: datetime) -> None:
    """The same for one member who took over another's levels."""
    if not is_on(connection, shop_id):
        return
    found = bulk.execute(
        connection,
        "SELECT program_key, level_key FROM member_tiers WHERE shop_id = ? AND member_id = ? ORDER BY program_key",
        (shop_id, member_id),
    ).all()
    for program, level in found:
        queue_levels(connection, shop_id, program, [(member_id, level)], now)


def reconsider(connection: Connection, shop_id: int, member_ids: Iterable[int], now: datetime) -> None:
    """Guests have become accounts: what could not be written for them can be now."""
    again = "UPDATE tier_writebacks SET state = 'waiting', reason = '', next_try_at = ? WHERE shop_id = ? AND state = 'impossible'"
    bulk.execute_in(connection, f"{again} AND member_id IN ({{marks}})", (to_micros(now), shop_id), member_ids)


def retry_failed(connection: Connection, shop_id: int, now: datetime) -> int:
    """Let all that was refused be tried again; how many that is."""
    again = "UPDATE tier_writebacks SET state = 'waiting', attempts = 0, next_try_at = ? WHERE shop_id = ? AND state = 'failed'"
    return int(bulk.execute(connection, again, (to_micros(now), shop_id)).rowcount)


def count_failed(connection: Connection, shop_id: int) -> int:
    """How many marks the store refused."""
    w = tier_writebacks.c
    query = select(func.count()).where(w.shop_id == shop_id, w.state == MarkState.FAILED)
    return connection.execute(query).scalar() or 0


def count_written_since(connection: Connection, shop_id: int, since: datetime) -> int:
    """How many marks were written into the store from then on, each by its last time."""
    w = tier_writebacks.c
    query = select(func.count()).where(w.shop_id == shop_id, w.written_at >= since)
    return connection.execute(query).scalar() or 0


def note_drift(connection: Connection, shop_id: int, found: Iterable[tuple[str, int, str, str]], now: datetime) -> None:
    """The store holds another level than the one written: it is to be written again.

    Args: found: programme, member, the level that is wanted, the level that the store tells; of rows that are `written`, or of none yet.
    """
    at = to_micros(now)
    columns = (*_QUEUED, "store_level", "drifts", "drifted_at", "drifted_to")
    rows = sorted(
        (shop_id, program, member_id, wanted, at, "waiting", at, told, 1, at, told)
        for program, member_id, wanted, told in found
    )
    bulk.upsert_rows(connection, tier_writebacks, columns, _KEY, _DRIFTED, rows)


def note_mended(connection: Connection, shop_id: int, found: Iterable[tuple[str, int]], now: datetime) -> None:
    """What we could not write stands in the store all the same: somebody put it there."""
    sets = "UPDATE tier_writebacks SET state = 'written', reason = '', detail = '', store_level = wanted_level, written_at = ?"
    for program, member_id in found:
        mine = "WHERE shop_id = ? AND program_key = ? AND member_id = ? AND state = 'failed'"
        bulk.execute(connection, f"{sets} {mine}", (to_micros(now), shop_id, program, member_id))


def is_due(connection: Connection, shop_id: int, now: datetime) -> bool:
    """Whether there is something to write, or something that a worker left behind."""
    w, s = tier_writebacks.c, writeback_switches.c
    open_ = select(literal(1)).where(
        s.shop_id == shop_id, s.enabled, or_(s.resting_until.is_(None), s.resting_until <= now)
    )
    if connection.execute(open_).first() is None:
        return False
    waiting = (w.state == MarkState.WAITING) & (w.next_try_at <= now)
    left = (w.state == MarkState.IN_FLIGHT) & (w.claimed_until < now)
    return any(
        connection.execute(select(literal(1)).where(w.shop_id == shop_id, one).limit(1)).first()
        for one in (waiting, left)
    )
