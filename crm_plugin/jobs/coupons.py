"""Codes asked of the store, as a job: what was ordered, what is missing of pools that are kept in stock, and what ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import connect
from crm_plugin.sync.pull import Progress
from crm_plugin.touchpoints.steps import making, stock

COUPONS = "coupons"


def is_due(connection: Connection, shop: Shop, now: datetime) -> bool:
    """Whether there is anything to do now. A store that no longer lets us in is left alone until it does."""
    return shop.status == "connected" and stock.is_due(connection, shop, now)


def run(
    runtime: Runtime, shop: Shop, *, now: datetime, progress: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Order what is missing, then ask the store for all that is open; answers how many codes were made, by pool."""
    with runtime.db.write() as connection:
        ended = stock.keep_up(connection, shop, now)
        is_open = any(one.order is not None for one in stock.all_stocks(connection, shop.shop_id).values())
    if not is_open:
        return {"made": {}, "ended": ended}

    def note(_pool: str, done: int, total: int) -> None:
        if progress is not None:
            progress(Progress(COUPONS, done, total))

    storefront = connect.open_storefront(runtime.db, runtime.box, shop)
    try:
        return {"made": making.make(runtime.db, shop, storefront, now, note), "ended": ended}
    finally:
        storefront.close()
