"""Sync: our page writer against a raw insert of the same rows, the whole pull over HTTP, and PostgreSQL against COPY."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from sqlalchemy import Table, func, select

from benchmarks import data
from benchmarks.harness import Options, Result, benchmark, postgres_database, seconds, sqlite_database
from benchmarks.store_server import store
from crm_plugin.records import Page
from crm_plugin.store import member_facts, members, metadata, order_lines, orders, shops
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.connect import add_shop, open_storefront
from crm_plugin.sync.pull import sync_shop
from tests.postgres import PostgresServer

_WRITTEN = (orders, order_lines, member_facts)
_SYNCED = frozenset(
    [
        "members",
        "identities",
        "member_tags",
        "member_facts",
        "consents",
        "member_consents",
        "orders",
        "order_lines",
        "refunds",
        "products",
    ]
)
Rows = dict[Table, list[tuple[Any, ...]]]


@benchmark("sync.page")
def page(options: Options) -> Iterator[Result]:
    """Upsert and facts of pages of orders, into an empty store and behind what is already there; then the same pages once more."""
    count = options.members
    options.say(f"{count:,} orders in pages of {data.PAGE}, after {options.members:,} members")
    pages = list(data.order_pages(count, options.members, options.seed))
    ours, limit, again = [], [], []
    with sqlite_database() as full:
        for run in range(options.repeats):
            with nullcontext(full) if run == 0 else sqlite_database() as database:
                shop = _with_members(database, options.members)
                ours.append(_timed(database, shop, pages))
                again.append(_timed(database, shop, pages))
                if not run:
                    home, rows, everyone = shop, _rows(database, _WRITTEN), _rows(database, (shops, members))
            with sqlite_database() as raw:
                _raw_insert(raw, everyone)
                limit.append(seconds(lambda: _raw_insert(raw, rows)))  # noqa: B023
        size = len(rows[orders]) + len(rows[order_lines])
        yield _rate("sync.page: empty store", size, ours, limit, 0.45)
        yield _rate("sync.page: nothing new", size, again, limit, None)
        yield from _behind(options, full, home, count)


def _behind(options: Options, full: Database, shop: Shop, count: int) -> Iterator[Result]:
    more = max(4 * count, 5_000_000 - count) if options.members >= 1_000_000 else 4 * count
    options.say(f"{more:,} orders more behind the first {count:,}")
    data.load(full, shop, data.order_pages(more, options.members, options.seed, first=count))
    ours, limit, part = [], [], max(1000, count // 5)
    for run in range(options.repeats):
        first = count + more + run * part
        before = _count(full, order_lines)
        ours.append(_timed(full, shop, list(data.order_pages(part, options.members, options.seed, first=first))))
        size = {orders: part, order_lines: _count(full, order_lines) - before}
        # The limit stands behind as many rows: what was just written is taken out and put in again.
        rows = {table: _last(full, table, number) for table, number in size.items()}
        oldest = min(row[1] for row in rows[orders])
        touched = _rows(
            full, (member_facts,), f"member_id IN (SELECT member_id FROM orders WHERE order_id >= {oldest})"
        )
        with full.write() as connection:
            for table in (order_lines, orders):
                connection.exec_driver_sql(f"DELETE FROM {table.name} WHERE order_id >= {oldest}")
        limit.append(seconds(lambda: _raw_insert(full, {**rows, **touched})))  # noqa: B023
    yield _rate(f"sync.page: behind {count + more:,} orders", sum(size.values()), ours, limit, 0.45)


@benchmark("sync.whole")
def whole(options: Options) -> Iterator[Result]:
    """HTTP, decode, map, upsert and facts of a store that answers at once, against a raw insert of all rows that come of it."""
    with store(min(max(options.members // 10, 200), 20_000), options.seed) as served:
        options.say(f"a store of {served.records}")
        ours, limit = [], []
        for _ in range(options.repeats):
            with sqlite_database() as database:
                box = SecretBox("A" * 43 + "=")
                credentials = {"url": served.url, "key": "ck_bench", "secret": "cs_bench"}
                shop = add_shop(
                    database, box, name="bench", platform="woocommerce", credentials=credentials, now=data.END
                )
                storefront = open_storefront(database, box, shop)
                ours.append(seconds(lambda: sync_shop(database, shop, storefront, now=data.END)))  # noqa: B023
                storefront.close()
                rows = _rows(database, [table for table in metadata.sorted_tables if table.name in _SYNCED])
                there = _rows(database, (shops,))
            with sqlite_database() as raw:
                _raw_insert(raw, there)
                limit.append(seconds(lambda: _raw_insert(raw, rows)))  # noqa: B023
    yield _rate("sync.whole: over HTTP", sum(len(part) for part in rows.values()), ours, limit, 0.20)


@benchmark("sync.postgres")
def postgres(options: Options) -> Iterator[Result]:
    """Orders written in bulk to PostgreSQL against COPY of the same rows into the same tables."""
    if not options.postgres:
        return
    people = min(options.members, 100_000)
    pages = list(data.order_pages(min(options.members, 200_000), people, options.seed))
    server = PostgresServer(durable=True)
    try:
        ours, limit = [], []
        for run in range(options.repeats):
            with postgres_database(server, f"ours{run}") as database:
                shop = _with_members(database, people)
                ours.append(_timed(database, shop, pages, wall=True))
                rows, everyone = _rows(database, _WRITTEN), _rows(database, (shops, members))
            with postgres_database(server, f"copy{run}") as raw:
                _copy(raw, everyone)
                limit.append(seconds(lambda: _copy(raw, rows), wall=True))  # noqa: B023
        size = len(rows[orders]) + len(rows[order_lines])
        yield _rate("sync.postgres: bulk", size, ours, limit, 0.50, against="COPY of the same rows")
    finally:
        server.stop()


def _rate(
    name: str, size: int, ours: list[float], limit: list[float], budget: float | None, against: str = "raw executemany"
) -> Result:
    mine, theirs = min(ours), min(limit)
    return Result(name, size / mine, size / theirs, "rows/s", budget, True, against, {"rows": size})


def _with_members(database: Database, count: int) -> Shop:
    with database.write() as connection:
        shop = data.make_shop(connection)
    data.load(database, shop, data.member_pages(count))
    return shop


def _timed(database: Database, shop: Shop, pages: Sequence[Page], *, wall: bool = False) -> float:
    return seconds(lambda: data.load(database, shop, pages), wall=wall)


def _rows(database: Database, tables: Sequence[Table], where: str = "1 = 1") -> Rows:
    with database.read() as connection:
        asked = {table: f"SELECT {_columns(table)} FROM {table.name} WHERE {where}" for table in tables}
        return {table: [tuple(row) for row in connection.exec_driver_sql(sql)] for table, sql in asked.items()}


def _last(database: Database, table: Table, count: int) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        newest = f"SELECT {_columns(table)} FROM {table.name} ORDER BY order_id DESC LIMIT {count}"
        return [tuple(row) for row in connection.exec_driver_sql(newest)]


def _count(database: Database, table: Table) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _columns(table: Table) -> str:
    return ", ".join(column.name for column in table.columns)


def _raw_insert(database: Database, rows: Rows) -> None:
    """The limit: the same rows in one transaction, under the same indexes; facts that are there already are replaced."""
    with database.write() as connection:
        for table, part in rows.items():
            if not part:
                continue
            insert = f"INSERT INTO {table.name} ({_columns(table)}) VALUES ({', '.join('?' * len(table.columns))})"
            if table is member_facts:
                sets = ", ".join(f"{column.name} = excluded.{column.name}" for column in table.columns)
                insert += f" ON CONFLICT (shop_id, member_id) DO UPDATE SET {sets}"
            connection.exec_driver_sql(insert, part)


def _copy(database: Database, rows: Rows) -> None:
    with database.write() as connection:
        cursor: Any = connection.connection.cursor()
        for table, part in rows.items():
            stream = io.StringIO()
            csv.writer(stream).writerows([("\\N" if value is None else value) for value in row] for row in part)
            stream.seek(0)
            cursor.execute(
                f"COPY {table.name} ({_columns(table)}) FROM STDIN WITH (FORMAT csv, NULL '\\N')", stream=stream
            )
