"""How the database goes about the planning of a journey: by which indexes, and with how many statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Executable, Table, event

from crm_plugin.clock import day_number
from crm_plugin.store import (
    bulk,
    checkouts,
    member_dates,
    member_events,
    member_facts,
    member_tiers,
    members,
    order_events,
    order_lines,
    orders,
    refills,
    refunds,
    segment_events,
    tier_changes,
)
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys
from crm_plugin.touchpoints.due import passes
from crm_plugin.touchpoints.idle import asked_of

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
    return [explained(connection, way.select()) for way in found]


def explained(connection: Connection, query: Executable) -> str:
    """One query plan. Where reading a whole table of a few thousand rows would be the quickest, PostgreSQL is told to do without."""
    is_sqlite = connection.dialect.name == "sqlite"
    compiled: Any = query.compile(connection, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]
    for name in () if is_sqlite else ("enable_seqscan", "enable_hashjoin", "enable_mergejoin"):
        connection.exec_driver_sql(f"SET LOCAL {name} = off")
    stored = compiled._bind_processors
    parameters: Any = {
        name: stored[name](value) if name in stored else value for name, value in compiled.construct_params().items()
    }
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
        if statement != "BEGIN":
            told.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        event.remove(db.engine, "before_cursor_execute", note)


# fmt: off
def stock(connection: Connection, count: int, now: datetime) -> None:
    """So many members of shop 1, each with two orders within a year before `now` and all that hangs on them."""
    day = day_number(now.date())
    ids = range(1, count + 1)
    days = {one: day - one % 365 for one in ids}
    whole: dict[Table, tuple[str, list[tuple[Any, ...]]]] = {
        members: (
            "shop_id, member_id, external_id, state, email, phone, first_name, last_name, locale, timezone, zone, country, region, "
            "birth_md, joined_at, joined_on, attributes, first_seen_at, changed_at, touched_at, fingerprint",
            [
                (
                    1,
                    n,
                    str(n),
                    "active",
                    f"m{n}@x.test",
                    "",
                    "",
                    "",
                    "",
                    "",
                    "Europe/Berlin",
                    "",
                    "",
                    _month_day(n),
                    _at(days[n]),
                    days[n],
                    "{}",
                    _at(days[n]),
                    _at(days[n]),
                    _at(days[n]),
                    "",
                )
                for n in ids
            ],
        ),
        member_facts: (
            "shop_id, member_id, orders_count, refunds_count, items_milli, gross_minor, refunded_minor, spent_minor, discount_minor, "
            "cost_minor, unconverted_orders, first_order_at, last_order_at, first_order_on, last_order_on, changed_at, level_key",
            [
                (
                    1,
                    n,
                    1 + n % 2,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    _at(days[n]),
                    _at(days[n]),
                    days[n],
                    days[n],
                    _at(days[n]),
                    "",
                )
                for n in ids
            ],
        ),
        orders: (
            "shop_id, order_id, external_id, number, member_id, status, platform_status, counts, currency, total_minor, tax_minor, "
            "shipping_minor, discount_minor, items_milli, placed_at, placed_on, coupon_codes, attributes, first_seen_at, fingerprint",
            [
                (
                    1,
                    order,
                    str(order),
                    "",
                    n,
                    "completed",
                    "",
                    True,
                    "EUR",
                    1000,
                    0,
                    0,
                    0,
                    1000,
                    _at(days[n]),
                    days[n],
                    "[]",
                    "{}",
                    _at(days[n]),
                    "",
                )
                for n in ids
                for order in (2 * n, 2 * n + 1)
            ],
        ),
        order_lines: (
            "shop_id, order_id, line_no, sku, product_external_id, title, quantity, total_minor",
            [(1, order, 0, f"S{order % 50}", "", "Thing", 1.0, 1000) for n in ids for order in (2 * n, 2 * n + 1)],
        ),
        order_events: (
            "shop_id, order_id, kind, at, happened_on, seen_at",
            [
                (1, 2 * n, kind, _at(days[n]), days[n], _at(days[n]))
                for n in ids
                for kind in ("paid", "shipped", "delivered")
            ],
        ),
        refunds: (
            "shop_id, refund_id, external_id, order_id, order_external_id, member_id, currency, amount_minor, counts, dated, "
            "refunded_at, refunded_on, reason, first_seen_at, fingerprint",
            [
                (
                    1,
                    n,
                    str(n),
                    2 * n,
                    str(2 * n),
                    n,
                    "EUR",
                    100,
                    True,
                    True,
                    _at(days[n]),
                    days[n],
                    "",
                    _at(days[n]),
                    "",
                )
                for n in ids
            ],
        ),
        segment_events: (
            "shop_id, event_id, segment_key, member_id, entered, cause, at, as_of",
            [(1, n, ("vips", "others")[n % 2], n, bool(n % 3), "moved", _at(days[n]), days[n]) for n in ids],
        ),
        tier_changes: (
            "shop_id, change_id, program_key, member_id, from_level, to_level, changed_at, as_of, reason",
            [(1, n, "main", n, "", ("silver", "gold")[n % 2], _at(days[n]), days[n], "{}") for n in ids],
        ),
        member_tiers: (
            "shop_id, program_key, member_id, level_key, since_at, since_on, valid_until, grace_until, in_grace, fixed, "
            "fixed_reason, fixed_by",
            [
                (1, "main", n, ("silver", "gold")[n % 2], _at(days[n]), days[n], days[n] + 365, days[n] + 365, False, False, "", "")
                for n in ids
            ],
        ),
        refills: (
            "shop_id, member_id, sku, order_id, bought_on, quantity, expected_on, changed_at",
            [(1, n, f"S{2 * n % 50}", 2 * n, days[n], 1.0, days[n] + 30, _at(days[n])) for n in ids],
        ),
        member_dates: (
            "shop_id, date_id, member_id, person, month_day, recorded_at",
            [(1, n, n, "Grace", _month_day(n), _at(days[n])) for n in ids],
        ),
        checkouts: (
            "shop_id, checkout_id, external_id, member_id, currency, total_minor, url, lines, started_at, touched_at, touched_on, "
            "seen_at, fingerprint",
            [
                (1, n, str(n), n, "EUR", 100, "", "[]", _at(days[n]), _at(days[n]), days[n], _at(days[n]), "")
                for n in ids
            ],
        ),
        member_events: (
            "shop_id, event_id, kind, member_id, subject, at, on_day, payload, recorded_at",
            [
                (1, 8 * n + place, kind, n, "", _at(days[n]), days[n] + 60, "{}", _at(days[n]))
                for n in ids
                for place, kind in enumerate(("complaint", "points_expiring", "coupon_expiring", "party"))
            ],
        ),
    }
    for table, (columns, rows) in whole.items():
        bulk.insert_rows(connection, table, tuple(columns.split(", ")), rows)


# fmt: on


def _at(day: int) -> int:
    return day * 86_400_000_000


def _month_day(number: int) -> int:
    return (1 + number % 12) * 100 + 1 + number % 28
