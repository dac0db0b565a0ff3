"""Whether the orders of a store are known up to an instant: nobody is missed who may have ordered since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.errors import ConfigError
from crm_plugin.records import Stream
from crm_plugin.store import sync_state
from crm_plugin.store.tenants import Shop

_IDLE, _RUNNING = "idle", "running"
# A store in step is read every few minutes. A first reading takes longer, and one that stopped may wait for the merchant.
_SOON, _LATER = timedelta(minutes=5), timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class InStep:
    """How the orders of a shop stand: `whole_since` is when the last reading that ended began; a shop of files is never read."""

    pulled: bool = False
    phase: str = ""
    whole_since: datetime | None = None

    def covers(self, at: datetime) -> bool:
        """Whether every order placed up to then is here: a reading that began later has come to its end, whatever runs now."""
        return not self.pulled or (self.whole_since is not None and self.whole_since >= at)

    @property
    def pause(self) -> timedelta:
        """How long to wait before asking again."""
        return _SOON if self.phase in (_IDLE, _RUNNING) else _LATER


def orders_of(connection: Connection, shop: Shop) -> InStep:
    """How far the shop's orders are known."""
    try:
        if Stream.ORDERS not in storefront_class(shop.platform).streams:
            return InStep()
    except ConfigError:
        # Its adapter is not installed here: nothing new can come, and what else is sent need not wait for it.
        return InStep(True)
    s = sync_state.c
    query = select(s.phase, s.whole_since).where(s.shop_id == shop.shop_id, s.stream == Stream.ORDERS.value)
    row = connection.execute(query).first()
    return InStep(True) if row is None else InStep(True, row.phase, row.whole_since)
