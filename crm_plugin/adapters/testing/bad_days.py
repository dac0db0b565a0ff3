"""Whole syncs into a real database, on days when the store answers badly and changes while it is read: in the end all is there, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import insert, select

from crm_plugin.adapters.testing.cases import Kit, address
from crm_plugin.adapters.testing.faults import Faults
from crm_plugin.adapters.testing.samples import GivenBack, Person, Sale, Sample, State, Thing
from crm_plugin.adapters.testing.served import serve
from crm_plugin.adapters.testing.store import Store, Trait
from crm_plugin.errors import AdapterError
from crm_plugin.ids import new_id
from crm_plugin.money import parse_minor
from crm_plugin.records import OrderStatus, Stream
from crm_plugin.store import members, metadata, orders, products, refunds, shops
from crm_plugin.store.session import Database, make_engine
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.sync.facts import recount
from crm_plugin.sync.pull import sync_shop
from crm_plugin.sync.reconcile import reconcile

# Syncs that may fail, one after the other, before a bad day must be over.
MOST_SYNCS = 200
SEEDS = (1, 2, 3)


class BadDayCases(Kit):
    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[Database]:
        """A database with all tables and no rows."""
        made = Database(make_engine(f"sqlite:///{tmp_path / 'kit.sqlite3'}"))
        metadata.create_all(made.engine)
        yield made
        made.dispose()

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", SEEDS)
    def test_bad_day_ends_with_all_that_is_in_the_store(self, store: Store, database: Database, seed: int) -> None:
        _live_through(self, store, database, seed)

    @pytest.mark.slow
    def test_bad_day_over_a_real_connection(self, store: Store, database: Database) -> None:
        with serve(store):
            _live_through(self, store, database, seed=4)


def _live_through(kit: Kit, store: Store, database: Database, seed: int) -> None:
    """Sync again and again until the day is over, once more, and on the day after; then compare."""
    told = Notebook(store, frozenset(kit.adapter.streams))
    told.begin(kit.store_type.page_size * 3)
    shop = _shop(kit, store, database)
    store.faults = faults = Faults(seed, between=told.stir)
    for _ in range(MOST_SYNCS):
        _sync(kit, store, database, shop)
        if faults.over:
            break
    print(f"seed {seed}: {faults.told()}, {store.calls} calls")  # noqa: T201
    assert faults.over, "the store was never asked often enough"
    store.heal()
    for hours in (0, 25):
        store.now += timedelta(hours=hours)
        assert _sync(kit, store, database, shop), "the store is well, and cannot be synced"
    told.compare(database, _night(kit, store, database, shop))
    with database.read() as connection:
        assert recount(connection, shop.shop_id) == []


def _shop(kit: Kit, store: Store, database: Database) -> Shop:
    adapter = kit.open(store)
    info = adapter.shop_info()
    adapter.close()
    row = {"name": "kit", "title": "Kit", "platform": adapter.name, "currency": info.currency, "created_at": store.now}
    with database.write() as connection:
        shop_id = new_id()
        connection.execute(insert(shops).values(shop_id=shop_id, timezone=info.timezone, **row))
        return shop_by_id(connection, shop_id)


def _sync(kit: Kit, store: Store, database: Database, shop: Shop) -> bool:
    """Whether it came to its end; an error of another kind than adapters raise is no bad day but a mistake."""
    store.begin_reading()
    adapter = kit.open(store)
    try:
        sync_shop(database, shop, adapter, now=store.now)
    except AdapterError as error:
        assert error.message
        return False
    finally:
        adapter.close()
    return True


def _night(kit: Kit, store: Store, database: Database, shop: Shop) -> set[Stream]:
    """The nightly comparison: it may find what is gone and what does not show, but no record that the pages left out.

    Answers the streams of which it knows what is gone.
    """
    adapter = kit.open(store)
    found = reconcile(database, shop, adapter, store.now - timedelta(days=60), store.now)
    adapter.close()
    assert {name: one.added for name, one in found.streams.items() if one.added} == {}
    return {Stream(name) for name, one in found.streams.items() if one.there is not None and not one.held_back}


class Notebook:
    """What is in the store by the kit's own account, whatever the store tells. Changes come one after the other, some in one second."""

    def __init__(self, store: Store, streams: frozenset[Stream]) -> None:
        self._store = store
        self._streams = streams
        self._held: dict[Stream, dict[str, Sample]] = {stream: {} for stream in Stream}
        self._gone: set[tuple[Stream, str]] = set()
        self._number = 0

    def begin(self, many: int) -> None:
        """Fill the store."""
        dice = Random(many)
        for _ in range(many):
            self._number += 1
            self._store.now += timedelta(minutes=dice.choice((0, 0, 1, 90)))
            self._new(dice)

    def stir(self, dice: Random) -> None:
        """One change, as they happen in a store that is open."""
        self._number += 1
        self._store.now += timedelta(seconds=dice.choice((0, 0, 1, 7)))
        changes = [self._new, self._new, self._order_changes, self._order_changes, self._give_back]
        if Trait.REMOVES in self._store.traits:
            changes.append(self._remove)
        dice.choice(changes)(dice)

    def _keep(self, sample: Sample, external_id: str = "") -> str:
        external_id = self._store.put(sample, external_id)
        self._held[sample.stream][external_id] = sample
        return external_id

    def _new(self, dice: Random) -> None:
        now = self._store.now
        person = ""
        if Stream.MEMBERS in self._streams and (dice.random() < 0.7 or Trait.GUESTS not in self._store.traits):
            person = self._keep(Person(email=address(self._number), joined_at=now, changed_at=now))
        total = f"{dice.randint(10, 99)}.{dice.randint(0, 99):02d}"
        self._keep(Sale(total=total, person=person, email=address(self._number), placed_at=now, changed_at=now))
        if Stream.PRODUCTS in self._streams and dice.random() < 0.3:
            self._keep(Thing(title=f"Lamp {self._number}", price=total, changed_at=now))

    def _order_changes(self, dice: Random) -> None:
        external_id = dice.choice(sorted(self._held[Stream.ORDERS]))
        sale = self._held[Stream.ORDERS][external_id]
        assert isinstance(sale, Sale)
        state = dice.choice((State.PAID, State.PAID, State.CANCELLED))
        self._keep(replace(sale, state=state, changed_at=self._store.now), external_id)

    def _give_back(self, dice: Random) -> None:
        given = {back.order for back in self._held[Stream.REFUNDS].values() if isinstance(back, GivenBack)}
        open_ones = sorted(
            name
            for name, sale in self._held[Stream.ORDERS].items()
            if name not in given and isinstance(sale, Sale) and sale.state is State.PAID
        )
        if open_ones:
            self._keep(GivenBack(order=dice.choice(open_ones), amount="1.50", at=self._store.now))

    def _remove(self, dice: Random) -> None:
        """Only an order without a refund, or an account without an order: what a platform lets go is otherwise its own affair."""
        given = {back.order for back in self._held[Stream.REFUNDS].values() if isinstance(back, GivenBack)}
        buyers = {sale.person for sale in self._held[Stream.ORDERS].values() if isinstance(sale, Sale)}
        for stream, bound in ((Stream.ORDERS, given), (Stream.MEMBERS, buyers)):
            free = sorted(name for name in self._held[stream] if name not in bound)
            if free:
                name = dice.choice(free)
                self._store.remove(stream, name)
                del self._held[stream][name]
                self._gone.add((stream, name))
                return

    def compare(self, database: Database, seen_to_go: set[Stream]) -> None:
        """The database holds all of it and nothing else. What is gone may be there still, where the store does not tell that it is."""
        home = self._store.currencies[0]
        for stream, found in _rows(database, seen_to_go).items():
            if stream is not Stream.REFUNDS and stream not in self._streams:
                continue
            kept = {
                name: row for name, row in found.items() if stream in seen_to_go or (stream, name) not in self._gone
            }
            expected = {name: _expected(sample, home) for name, sample in self._held[stream].items()}
            told = {name: row[: len(next(iter(expected.values()), row))] for name, row in kept.items()}
            assert told == expected


def _expected(sample: Sample, home: str) -> tuple[Any, ...]:
    match sample:
        case Person():
            return ()
        case Sale():
            total = parse_minor(sample.total, sample.currency or home)
            return (total, sample.state is State.PAID, sample.person)
        case GivenBack():
            return (parse_minor(sample.amount, home), sample.order)
        case Thing():
            return (parse_minor(sample.price, home),)


def _rows(database: Database, seen_to_go: set[Stream]) -> dict[Stream, dict[str, tuple[Any, ...]]]:
    """What is held, without what is known to be gone."""
    person = select(members.c.external_id).where(members.c.member_id == orders.c.member_id).scalar_subquery()
    accounts = select(members.c.external_id).where(members.c.external_id.is_not(None))
    sales = select(orders.c.external_id, orders.c.total_minor, orders.c.counts, person)
    queries = {
        Stream.MEMBERS: accounts.where(members.c.state == "active") if Stream.MEMBERS in seen_to_go else accounts,
        Stream.ORDERS: sales.where(orders.c.status != OrderStatus.TRASH) if Stream.ORDERS in seen_to_go else sales,
        Stream.REFUNDS: select(refunds.c.external_id, refunds.c.amount_minor, refunds.c.order_external_id),
        Stream.PRODUCTS: select(products.c.external_id, products.c.price_minor),
    }
    with database.read() as connection:
        return {
            stream: {
                row[0]: tuple("" if value is None else value for value in row[1:]) for row in connection.execute(query)
            }
            for stream, query in queries.items()
        }
