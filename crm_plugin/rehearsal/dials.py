"""How much marketing each member wanted at an instant, by the events that are kept of each turn of a dial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_plugin.store.base import to_micros
from crm_plugin.store.bulk import execute
from crm_plugin.touchpoints.dial import ALL, TURNED

LATER = "later_dials"
_KEEP = (
    "INSERT INTO member_dials (shop_id, member_id, frequency, per_month, snooze_until, source, updated_at) "
    "SELECT shop_id, member_id, ?, ?, ?, '', ? FROM members WHERE shop_id = ? AND member_id = ? "
    "ON CONFLICT DO UPDATE SET frequency = excluded.frequency, per_month = excluded.per_month, "
    "snooze_until = excluded.snooze_until, updated_at = excluded.updated_at"
)


def take_back(connection: Connection, shop_id: int, since: int) -> None:
    """Put each dial that was turned after `since` to where it stood then, and note the turns to come."""
    execute(
        connection,
        f"CREATE TABLE {LATER} AS SELECT member_id, payload, recorded_at AS comes_at FROM member_events "  # noqa: S608
        "WHERE shop_id = ? AND kind = ? AND recorded_at > ? ORDER BY recorded_at, event_id",
        (shop_id, TURNED, since),
    )
    execute(connection, f"CREATE INDEX ix_{LATER} ON {LATER} (comes_at)")
    before: dict[int, Mapping[str, Any]] = {}
    for member_id, payload in execute(connection, f"SELECT member_id, payload FROM {LATER} ORDER BY rowid"):  # noqa: S608
        before.setdefault(member_id, json.loads(payload).get("before", {}))
    for member_id, told in before.items():
        _put(connection, shop_id, member_id, told, since)


def turn(connection: Connection, shop_id: int, low: int, high: int) -> None:
    """Turn again what was turned between two instants."""
    sql = f"SELECT member_id, payload, comes_at FROM {LATER} WHERE comes_at > ? AND comes_at <= ? ORDER BY rowid"  # noqa: S608
    for member_id, payload, at in execute(connection, sql, (low, high)).all():
        _put(connection, shop_id, member_id, json.loads(payload).get("after", {}), at)


def _put(connection: Connection, shop_id: int, member_id: int, told: Mapping[str, Any], at: int) -> None:
    until = told.get("snooze_until")
    snooze = to_micros(datetime.fromisoformat(until)) if until else None
    chosen = (told.get("frequency", ALL), told.get("per_month"), snooze)
    execute(connection, _KEEP, (*chosen, at, shop_id, member_id))
