"""Checkouts: told by a platform as such or as orders in draft; whose they are, and when they are over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.records import CheckoutRecord, OrderLineRecord, OrderStatus
from crm_plugin.store import checkouts
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.factories import NOON, make_shop, member, order, write

HOUR = timedelta(hours=1)


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        made = make_shop(connection)
    write(db, made, [member("ada", email="ada@x.test"), member("one", phone="+4930123456", email="two@x.test")], NOON)
    return made


def _rows(db: Database) -> list[tuple[Any, ...]]:
    c = checkouts.c
    with db.read() as connection:
        query = select(c.external_id, c.member_id.is_not(None), c.touched_at, c.completed_at, c.seen_at)
        return [tuple(row) for row in connection.execute(query.order_by(c.external_id))]


def _told(**values: Any) -> CheckoutRecord:
    return CheckoutRecord(**{"external_id": "c1", "member_external_id": "ada", "started_at": NOON, **values})


def test_checkout_is_kept_as_it_stands(db: Database, shop: Shop) -> None:
    assert write(db, shop, [_told()], NOON).new == 1
    assert write(db, shop, [_told()], NOON + HOUR).same == 1
    assert write(db, shop, [_told(updated_at=NOON + HOUR)], NOON + HOUR).changed == 1
    assert write(db, shop, [_told(updated_at=NOON, url="https://x.test")], NOON + 2 * HOUR).stale == 1
    assert _rows(db) == [("c1", True, NOON + HOUR, None, NOON + HOUR)]
    done = NOON + 3 * HOUR
    write(db, shop, [_told(updated_at=done, completed_at=done)], done)
    assert _rows(db) == [("c1", True, done, done, done)]
    assert write(db, shop, [_told(deleted=True, updated_at=done)], done).removed == 1
    assert _rows(db) == []


def test_guest_is_found_by_an_address_alone(db: Database, shop: Shop) -> None:
    told = [
        _told(external_id="c1", member_external_id="", email="ADA@x.test"),
        _told(external_id="c2", member_external_id="", email="nobody@x.test"),
        _told(external_id="c3", member_external_id="gone"),
    ]
    write(db, shop, told, NOON)
    assert [row[1] for row in _rows(db)] == [True, False, False]


def test_order_in_draft_is_a_checkout_until_it_is_an_order(db: Database, shop: Shop) -> None:
    line = OrderLineRecord(sku="TEA", title="Tea", quantity=2, total_minor=900)
    values: dict[str, Any] = {"member_external_id": "ada", "lines": (line,), "placed_at": NOON}
    write(db, shop, [order("7", status=OrderStatus.DRAFT, updated_at=NOON, **values)], NOON)
    assert _rows(db) == [("order:7", True, NOON, None, NOON)]
    with db.read() as connection:
        kept = connection.execute(select(checkouts.c.lines, checkouts.c.total_minor)).one()
    assert tuple(kept) == ([{"title": "Tea", "quantity": 2.0, "sku": "TEA", "product": ""}], 1000)
    later = NOON + HOUR
    write(db, shop, [order("7", status=OrderStatus.PENDING, updated_at=later, **values)], later)
    assert _rows(db) == [("order:7", True, later, later, later)]


@pytest.mark.parametrize("status", [OrderStatus.TRASH, OrderStatus.CANCELLED])
def test_draft_that_is_thrown_away_goes(db: Database, shop: Shop, status: OrderStatus) -> None:
    values: dict[str, Any] = {"member_external_id": "ada", "placed_at": NOON}
    write(db, shop, [order("7", status=OrderStatus.DRAFT, updated_at=NOON, **values)], NOON)
    write(db, shop, [order("7", status=status, updated_at=NOON + HOUR, **values)], NOON + HOUR)
    assert _rows(db) == []


def test_orders_leave_no_checkouts(db: Database, shop: Shop) -> None:
    old = NOON - timedelta(days=101)
    told = [order("1", placed_at=NOON), order("2", placed_at=old, status=OrderStatus.DRAFT)]
    write(db, shop, told, NOON)
    assert _rows(db) == []
