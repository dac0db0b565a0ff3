"""Short ways to make what tests are about; every value that does not matter has one default."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert

from crm_plugin.records import MemberRecord, OrderLineRecord, OrderRecord, OrderStatus, Page, Record, RefundRecord
from crm_plugin.store import shops
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.sync.upsert import Written, write_page

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def make_shop(connection: Connection, shop_id: int = 1, **values: Any) -> Shop:
    """A shop in Berlin that counts in euros."""
    row = {
        "shop_id": shop_id,
        "name": f"shop-{shop_id}",
        "title": f"Shop {shop_id}",
        "platform": "csv",
        "currency": "EUR",
        "timezone": "Europe/Berlin",
        "created_at": NOON,
        **values,
    }
    connection.execute(insert(shops).values(**row))
    return shop_by_id(connection, shop_id)


def member(external_id: str = "1", **values: Any) -> MemberRecord:
    """An account."""
    return MemberRecord(external_id=external_id, **values)


def order(external_id: str = "o1", total: int = 1000, **values: Any) -> OrderRecord:
    """A completed order placed at noon, of one line unless told otherwise."""
    row: dict[str, Any] = {
        "status": OrderStatus.COMPLETED,
        "currency": "EUR",
        "placed_at": NOON,
        "lines": (OrderLineRecord(sku="SKU", title="Thing", total_minor=total),),
        **values,
    }
    return OrderRecord(external_id=external_id, total_minor=total, **row)


def refund(external_id: str = "r1", amount: int = 100, **values: Any) -> RefundRecord:
    """A refund in euros, given at noon."""
    row: dict[str, Any] = {"currency": "EUR", "refunded_at": NOON, **values}
    return RefundRecord(external_id=external_id, amount_minor=amount, **row)


def write(db: Database, shop: Shop, records: Sequence[Record], now: datetime = NOON) -> Written:
    """Write the records as one page of their stream, in a transaction of its own."""
    with db.write() as connection:
        return write_page(connection, shop, Page(records[0].stream, tuple(records), ""), now)
