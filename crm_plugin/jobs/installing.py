"""A store that was installed from its platform's side becomes a shop, or comes back as the one it was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select, update

from crm_plugin.adapters.base import SettingType
from crm_plugin.adapters.registry import app_values, installer_class, storefront_class
from crm_plugin.adapters.storefronts.installing import Installed, Installer
from crm_plugin.errors import ConfigError, NotFound
from crm_plugin.jobs import tasks
from crm_plugin.phrases import phrase
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit, shops, writebacks
from crm_plugin.store.tenants import CONNECTED, Shop, shop_by_id
from crm_plugin.sync import connect, holders
from crm_plugin.sync.standing import Standing

_UNUSED = re.compile(r"[^a-z0-9._-]+")


def installer_of(runtime: Runtime, platform: str) -> Installer:
    """The platform's way in. Raises: NotFound for a platform without one, ConfigError where it needs settings of the app or an address."""
    cls = installer_class(platform)
    if cls is None:
        raise NotFound(phrase("%(platform)s has no way to install from its side.", platform=platform))
    if not runtime.config.public_url:
        raise ConfigError(
            phrase("Without CRM_PUBLIC_URL no platform can reach this server."),
            hint=phrase("Set it to the https address of this server."),
        )
    installer = cls(app_values(cls.app_settings, platform), runtime.config.public_url)
    installer.known = lambda reference: _kept(runtime, platform, reference)
    return installer


def _kept(runtime: Runtime, platform: str, reference: str) -> Mapping[str, Any] | None:
    with runtime.db.read() as connection:
        shop = holders.holder_of(connection, platform, reference)
    if shop is None or not shop.is_awake:
        return None
    return connect.credentials_of(runtime.db, runtime.box, shop)


def install(runtime: Runtime, platform: str, installed: Installed, *, actor: str) -> Shop:
    """Keep a store's keys: as the shop that it was, its data still there, else as a new one with the recipes switched off.

    Raises: ActionRequired, TransientError when the store does not answer to its new keys, or is being erased here; nothing is kept then.
    """
    with runtime.db.read() as connection:
        known = holders.holder_of(connection, platform, installed.reference)
    if known is None:
        known = _new(runtime, platform, installed)
    now, decided = runtime.clock.now(), _decided(runtime, known)
    with runtime.db.write() as connection:
        changed = connection.execute(
            update(shops)
            .where(shops.c.shop_id == known.shop_id, shops.c.status_reason != Standing.ERASING.value)
            .values(
                reference=installed.reference,
                url=installed.url,
                credentials=runtime.box.seal({**decided, **installed.credentials}),
                status=CONNECTED,
                status_reason="",
                status_detail="",
                status_at=now,
                installed_at=now,
            )
        )
        if not changed.rowcount:
            raise holders.being_erased(platform)
        writebacks.lift(connection, known.shop_id)
        detail = {"platform": platform, "reference": installed.reference, "scopes": sorted(installed.scopes or ())}
        audit.note(connection, known.shop_id, actor, "shop.install", detail, now)
        return shop_by_id(connection, known.shop_id)


def _decided(runtime: Runtime, shop: Shop) -> dict[str, Any]:
    """What the merchant set beside the keys; keys, and what came with them, are the platform's to hand over anew."""
    try:
        kept = connect.credentials_of(runtime.db, runtime.box, shop)
    except ConfigError:
        # The key that sealed them is gone.
        return {}
    told = (one for one in storefront_class(shop.platform).settings if one.type is not SettingType.SECRET)
    return {one.key: kept[one.key] for one in told if not one.beside and one.key in kept}


def _new(runtime: Runtime, platform: str, installed: Installed) -> Shop:
    return tasks.add_shop(
        runtime,
        name=_free_name(runtime, installed),
        platform=platform,
        credentials=installed.credentials,
        url=installed.url,
        title=installed.title,
        reference=installed.reference,
    )


def _free_name(runtime: Runtime, installed: Installed) -> str:
    """A short name out of the store's address, one that is free."""
    host = (urlsplit(installed.url).hostname or installed.title).lower()
    first = next((part for part in host.split(".") if part not in ("www", "shop", "store", "")), host)
    plain = _UNUSED.sub("-", first).strip("-._")[:56] or "shop"
    with runtime.db.read() as connection:
        taken = set(connection.execute(select(shops.c.name).where(shops.c.name.like(f"{plain}%"))).scalars())
    return next(name for name in (plain, *(f"{plain}-{n}" for n in range(2, 10_000))) if name not in taken)
