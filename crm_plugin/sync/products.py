"""Products and variants: replaced when they change, removed when the platform says so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from crm_plugin.ids import new_ids
from crm_plugin.records import ProductRecord
from crm_plugin.store import bulk, products
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.values import fingerprint, micros
from crm_plugin.sync.written import Written, is_older, latest

PRODUCT_COLUMNS = (
    "shop_id",
    "product_id",
    "external_id",
    "sku",
    "title",
    "category",
    "url",
    "image_url",
    "currency",
    "price_minor",
    "cost_minor",
    "updated_at",
    "parent_external_id",
    "fingerprint",
)


def write_products(connection: Connection, shop: Shop, records: Sequence[ProductRecord], now: datetime) -> Written:
    """Products and variants; one that is gone at the platform goes here too."""
    written = Written()
    newest = latest(records)
    sql = (
        "SELECT external_id, fingerprint, updated_at, product_id, sku, category FROM products "
        "WHERE shop_id = ? AND external_id IN ({marks})"
    )
    stored = {row[0]: row for row in bulk.select_in(connection, sql, (shop.shop_id,), (r.external_id for r in newest))}
    new, changed, gone = [], [], []
    moved: set[tuple[str, str]] = set()
    for record in newest:
        mark = fingerprint(record)
        row = stored.get(record.external_id)
        if record.deleted:
            if row is not None:
                gone.append(row[3])
                moved |= _moved(record.external_id, row[4:], ("", ""))
            continue
        if row is not None and row[1] == mark:
            written.same += 1
            continue
        if row is not None and is_older(record.updated_at, row[2]):
            written.stale += 1
            continue
        values = (
            record.external_id,
            record.sku,
            record.title,
            record.category,
            record.url,
            record.image_url,
            record.currency,
            record.price_minor,
            record.cost_minor,
            micros(record.updated_at),
            record.parent_external_id,
            mark,
        )
        moved |= _moved(record.external_id, row[4:] if row else ("", ""), (record.sku, record.category))
        if row is None:
            new.append((shop.shop_id, new_ids(1)[0], *values))
        else:
            changed.append((*values, shop.shop_id, row[3]))
    bulk.insert_rows(connection, products, PRODUCT_COLUMNS, new)
    columns = (*PRODUCT_COLUMNS[2:], "shop_id", "product_id")
    bulk.update_rows(connection, products, columns, ("shop_id", "product_id"), changed)
    bulk.execute_in(
        connection, "DELETE FROM products WHERE shop_id = ? AND product_id IN ({marks})", (shop.shop_id,), gone
    )
    _touch_buyers(connection, shop.shop_id, moved, now)
    written.new, written.changed, written.removed = len(new), len(changed), len(gone)
    return written


def _moved(external_id: str, before: Sequence[str], after: Sequence[str]) -> set[tuple[str, str]]:
    """By id and code: the product whose lines belong to another category from now on."""
    if before[1] == after[1] and (before[0] == after[0] or not after[1]):
        return set()
    return {(external_id, sku) for sku in (before[0], after[0])}


def _touch_buyers(connection: Connection, shop_id: int, moved: set[tuple[str, str]], now: datetime) -> None:
    """Whoever bought these products is to be asked again by rules that name a category. Rare, so that the lines have no index for it."""
    if not moved:
        return
    for column, values in (
        ("product_external_id", {external_id for external_id, _ in moved}),
        ("sku", {sku for _, sku in moved}),
    ):
        sql = (
            "UPDATE member_facts SET changed_at = ? WHERE shop_id = ? AND member_id IN (SELECT o.member_id "  # noqa: S608
            "FROM order_lines AS l JOIN orders AS o ON o.shop_id = l.shop_id AND o.order_id = l.order_id "
            f"WHERE l.shop_id = ? AND l.{column} IN ({{marks}}))"
        )
        bulk.execute_in(connection, sql, (to_micros(now), shop_id, shop_id), sorted(values - {""}))
