"""What members hold now, read by key."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from crm_plugin.rules.standing import Held
from crm_plugin.store import member_tiers
from crm_plugin.store.base import to_micros


def held_now(connection: Connection, shop_id: int, program: str, who: Iterable[int]) -> dict[int, Held]:
    """The level and its term of each of these who holds one."""
    c = member_tiers.c
    own = (c.shop_id == shop_id, c.program_key == program, c.member_id.in_(sorted(who)))
    return {
        row.member_id: Held(
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
        for row in connection.execute(select(member_tiers).where(*own))
    }
