"""Whose turn it is to write a shop's members and orders, and by which settings."""

from __future__ import annotations

from sqlalchemy import Connection

from crm_plugin.store.members import lock
from crm_plugin.store.tenants import Shop, shop_by_id

__all__ = ["as_it_is_now", "lock"]


def as_it_is_now(connection: Connection, shop: Shop) -> Shop:
    """The locked shop with its present settings: a reading goes on for hours, and rates and zone may change meanwhile."""
    lock(connection, shop.shop_id)
    return shop_by_id(connection, shop.shop_id)
