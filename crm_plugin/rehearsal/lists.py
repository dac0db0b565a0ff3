"""Who was in each segment at an instant, by the events that were kept; lists that a person wrote are written again when they were."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from crm_plugin.clock import day_number, local_day
from crm_plugin.rules.kept import WRITTEN
from crm_plugin.store.base import to_micros
from crm_plugin.store.bulk import execute
from crm_plugin.store.tenants import Shop

LATER = "later_lists"


def take_back(connection: Connection, shop: Shop, start: datetime) -> None:
    """Undo every coming and going after `start`; what was kept for the first time after it is not kept yet."""
    shop_id, since = shop.shop_id, to_micros(start)
    execute(
        connection,
        f"CREATE TABLE {LATER} AS SELECT segment_key, member_id, entered, at AS comes_at, as_of FROM segment_events "  # noqa: S608
        "WHERE shop_id = ? AND at > ? AND cause = ?",
        (shop_id, since, WRITTEN),
    )
    execute(connection, f"CREATE INDEX ix_{LATER} ON {LATER} (comes_at)")
    execute(connection, "DELETE FROM segment_members WHERE shop_id = ? AND since_at > ?", (shop_id, since))
    # Whoever left first of all after `start` was in it then; since when is told by the event that let them in.
    execute(
        connection,
        """
        INSERT OR IGNORE INTO segment_members (shop_id, segment_key, member_id, since_at, since_on)
        SELECT e.shop_id, e.segment_key, e.member_id, COALESCE(b.at, 0), COALESCE(b.as_of, 0)
        FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY segment_key, member_id ORDER BY at, event_id) AS place
            FROM segment_events WHERE shop_id = ? AND at > ?
        ) AS e
        JOIN segments AS s ON s.shop_id = e.shop_id AND s.segment_key = e.segment_key
        LEFT JOIN (
            SELECT segment_key, member_id, MAX(at) AS at, MAX(as_of) AS as_of FROM segment_events
            WHERE shop_id = ? AND at <= ? AND entered GROUP BY segment_key, member_id
        ) AS b ON b.segment_key = e.segment_key AND b.member_id = e.member_id
        WHERE e.place = 1 AND NOT e.entered
        """,
        (shop_id, since, shop_id, since),
    )
    execute(connection, "DELETE FROM segment_events WHERE shop_id = ? AND at > ?", (shop_id, since))
    known = "SELECT segment_key FROM segment_members WHERE shop_id = ? UNION SELECT segment_key FROM segment_events WHERE shop_id = ?"
    before = day_number(local_day(start - timedelta(microseconds=1), shop.timezone))
    execute(
        connection,
        f"UPDATE segments SET kept_through = MIN(kept_through, ?), kept_on = MIN(kept_on, ?) "  # noqa: S608
        f"WHERE shop_id = ? AND segment_key IN ({known})",
        (since, before, shop_id, shop_id, shop_id),
    )
    execute(
        connection,
        f"UPDATE segments SET kept_through = NULL, kept_on = NULL WHERE shop_id = ? AND segment_key NOT IN ({known})",  # noqa: S608
        (shop_id, shop_id, shop_id),
    )


def turn(connection: Connection, shop_id: int, low: int, high: int) -> None:
    """Write what a person had written between two instants."""
    sql = f"SELECT segment_key, member_id, entered, comes_at, as_of FROM {LATER} WHERE comes_at > ? AND comes_at <= ? ORDER BY comes_at"  # noqa: S608
    for key, member_id, entered, at, as_of in execute(connection, sql, (low, high)).all():
        if entered:
            execute(
                connection,
                "INSERT OR IGNORE INTO segment_members (shop_id, segment_key, member_id, since_at, since_on) VALUES (?, ?, ?, ?, ?)",
                (shop_id, key, member_id, at, as_of),
            )
        else:
            own = (shop_id, key, member_id)
            execute(
                connection, "DELETE FROM segment_members WHERE shop_id = ? AND segment_key = ? AND member_id = ?", own
            )
