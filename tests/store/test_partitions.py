"""The schema distributed by shop: every table but `shops` lies in hash partitions on PostgreSQL, and rounds go as they do without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, Table, func, select, text

from crm_plugin import rounds
from crm_plugin.clock import FixedClock
from crm_plugin.config import Config
from crm_plugin.jobs import metrics, prune
from crm_plugin.runtime import Runtime
from crm_plugin.store import attempts, members, metadata, order_lines, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import glance
from tests.databases import PostgresDatabases
from tests.factories import order, write
from tests.touchpoints.guarding import BOX, NOON, START, Sent, journey, shop_with

pytestmark = [pytest.mark.slow, pytest.mark.postgres]
PARTS = 4
# One row a shop, and the name of a shop is unique over all.
WHOLE = {"shops"}


@pytest.fixture
def db(postgres: PostgresDatabases) -> Iterator[Database]:
    """A database with all tables, partitioned."""
    with postgres.bare() as url:
        database = Database.at(url)
        _create(database.engine)
        yield database
        database.dispose()


def _create(engine: Engine) -> None:
    parted = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        copy = table.to_metadata(parted)
        if copy.name not in WHOLE:
            copy.dialect_options["postgresql"]["partition_by"] = "HASH (shop_id)"
    parted.create_all(engine)
    with engine.begin() as connection:
        for name in parted.tables.keys() - WHOLE:
            for part in range(PARTS):
                connection.exec_driver_sql(
                    f"CREATE TABLE {name}_{part} PARTITION OF {name} FOR VALUES WITH (MODULUS {PARTS}, REMAINDER {part})"
                )


def test_rounds_go_over_partitions(db: Database, tmp_path: Path) -> None:
    runtime, sent = Runtime(Config("", tmp_path, public_url="https://crm.test"), db, BOX, FixedClock(NOON)), Sent()
    shop = shop_with(db, 5)
    journey(db, shop, "j")
    orders = [order(f"o{n}", member_external_id=str(n), placed_at=START) for n in range(5)]
    # Written twice, so that rows are changed in place too.
    for _ in range(2):
        write(db, shop, orders, START)
    report = rounds.tick(runtime, shop, NOON, ways=sent.ways())
    assert (report.errors, report.plan["planned"], report.dispatch["states"]) == ({}, 5, {"accepted": 5})
    again = rounds.tick(runtime, shop, NOON, ways=sent.ways())
    assert (again.errors, again.plan["planned"], len(sent.rows)) == ({}, 0, 5)
    assert prune.prune(runtime, shop, now=NOON)["touchpoint_contents"] == 0
    assert b"crm_touchpoints_due" in metrics.exposition(runtime)
    assert [_held(db, table) for table in (members, order_lines, touchpoints, attempts)] == [[5]] * 4


def _held(db: Database, table: Table) -> list[int]:
    """How many rows each partition holds that has any."""
    with db.read() as connection:
        parts = select(func.count()).select_from(table).group_by(text("tableoid"))
        return list(connection.execute(parts).scalars())


def test_question_of_a_shop_is_asked_of_its_partition(db: Database) -> None:
    with db.read() as connection:
        asked = text(f"EXPLAIN {glance.DUE}")
        plan = "\n".join(connection.execute(asked, {"shop_id": 1, "now": 0}).scalars())
    assert sum(f"touchpoints_{part} " in plan for part in range(PARTS)) == 1
