"""The consent log and what it comes to: statements are only added, the newest decides, a refusal wins a tie.

Addresses that must not be written to are kept apart from consent, in `suppressions`, for they belong to an address, not a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from crm_plugin.ids import new_id
from crm_plugin.records import ConsentState
from crm_plugin.store.members import consents, member_consents, suppressions

_CHUNK = 300


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
    members = sorted({statement.member_id for statement in wanted})
    log = _log_of(connection, shop_id, members)
    present = {(row.member_id, row.channel, row.topic): row for row in _present_of(connection, shop_id, members)}
    seen = {(r.member_id, r.channel, r.topic, r.state, r.at, r.source) for r in log}
    last_said = {(r.member_id, r.channel, r.topic, r.source): r.state for r in sorted(log, key=lambda r: r.recorded_at)}
    holds: dict[tuple[int, str, str], tuple[str, datetime, str]] = {
        key: (row.state, row.at, row.source) for key, row in present.items()
    }
    added: list[dict[str, Any]] = []
    changed: set[tuple[int, str, str]] = set()
    for said in wanted:
        key = (said.member_id, said.channel, said.topic)
        standing = holds.get(key)
        at = said.at
        if at is None:
            before = last_said.get((*key, said.source))
            if before == said.state:
                continue
            undoes = before is None and said.state == ConsentState.GRANTED and standing is not None
            at = standing[1] if undoes and standing and standing[0] == ConsentState.WITHDRAWN else recorded_at
        mark = (*key, str(said.state), at, said.source)
        if mark in seen:
            continue
        seen.add(mark)
        last_said[(*key, said.source)] = str(said.state)
        added.append(
            {
                "shop_id": shop_id,
                "consent_id": new_id(),
                "member_id": said.member_id,
                "channel": said.channel,
                "topic": said.topic,
                "state": str(said.state),
                "at": at,
                "source": said.source,
                "wording": said.wording,
                "proof": dict(said.proof or {}),
                "recorded_at": recorded_at,
            }
        )
        if standing is None or _decides(str(said.state), at, standing):
            holds[key] = (str(said.state), at, said.source)
            changed.add(key)
    if added:
        connection.execute(insert(consents), added)
    _keep(connection, shop_id, {key: holds[key] for key in changed})
    return sum(1 for key in changed if key not in present or present[key].state != holds[key][0])


def recompute(connection: Connection, shop_id: int, member_id: int) -> None:
    """What the whole log comes to, after two members' logs have become one."""
    holds: dict[tuple[int, str, str], tuple[str, datetime, str]] = {}
    for row in sorted(_log_of(connection, shop_id, [member_id]), key=lambda r: (r.at, r.consent_id)):
        key = (row.member_id, row.channel, row.topic)
        if key not in holds or _decides(row.state, row.at, holds[key]):
            holds[key] = (row.state, row.at, row.source)
    connection.execute(
        member_consents.delete().where(member_consents.c.shop_id == shop_id, member_consents.c.member_id == member_id)
    )
    _keep(connection, shop_id, holds)


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
    connection: Connection, shop_id: int, channel: str, address: str, *, reason: str, at: datetime, source: str
) -> bool:
    """Never write to this address on this channel again; False when that was so already. The first reason stays."""
    add = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    row = {"shop_id": shop_id, "channel": channel, "address": address, "reason": reason, "at": at, "source": source}
    return connection.execute(add(suppressions).values(row).on_conflict_do_nothing()).rowcount > 0


def is_suppressed(connection: Connection, shop_id: int, channel: str, address: str) -> str:
    """Why this address must not be written to; empty when it may be."""
    query = select(suppressions.c.reason).where(
        suppressions.c.shop_id == shop_id, suppressions.c.channel == channel, suppressions.c.address == address
    )
    return connection.execute(query).scalar() or ""


def _decides(state: str, at: datetime, standing: tuple[str, datetime, str]) -> bool:
    return at > standing[1] or (at == standing[1] and state == ConsentState.WITHDRAWN)


def _keep(
    connection: Connection, shop_id: int, holds: Mapping[tuple[int, str, str], tuple[str, datetime, str]]
) -> None:
    keys = list(holds)
    columns = member_consents.c
    present: set[tuple[int, str, str]] = set()
    for start in range(0, len(keys), _CHUNK):
        query = select(columns.member_id, columns.channel, columns.topic).where(
            columns.shop_id == shop_id,
            tuple_(columns.member_id, columns.channel, columns.topic).in_(keys[start : start + _CHUNK]),
        )
        present |= {tuple(row) for row in connection.execute(query)}
    new = [
        {"shop_id": shop_id, "member_id": m, "channel": c, "topic": t, "state": s, "at": at, "source": source}
        for (m, c, t), (s, at, source) in holds.items()
        if (m, c, t) not in present
    ]
    if new:
        connection.execute(insert(member_consents), new)
    for member_id, channel, topic in present:
        state, at, source = holds[member_id, channel, topic]
        connection.execute(
            update(member_consents)
            .where(
                columns.shop_id == shop_id,
                columns.member_id == member_id,
                columns.channel == channel,
                columns.topic == topic,
            )
            .values(state=state, at=at, source=source)
        )


def _log_of(connection: Connection, shop_id: int, members: list[int]) -> list[Row[Any]]:
    return _rows_of(connection, shop_id, members, consents)


def _present_of(connection: Connection, shop_id: int, members: list[int]) -> list[Row[Any]]:
    return _rows_of(connection, shop_id, members, member_consents)


def _rows_of(connection: Connection, shop_id: int, members: list[int], table: Any) -> list[Row[Any]]:
    found: list[Row[Any]] = []
    for start in range(0, len(members), _CHUNK):
        chunk = members[start : start + _CHUNK]
        query = select(table).where(table.c.shop_id == shop_id, table.c.member_id.in_(chunk))
        found += connection.execute(query).all()
    return found
