"""What stands of a journey with many messages at once, and what becomes of it: a decision over figures, and the row that keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from crm_plugin.store import journey_waves
from crm_plugin.store.upserts import insert_into
from crm_plugin.touchpoints.guard_settings import Blast
from crm_plugin.touchpoints.journey import Journey

# What a journey with many messages is: its canary is out, it went well, or it stands still.
CANARY, CLEAR, HELD = "canary", "clear", "held"
# Why a journey stands still, and that somebody let it go.
FORECAST, COMPLAINTS, BOUNCES, RELEASED = "forecast", "complaints", "bounces", "released"
_TIMES = 3
_WEEK = timedelta(days=7)
# A share says nothing of so few.
_FEWEST = {COMPLAINTS: 3, BOUNCES: 10}


@dataclass(frozen=True, slots=True)
class Wave:
    """What stands of a journey: canary, clear or held, since and until when, and the figures that decided."""

    journey_key: str
    state: str
    cause: str
    version: int
    since: datetime
    until: datetime
    waiting: int
    detail: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {
            "journey": self.journey_key,
            "state": self.state,
            "cause": self.cause,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "waiting": self.waiting,
            "detail": dict(self.detail),
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """One journey now: how many are due, how many fell due today, how many it was expected to plan, and what became of what it sent."""

    due: int = 0
    today: int = 0
    expected: int | None = None
    sent: int = 0
    complaints: int = 0
    bounces: int = 0


def next_wave(before: Wave | None, journey: Journey, seen: Figures, blast: Blast, now: datetime) -> Wave | None:
    """What becomes of a journey by these figures; None where there is nothing to say."""
    if before is not None and before.state == HELD:
        return before
    if (cause := _trouble(before, seen, blast, now)) is not None:
        return _wave(journey, HELD, cause, seen, now, now)
    if before is not None and before.state == CANARY:
        if now < before.until:
            return before
        return Wave(journey.key, CLEAR, "", before.version, now, now + _WEEK, before.waiting, before.detail)
    if blast.above and seen.due > blast.above and not _is_cleared(before, journey, seen, now):
        return _wave(journey, CANARY, "", seen, now, now + timedelta(hours=blast.hold_hours))
    return before


def _trouble(before: Wave | None, seen: Figures, blast: Blast, now: datetime) -> str | None:
    """Why it has to stop, if it has to."""
    let_go = before is not None and before.cause == RELEASED and now < before.until
    if (
        blast.above
        and seen.expected is not None
        and not let_go
        and seen.today > max(_TIMES * seen.expected, blast.above)
    ):
        return FORECAST
    for cause, count, pct in (
        (COMPLAINTS, seen.complaints, blast.complaints_pct),
        (BOUNCES, seen.bounces, blast.bounces_pct),
    ):
        if pct and count >= _FEWEST[cause] and count * 100 >= pct * seen.sent:
            return cause
    return None


def _is_cleared(before: Wave | None, journey: Journey, seen: Figures, now: datetime) -> bool:
    if before is None or before.state != CLEAR or now >= before.until:
        return False
    return before.version == journey.version and seen.due <= _TIMES * before.waiting


def _wave(journey: Journey, state: str, cause: str, seen: Figures, since: datetime, until: datetime) -> Wave:
    detail = {
        "due": seen.due,
        "today": seen.today,
        "expected": seen.expected,
        "sent": seen.sent,
        "complaints": seen.complaints,
        "bounces": seen.bounces,
    }
    return Wave(journey.key, state, cause, journey.version, since, until, seen.due, detail)


def all_waves(connection: Connection, shop_id: int) -> dict[str, Wave]:
    """What stands of each journey that ever had many messages at once."""
    w = journey_waves.c
    rows = connection.execute(select(journey_waves).where(w.shop_id == shop_id))
    return {row.journey_key: _of_row(row) for row in rows}


def keep(connection: Connection, shop_id: int, wave: Wave, now: datetime) -> None:
    """Write what stands of a journey in place of what stood."""
    values = {
        "state": wave.state,
        "cause": wave.cause,
        "version": wave.version,
        "since": wave.since,
        "until": wave.until,
        "waiting": wave.waiting,
        "detail": dict(wave.detail),
        "updated_at": now,
    }
    connection.execute(
        insert_into(connection, journey_waves)
        .values(shop_id=shop_id, journey_key=wave.journey_key, **values)
        .on_conflict_do_update(index_elements=["shop_id", "journey_key"], set_=values)
    )


def _of_row(row: Row[Any]) -> Wave:
    return Wave(row.journey_key, row.state, row.cause, row.version, row.since, row.until, row.waiting, row.detail or {})
