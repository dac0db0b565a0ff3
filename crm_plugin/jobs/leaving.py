"""The end of a store here, as a job: it is asked to tell us no more, its keys go, and all that is kept where that is wanted or due."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.registry import storefront_class
from crm_plugin.errors import CrmError
from crm_plugin.jobs.following import address_of
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit, shops
from crm_plugin.store.tenants import UNINSTALLED, Shop
from crm_plugin.sync import connect, lifecycle, standing
from crm_plugin.sync.pull import Progress
from crm_plugin.sync.standing import Standing

LEAVE = "leave"
_log = logging.getLogger(__name__)


def is_left(shop: Shop) -> bool:
    """Whether the store is no longer connected."""
    return shop.status == UNINSTALLED


def is_due(connection: Connection, shop: Shop, now: datetime) -> bool:
    """Whether its keys are still here, or what is kept has to go."""
    return _is_to_go(shop, now) or _has_keys(connection, shop)


def run(
    runtime: Runtime, shop: Shop, *, now: datetime, progress: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Take leave once; a store that does not answer keeps nobody waiting, for its keys are gone then and what it still tells is no news."""
    del progress
    if not is_left(shop):
        return {}
    with runtime.db.read() as connection:
        has_keys = _has_keys(connection, shop)
    failed = _take_leave(runtime, shop, now) if has_keys else ""
    erased = _is_to_go(shop, now) and lifecycle.erase(runtime.db, shop, now)
    return {"unsubscribed": has_keys and not failed, "failed": failed, "erased": erased}


def _is_to_go(shop: Shop, now: datetime) -> bool:
    due = standing.erased_on(shop)
    return standing.of(shop) is Standing.ERASING or (due is not None and due <= now)


def _has_keys(connection: Connection, shop: Shop) -> bool:
    query = select(shops.c.shop_id).where(shops.c.shop_id == shop.shop_id, shops.c.credentials.is_not(None))
    return connection.execute(query).first() is not None


def _take_leave(runtime: Runtime, shop: Shop, now: datetime) -> str:
    """Ask the store once to tell us no more, and let go of its keys; answers why it could not be asked."""
    failed = ""
    try:
        _unsubscribe(runtime, shop)
    except CrmError as error:
        failed = error.code
        about = {"shop": shop.name, "adapter": shop.platform, "reason": failed}
        _log.warning("store of %s: it could not be asked to tell us no more (%s)", shop.name, failed, extra=about)
    with runtime.db.write() as connection:
        connection.execute(update(shops).where(*_has_left(shop)).values(credentials=None))
        audit.note(connection, shop.shop_id, f"job:{LEAVE}", "shop.unsubscribe", {"failed": failed}, now)
    return failed


def _has_left(shop: Shop) -> tuple[ColumnElement[bool], ...]:
    """It is as it was read: it may have come back meanwhile, with new keys and webhooks."""
    return (shops.c.shop_id == shop.shop_id, shops.c.status == UNINSTALLED, shops.c.status_at == shop.status_at)


def _unsubscribe(runtime: Runtime, shop: Shop) -> None:
    cls = storefront_class(shop.platform)
    told_by_address = Capability.WEBHOOKS in cls.capabilities and runtime.config.public_url
    if not (told_by_address or cls.hears_by_polling()):
        return
    with runtime.db.read() as connection:
        sealed = connection.execute(select(shops.c.credentials).where(*_has_left(shop))).scalar()
    if not sealed:
        return
    storefront = connect.open_storefront(runtime.db, runtime.box, shop, runtime.box.open(sealed))
    try:
        storefront.unsubscribe(address_of(runtime.config.public_url, shop))
    finally:
        storefront.close()
