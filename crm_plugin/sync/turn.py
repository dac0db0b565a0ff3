"""Whose turn it is to write a shop's members and orders, and by which settings."""

from __future__ import annotations

from sqlalchemy import Connection

from crm_plugin.store import bulk
from crm_plugin.store.tenants import Shop, shop_by_id


def lock(connection: Connection, shop_id: int) -> None:
    """One writer of a shop's members and orders at a time, until the end of the transaction. SQLite has but one writer anyway."""
    if connection.dialect.name == "postgresql":
        bulk.execute(connection, "SELECT pg_advisory_xact_lock(?)", (shop_id,))


def as_it_is_now(connection: Connection, shop: Shop) -> Shop:
    """The locked shop with its present settings: a reading goes on for hours, and rates and zone may change meanwhile."""
    lock(connection, shop.shop_id)
    return shop_by_id(connection, shop.shop_id)
