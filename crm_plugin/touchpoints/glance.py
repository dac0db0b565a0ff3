"""One look into an index before a step of a round takes the writer's lock: most rounds have nothing to settle and nothing to send."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import TextClause, text

from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.touchpoints.states import WAITING, State

_NAMES = ", ".join(f"'{state}'" for state in sorted(WAITING))
_DUE = f"SELECT 1 FROM touchpoints WHERE shop_id = :shop_id AND state IN ({_NAMES}) AND next_try_at <= :now"  # noqa: S608
_LOST = f"SELECT 1 FROM touchpoints WHERE shop_id = :shop_id AND state = '{State.IN_FLIGHT}' AND claimed_until < :now"  # noqa: S608
# Messages that may leave or are over, those whose window is over, and those whose worker is gone. The first in the index's order is asked
# for: PostgreSQL takes what waits and what is past for independent, and would look for any one by going through all that is stored.
DUE = text(f"{_DUE} ORDER BY next_try_at LIMIT 1")
OVER = text(f"{_DUE} AND valid_until <= :now ORDER BY next_try_at LIMIT 1")
LOST = text(f"{_LOST} ORDER BY claimed_until LIMIT 1")


def nothing(db: Database, asks: TextClause, shop_id: int, now: datetime) -> bool:
    """Whether there is no such message."""
    with db.read() as connection:
        return connection.execute(asks, {"shop_id": shop_id, "now": to_micros(now)}).first() is None
