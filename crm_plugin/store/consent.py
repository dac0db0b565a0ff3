"""The consent log and what it comes to: statements are only added, the newest decides, a refusal wins a tie.

Addresses that must not be written to are kept apart from consent, in `suppressions`, for they belong to an address, not a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, select

from crm_plugin.ids import new_id
from crm_plugin.records import ConsentState
from crm_plugin.store import bulk
from crm_plugin.store.base import to_json, to_micros
from crm_plugin.store.members import consents, member_consents, suppressions
from crm_plugin.store.upserts import insert_into

# What is said of a member's channel and topic, and what holds of it: state, instant in microseconds, source.
Key = tuple[int, str, str]
Standing = tuple[str, int, str]
_HOLDS = ("member_id", "channel", "topic", "state", "at", "source")
_LOGGED = (*_HOLDS, "recorded_at")
_COLUMNS = ("shop_id", "consent_id", *_HOLDS, "wording", "proof", "recorded_at")


@dataclass(frozen=True, slots=True)
class Statement:
    """What a member said once. Without `at` the source tells the present state but not since when."""

    member_id: int
    channel: str
    topic: str
    state: ConsentState
    at: datetime | None
    source: str
    wording: str = ""
    proof: Mapping[str, Any] | None = None


def record(
    connection: Connection,
    shop_id: int,
    member_id: int,
    *,
    channel: str,
    topic: str,
    state: ConsentState,
    at: datetime | None,
    source: str,
    wording: str = "",
    proof: Mapping[str, Any] | None = None,
    recorded_at: datetime,
) -> bool:
    """Add one statement to the log; answers whether what holds now has changed."""
    statement = Statement(member_id, channel, topic, state, at, source, wording, proof)
    return record_all(connection, shop_id, [statement], recorded_at) > 0


def record_all(connection: Connection, shop_id: int, statements: Iterable[Statement], recorded_at: datetime) -> int:
    """Add statements to the log, those already in it left out; answers for how many members and topics the state has changed.

    An undated statement counts only when its source said something else before, and a first undated "granted" never undoes a
    refusal that stands: nobody can tell that it is newer.
    """
    wanted = list(statements)
    if not wanted:
        return 0
    members = {statement.member_id for statement in wanted}
    log = sorted(_rows_of(connection, shop_id, members, "consents", _LOGGED), key=itemgetter(6))
    seen = {row[:6] for row in log}
    last_said = {(member, channel, topic, source): state for member, channel, topic, state, _, source, _ in log}
    present: dict[Key, Standing] = {
        row[:3]: row[3:] for row in _rows_of(connection, shop_id, members, "member_consents", _HOLDS)
    }
    holds = dict(present)
    now = to_micros(recorded_at)
    added: list[bulk.Row] = []
    changed: set[Key] = set()
    for said in wanted:
        key = (said.member_id, said.channel, said.topic)
        state, standing = str(said.state), holds.get(key)
        if said.at is not None:
            at = to_micros(said.at)
        else:
            before = last_said.get((*key, said.source))
            if before == state:
                continue
            undoes = before is None and state == ConsentState.GRANTED and standing is not None
            at = standing[1] if undoes and standing and standing[0] == ConsentState.WITHDRAWN else now
        mark = (*key, state, at, said.source)
        if mark in seen:
            continue
        seen.add(mark)
        last_said[(*key, said.source)] = state
        added.append((shop_id, new_id(), *mark, said.wording, to_json(dict(said.proof or {})), now))
        if standing is None or _decides(state, at, standing):
            holds[key] = (state, at, said.source)
            changed.add(key)
    bulk.insert_rows(connection, consents, _COLUMNS, added)
    _keep(connection, shop_id, {key: holds[key] for key in changed}, now)
    return sum(1 for key in changed if key not in present or present[key][0] != holds[key][0])


def recompute(connection: Connection, shop_id: int, member_id: int, now: datetime) -> None:
    """What the whole log comes to, after two members' logs have become one."""
    holds: dict[Key, Standing] = {}
    log = _rows_of(connection, shop_id, (member_id,), "consents", (*_HOLDS, "consent_id"))
    for row in sorted(log, key=itemgetter(4, 6)):
        key, said = row[:3], row[3:6]
        if key not in holds or _decides(said[0], said[1], holds[key]):
            holds[key] = said
    connection.execute(
        member_consents.delete().where(member_consents.c.shop_id == shop_id, member_consents.c.member_id == member_id)
    )
    _keep(connection, shop_id, holds, to_micros(now))


def state_of(connection: Connection, shop_id: int, member_id: int, channel: str, topic: str) -> ConsentState | None:
    """What holds now for one channel and topic; None when nothing was ever said."""
    query = select(member_consents.c.state).where(
        member_consents.c.shop_id == shop_id,
        member_consents.c.member_id == member_id,
        member_consents.c.channel == channel,
        member_consents.c.topic == topic,
    )
    found = connection.execute(query).scalar()
    return None if found is None else ConsentState(found)


def suppress(
    connection: Connection,
    shop_id: int,
    channel: str,
    address: str,
    *,
    reason: str,
    at: datetime,
    source: str,
    recorded_at: datetime | None = None,
) -> bool:
    """Never write to this address on this channel again; False when that was so already. The first reason stays.

    `at` is when it came to that, `recorded_at` when we learned of it, the same when it is not given.
    """
    row = {"shop_id": shop_id, "channel": channel, "address": address, "reason": reason, "at": at, "source": source}
    row["recorded_at"] = recorded_at or at
    return connection.execute(insert_into(connection, suppressions).values(row).on_conflict_do_nothing()).rowcount > 0


def is_suppressed(connection: Connection, shop_id: int, channel: str, address: str) -> str:
    """Why this address must not be written to; empty when it may be."""
    query = select(suppressions.c.reason).where(
        suppressions.c.shop_id == shop_id, suppressions.c.channel == channel, suppressions.c.address == address
    )
    return connection.execute(query).scalar() or ""


def _decides(state: str, at: int, standing: Standing) -> bool:
    return at > standing[1] or (at == standing[1] and state == ConsentState.WITHDRAWN)


def _keep(connection: Connection, shop_id: int, holds: Mapping[Key, Standing], now: int) -> None:
    rows = sorted((shop_id, *key, *standing, now) for key, standing in holds.items())
    sets = "state = excluded.state, at = excluded.at, source = excluded.source, changed_at = excluded.changed_at"
    columns = ("shop_id", *_HOLDS, "changed_at")
    bulk.upsert_rows(connection, member_consents, columns, ("shop_id", *_HOLDS[:3]), sets, rows)


def _rows_of(
    connection: Connection, shop_id: int, members: Iterable[int], table: str, columns: Sequence[str]
) -> list[bulk.Row]:
    sql = f"SELECT {', '.join(columns)} FROM {table} WHERE shop_id = ? AND member_id IN ({{marks}})"  # noqa: S608
    return [tuple(row) for row in bulk.select_in(connection, sql, (shop_id,), members)]
