"""Checkouts that were begun: told as such by a platform, or as orders in draft. Whose they are is looked up, nobody is made for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from crm_plugin.ids import new_ids
from crm_plugin.records import CheckoutRecord, OrderLineRecord, OrderRecord, OrderStatus
from crm_plugin.store import bulk, checkouts
from crm_plugin.store.base import to_json, to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.addresses import email_key
from crm_plugin.sync.values import Days, fingerprint, micros
from crm_plugin.sync.written import Written, is_older, latest

_COLUMNS = (
    "shop_id", "checkout_id", "external_id", "member_id", "currency", "total_minor", "url", "lines", "started_at", "touched_at",
    "touched_on", "completed_at", "seen_at", "fingerprint",
)  # fmt: skip
_STORED = "SELECT external_id, fingerprint, touched_at, checkout_id FROM checkouts WHERE shop_id = ? AND external_id IN ({marks})"
_ACCOUNTS = "SELECT external_id, member_id FROM members WHERE shop_id = ? AND external_id IN ({marks})"
_HOLDERS = "SELECT value, member_id FROM identities WHERE shop_id = ? AND kind = 'email' AND value IN ({marks})"
# Nobody is reminded of a checkout of before.
_KEPT = timedelta(days=100)


def write_checkouts(connection: Connection, shop: Shop, records: Sequence[CheckoutRecord], now: datetime) -> Written:
    """Checkouts as they stand now; what is not finished and was touched since comes into view anew."""
    written = Written()
    newest = latest(records)
    found = bulk.select_in(connection, _STORED, (shop.shop_id,), (record.external_id for record in newest))
    stored = {row[0]: row for row in found}
    whose = _whose(connection, shop.shop_id, newest)
    days, at = Days(shop), to_micros(now)
    new: list[tuple[Any, ...]] = []
    changed: list[tuple[Any, ...]] = []
    gone: list[int] = []
    for record in newest:
        row, mark = stored.get(record.external_id), fingerprint(record)
        touched = record.updated_at or record.started_at
        if record.deleted:
            gone += [row[3]] if row is not None else []
            continue
        if row is not None and row[1] == mark:
            written.same += 1
            continue
        if row is not None and is_older(touched, row[2]):
            written.stale += 1
            continue
        values = (
            record.external_id,
            whose.get(record.external_id),
            record.currency or shop.currency,
            record.total_minor,
            record.url,
            to_json([_line(line) for line in record.lines]),
            micros(record.started_at),
            micros(touched),
            days.of(touched),
            micros(record.completed_at),
            at,
            mark,
        )
        if row is None:
            new.append((shop.shop_id, new_ids(1)[0], *values))
        else:
            changed.append((*values, shop.shop_id, row[3]))
    bulk.insert_rows(connection, checkouts, _COLUMNS, new)
    columns = (*_COLUMNS[2:], "shop_id", "checkout_id")
    bulk.update_rows(connection, checkouts, columns, ("shop_id", "checkout_id"), changed)
    sql = "DELETE FROM checkouts WHERE shop_id = ? AND checkout_id IN ({marks})"
    bulk.execute_in(connection, sql, (shop.shop_id,), gone)
    written.new, written.changed, written.removed = len(new), len(changed), len(gone)
    return written


def drafts(connection: Connection, shop: Shop, orders: Iterable[OrderRecord], known: set[str], now: datetime) -> None:
    """Orders in draft are checkouts that were begun; one that became an order is finished.

    Args: known: the platform's ids of orders that were stored before, which may have been drafts.
    """
    oldest = now - _KEPT
    told = [order for order in orders if order.placed_at >= oldest]
    begun = {order.external_id for order in told if order.status is OrderStatus.DRAFT and not order.deleted}
    maybe = [f"order:{order.external_id}" for order in told if order.external_id in known - begun]
    present = {row[0] for row in bulk.select_in(connection, _STORED, (shop.shop_id,), maybe)} if maybe else set()
    wanted = [order for order in told if order.external_id in begun or f"order:{order.external_id}" in present]
    if wanted:
        write_checkouts(connection, shop, [_of(order, now) for order in wanted], now)


def _of(order: OrderRecord, now: datetime) -> CheckoutRecord:
    is_draft = order.status is OrderStatus.DRAFT
    contact = order.contact
    return CheckoutRecord(
        external_id=f"order:{order.external_id}",
        member_external_id=order.member_external_id,
        email=contact.email if contact is not None else "",
        currency=order.currency,
        total_minor=order.total_minor,
        lines=order.lines,
        started_at=order.placed_at,
        updated_at=order.updated_at,
        completed_at=None if is_draft or not order.status.counts else order.updated_at or now,
        deleted=order.deleted or not (is_draft or order.status.counts),
    )


def _line(line: OrderLineRecord) -> dict[str, Any]:
    return {"title": line.title, "quantity": line.quantity, "sku": line.sku, "product": line.product_external_id}


def _whose(connection: Connection, shop_id: int, records: Sequence[CheckoutRecord]) -> dict[str, int]:
    """Checkout → member: the account, else who alone has the address."""
    accounts = {record.member_external_id for record in records if record.member_external_id}
    by_account: dict[str, int] = dict(bulk.select_in(connection, _ACCOUNTS, (shop_id,), sorted(accounts)))
    addresses = {key for record in records if (key := email_key(record.email))}
    holders: dict[str, set[int]] = {}
    for value, member_id in bulk.select_in(connection, _HOLDERS, (shop_id,), sorted(addresses)):
        holders.setdefault(value, set()).add(member_id)
    found: dict[str, int] = {}
    for record in records:
        held = holders.get(email_key(record.email) or "", set())
        member_id = by_account.get(record.member_external_id) or (next(iter(held)) if len(held) == 1 else None)
        if member_id is not None:
            found[record.external_id] = member_id
    return found
