"""Events of members that were taken back: until then they held."""

from __future__ import annotations

from sqlalchemy import Connection

from crm_plugin.store.bulk import execute

LATER = "later_withdrawn"


def take_back(connection: Connection, shop_id: int, since: int) -> None:
    """What was withdrawn after `since` holds again."""
    execute(
        connection,
        f"CREATE TABLE {LATER} AS SELECT event_id, withdrawn_at AS comes_at FROM member_events WHERE shop_id = ? AND withdrawn_at > ?",  # noqa: S608
        (shop_id, since),
    )
    execute(connection, f"CREATE INDEX ix_{LATER} ON {LATER} (comes_at)")
    execute(
        connection,
        "UPDATE member_events SET withdrawn_at = NULL WHERE shop_id = ? AND withdrawn_at > ?",
        (shop_id, since),
    )


def turn(connection: Connection, shop_id: int, low: int, high: int) -> None:
    """Withdraw what was withdrawn between two instants."""
    execute(
        connection,
        f"UPDATE member_events SET withdrawn_at = l.comes_at FROM {LATER} AS l WHERE member_events.shop_id = ? "  # noqa: S608
        "AND l.event_id = member_events.event_id AND l.comes_at > ? AND l.comes_at <= ?",
        (shop_id, low, high),
    )
