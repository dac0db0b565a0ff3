"""How many levels may still go into a store today, where it allows so many a day.

Counted by what was written, so that a restart forgets none.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from crm_plugin.adapters.storefronts.base import Allowance
from crm_plugin.clock import at_local, local_day
from crm_plugin.store.session import Database
from crm_plugin.store.writebacks import count_written_since


class Left:
    """What is left of one shop's days, for one run. None: no end of it."""

    def __init__(self, db: Database, shop_id: int, allowance: Allowance | None) -> None:
        self._db = db
        self._shop_id = shop_id
        self._allowance = allowance
        self._left = 0
        # When the day ends that is counted.
        self.until = datetime.min.replace(tzinfo=UTC)

    def at(self, now: datetime) -> int | None:
        """How many more."""
        if self._allowance is None:
            return None
        if now >= self.until:
            zone = self._allowance.timezone
            today = local_day(now, zone)
            self.until = at_local(today + timedelta(days=1), time.min, zone)
            with self._db.read() as connection:
                done = count_written_since(connection, self._shop_id, at_local(today, time.min, zone))
            self._left = max(0, self._allowance.a_day - done)
        return self._left

    def take(self, count: int) -> None:
        """So many were asked for, whatever came of it."""
        self._left = max(0, self._left - count)
