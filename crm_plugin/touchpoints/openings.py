"""When what was planned for later may leave: the first instant that the shop's hours, its days of rest and the law of the place leave open.

The planner counts the shop's hours in each zone. What depends on more than the zone (a channel's own hours, Sundays and holidays, the law
for text messages by state and number) is asked here once for each place that a round planned something for, by the same function as just
before sending, and written with one statement for each hour. So what waits says when it will go. It is asked again when it is taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from crm_plugin.store import bulk
from crm_plugin.store.base import from_micros, to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.caps import exempt
from crm_plugin.touchpoints.journey import WEBHOOK
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.quiet import Rest, open_after
from crm_plugin.touchpoints.states import Reason, State
from crm_plugin.touchpoints.versions import voices

# What decides about the hours: of a number its country and area code, and that for text messages alone.
_PLACE = {
    "channel": "t.channel",
    "journey_key": "t.journey_key",
    "journey_version": "COALESCE(t.journey_version, 0)",
    "step": "t.step",
    "next_try_at": "t.next_try_at",
    "zone": "m.zone",
    "timezone": "m.timezone",
    "country": "m.country",
    "region": "m.region",
    "phone": "CASE WHEN t.channel = 'sms' THEN substr(m.phone, 1, 5) ELSE '' END",
}
_NEW = text(
    f"SELECT t.touchpoint_id, {', '.join(f'{sql} AS {name}' for name, sql in _PLACE.items())} "  # noqa: S608
    "FROM touchpoints AS t CROSS JOIN members AS m "
    f"WHERE t.shop_id = :shop_id AND t.state = '{State.PLANNED}' AND t.next_try_at > :now AND t.planned_at = :now "
    "AND t.channel NOT IN ('inapp', :webhook) AND (t.channel = 'sms' OR :is_every) AND m.shop_id = t.shop_id AND m.member_id = t.member_id"
)
# So many rows are held at a time.
_AT_ONCE = 10_000


def put_off(db: Database, shop: Shop, now: datetime) -> int:
    """Let what this round planned for later wait until it may leave; how many were moved. What never may is left to the guards."""
    # But for text messages nothing more than the zone decides, unless the shop rests on some days or on one channel.
    told = {
        "shop_id": shop.shop_id,
        "now": to_micros(now),
        "webhook": WEBHOOK,
        "is_every": policy_of(shop).rest != Rest(),
    }
    with db.read() as connection:
        later = _Later(connection, shop)
        rows = connection.execute(_NEW, told, execution_options={"yield_per": _AT_ONCE})
        found: dict[int, list[int]] = defaultdict(list)
        for part in rows.partitions():
            for key, opens in later.of(part):
                found[opens].append(key)
    return _move(db, shop, now, found) if found else 0


class _Later:
    """When it is open, asked once for each place."""

    def __init__(self, connection: Connection, shop: Shop) -> None:
        self._connection, self._shop, self._policy = connection, shop, policy_of(shop)
        # By a row without its key: the instant in microseconds, or None where it may leave when it is planned for.
        self._known: dict[tuple[Any, ...], int | None] = {}

    def of(self, rows: Sequence[Row[Any]]) -> Iterator[tuple[int, int]]:
        """Of each row that has to wait longer than it is planned for: its key, and the instant in microseconds."""
        fresh: dict[tuple[Any, ...], Row[Any]] = {
            tuple(one[1:]): one for one in rows if tuple(one[1:]) not in self._known
        }
        if fresh:
            known = voices(self._connection, self._shop.shop_id, list(fresh.values()))
            for place, one in fresh.items():
                self._known[place] = self._opens(one, marketing=not exempt(known.of(one)))
        for one in rows:
            if (opens := self._known[tuple(one[1:])]) is not None:
                yield one.touchpoint_id, opens

    def _opens(self, one: Row[Any], *, marketing: bool) -> int | None:
        policy, at = self._policy, from_micros(one.next_try_at)
        found = open_after(one, one.channel, policy.quiet, policy.rest, at, policy.zone, marketing=marketing)
        return to_micros(found) if found is not None and found > at else None


# The rows are found by their keys, a list an hour: a join of rows and hours would be gone through for each row by PostgreSQL, as long as
# it has no figures about either.
MOVE = (
    "UPDATE touchpoints SET next_try_at = ?, reason = ?, updated_at = ? WHERE shop_id = ? "  # noqa: S608
    f"AND state || '' = '{State.PLANNED}' AND next_try_at > ? AND valid_until > ? "
    "AND touchpoint_id IN ({marks}) RETURNING touchpoint_id"
)


def _move(db: Database, shop: Shop, now: datetime, found: dict[int, list[int]]) -> int:
    """Moves what still waits, nothing past its window, which the guards let go; how many were moved."""
    moved, at = 0, to_micros(now)
    with db.write() as connection:
        for later, ids in sorted(found.items()):
            told = (later, Reason.QUIET_HOURS.value, at, shop.shop_id, at, later)
            moved += sum(1 for _ in bulk.select_in(connection, MOVE, told, ids))
    return moved
