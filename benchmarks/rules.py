"""Rules over all members: ten segments kept by who has changed, a library that asks member by member, and counts while somebody waits."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, select

from benchmarks import data
from benchmarks.harness import Options, Result, benchmark, seconds
from crm_plugin import rules
from crm_plugin.records import OrderLineRecord, OrderRecord, OrderStatus, Page, Stream
from crm_plugin.rules import kept, segments
from crm_plugin.store import member_facts, members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop

_DAY = data.END.date()
# Segments as shops have them: of facts, of spans, of products, of the profile, of consent, of a rhythm.
SEGMENTS = {
    "big": "spent() >= 400",
    "regulars": "orders() >= 3 and days_since_order < 90",
    "asleep": "days_since_order >= 180",
    "year": "spent(days=365) >= 300",
    "again": "orders(days=90) >= 2",
    "french": 'average_order >= 100 and country == "FR"',
    "fans": 'bought(sku="SKU-007", days=365)',
    "late": "late_by >= 2 and orders() >= 3",
    "may": 'consents("email") and birthday_month == 5',
    "new": "days_since_joined < 150 and orders() == 0",
}
# Of facts alone, as a merchant types them.
COUNTED = (
    "spent() >= 400",
    "orders() >= 3",
    "days_since_order >= 180",
    "orders() >= 3 and days_since_order < 90",
    "average_order >= 100 and not refunds() > 0",
    "spent() / orders() >= 90 or orders() == 1",
    "late_by >= 2 and orders() >= 3",
    "30 <= days_since_order < 60",
)
_CHANGED = 0.02


@benchmark("rules.daily")
def daily(options: Options) -> Iterator[Result]:
    """A day has passed and 2 % of the members have ordered: ten segments brought up to date, by who has changed and by asking everybody."""
    tomorrow = data.END + timedelta(days=1)
    with data.stocked(options.members, options.seed) as (database, shop):
        with database.write() as connection:
            for key, rule in SEGMENTS.items():
                segments.save(connection, shop, key, rule, data.END)
            # Later than the marks of the loading are looked at.
            kept.keep(connection, shop, data.END + timedelta(hours=1))
        options.say(f"{options.members:,} members are in ten segments")
        data.load_at(database, shop, _new_orders(options.members), data.END + timedelta(hours=8))
        few: list[float] = []
        all_: list[float] = []
        reports: list[kept.KeptReport] = []
        for _ in range(options.repeats):
            few.append(_keep(database, shop, tomorrow, reports))
            with _everybody():
                all_.append(_keep(database, shop, tomorrow, reports))
        turnover = [{key: (one.entered, one.left) for key, one in report.turnover.items()} for report in reports[:2]]
        assert turnover[0] == turnover[1], turnover
        detail = {"members": options.members, "asked": reports[0].asked, "moved": turnover[0]}
    against = "the same ten asked of everybody"
    yield Result("rules: ten segments, a day later", min(few), min(all_), "s", 0.1, False, against, detail)


def _new_orders(count: int) -> Iterator[Page]:
    """One order each of every fiftieth member, this morning."""
    step = int(1 / _CHANGED)
    for start in range(0, count, step * data.PAGE):
        records = tuple(
            OrderRecord(
                external_id=f"new-{number}",
                status=OrderStatus.COMPLETED,
                currency="EUR",
                total_minor=4500,
                member_external_id=str(number),
                placed_at=data.END + timedelta(hours=6),
                lines=(OrderLineRecord(sku=f"SKU-{number % 400:03d}", title="Product", total_minor=4500),),
            )
            for number in range(start, min(start + step * data.PAGE, count), step)
        )
        yield Page(stream=Stream.ORDERS, records=records, next_cursor=str(start))


class _Undone(Exception):
    """Takes back what was written, so that the next run finds the same."""


def _keep(database: Database, shop: Shop, now: Any, reports: list[kept.KeptReport]) -> float:
    took = 0.0

    def keep(connection: Connection) -> None:
        reports.append(kept.keep(connection, shop, now))

    try:
        with database.write() as connection:
            took = seconds(lambda: keep(connection))
            raise _Undone
    except _Undone:
        return took


@contextmanager
def _everybody() -> Iterator[None]:
    usual = kept.MOST
    kept.MOST = -1
    try:
        yield
    finally:
        kept.MOST = usual


@benchmark("rules.library")
def library(options: Options) -> Iterator[Result]:
    """Four rules of facts asked of every member: as SQL, and by the library business-rules of rows that are in memory already."""
    ask_one, asked_of = _library()
    with data.stocked(options.members, options.seed) as (database, shop):
        sample = _rows(database, shop, 20_000)
        counts: list[int] = []

        def count() -> None:
            with database.read() as connection:
                counts[:] = rules.counts(connection, shop, _FOUR, _DAY)

        def ask() -> list[int]:
            return [sum(ask_one(asked, row) for row in sample) for asked in asked_of]

        ours = min(seconds(count) for _ in range(options.repeats))
        theirs = min(seconds(ask) for _ in range(options.repeats))
    rate, limit = options.members / ours, len(sample) / theirs
    detail = {"members": options.members, "asked_of_theirs": len(sample), "matching": counts}
    yield Result("rules: four rules of everybody", rate, limit, "members/s", 50, True, "business-rules", detail)


# The same four for both: value, operator and number of each condition.
_FOUR = ("spent() >= 400", "orders() >= 3 and days_since_order < 90", "days_since_order >= 180", "orders() == 1")
_CONDITIONS = (
    [("spent", "greater_than_or_equal_to", 400)],
    [("orders", "greater_than_or_equal_to", 3), ("days", "less_than", 90)],
    [("days", "greater_than_or_equal_to", 180)],
    [("orders", "equal_to", 1)],
)


def _library() -> tuple[Any, list[Any]]:
    """The library's way to ask one member, and the four rules in its form."""
    from business_rules.engine import check_conditions_recursively
    from business_rules.variables import BaseVariables, numeric_rule_variable

    class Member(BaseVariables):
        def __init__(self, row: dict[str, Any]) -> None:
            self._row = row

        @numeric_rule_variable
        def spent(self) -> Any:
            return self._row["spent"]

        @numeric_rule_variable
        def orders(self) -> Any:
            return self._row["orders"]

        @numeric_rule_variable
        def days(self) -> Any:
            return self._row["days"]

    rules_ = [
        {"all": [{"name": name, "operator": op, "value": value} for name, op, value in one]} for one in _CONDITIONS
    ]
    return lambda asked, row: check_conditions_recursively(asked, Member(row)), rules_


def _rows(database: Database, shop: Shop, count: int) -> list[dict[str, Any]]:
    f = member_facts.c
    query = select(f.spent_minor, f.orders_count, f.last_order_on).where(f.shop_id == shop.shop_id).limit(count)
    with database.read() as connection:
        return [
            {
                "spent": spent / 100,
                "orders": orders,
                "days": (_DAY - last).days if last is not None else 99_999,
            }
            for spent, orders, last in connection.execute(query)
        ]


@benchmark("rules.count")
def live_count(options: Options) -> Iterator[Result]:
    """How long a merchant waits for the number of members while typing a rule of facts; of twenty counts the slowest but one."""
    with data.stocked(options.members, options.seed) as (database, shop):
        times: list[float] = []
        for number in range(max(20, len(COUNTED) * options.repeats)):
            with database.read() as connection:
                text = COUNTED[number % len(COUNTED)]
                times.append(seconds(lambda: rules.count(connection, shop, text, _DAY), wall=True))  # noqa: B023
        with database.read() as connection:
            total = seconds(lambda: connection.execute(select(members.c.member_id)).all(), wall=True)
    p95 = statistics.quantiles(times, n=20)[-1]
    detail = {"members": options.members, "median": statistics.median(times), "reading_all_ids": total}
    yield Result("rules: a count while somebody waits, p95", p95, 0.3, "s", 1.0, False, "300 ms", detail)
