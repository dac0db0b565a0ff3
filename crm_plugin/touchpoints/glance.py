"""One look into an index before a step of a round takes the writer's lock: most rounds have nothing to settle and nothing to send."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import TextClause, text

from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.touchpoints.states import WAITING, State

_NAMES = ", ".join(f"'{state}'" for state in sorted(WAITING))
# Messages that may leave or are over, those whose window is over, and those whose worker is gone.
DUE = text(
    f"SELECT 1 FROM touchpoints WHERE shop_id = :shop_id AND state IN ({_NAMES}) AND next_try_at <= :now LIMIT 1"  # noqa: S608
)
OVER = text(f"{str(DUE).removesuffix(' LIMIT 1')} AND valid_until <= :now LIMIT 1")
LOST = text(
    f"SELECT 1 FROM touchpoints WHERE shop_id = :shop_id AND state = '{State.IN_FLIGHT}' AND claimed_until < :now LIMIT 1"  # noqa: S608
)


def nothing(db: Database, asks: TextClause, shop_id: int, now: datetime) -> bool:
    """Whether there is no such message."""
    with db.read() as connection:
        return connection.execute(asks, {"shop_id": shop_id, "now": to_micros(now)}).first() is None
