"""What came of one request that told delivery events."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from crm_plugin.store.hook_counts import Odd


@dataclass(slots=True)
class IntakeReport:
    """What one request told: how many events, and what they changed.

    Of those that moved nothing: known already (`repeated`), too late for the state of their message (`late`), of no message of ours
    (`unmatched`), in a word that we do not know (`unknown`).
    """

    events: int = 0
    repeated: int = 0
    late: int = 0
    unmatched: int = 0
    unknown: int = 0
    suppressed: int = 0
    withdrawn: int = 0
    states: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        counted = ("events", "repeated", "late", "unmatched", "unknown", "suppressed", "withdrawn")
        return {**{name: getattr(self, name) for name in counted}, "states": dict(self.states)}

    @property
    def odd(self) -> dict[Odd, int]:
        """What of it counts as odd."""
        return {
            Odd.REPEATED: self.repeated,
            Odd.LATE: self.late,
            Odd.UNMATCHED: self.unmatched,
            Odd.UNKNOWN: self.unknown,
        }
