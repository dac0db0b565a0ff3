"""Levels in the store, as jobs and pages ask for them: switch, write, check."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.jobs.turns import FEWEST, Turn
from crm_plugin.rounds import TurnOver
from crm_plugin.runtime import Runtime
from crm_plugin.store import writebacks
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import connect, writeback_switch
from crm_plugin.sync.pull import Progress
from crm_plugin.sync.writeback import WritebackReport, write_shop

Listener = Callable[[Progress], None]


def can_hold(shop: Shop) -> bool:
    """Whether the store can hold levels at all."""
    return storefront_class(shop.platform).holds_tiers()


def is_due(connection: Connection, shop: Shop, now: datetime) -> bool:
    """Whether there is anything to write now. A store that no longer lets us in at all is left alone until it does."""
    return shop.status == "connected" and writebacks.is_due(connection, shop.shop_id, now)


def write(runtime: Runtime, shop: Shop, *, now: datetime, progress: Listener | None = None) -> dict[str, Any]:
    """Write what is due, for as long as one turn lasts."""
    try:
        return _written(runtime, shop, now, Turn(runtime.clock, progress)).as_dict()
    except TurnOver as over:
        return {"settled": over.done, "again": over.done >= FEWEST}


def write_all(runtime: Runtime, shop: Shop, *, progress: Listener | None = None) -> WritebackReport:
    """Write until nothing is due, or the store fails."""
    return _written(runtime, shop, runtime.clock.now(), progress)


def _written(runtime: Runtime, shop: Shop, now: datetime, progress: Listener | None) -> WritebackReport:
    storefront = connect.open_storefront(runtime.db, runtime.box, shop)
    told = None if progress is None else lambda done: progress(Progress("levels", done, None))
    try:
        return write_shop(runtime.db, shop, storefront, now, clock=runtime.clock.now, progress=told)
    finally:
        storefront.close()


def switch(runtime: Runtime, shop: Shop, *, on: bool, actor: str) -> None:
    """Write levels into the store from now on, or no more. Raises: as `writeback_switch.switch_on`."""
    now = runtime.clock.now()
    if on:
        writeback_switch.switch_on(runtime.db, runtime.box, shop, now, actor=actor)
    else:
        writeback_switch.switch_off(runtime.db, shop, now, actor=actor)


def verify(runtime: Runtime, shop: Shop, *, progress: Listener | None = None) -> int:
    """Read every account's mark in the store and queue what was changed there; how many that is."""
    storefront = connect.open_storefront(runtime.db, runtime.box, shop)
    try:
        return writeback_switch.check_all(runtime.db, shop, storefront, runtime.clock.now(), progress)
    finally:
        storefront.close()
