"""How the database goes about the planning of a journey: by which indexes, and with how many statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, event

from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys
from crm_plugin.touchpoints.due import passes
from crm_plugin.touchpoints.plan import asked_of

# What grows with a shop: none of these is gone through for what is due.
LARGE = (
    "members",
    "member_facts",
    "orders",
    "order_lines",
    "refunds",
    "touchpoints",
    "segment_members",
    "member_tiers",
)


def plans(connection: Connection, shop: Shop, key: str, begun: datetime, mark: datetime, now: datetime) -> list[str]:
    """The query plan of each pass of a round, as the database tells it."""
    journey = journeys.get(connection, shop.shop_id, key)
    found = passes(asked_of(connection, shop, journey), begun, mark, now)
    return [explained(connection, query) for query in found]


def explained(connection: Connection, query: Select[Any]) -> str:
    """One query plan. Of tables of few rows PostgreSQL reads all, and in any order: told not to, it shows
    whether there is an index for each step."""
    is_sqlite = connection.dialect.name == "sqlite"
    compiled = query.compile(connection)
    assert isinstance(compiled.params, dict)
    if not is_sqlite:
        for name in ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin"):
            connection.exec_driver_sql(f"SET LOCAL {name} = off")
        connection.exec_driver_sql("SET LOCAL join_collapse_limit = 1")
    parameters: Any = compiled.construct_params()
    if compiled.positional:
        parameters = tuple(parameters[name] for name in compiled.positiontup or ())
    prefix = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
    return "\n".join(str(tuple(row)) for row in connection.exec_driver_sql(prefix + str(compiled), parameters))


def scanned(plan: str) -> list[str]:
    """The lines of a plan that go through a whole table; slots and what was looked up before are no table."""
    aliases = ("SCAN m", "SCAN f", "SCAN o", "SCAN l", "SCAN r", "SCAN e", "SCAN said", "SCAN s", "SCAN c", "SCAN t")
    return [
        line
        for line in plan.splitlines()
        if any(f"'{alias}" in line and f"{alias}" == line.split("'")[1].split(" USING")[0] for alias in aliases)
        or any(f"Seq Scan on {table} " in line for table in LARGE)
    ]


@contextmanager
def counted(db: Database) -> Iterator[list[str]]:
    """The statements that are run within the block."""
    told: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        told.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
