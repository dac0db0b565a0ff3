"""Made-up shops of any size: the same records for the same seed, few buy often and many buy once."""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, insert

from crm_plugin.records import (
    ConsentRecord,
    ConsentState,
    MemberRecord,
    OrderLineRecord,
    OrderRecord,
    OrderStatus,
    Page,
    Stream,
)
from crm_plugin.store import metadata, shops
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.sync.batch import groups, write_group

END = datetime(2026, 11, 1, tzinfo=UTC)
PAGE = 100
ORDERS_A_MEMBER = 5
# No birthday of `member_pages` is after the 28th: on this one only those of `celebrants` are.
PARTY = (10, 30)
_SKUS = 400
_YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=END - timedelta(days=900)),)
_NO = (ConsentRecord(channel="email", state=ConsentState.WITHDRAWN, at=END - timedelta(days=9)),)


def make_shop(connection: Connection, shop_id: int = 1) -> Shop:
    """A shop row to load into."""
    connection.execute(
        insert(shops).values(
            shop_id=shop_id,
            name=f"bench-{shop_id}",
            platform="csv",
            currency="EUR",
            timezone="Europe/Paris",
            created_at=END,
        )
    )
    return shop_by_id(connection, shop_id)


def member_pages(count: int) -> Iterator[Page]:
    """Accounts with an address, half of them with a birthday, nine of ten with consent to e-mail."""
    zones = ("Europe/Paris", "Europe/London", "America/New_York", "Asia/Shanghai")
    for start in range(0, count, PAGE):
        records = tuple(
            MemberRecord(
                external_id=str(number),
                email=f"member{number}@example.test",
                first_name=f"First{number % 997}",
                last_name=f"Last{number % 1999}",
                timezone=zones[number % 4],
                country=("FR", "GB", "US", "CN")[number % 4],
                birth_month=number % 12 + 1 if number % 2 else None,
                birth_day=number % 28 + 1 if number % 2 else None,
                joined_at=END - timedelta(days=1000 - number % 900),
                updated_at=END - timedelta(days=number % 30),
                consents=_NO if number % 10 == 0 else _YES,
            )
            for number in range(start, min(start + PAGE, count))
        )
        yield Page(stream=Stream.MEMBERS, records=records, next_cursor=str(start + PAGE), total=count)


def order_pages(count: int, members: int, seed: int, first: int = 0, page: int = PAGE) -> Iterator[Page]:
    """Orders in the order of their dates over three years, 2.4 lines each, spread over the members by a power law."""
    random_ = random.Random(seed + first)
    begin = END - timedelta(days=1095)
    step = timedelta(days=1095) / max(count, 1)
    for start in range(first, first + count, page):
        records = []
        for number in range(start, min(start + page, first + count)):
            placed = begin + step * (number - first)
            lines = tuple(
                OrderLineRecord(
                    sku=f"SKU-{random_.randrange(_SKUS):03d}",
                    title=f"Product {number % _SKUS}",
                    quantity=float(random_.randint(1, 3)),
                    total_minor=random_.randrange(500, 9000),
                )
                for _ in range((2, 3, 2, 3, 2)[number % 5])
            )
            total = sum(line.total_minor for line in lines)
            records.append(
                OrderRecord(
                    external_id=str(number),
                    number=str(number),
                    status=OrderStatus.COMPLETED if number % 20 else OrderStatus.CANCELLED,
                    platform_status="completed" if number % 20 else "cancelled",
                    currency="EUR",
                    total_minor=total,
                    member_external_id=str(int(members * random_.random() ** 2)),
                    placed_at=placed,
                    paid_at=placed,
                    updated_at=placed + timedelta(days=2),
                    lines=lines,
                )
            )
        yield Page(stream=Stream.ORDERS, records=tuple(records), next_cursor=str(start + page), total=count)


def celebrants(count: int, first: int) -> Iterator[Page]:
    """Members with consent whose birthday is the 30th of October, all in one zone."""
    for start in range(0, count, PAGE):
        records = tuple(
            MemberRecord(
                external_id=str(first + number),
                email=f"member{first + number}@example.test",
                first_name=f"First{number}",
                timezone="Europe/Paris",
                birth_month=PARTY[0],
                birth_day=PARTY[1],
                consents=_YES,
            )
            for number in range(start, min(start + PAGE, count))
        )
        yield Page(stream=Stream.MEMBERS, records=records, next_cursor=str(start + PAGE), total=count)


def load(database: Database, shop: Shop, pages: Iterable[Page]) -> None:
    """Write pages as sync and imports do."""
    load_at(database, shop, pages, END)


def load_at(database: Database, shop: Shop, pages: Iterable[Page], now: datetime) -> None:
    """The same at another time."""
    for group in groups(pages):
        with database.write() as connection:
            write_group(connection, shop, group, now)


@contextmanager
def stocked(members: int, seed: int) -> Iterator[tuple[Database, Shop]]:
    """A shop of so many members with five orders each, in a SQLite file of its own; made once a run, then copied."""
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder:
        path = Path(folder) / "stocked.sqlite3"
        shutil.copyfile(_stock(members, seed), path)
        database = Database.at(f"sqlite:///{path}")
        with database.read() as connection:
            shop = shop_by_id(connection, 1)
        try:
            yield database, shop
        finally:
            database.dispose()


@cache
def _stock(members: int, seed: int) -> Path:
    folder = tempfile.mkdtemp(prefix="crm-bench-stock-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / f"{members}.sqlite3"
    database = Database.at(f"sqlite:///{path}")
    metadata.create_all(database.engine)
    with database.write() as connection:
        shop = make_shop(connection)
    load(database, shop, member_pages(members))
    load(database, shop, order_pages(ORDERS_A_MEMBER * members, members, seed))
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
    database.dispose()
    return path
