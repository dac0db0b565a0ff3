"""Reads for the page of tiers: the last runs and who caused them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from crm_plugin.rules.sql import PROGRAM_KEY
from crm_plugin.rules.tiers import APPLIED, SAVED, Move
from crm_plugin.store import audit_log, member_tiers


@dataclass(frozen=True, slots=True)
class Act:
    """One line of the history: `program` was saved (then there are no moves), or members were brought to their levels.

    `moves` are those of each programme; `terms` counts what changed but the level.
    """

    at: datetime
    actor: str
    saved: bool
    program: str
    moves: Mapping[str, tuple[Move, ...]]
    terms: int

    @property
    def changed(self) -> int:
        """How many members moved, each programme counted by itself."""
        return sum(move.members for moves in self.moves.values() for move in moves)


def history(connection: Connection, shop_id: int, limit: int = 10) -> list[Act]:
    """The last acts, newest first."""
    columns = audit_log.c
    query = (
        select(columns.at, columns.actor, columns.action, columns.detail)
        .where(columns.shop_id == shop_id, columns.action.in_((APPLIED, SAVED)))
        .order_by(columns.audit_id.desc())
        .limit(limit)
    )
    return [_act(row) for row in connection.execute(query)]


def _act(row: Any) -> Act:
    told = {PROGRAM_KEY: row.detail.get("moves", ()), **row.detail.get("programs", {})}
    moves = {program: tuple(Move(**move) for move in found) for program, found in told.items() if found}
    terms = sum(row.detail.get("terms", {}).values())
    return Act(row.at, row.actor, row.action == SAVED, row.detail.get("program", PROGRAM_KEY), moves, terms)


def holders(connection: Connection, shop_id: int) -> dict[str, int]:
    """How many members hold a level of each programme; programmes of which nobody holds one are left out."""
    t = member_tiers.c
    query = select(t.program_key, func.count()).where(t.shop_id == shop_id).group_by(t.program_key)
    return {program: count for program, count in connection.execute(query)}  # noqa: C416
