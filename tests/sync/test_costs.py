"""Cost of goods where a store tells only what a piece costs now: frozen at first sight, filled in when it becomes known."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.adapters import registry
from crm_plugin.records import OrderLineRecord, OrderRecord, ProductRecord, Stream
from crm_plugin.store import member_facts, order_lines, orders
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.reconcile import reconcile
from tests.factories import NOON, make_shop, member, order, write
from tests.sync.plain_store import PlainStore


class OfNow(PlainStore):
    costs_are_of_now = True


@pytest.fixture
def shop(db: Database, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(registry, "_foreign", lambda: {"plain": OfNow})
    with db.write() as connection:
        made = make_shop(connection, platform="plain")
    write(db, made, [member("7")])
    return made


def _product(cost: int | None) -> ProductRecord:
    return ProductRecord(external_id="p1", sku="S", currency="EUR", cost_minor=cost)


def _order(name: str = "o1", quantity: float = 2, cost: int | None = None, **more: Any) -> OrderRecord:
    told = {"product_external_id": "p1", "sku": "S", **more.pop("line", {})}
    line = OrderLineRecord(quantity=quantity, total_minor=1000, cost_minor=cost, **told)
    return order(name, member_external_id="7", lines=(line,), **more)


def _costs(db: Database) -> dict[str, tuple[int | None, int | None]]:
    query = select(orders.c.external_id, orders.c.cost_minor, order_lines.c.cost_minor)
    with db.read() as connection:
        found = connection.execute(query.join(order_lines, order_lines.c.order_id == orders.c.order_id)).all()
    return {row[0]: (row[1], row[2]) for row in found}


def _spent(db: Database) -> int:
    with db.read() as connection:
        return int(connection.execute(select(member_facts.c.cost_minor)).scalar_one())


def test_cost_is_that_of_first_sight_whatever_comes_later(db: Database, shop: Shop) -> None:
    write(db, shop, [_product(350)])
    write(db, shop, [_order(), _order("o2", cost=400)])
    assert _costs(db) == {"o1": (700, 700), "o2": (400, 400)}
    write(db, shop, [_product(900)])
    assert write(db, shop, [_order(), _order("o2", cost=1800)]).rows == 0
    # It changes, and its product is no longer named there.
    write(db, shop, [_order(quantity=3, number="A-1", line={"product_external_id": ""}, cost=None)])
    assert _costs(db) == {"o1": (1050, 1050), "o2": (400, 400)}
    assert _spent(db) == 1450


def test_cost_that_becomes_known_reaches_orders_of_late(db: Database, shop: Shop) -> None:
    write(db, shop, [_product(None)])
    old = NOON - timedelta(days=100)
    store = OfNow()
    for one in (_order(), _order("old", placed_at=old)):
        write(db, shop, [one])
        store.put(one)
    store.put(member("7"))
    assert _costs(db) == {"o1": (None, None), "old": (None, None)}
    assert reconcile(db, shop, store, NOON, NOON).streams["orders"].changed == 0
    write(db, shop, [_product(350)])
    store.told.clear()
    assert reconcile(db, shop, store, NOON, NOON).streams["orders"].changed == 1
    assert store.told == [(Stream.ORDERS.value, "o1")]
    assert _costs(db) == {"o1": (700, 700), "old": (None, None)}
    assert _spent(db) == 700
    assert reconcile(db, shop, store, NOON, NOON).differences == 0


def test_cost_that_a_store_keeps_is_taken_as_it_is_told(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_foreign", lambda: {"plain": PlainStore})
    with sqlite_db.write() as connection:
        shop = make_shop(connection, platform="plain")
    write(sqlite_db, shop, [member("7")])
    write(sqlite_db, shop, [_product(350)])
    write(sqlite_db, shop, [_order(), _order("o2", cost=400)])
    write(sqlite_db, shop, [_order("o2", cost=500)])
    assert _costs(sqlite_db) == {"o1": (None, None), "o2": (500, 500)}


class MayLack(PlainStore):
    costs_may_lack = True


def test_line_that_lacks_its_cost_goes_by_its_product_and_others_do_not(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_foreign", lambda: {"plain": MayLack})
    with sqlite_db.write() as connection:
        shop = make_shop(connection, platform="plain")
    write(sqlite_db, shop, [member("7")])
    write(sqlite_db, shop, [_product(350)])
    write(sqlite_db, shop, [_order(), _order("o2", cost=400)])
    assert _costs(sqlite_db) == {"o1": (700, 700), "o2": (400, 400)}
    write(sqlite_db, shop, [_product(900)])
    # The store's own cost of a sale holds whenever it tells another; what came of the product stays.
    write(sqlite_db, shop, [_order(number="1"), _order("o2", cost=500, number="2")])
    assert _costs(sqlite_db) == {"o1": (700, 700), "o2": (500, 500)}
