"""What members hold now, read by key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, select

from crm_plugin.rules.standing import Held
from crm_plugin.store import member_tiers
from crm_plugin.store.base import to_micros


def held_now(connection: Connection, shop_id: int, program: str, who: Iterable[int]) -> dict[int, Held]:
    """The level and its term of each of these who holds one."""
    c = member_tiers.c
    own = (c.shop_id == shop_id, c.program_key == program, c.member_id.in_(sorted(who)))
    return {row.member_id: _held(row) for row in connection.execute(select(member_tiers).where(*own))}


def held_everywhere(connection: Connection, shop_id: int, member_id: int) -> dict[str, Held]:
    """What one member holds, by programme."""
    c = member_tiers.c
    own = (c.shop_id == shop_id, c.member_id == member_id)
    query = select(member_tiers).where(*own).order_by(c.program_key)
    return {row.program_key: _held(row) for row in connection.execute(query)}


def _held(row: Row[Any]) -> Held:
    return Held(
        row.level_key,
        to_micros(row.since_at),
        row.since_on,
        row.valid_until,
        row.grace_until,
        row.in_grace,
        row.fixed,
        row.fixed_until,
        row.fixed_reason,
        row.fixed_by,
    )
