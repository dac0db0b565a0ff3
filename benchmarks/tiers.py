"""Tiers for all members from the facts, 1 % of them written back: against the same by SQL by hand, and against DuckDB counting all orders.

All three do the whole of the work: find who changes level, then write the levels held and the history. DuckDB has the orders, the refunds
and the levels held in its own memory beforehand, which costs it nothing here.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from benchmarks import data
from benchmarks.harness import Options, Result, benchmark, seconds
from crm_plugin.rules.earned import changes, compiled, plan_for
from crm_plugin.rules.sql import PROGRAM_KEY
from crm_plugin.rules.tiers import Level, apply, levels, save_levels
from crm_plugin.store import member_facts
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop

_DAY = data.END.date()
_KEYS = ("bronze", "silver", "gold")


class Sides(NamedTuple):
    """Two sets of levels between which about 1 % of the members move, each as the three sums (minor units) that earn a level."""

    before: tuple[int, ...]
    after: tuple[int, ...]


@benchmark("tiers")
def tiers(options: Options) -> Iterator[Result]:
    """`tiers apply` after a change of the levels, in turns with both limits."""
    with data.stocked(options.members, options.seed) as (database, shop), _duck(database) as duck:
        sides = _sides(database, options.members)
        _save(database, shop, sides.before)
        apply(database, shop, as_of=_DAY, now=data.END)
        changed = 0
        ours: list[float] = []
        ours_wall: list[float] = []
        by_hand: list[float] = []
        counted: list[float] = []
        asked: list[float] = []
        found: list[float] = []
        for run in range(options.repeats):
            mine, theirs = (sides.after, sides.before) if run % 2 == 0 else (sides.before, sides.after)
            for times, wall in ((ours, False), (ours_wall, True)):
                _save(database, shop, mine)
                found.append(seconds(lambda: _who_changes(database, shop), wall=True))
                took, changed = _apply(database, shop, wall=wall)
                times.append(took)
                # The same members move back by hand: both work on the same state in turn.
                by_hand.append(seconds(lambda: _by_hand(database, shop, theirs)))  # noqa: B023
            duck.execute(_DUCK_HELD.format(*theirs))
            # DuckDB works in several threads, whose CPU time would add up.
            asked.append(seconds(lambda: duck.execute(_DUCK.format(*mine)).fetchall(), wall=True))  # noqa: B023
            counted.append(seconds(lambda: _by_duck(database, shop, duck, mine), wall=True))  # noqa: B023
    detail = {"members": options.members, "changed": changed}
    hand, count = "four statements over the facts", "DuckDB, all orders aggregated; written by hand"
    yield Result("tiers: against SQL by hand", min(ours), min(by_hand), "s", 2.0, False, hand, detail)
    yield Result("tiers: against a count of all orders", min(ours_wall), min(counted), "s", 1.0, False, count, detail)
    # How much of it is reading.
    alone = "DuckDB, all orders aggregated; nothing written"
    yield Result("tiers: who changes, unwritten", min(found), min(asked), "s", None, False, alone, detail)


def _apply(database: Database, shop: Shop, *, wall: bool) -> tuple[float, int]:
    reports = []
    took = seconds(lambda: reports.append(apply(database, shop, as_of=_DAY, now=data.END)), wall=wall)
    return took, reports[0].changed


def _who_changes(database: Database, shop: Shop) -> int:
    with database.read() as connection:
        plan = plan_for(shop, compiled(levels(connection, shop.shop_id)), _DAY)
        return sum(len(page) for page in changes(connection, plan))


def _sides(database: Database, members: int) -> Sides:
    """Sums that a half, a tenth and a hundredth of the members have spent, and the same half a per cent of members further on."""
    with database.read() as connection:

        def spent_by(best: float) -> int:
            column = member_facts.c.spent_minor
            query = select(column).order_by(column.desc()).limit(1).offset(int(members * best))
            return int(connection.execute(query).scalar() or 0)

        return Sides(
            tuple(spent_by(best) for best in (0.5, 0.1, 0.01)), tuple(spent_by(best) for best in (0.495, 0.105, 0.01))
        )


def _save(database: Database, shop: Shop, sums: tuple[int, ...]) -> None:
    wanted = [Level(key, f"spent() >= {minor / 100:.2f}") for key, minor in zip(_KEYS, sums, strict=True)]
    with database.write() as connection:
        save_levels(connection, shop, wanted, data.END)


_EARNED = (
    "CASE WHEN f.spent_minor >= {} THEN 'gold' WHEN f.spent_minor >= {} THEN 'silver' "
    "WHEN f.spent_minor >= {} THEN 'bronze' ELSE '' END"
)
# One row: a member who ever ordered or got money back, with the level that the sums earn.
_DUCK_EARNED = (
    "SELECT member_id, spent, CASE WHEN spent >= {2} THEN 'gold' WHEN spent >= {1} THEN 'silver' "
    "WHEN spent >= {0} THEN 'bronze' ELSE '' END AS level "
    "FROM (SELECT member_id, SUM(base_minor) AS spent FROM money GROUP BY member_id)"
)
_DUCK = (
    f"SELECT held.member_id, held.level, earned.level, spent FROM ({_DUCK_EARNED}) AS earned "
    "JOIN held ON held.member_id = earned.member_id WHERE held.level <> earned.level ORDER BY held.member_id"
)
_DUCK_HELD = f"CREATE OR REPLACE TABLE held AS SELECT member_id, level FROM ({_DUCK_EARNED})"
_MOVED = "CREATE TEMPORARY TABLE moved (member_id INTEGER PRIMARY KEY, was TEXT, becomes TEXT, spent INTEGER)"


def _by_duck(database: Database, shop: Shop, duck: Any, sums: tuple[int, ...]) -> int:
    """The same by counting all orders anew."""
    rows = duck.execute(_DUCK.format(*sums)).fetchall()
    with database.write() as connection:
        connection.exec_driver_sql(_MOVED)
        connection.exec_driver_sql("INSERT INTO moved VALUES (?, ?, ?, ?)", rows)
        _write_back(connection, shop.shop_id)
        connection.exec_driver_sql("DROP TABLE moved")
    return len(rows)


def _by_hand(database: Database, shop: Shop, sums: tuple[int, ...]) -> int:
    """What one would write for these very levels: who changes, into a temporary table; then the levels held, then the history."""
    earned = _EARNED.format(*reversed(sums))
    with database.write() as connection:
        connection.exec_driver_sql(_MOVED)
        connection.exec_driver_sql(
            f"INSERT INTO moved SELECT f.member_id, f.level_key, {earned}, f.spent_minor FROM member_facts f "
            f"WHERE f.shop_id = {shop.shop_id} AND f.level_key <> {earned} ORDER BY f.member_id"
        )
        _write_back(connection, shop.shop_id)
        changed = connection.exec_driver_sql("SELECT COUNT(*) FROM moved").scalar_one()
        connection.exec_driver_sql("DROP TABLE moved")
    return int(changed)


def _write_back(connection: Connection, shop_id: int) -> None:
    connection.exec_driver_sql(
        f"DELETE FROM member_tiers WHERE shop_id = {shop_id} AND member_id IN (SELECT member_id FROM moved WHERE becomes = '')"
    )
    connection.exec_driver_sql(
        "INSERT INTO member_tiers (shop_id, program_key, member_id, level_key, since_at, since_on) "
        f"SELECT {shop_id}, '{PROGRAM_KEY}', member_id, becomes, 0, 0 FROM moved WHERE becomes <> '' "
        "ON CONFLICT (shop_id, program_key, member_id) DO UPDATE SET level_key = excluded.level_key, since_at = 0, since_on = 0"
    )
    connection.exec_driver_sql(
        "UPDATE member_facts SET level_key = becomes FROM moved "
        f"WHERE member_facts.shop_id = {shop_id} AND member_facts.member_id = moved.member_id"
    )
    last = connection.exec_driver_sql("SELECT COALESCE(MAX(change_id), 0) FROM tier_changes").scalar_one()
    connection.exec_driver_sql(
        "INSERT INTO tier_changes (shop_id, change_id, program_key, member_id, from_level, to_level, changed_at, as_of, reason) "
        f"SELECT {shop_id}, {last} + ROW_NUMBER() OVER (ORDER BY member_id), '{PROGRAM_KEY}', member_id, was, becomes, 0, 0, "
        "json_object('spent', spent) FROM moved"
    )


@contextmanager
def _duck(database: Database) -> Iterator[Any]:
    """All orders and refunds in DuckDB's own form."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder, duckdb.connect() as duck:
        path = Path(folder) / "orders.csv"
        with path.open("w", newline="") as file, database.read() as connection:
            rows = connection.exec_driver_sql(
                "SELECT member_id, base_minor FROM orders WHERE counts AND member_id IS NOT NULL AND base_minor IS NOT NULL "
                "UNION ALL SELECT member_id, -base_minor FROM refunds "
                "WHERE counts AND member_id IS NOT NULL AND base_minor IS NOT NULL"
            )
            csv.writer(file).writerows(rows)
        duck.execute(
            f"CREATE TABLE money AS SELECT * FROM read_csv('{path}', header=false, columns={{member_id: 'BIGINT', base_minor: 'BIGINT'}})"
        )
        yield duck
