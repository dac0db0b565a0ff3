"""Who is asked again: ranges of indexes alone, and no more of them than a rule needs."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta
from fractions import Fraction
from operator import eq, ge, gt

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.dialects import sqlite

from crm_plugin.clock import day_number, from_day_number
from crm_plugin.rules import compile_rule
from crm_plugin.rules.book import resolve
from crm_plugin.rules.changes import Part, Span, moved, parts
from crm_plugin.rules.evaluate import value_of
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nodes import Field, Node
from crm_plugin.rules.pace import late_between
from crm_plugin.rules.reference import example
from crm_plugin.rules.snapshot import snapshot_of
from crm_plugin.store import member_facts, members
from crm_plugin.store.session import Database
from tests.factories import NOON, make_shop, member, order, write
from tests.rules.shops import BOOK

_SHOPS = itertools.count(1)
_DAY = date(2026, 6, 1)
_SPAN = Span(NOON, _DAY, _DAY + timedelta(days=1))
_SAME_DAY = Span(NOON, _DAY, _DAY)
_MORE = [
    'suppressed("sms")',
    "late_by >= 1.5",
    "age in [17, 18]",
    "days_since_order - mean_gap > 5",
    'days_in_tier >= 30 and days_in_segment("vips") < 3',
    "days_since_first_order == 30",
    "days_since_first_order > mean_gap",
    'spent(since="year") >= 100 or received(channel="email", days=30) == 0',
    'orders(since="tier") >= 1',
    'segment("british") or segment("vips")',
]
# The rhythms that were found, and the smallest of them, which is the first entry of the index.
_SINGLE = (" paces", "CONSTANT ROW", "ix_member_facts_pace (shop_id=?)")


def _asked(text_: str) -> Node:
    return resolve(compile_rule(text_).node, BOOK)


def _rules() -> list[str]:
    return [*(example(field) for field in FIELDS.values() if field.key not in ("segment", "days_in_segment")), *_MORE]


def _plan(connection: Connection, part: Part) -> list[str]:
    """What the database does for a part, step by step."""
    dialect = connection.dialect
    query = str(part.select.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    explain = "EXPLAIN QUERY PLAN " if isinstance(dialect, sqlite.dialect) else "EXPLAIN "
    rows = connection.exec_driver_sql(explain + query.replace("%", "%%"))
    return [str(row[-1]) for row in rows]


@pytest.mark.parametrize("rule", _rules())
def test_every_part_is_a_range_of_an_index(db: Database, rule: str) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
        if connection.dialect.name == "postgresql":
            # A few rows are read quicker from end to end; whether an index can serve is what is asked here.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        for part in parts(shop, [_asked(rule)], _SPAN):
            for step in _plan(connection, part):
                assert "Seq Scan" not in step, (part.why, step)
                if step.startswith(("SCAN", "SEARCH")) and not step.endswith(_SINGLE):
                    assert step.startswith("SEARCH"), (part.why, step)
                    assert "(shop_id=? AND " in step, (part.why, step)


def test_rule_of_facts_reads_no_orders_within_a_day(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    rule = _asked('spent() >= 100 and orders(days=365) >= 2 and days_since_order < 30 and tag("vip")')
    tables = {table for part in parts(shop, [rule], _SAME_DAY) for table in part.select.get_final_froms()}
    assert tables == {members, member_facts}


def test_day_that_passes_asks_for_the_edges_alone(db: Database) -> None:
    rule = _asked("orders(days=30) >= 2 and days_since_order >= 90")
    with db.write() as connection:
        shop = make_shop(connection)
    at = datetime(2026, 5, 31, 12, tzinfo=NOON.tzinfo)
    # The orders that leave the window on the second of June, that pass 90 days then, and that are of neither day.
    ago = {"leaves": 30, "stays": 29, "ninety": 90, "older": 92, "younger": 89}
    for name, days in ago.items():
        write(db, shop, [member(name)], at)
        record = order(name, 100, member_external_id=name, placed_at=NOON + timedelta(days=1 - days))
        write(db, shop, [record], at)
    ids = moved(shop, [rule], _SPAN).subquery()
    named = select(members.c.external_id).where(members.c.member_id.in_(select(ids.c.member_id)))
    with db.read() as connection:
        assert set(connection.execute(named).scalars()) == {"leaves", "ninety"}


def test_parts_that_rules_share_are_asked_once(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    rules = [_asked(text_) for text_ in ("orders(days=30) >= 1", "spent(days=30) >= 5", "gross(days=30) < 9")]
    keys = [str(part.select.compile(compile_kwargs={"literal_binds": True})) for part in parts(shop, rules, _SPAN)]
    assert len(keys) == len(set(keys)) == len(parts(shop, rules[1:2], _SPAN))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=st.lists(st.tuples(st.integers(2, 6), st.integers(1, 40), st.integers(0, 120)), min_size=1, max_size=6),
    value=st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1), Fraction(5, 2), Fraction(29, 7), Fraction(10**9)]),
    days=st.sampled_from([1, 2, 30]),
)
def test_whoever_becomes_late_is_found(
    db: Database, made: list[tuple[int, int, int]], value: Fraction, days: int
) -> None:
    """`made` are members: how many orders, over how many days, how many days ago the last."""
    low, high = day_number(_DAY), day_number(_DAY) + days
    with db.write() as connection:
        shop = make_shop(connection, next(_SHOPS))
        crossing = set()
        for member_id, (count, span, ago) in enumerate(made, start=1):
            last = low - ago
            row = {"shop_id": shop.shop_id, "member_id": member_id}
            times = {"first_seen_at": NOON, "changed_at": NOON}
            connection.execute(insert(members).values(**row, **times, zone="UTC"))
            dates = {"first_order_on": from_day_number(last - span), "last_order_on": from_day_number(last)}
            facts = {"orders_count": count, "changed_at": NOON, **dates}
            connection.execute(insert(member_facts).values(**row, **facts))
            late = [Fraction((day - last) * (count - 1), span) for day in (low, high)]
            if any(compare(late[0], value) != compare(late[1], value) for compare in (ge, gt, eq)):
                crossing.add(member_id)
        found = set(connection.execute(late_between(shop.shop_id, value, low, high)).scalars())
    assert crossing <= found


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    born=st.lists(
        st.tuples(
            st.sampled_from([1990, 2027]),
            st.sampled_from([None, 100, 101, 228, 229, 300, 1231, 10112, 11130, 10100, 30600]),
        ),
        min_size=1,
        max_size=6,
    ),
    low=st.sampled_from(
        [
            date(2026, 2, 27),
            date(2028, 2, 28),
            date(2026, 12, 30),
            date(2026, 12, 31),
            date(2025, 7, 20),
            date(2027, 2, 5),
        ]
    ),
    days=st.sampled_from([1, 2, 40, 364, 365, 800]),
)
def test_whoever_grows_older_is_found(db: Database, born: list[tuple[int, int | None]], low: date, days: int) -> None:
    rule, high = _asked("age >= 36"), low + timedelta(days=days)
    with db.write() as connection:
        shop = make_shop(connection, next(_SHOPS))
        times = {"first_seen_at": NOON, "changed_at": NOON, "zone": "UTC"}
        for member_id, (year, month_day) in enumerate(born, start=1):
            row = {"shop_id": shop.shop_id, "member_id": member_id, "birth_year": year, "birth_md": month_day}
            connection.execute(insert(members).values(**row, **times))
        ages = [
            {
                member_id: value_of(Field("age"), snapshot_of(connection, shop, member_id, day), day)
                for member_id in range(1, len(born) + 1)
            }
            for day in (low, high)
        ]
        found = set(connection.execute(moved(shop, [rule], Span(NOON, low, high))).scalars())
    assert {one for one in ages[0] if ages[0][one] != ages[1][one]} <= found
