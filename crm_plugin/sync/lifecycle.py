"""A store from its install to its end: looked at again, taken away by its merchant, erased when the platform says so."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import delete, or_, select, tuple_, update

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import AdapterError
from crm_plugin.phrases import joined, phrase
from crm_plugin.store import audit, metadata, shops, writebacks
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import ACTION_REQUIRED, CONNECTED, SUSPENDED, UNINSTALLED, Shop, shop_by_id
from crm_plugin.sync.standing import Standing, of, of_code, of_error

_log = logging.getLogger(__name__)
# Rows of one table that go in one statement.
_SLICE = 5_000


def set_status(
    db: Database,
    shop: Shop,
    status: str,
    reason: Standing,
    detail: str,
    now: datetime,
    *,
    unless: Collection[str] = (UNINSTALLED, SUSPENDED),
) -> None:
    """Say how the connection is, and since when; what ends late says nothing of a shop that was left, or switched off, meanwhile."""
    s = shops.c
    own = (s.shop_id == shop.shop_id, s.status.not_in(list(unless)))
    other = or_(s.status != status, s.status_reason != reason.value)
    values = {"status": status, "status_reason": reason.value, "status_detail": detail}
    with db.write() as connection:
        changed = connection.execute(update(shops).where(*own, other).values(**values, status_at=now)).rowcount
        if not changed:
            connection.execute(update(shops).where(*own).values(status_detail=detail))
    if changed:
        tell(shop, status, reason)


def tell(shop: Shop, status: str, reason: Standing) -> None:
    """The log's line of a change: names and words of ours alone, for what a store says may hold anything."""
    about = {"shop": shop.name, "adapter": shop.platform, "state": status, "reason": reason.value}
    level = logging.INFO if status == CONNECTED else logging.WARNING
    _log.log(level, "store of %s: %s%s", shop.name, status, f" ({reason.value})" if reason else "", extra=about)


def refused(db: Database, shop: Shop, storefront: StorefrontAdapter, error: AdapterError, now: datetime) -> None:
    """The store lets us in no more: keep why, and which right is missing where it can be asked."""
    reason, detail = of_error(error), str(error)
    if reason is Standing.PERMISSION:
        missing = _missing(storefront)
        if missing:
            detail = joined(detail, phrase("What is missing: %(names)s.", names=missing))
        elif missing is not None and error.status == 403:
            reason = Standing.REFUSED
    set_status(db, shop, ACTION_REQUIRED, reason, detail, now)


def _missing(storefront: StorefrontAdapter) -> list[str] | None:
    """Rights that we cannot do without and have not, by the platform's names; None where the store does not tell."""
    try:
        granted = storefront.granted()
    except AdapterError:
        return None
    return None if granted is None else sorted({name for name, needed in storefront.scopes.items() if needed} - granted)


def well(db: Database, shop: Shop, now: datetime) -> None:
    """The store was read. That it counts in another currency now is not mended by that."""
    if shop.status != CONNECTED and of(shop) is not Standing.CURRENCY:
        set_status(db, shop, CONNECTED, Standing.WELL, "", now)


def look(db: Database, shop: Shop, storefront: StorefrontAdapter, now: datetime) -> None:
    """Ask the store anew what it is and what it lets us do: its state says what the merchant must put right."""
    stopped = next((one for one in storefront.check() if one.severity is Severity.ERROR), None)
    if stopped is not None:
        told = joined(stopped.message, stopped.hint)
        set_status(db, shop, ACTION_REQUIRED, of_code(stopped.code), told, now, unless=(UNINSTALLED,))
        return
    info = storefront.shop_info()
    if info.currency and info.currency != shop.currency:
        told = phrase(
            "The store counts in %(theirs)s now; what is here is in %(ours)s.", theirs=info.currency, ours=shop.currency
        )
        set_status(db, shop, ACTION_REQUIRED, Standing.CURRENCY, told, now, unless=(UNINSTALLED,))
        return
    set_status(db, shop, CONNECTED, Standing.WELL, "", now, unless=(UNINSTALLED,))
    with db.write() as connection:
        if shop_by_id(connection, shop.shop_id).status == CONNECTED:
            writebacks.lift(connection, shop.shop_id)


def uninstall(db: Database, shop: Shop, at: datetime, now: datetime) -> bool:
    """The merchant took the app away: its keys go, nothing runs for it any more, and what is known stays until the platform says otherwise.

    False, and nothing is done, where it was installed again since `at`: events come late.
    """
    with db.write() as connection:
        row = connection.execute(select(shops).where(shops.c.shop_id == shop.shop_id)).one()
        if row.installed_at is not None and row.installed_at > at:
            return False
        values: dict[str, Any] = {"status": UNINSTALLED, "status_detail": "", "credentials": None}
        # Told again it is no news; of one that was disconnected here the platform's term begins with it.
        is_news = row.status != UNINSTALLED or row.status_reason == Standing.DISCONNECTED
        if is_news:
            values |= {"status_reason": Standing.TAKEN_AWAY.value, "status_at": now}
        connection.execute(update(shops).where(shops.c.shop_id == shop.shop_id).values(**values))
        audit.note(connection, shop.shop_id, f"store:{shop.platform}", "shop.uninstall", {}, now)
    if is_news:
        tell(shop, UNINSTALLED, Standing.TAKEN_AWAY)
    return True


def leave(db: Database, shop: Shop, actor: str, now: datetime, *, erase: bool = False) -> None:
    """Its merchant ends the connection here, and with `erase` wants nothing kept: nothing runs for it from now on.

    Its keys stay until the store was asked to tell us no more (`jobs/leaving.py`), which also erases.
    """
    reason = Standing.ERASING if erase else Standing.DISCONNECTED
    if of(shop) is Standing.HELD_ELSEWHERE:
        # The store goes on telling the shop that holds it: the keys go before anything takes leave by them.
        with db.write() as connection:
            connection.execute(update(shops).where(shops.c.shop_id == shop.shop_id).values(credentials=None))
    set_status(db, shop, UNINSTALLED, reason, "", now, unless=() if erase else (UNINSTALLED,))
    with db.write() as connection:
        audit.note(connection, shop.shop_id, actor, "shop.erase" if erase else "shop.disconnect", {}, now)


def erase(db: Database, shop: Shop, at: datetime) -> bool:
    """Remove all that is kept of a store, a slice at a time; done twice it is as once, and broken off it can be gone on with.

    False, and nothing is removed, where it is installed: the platform asks days after an uninstall, and it may have come back. Once it has
    begun nobody wakes the shop: what is left of one might hold members, and no longer who of them wants no messages.
    """
    with db.read() as connection:
        row = connection.execute(select(shops).where(shops.c.shop_id == shop.shop_id)).first()
    if row is None:
        return True
    if row.status != UNINSTALLED:
        return False
    set_status(db, shop, UNINSTALLED, Standing.ERASING, "", at, unless=(CONNECTED, ACTION_REQUIRED, SUSPENDED))
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
                    # It came back before it was said that it goes.
                    return False
                more = connection.execute(delete(table).where(tuple_(*key).in_(some))).rowcount >= _SLICE
    with db.write() as connection:
        connection.execute(delete(shops).where(shops.c.shop_id == shop.shop_id, shops.c.status == UNINSTALLED))
    _log.warning("shop %s (%s) was erased, as was asked at %s", shop.shop_id, shop.platform, at)
    return True
