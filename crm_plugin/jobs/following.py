"""What stores tell, as jobs: follow what was kept, fetch what waits, and once a night compare what is there with what is here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from crm_plugin.adapters.base import Capability, Severity
from crm_plugin.adapters.registry import app_values, channel_class, channel_names, storefront_class
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.clock import zone
from crm_plugin.errors import ActionRequired, AdapterError
from crm_plugin.phrases import joined, packed, unpacked
from crm_plugin.records import StoreEvent
from crm_plugin.runtime import Runtime
from crm_plugin.store import runs
from crm_plugin.store.tenants import UNINSTALLED, Shop, shop_by_id
from crm_plugin.sync import believed, connect, heard, lifecycle
from crm_plugin.sync.follow import follow
from crm_plugin.sync.pull import Progress
from crm_plugin.sync.reconcile import reconcile
from crm_plugin.touchpoints import intake

RECONCILE, UNTOLD = "reconcile", "untold"
# The job that reads a store.
_READ = "sync"
_log = logging.getLogger(__name__)
# How many messages are fetched at a time.
_AT_ONCE = 200
# The hours of the shop's own night; who missed them is compared once so much time has passed.
_NIGHT, _LATEST = range(1, 5), timedelta(hours=36)
_DAY = timedelta(hours=20)
# How far back the first comparison looks for what no list of changes showed.
_FIRST = timedelta(days=60)


def hears(shop: Shop) -> bool:
    """Whether its store tells anything by itself."""
    cls = storefront_class(shop.platform)
    return Capability.WEBHOOKS in cls.capabilities or cls.hears_by_polling()


def is_due(connection: Connection, shop: Shop, now: datetime) -> bool:
    """Whether anything is to be followed; who fetches messages has to look."""
    polls = shop.is_awake and storefront_class(shop.platform).hears_by_polling()
    return polls or heard.is_due(connection, shop, now)


def run(
    runtime: Runtime, shop: Shop, *, now: datetime, progress: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Fetch what waits, then follow all there is."""
    storefront = _opened(runtime, shop)
    try:
        with _refusals(runtime, shop, storefront):
            fetched = _fetch(runtime, shop, storefront) if shop.is_awake else 0
        told = None if progress is None else lambda done: progress(Progress("events", done, None))

        def reports(event: StoreEvent, at: datetime) -> None:
            _take_report(runtime, shop, event, at)

        report = follow(runtime.db, shop, storefront, now, clock=runtime.clock.now, progress=told, reports=reports)
        return {**report.as_dict(), "fetched": fetched}
    finally:
        if shop.status != UNINSTALLED:
            storefront.close()


def _opened(runtime: Runtime, shop: Shop) -> StorefrontAdapter:
    """The adapter; of a store that has taken its keys away one that is never asked anything."""
    if shop.status != UNINSTALLED:
        return connect.open_storefront(runtime.db, runtime.box, shop)
    cls = storefront_class(shop.platform)
    return cls.listening(app_values(cls.app_settings, shop.platform))


def _take_report(runtime: Runtime, shop: Shop, event: StoreEvent, at: datetime) -> None:
    """What became of messages that went through the store, by whichever sender works through it."""
    for name in channel_names():
        cls = channel_class(name)
        if cls.uses_storefront == shop.platform and (told := cls.reported(event, at)):
            intake.take(runtime.db, shop, name, told, at)


def _fetch(runtime: Runtime, shop: Shop, storefront: StorefrontAdapter) -> int:
    """Messages are confirmed once they are kept; the same one fetched twice is kept once."""
    fetched = 0
    while storefront.hears_by_polling() and (events := storefront.poll(_AT_ONCE)):
        heard.keep(runtime.db, shop, events, runtime.clock.now())
        storefront.confirm(events)
        fetched += len(events)
        if len(events) < _AT_ONCE:
            break
    return fetched


def can_compare(shop: Shop) -> bool:
    """Whether the store can be asked at all; a shop of files cannot."""
    return bool(storefront_class(shop.platform).streams)


def is_night(connection: Connection, shop: Shop, now: datetime) -> bool:
    """Whether it is night in the shop and the last comparison is of another night. The first waits for the night, too.

    What the merchant says is gone is looked for at any hour.
    """
    before = runs.last(connection, shop.shop_id, RECONCILE)
    said = believed.words(connection, shop.shop_id, now).values()
    if before is not None and any(word.at > before.finished_at for word in said):
        return True
    passed = None if before is None else abs(now - before.finished_at)
    if passed is not None and passed >= _LATEST:
        return True
    return now.astimezone(zone(shop.timezone)).hour in _NIGHT and (passed is None or passed >= _DAY)


def compare(
    runtime: Runtime, shop: Shop, *, now: datetime, progress: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Compare what the store holds with what is here, and see to it that it goes on telling us of changes."""
    with runtime.db.read() as connection:
        before = runs.last(connection, shop.shop_id, RECONCILE)
    storefront = connect.open_storefront(runtime.db, runtime.box, shop)
    try:
        since = before.started_at if before is not None and before.ok else now - _FIRST
        with _refusals(runtime, shop, storefront):
            report = reconcile(runtime.db, shop, storefront, since, now, progress)
            return {**report.as_dict(), **listen(runtime, shop, storefront)}
    finally:
        storefront.close()


@contextmanager
def _refusals(runtime: Runtime, shop: Shop, storefront: StorefrontAdapter) -> Iterator[None]:
    """That the store lets us in no more is the state of the shop, whatever it was asked for."""
    try:
        yield
    except ActionRequired as error:
        lifecycle.refused(runtime.db, shop, storefront, error, runtime.clock.now())
        raise


def listen_at_first(runtime: Runtime, shop: Shop, storefront: StorefrontAdapter) -> dict[str, list[str]]:
    """Until a store was read once since it is connected, it is asked to tell us of changes; later each night.

    One that was away may have stopped to; one that will not is read all the same. Answers as `listen` does; nothing when it is not asked.
    """
    with runtime.db.read() as connection:
        before = runs.last(connection, shop.shop_id, _READ)
        since = shop_by_id(connection, shop.shop_id).status_at
    if before is not None and before.ok and (since is None or before.started_at >= since):
        return {}
    try:
        return listen(runtime, shop, storefront)
    except AdapterError as error:
        _log.warning("webhooks of %s: %s", shop.name, error)
        return {}


def listen(runtime: Runtime, shop: Shop, storefront: StorefrontAdapter) -> dict[str, list[str]]:
    """See to it that a store that can reach us tells us of changes. Raises: as the storefront does.

    Answers for the run's result: under `webhooks` what had to be mended, under `UNTOLD` why changes are not told and what to do, packed.
    """
    if not runtime.config.public_url or Capability.WEBHOOKS not in storefront.capabilities:
        return {"webhooks": []}
    told = storefront.subscribe(address_of(runtime.config.public_url, shop))
    untold = [packed(joined(one.message, one.hint)) for one in told if one.severity is not Severity.INFO]
    return {"webhooks": [one.message for one in told], UNTOLD: untold}


def untold(connection: Connection, shop: Shop) -> list[str]:
    """Why the store tells no changes by itself, and what to do, as it was when it was asked last; nothing where it does."""
    found = [one for job in (_READ, RECONCILE) if (one := runs.last(connection, shop.shop_id, job)) is not None]
    asked = [one for one in found if UNTOLD in one.result]
    return [unpacked(text) for text in max(asked, key=lambda one: one.finished_at).result[UNTOLD]] if asked else []


def address_of(public_url: str, shop: Shop) -> str:
    """Where a store with an address of its own tells its changes."""
    return f"{public_url}/hooks/{shop.name}/{shop.platform}"
