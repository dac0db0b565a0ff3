"""What members hold now, read by key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, or_, select

from crm_plugin.rules.standing import Held
from crm_plugin.store import member_tiers, tier_bars
from crm_plugin.store.base import to_micros


def held_now(connection: Connection, shop_id: int, program: str, who: Iterable[int]) -> dict[int, Held]:
    """The level and its term of each of these who holds one."""
    c = member_tiers.c
    own = (c.shop_id == shop_id, c.program_key == program, c.member_id.in_(sorted(who)))
    return {row.member_id: held_of(row) for row in connection.execute(select(member_tiers).where(*own))}


def barred_now(connection: Connection, shop_id: int, program: str, who: Iterable[int]) -> set[int]:
    """Those of these of whom it was decided by hand that they hold no level, be it for a time that is over."""
    c = tier_bars.c
    own = (c.shop_id == shop_id, c.program_key == program, c.member_id.in_(sorted(who)))
    return set(connection.execute(select(c.member_id).where(*own)).scalars())


def held_everywhere(connection: Connection, shop_id: int, member_id: int) -> dict[str, Held]:
    """What one member holds, by programme."""
    c = member_tiers.c
    own = (c.shop_id == shop_id, c.member_id == member_id)
    query = select(member_tiers).where(*own).order_by(c.program_key)
    return {row.program_key: held_of(row) for row in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class Barred:
    """By hand no level of a programme is held, through `until`, None for good; `reason` and `by` say why and who."""

    until: date | None
    reason: str
    by: str

    def as_dict(self) -> dict[str, Any]:
        until = None if self.until is None else self.until.isoformat()
        return {"until": until, "reason": self.reason, "by": self.by}


def barred_everywhere(connection: Connection, shop_id: int, member_id: int, day: date) -> dict[str, Barred]:
    """The programmes in which one member holds no level on that day by hand."""
    c = tier_bars.c
    query = select(c.program_key, c.until, c.reason, c.actor).where(c.shop_id == shop_id, c.member_id == member_id)
    rows = connection.execute(query.where(or_(c.until.is_(None), c.until >= day)).order_by(c.program_key))
    return {row.program_key: Barred(row.until, row.reason, row.actor) for row in rows}


def held_of(row: Any) -> Held:
    """The level of a row of `member_tiers`."""
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
