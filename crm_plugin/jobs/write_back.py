"""Tags and consent written into the store, as a job."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from crm_plugin.runtime import Runtime
from crm_plugin.store import runs
from crm_plugin.store.base import from_micros, to_micros
from crm_plugin.store.runs import Run
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import connect, store_writes
from crm_plugin.sync.pull import Progress

WRITE_BACK = "write_back"
# Up to which instant changes were gathered.
_MARK = "write_back_mark"
# A round says when it began, and writes that at its end: what it changed may be older than the mark by as much.
_OVERLAP = timedelta(hours=6)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def is_on(shop: Shop) -> bool:
    """Whether the merchant wants anything written that the store can take."""
    return bool(store_writes.wanted(shop))


def run(
    runtime: Runtime, shop: Shop, *, now: datetime, progress: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Gather what has changed since the last run, then write what is due."""
    report = store_writes.WrittenReport()
    with runtime.db.write() as connection:
        mark = runs.last(connection, shop.shop_id, _MARK)
        kinds = sorted(store_writes.wanted(shop))
        known = set() if mark is None else set(mark.result.get("kinds", ()))
        is_first = mark is None or not mark.through or not known.issuperset(kinds)
        since = _BEGINNING if is_first or mark is None else from_micros(int(mark.through)) - _OVERLAP
        report.gathered = store_writes.gather(connection, shop, since, now)
        runs.keep(connection, shop.shop_id, Run(_MARK, now, now, {"kinds": kinds}, "", str(to_micros(now))))
        if not store_writes.is_due(connection, shop.shop_id, now):
            return report.as_dict()
    storefront = connect.open_storefront(runtime.db, runtime.box, shop)
    told = None if progress is None else lambda done: progress(Progress("write_back", done, None))
    try:
        return store_writes.write(runtime.db, shop, storefront, now, report, progress=told).as_dict()
    finally:
        storefront.close()
