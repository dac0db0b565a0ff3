"""Programmes that stand still: once a run was undone no daily pass moves anybody, or it would do again what was undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from crm_plugin.rules.policies import Kept
from crm_plugin.store import audit, tier_holds
from crm_plugin.store.tenants import Shop

ACTION = "tiers.went_on"


@dataclass(frozen=True, slots=True)
class Hold:
    """A programme that stands still since `run_id` was undone; `version` is that of the policy in force then."""

    program: str
    run_id: int
    at: datetime
    actor: str
    reason: str
    version: int

    def as_dict(self) -> dict[str, Any]:
        told = {"program": self.program, "run": str(self.run_id), "since": self.at.isoformat()}
        return {**told, "actor": self.actor, "reason": self.reason}


def holds(connection: Connection, shop_id: int) -> dict[str, Hold]:
    """The programmes that stand still, each with the newest reason."""
    c = tier_holds.c
    query = select(tier_holds).where(c.shop_id == shop_id, c.ended_at.is_(None)).order_by(c.at, c.run_id.desc())
    return {
        row.program_key: Hold(row.program_key, row.run_id, row.at, row.actor, row.reason, row.policy_version)
        for row in connection.execute(query)
    }


def hold(connection: Connection, shop: Shop, one: Hold) -> None:
    """Let a programme stand still."""
    row = {"program_key": one.program, "run_id": one.run_id, "at": one.at, "actor": one.actor, "reason": one.reason}
    connection.execute(insert(tier_holds).values(shop_id=shop.shop_id, **row, policy_version=one.version))


def held_back(connection: Connection, shop: Shop, kept: Mapping[str, Kept], now: datetime) -> dict[str, Hold]:
    """The programmes a daily pass leaves as they are; one whose policy is another one by now goes on."""
    found = holds(connection, shop.shop_id)
    for program, one in list(found.items()):
        if program in kept and kept[program].version != one.version:
            go_on(connection, shop, now, actor=kept[program].actor, program=program)
            del found[program]
    return found


def go_on(connection: Connection, shop: Shop, now: datetime, *, actor: str, program: str | None = None) -> None:
    """Let a programme, or all of them, go on. That they stood still stays written."""
    open_now = [one for one in holds(connection, shop.shop_id) if program in (None, one)]
    if not open_now:
        return
    c = tier_holds.c
    own = (c.shop_id == shop.shop_id, c.program_key.in_(open_now), c.ended_at.is_(None))
    connection.execute(update(tier_holds).where(*own).values(ended_at=now, ended_by=actor))
    audit.note(connection, shop.shop_id, actor, ACTION, {"programs": open_now}, now)
