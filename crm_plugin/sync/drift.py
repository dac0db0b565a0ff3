"""Marks that the store tells of, held against those that we wrote: what somebody changed there is put back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_plugin.records import MemberRecord
from crm_plugin.store import bulk, writebacks
from crm_plugin.sync.values import micros

_STORED = """
SELECT m.external_id, m.member_id, w.program_key, w.wanted_level, w.state, w.store_changed_at FROM members AS m
LEFT JOIN tier_writebacks AS w ON w.shop_id = m.shop_id AND w.member_id = m.member_id
WHERE m.shop_id = ? AND m.state = 'active' AND m.external_id IN ({marks})
"""
_HELD = "SELECT member_id, program_key, level_key FROM member_tiers WHERE shop_id = ? AND member_id IN ({marks})"


def take(connection: Connection, shop_id: int, records: Sequence[MemberRecord], now: datetime) -> int:
    """Queue the marks of these accounts that are not as written, and take off those of nobody; how many they are.

    What waits or is in flight is left alone: it will be right soon. The caller holds the shop's lock.
    """
    told = {one.external_id: one for one in records if one.marks is not None and not one.deleted}
    if not told or not writebacks.is_on(connection, shop_id):
        return 0
    members: dict[str, int] = {}
    rows: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for external_id, member_id, program, *rest in bulk.select_in(connection, _STORED, (shop_id,), told):
        members[external_id] = member_id
        if program is not None:
            rows[external_id][program] = rest
    moved: list[tuple[str, int, str, str]] = []
    strange: list[tuple[str, int, str]] = []
    mended: list[tuple[str, int]] = []
    for external_id, member_id in members.items():
        record, known = told[external_id], rows[external_id]
        marks = record.marks or {}
        for program in {**known, **marks}:
            level = marks.get(program, "")
            if program not in known:
                strange += [(program, member_id, level)] if level else []
                continue
            wanted, state, changed_at = known[program]
            if state == "failed" and level == wanted:
                mended.append((program, member_id))
            elif state == "written" and level != wanted and not _is_before(record.updated_at, changed_at):
                moved.append((program, member_id, wanted, level))
    held = {
        (one[1], one[0]): one[2] for one in bulk.select_in(connection, _HELD, (shop_id,), {one[1] for one in strange})
    }
    moved += [(program, member_id, held.get((program, member_id), ""), level) for program, member_id, level in strange]
    writebacks.note_drift(connection, shop_id, moved, now)
    writebacks.note_mended(connection, shop_id, mended, now)
    return len(moved)


def _is_before(told: datetime | None, changed_at: int | None) -> bool:
    """Whether the account was read before our mark came to it, by the store's own clock."""
    return told is not None and changed_at is not None and (micros(told) or 0) < changed_at
