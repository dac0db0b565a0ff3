"""What came to a shop's hooks and was refused or moved nothing: how often, by sender and why, and when last.

What moves a message is told by its delivery events. The counts are a document in one row of `job_runs`, written only when there is
something odd to count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select, update

from crm_plugin.store import job_runs
from crm_plugin.store.upserts import insert_into

# The name under which they are kept among the jobs.
HOOKS = "hooks"


class Odd(StrEnum):
    """Why a report or one of its events counts as odd; the first six are refused, the others harmless."""

    FORGED = "forged"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    OVERSIZED = "oversized"
    NOT_SET_UP = "not_set_up"
    NOT_TAKEN = "not_taken"
    REPEATED = "repeated"
    LATE = "late"
    UNMATCHED = "unmatched"
    UNKNOWN = "unknown"


REFUSED = frozenset({Odd.FORGED, Odd.MALFORMED, Odd.TRUNCATED, Odd.OVERSIZED, Odd.NOT_SET_UP, Odd.NOT_TAKEN})


@dataclass(frozen=True, slots=True)
class Count:
    """How often one thing came to one hook of a shop since it was set up, and when last."""

    shop_id: int
    adapter: str
    reason: Odd
    number: int
    last_at: datetime


def count(connection: Connection, shop_id: int, adapter: str, told: Mapping[Odd, int], now: datetime) -> None:
    """Add to the counts; zeroes add nothing."""
    some = {reason: number for reason, number in told.items() if number}
    if not some:
        return
    r = job_runs.c
    mine = (r.shop_id == shop_id) & (r.job == HOOKS)
    fresh = {"shop_id": shop_id, "job": HOOKS, "started_at": now, "finished_at": now, "result": {}, "error": ""}
    connection.execute(insert_into(connection, job_runs).values(through="", **fresh).on_conflict_do_nothing())
    document: dict[str, Any] = connection.execute(select(r.result).where(mine).with_for_update()).scalar_one()
    for reason, number in some.items():
        before = document.setdefault(adapter, {}).get(reason.value, {"number": 0})
        document[adapter][reason.value] = {"number": before["number"] + number, "last_at": now.isoformat()}
    connection.execute(update(job_runs).where(mine).values(result=document, finished_at=now))


def counts(connection: Connection, shop_id: int | None = None) -> list[Count]:
    """The counts of one shop, or of all."""
    r = job_runs.c
    query = select(r.shop_id, r.result).where(r.job == HOOKS, *([] if shop_id is None else [r.shop_id == shop_id]))
    return [
        Count(row.shop_id, adapter, Odd(reason), told["number"], datetime.fromisoformat(told["last_at"]))
        for row in connection.execute(query.order_by(r.shop_id))
        for adapter, reasons in sorted(row.result.items())
        for reason, told in sorted(reasons.items())
    ]
