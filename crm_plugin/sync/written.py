"""What became of a page's records, and which of two tellings of one record is the newer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TypeVar

from crm_plugin.records import CheckoutRecord, MemberRecord, OrderRecord, ProductRecord, RefundRecord
from crm_plugin.sync.values import micros

R = TypeVar("R", MemberRecord, OrderRecord, RefundRecord, ProductRecord, CheckoutRecord)


@dataclass(slots=True)
class Written:
    """What became of the records of one page, or of several added up; `lines` and `refunds` are rows written."""

    new: int = 0
    changed: int = 0
    same: int = 0
    stale: int = 0
    removed: int = 0
    lines: int = 0
    refunds: int = 0

    @property
    def rows(self) -> int:
        """How many rows were touched; 0 when the store already said all this."""
        return self.new + self.changed + self.removed + self.lines + self.refunds

    def add(self, other: Written) -> None:
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def is_older(told: datetime | None, stored: int | None) -> bool:
    """Whether a record speaks of an earlier state than the one stored (microseconds); what tells no time is taken as new."""
    return told is not None and stored is not None and (micros(told) or 0) < stored


def latest(records: Sequence[R]) -> list[R]:
    """The records without repeats within the page: of two with one id the newer, of two as new the later."""
    found: dict[str, R] = {}
    for record in records:
        before = found.get(record.external_id)
        if before is not None and before.updated_at and record.updated_at and record.updated_at < before.updated_at:
            continue
        found[record.external_id] = record
    return list(found.values())
