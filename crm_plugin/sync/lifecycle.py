"""A store from its install to its end: looked at again, taken away by its merchant, erased when the platform says so."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, select, tuple_, update

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.phrases import phrase
from crm_plugin.store import audit, metadata, shops, writebacks
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import SUSPENDED, UNINSTALLED, Shop

_log = logging.getLogger(__name__)
# Rows of one table that go in one statement.
_SLICE = 5_000


def set_status(
    db: Database, shop: Shop, status: str, detail: str, *, unless: Collection[str] = (UNINSTALLED, SUSPENDED)
) -> None:
    """Say how the connection is. What ends late says nothing of a shop whose app was taken away, or switched off, meanwhile."""
    own = (shops.c.shop_id == shop.shop_id, shops.c.status.not_in(list(unless)))
    with db.write() as connection:
        connection.execute(update(shops).where(*own).values(status=status, status_detail=detail))


def look(db: Database, shop: Shop, storefront: StorefrontAdapter) -> None:
    """Ask the store anew what it is and what it lets us do: its state says what the merchant must put right."""
    stopped = next((one for one in storefront.check() if one.severity is Severity.ERROR), None)
    if stopped is not None:
        set_status(db, shop, "action_required", stopped.message, unless=(UNINSTALLED,))
        return
    info = storefront.shop_info()
    if info.currency and info.currency != shop.currency:
        told = phrase(
            "The store counts in %(theirs)s now; what is here is in %(ours)s.", theirs=info.currency, ours=shop.currency
        )
        set_status(db, shop, "action_required", told, unless=(UNINSTALLED,))
        return
    with db.write() as connection:
        own = (shops.c.shop_id == shop.shop_id, shops.c.status != UNINSTALLED)
        connection.execute(update(shops).where(*own).values(status="connected", status_detail=""))
        writebacks.lift(connection, shop.shop_id)


def uninstall(db: Database, shop: Shop, at: datetime, now: datetime) -> bool:
    """The merchant took the app away: its keys go, nothing runs for it any more, and what is known stays until the platform says otherwise.

    False, and nothing is done, where it was installed again since `at`: events come late.
    """
    with db.write() as connection:
        row = connection.execute(select(shops).where(shops.c.shop_id == shop.shop_id)).one()
        if row.installed_at is not None and row.installed_at > at:
            return False
        connection.execute(
            update(shops)
            .where(shops.c.shop_id == shop.shop_id)
            .values(status=UNINSTALLED, status_detail=phrase("The app was taken away in the store."), credentials=None)
        )
        audit.note(connection, shop.shop_id, f"store:{shop.platform}", "shop.uninstall", {}, now)
    return True


def erase(db: Database, shop: Shop, at: datetime) -> bool:
    """Remove all that is kept of a store, a slice at a time; done twice it is as once, and broken off it can be gone on with.

    False, and nothing is removed, where it is installed: the platform asks days after an uninstall, and it may have come back.
    """
    with db.read() as connection:
        row = connection.execute(select(shops).where(shops.c.shop_id == shop.shop_id)).first()
    if row is None:
        return True
    if row.status != UNINSTALLED:
        return False
    for table in reversed(metadata.sorted_tables):
        if table.name == shops.name:
            continue
        key = list(table.primary_key.columns)
        some = select(*key).where(table.c.shop_id == shop.shop_id).limit(_SLICE)
        more = True
        while more:
            with db.write() as connection:
                status = select(shops.c.status).where(shops.c.shop_id == shop.shop_id).with_for_update(key_share=True)
                if connection.execute(status).scalar() != UNINSTALLED:
                    # It came back in the middle of it: what is left is the store's again.
                    return False
                more = connection.execute(delete(table).where(tuple_(*key).in_(some))).rowcount >= _SLICE
    with db.write() as connection:
        connection.execute(delete(shops).where(shops.c.shop_id == shop.shop_id, shops.c.status == UNINSTALLED))
    _log.warning("shop %s (%s) was erased, as the platform asked at %s", shop.shop_id, shop.platform, at)
    return True
