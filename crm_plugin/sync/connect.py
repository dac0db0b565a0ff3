"""Connecting a store: probe it, learn its currency and zone, then keep it with its credentials encrypted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.registry import app_values, storefront_class
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.clock import is_zone
from crm_plugin.errors import ActionRequired, InvalidInput, NotFound
from crm_plugin.ids import new_id
from crm_plugin.phrases import phrase
from crm_plugin.records import ShopInfo
from crm_plugin.store import shops, writebacks
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import CONNECTED, UNINSTALLED, Shop, shop_by_id, shop_of
from crm_plugin.store.upserts import insert_into
from crm_plugin.sync import holders, same_store, standing
from crm_plugin.sync.holders import StoreIsHeld
from crm_plugin.sync.keeper import ShopKeeper
from crm_plugin.sync.standing import Standing

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


def add_shop(
    db: Database,
    box: SecretBox,
    *,
    name: str,
    platform: str,
    credentials: Mapping[str, Any],
    url: str = "",
    currency: str = "",
    timezone: str = "",
    title: str = "",
    locale: str = "en",
    reference: str = "",
    now: datetime,
    furnish: Callable[[Connection, Shop], object] = lambda _connection, _shop: None,
) -> Shop:
    """Connect a store; nothing is written unless the store answers. One whose `reference` is here already, by somebody quicker, is that.

    `furnish` gives a new shop what it begins with, in the same transaction: a process that dies leaves a whole shop or none.

    Raises: InvalidInput for what was typed, ActionRequired when the store refuses, TransientError when it cannot be reached.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            phrase("%(name)r cannot be a shop's name.", name=name),
            field="name",
            hint=phrase("Use small letters, digits, dot, dash and underscore, such as my-shop."),
        )
    with db.read() as connection:
        if connection.execute(select(shops.c.shop_id).where(shops.c.name == name)).first() is not None:
            raise _name_taken(name)
    given = {**credentials, **({"url": url} if url else {})}
    with _answering(platform, given) as (storefront, info):
        place = storefront.address
    currency = _currency(currency or info.currency)
    timezone = _timezone(timezone or info.timezone)
    shop_id = new_id()
    with db.write() as connection:
        holders.lock(connection)
        if reference:
            quicker = holders.holder_of(connection, platform, reference)
            if quicker is not None:
                return quicker
        holders.require_free(connection, platform, reference or str(given.get("url") or place))
        row = {
            "shop_id": shop_id,
            "name": name,
            "title": title or info.name or name,
            "platform": platform,
            "url": str(given.get("url") or place),
            "reference": reference,
            "currency": currency,
            "timezone": timezone,
            "locale": locale,
            "status": CONNECTED,
            "status_at": now,
            "settings": {},
            "credentials": box.seal(dict(given)),
            "created_at": now,
        }
        # Names and stores are unique in the database: whoever connects at the same moment is waited for, and then found.
        if not connection.execute(insert_into(connection, shops).values(**row).on_conflict_do_nothing()).rowcount:
            quicker = shop_of(connection, platform, reference)
            if quicker is None:
                raise _name_taken(name)
            return quicker
        shop = shop_by_id(connection, shop_id)
        furnish(connection, shop)
        return shop


def _name_taken(name: str) -> InvalidInput:
    return InvalidInput(
        phrase("There is a shop named %(name)r already.", name=name), field="name", hint=phrase("Choose another name.")
    )


def change_credentials(db: Database, box: SecretBox, shop: Shop, credentials: Mapping[str, Any], now: datetime) -> Shop:
    """Give a connected store new keys or a new address, after it has answered to them. An empty secret keeps the present one.

    Raises: as `add_shop`; InvalidInput when another store answers at a new address, or the store is another shop's; TransientError while
    all that is kept of it is being erased.
    """
    if standing.of(shop) is Standing.HELD_ELSEWHERE:
        raise StoreIsHeld
    with db.read() as connection:
        sealed = connection.execute(select(shops.c.credentials).where(shops.c.shop_id == shop.shop_id)).scalar()
    present = box.open(sealed) if sealed else {}
    given = {**present, **{key: value for key, value in credentials.items() if value not in ("", None)}}
    before = storefront_class(shop.platform).listening({"url": shop.url, **present}).address or shop.url
    with _answering(shop.platform, given) as (storefront, info):
        place = storefront.address
        if same_store.has_moved(before, place):
            same_store.require_same(db, shop, storefront, info)
    # What an uninstall of before has still to tell is old then.
    back = {"installed_at": now} if shop.status == UNINSTALLED else {}
    with db.write() as connection:
        holders.lock(connection)
        holders.require_free(connection, shop.platform, str(given.get("url") or place), shop)
        changed = connection.execute(
            update(shops)
            .where(shops.c.shop_id == shop.shop_id, shops.c.status_reason != Standing.ERASING.value)
            .values(
                **back,
                url=str(given.get("url") or (shop.url if shop.reference else place)),
                credentials=box.seal(given),
                status=CONNECTED,
                status_reason="",
                status_detail="",
                status_at=now,
            )
        )
        if not changed.rowcount:
            raise holders.being_erased(shop.platform)
        writebacks.lift(connection, shop.shop_id)
        return shop_by_id(connection, shop.shop_id)


def open_storefront(
    db: Database, box: SecretBox, shop: Shop, credentials: Mapping[str, Any] | None = None
) -> StorefrontAdapter:
    """The adapter of a connected store, with its `credentials` where they are at hand.

    Raises: NotFound, ConfigError when the key that sealed the credentials is gone.
    """
    storefront = storefront_class(shop.platform)
    kept = credentials_of(db, box, shop) if credentials is None else credentials
    opened = storefront({**kept, **app_values(storefront.app_settings, shop.platform)})
    opened.keeper = ShopKeeper(db, box, shop)
    return opened


def credentials_of(db: Database, box: SecretBox, shop: Shop) -> dict[str, Any]:
    """The decrypted credentials of a store. Raises: NotFound."""
    with db.read() as connection:
        row = connection.execute(select(shops.c.credentials).where(shops.c.shop_id == shop.shop_id)).first()
    if row is None:
        raise NotFound(phrase("That shop is no longer here."))
    return box.open(row.credentials) if row.credentials else {}


@contextmanager
def _answering(platform: str, given: Mapping[str, Any]) -> Iterator[tuple[StorefrontAdapter, ShopInfo]]:
    """The store, once it has answered without anything that keeps it from being read."""
    cls = storefront_class(platform)
    storefront = cls({**given, **app_values(cls.app_settings, platform)})
    try:
        for problem in storefront.check():
            if problem.severity is Severity.ERROR:
                raise ActionRequired(problem.message, hint=problem.hint, code=problem.code, adapter=platform)
        yield storefront, storefront.shop_info()
    finally:
        storefront.close()


def _currency(value: str) -> str:
    code = value.strip().upper()
    if len(code) != 3 or not code.isalpha() or not code.isascii():
        raise InvalidInput(
            phrase("%(value)r is not a currency.", value=value) if value else phrase("The currency is missing."),
            field="currency",
            hint=phrase("Give the three letters of ISO 4217, such as GBP."),
        )
    return code


def _timezone(value: str) -> str:
    if not is_zone(value):
        raise InvalidInput(
            phrase("%(value)r is not a time zone.", value=value) if value else phrase("The time zone is missing."),
            field="timezone",
            hint=phrase("Give an IANA name, such as Europe/London."),
        )
    return value
