"""Checkouts that became an order after they were left: until that was known they stood open."""

from __future__ import annotations

from sqlalchemy import Connection

from crm_plugin.store.bulk import execute

LATER = "later_finished"
# When a member was last seen at one tells when it was known, unless finishing it was what they were seen at.
_FINISHED = "shop_id = ? AND seen_at > ? AND completed_at > touched_at"


def take_back(connection: Connection, shop_id: int, since: int) -> None:
    """What was found finished after `since` stands open, as it was seen before."""
    told = "checkout_id, completed_at, seen_at AS comes_at"
    execute(connection, f"CREATE TABLE {LATER} AS SELECT {told} FROM checkouts WHERE {_FINISHED}", (shop_id, since))  # noqa: S608
    execute(connection, f"CREATE INDEX ix_{LATER} ON {LATER} (comes_at)")
    execute(
        connection,
        f"UPDATE checkouts SET completed_at = NULL, seen_at = touched_at WHERE {_FINISHED}",  # noqa: S608
        (shop_id, since),
    )


def turn(connection: Connection, shop_id: int, low: int, high: int) -> None:
    """Finish what was found finished between two instants."""
    execute(
        connection,
        f"UPDATE checkouts SET completed_at = l.completed_at, seen_at = l.comes_at FROM {LATER} AS l "  # noqa: S608
        "WHERE checkouts.shop_id = ? AND l.checkout_id = checkouts.checkout_id AND l.comes_at > ? AND l.comes_at <= ?",
        (shop_id, low, high),
    )
