"""One member's way through a tier programme: every change of level and of its term, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, select

from crm_plugin.rules.called import UNNAMED, Called
from crm_plugin.rules.tier_words import reason_words
from crm_plugin.store import tier_changes, tier_terms


@dataclass(frozen=True, slots=True)
class Passage:
    """One line: from and to are the same where the level stayed; `version` is the policy's, 0 before there were versions."""

    at: datetime
    day: date
    from_level: str
    to_level: str
    cause: str
    version: int
    reason: Mapping[str, Any]

    def words(self, lang: str, by: Called = UNNAMED) -> str:
        """Why, in sentences; `by` is what the shop calls its own."""
        return reason_words(self.cause, self.reason, self.version, lang, by)

    def as_dict(self, lang: str, by: Called = UNNAMED) -> dict[str, Any]:
        told = {"day": self.day.isoformat(), "from": self.from_level, "to": self.to_level, "cause": self.cause}
        return {**told, "policy": self.version, "why": self.words(lang, by), "reason": dict(self.reason)}


def history(connection: Connection, shop_id: int, program: str, member_id: int) -> list[Passage]:
    """All of it, the oldest first."""
    c, e = tier_changes.c, tier_terms.c
    moved = select(tier_changes).where(c.shop_id == shop_id, c.program_key == program, c.member_id == member_id)
    turned = select(tier_terms).where(e.shop_id == shop_id, e.program_key == program, e.member_id == member_id)
    found = [
        (row.change_id, _moved(row.changed_at, row.as_of, row.from_level, row.to_level, row.policy_version, row.reason))
        for row in connection.execute(moved)
    ]
    found += [
        (
            row.event_id,
            Passage(row.at, row.as_of, _level(row), _level(row), row.kind, row.policy_version, row.detail),
        )
        for row in connection.execute(turned)
    ]
    return [passage for _, passage in sorted(found, key=lambda one: (one[1].at, one[0]))]


def _moved(at: datetime, day: date, before: str, after: str, version: int, reason: Mapping[str, Any]) -> Passage:
    return Passage(at, day, before, after, str(reason.get("cause", "rule")), version, reason)


def _level(row: Any) -> str:
    return str(row.level_key)
