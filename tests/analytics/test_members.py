"""Finding and listing members: who is meant, which filter narrows to whom, page after page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import event, select, update

from crm_plugin.analytics import members as lists
from crm_plugin.errors import InvalidInput, NotFound, UnknownField
from crm_plugin.rules import tiers
from crm_plugin.store import members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.cases import failing
from tests.factories import make_shop, member, order, write

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TODAY = date(2026, 6, 1)


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        made = make_shop(connection)
        other = make_shop(connection, 2)
    people = [
        member("1001", email="anna@x.test", first_name="Anna", last_name="Schmidt", phone="+493012345", country="DE"),
        member("1002", email="ann.lee@x.test", first_name="Émile", last_name="Lee_100%", phone="+4930999"),
        member("1003", email="wang@x.test", first_name="小明", last_name="王", locale="zh-CN"),
        member("1004", email="gone@x.test", first_name="Anna", last_name="Gone"),
    ]
    write(db, made, people)
    write(db, other, [member("1001", email="anna@x.test", first_name="Anna", last_name="Other")])
    write(
        db,
        made,
        [order("o1", 25_000, member_external_id="1001"), order("o2", 500, member_external_id="1002", number="2026-77")],
    )
    with db.write() as connection:
        connection.execute(update(members).where(members.c.email == "gone@x.test").values(state="deleted"))
        tiers.save_levels(connection, made, [tiers.Level("gold", "spent() >= 100")], NOW)
    tiers.apply(db, made, as_of=TODAY, now=NOW)
    return made


def _found(db: Database, shop: Shop, **asked: str) -> list[str]:
    with db.read() as connection:
        rows = lists.search(connection, shop, as_of=TODAY, **asked)
        assert lists.count(connection, shop, as_of=TODAY, **asked) == len(rows)
    return [row.external_id for row in rows]


def test_row_holds_worth_and_tier(db: Database, shop: Shop) -> None:
    with db.read() as connection:
        first, second, _ = lists.search(connection, shop)
    assert (first.name, first.tier, first.tier_since, first.orders, first.spent_minor, first.last_order_on) == (
        "Anna Schmidt",
        "gold",
        TODAY,
        1,
        25_000,
        TODAY,
    )
    assert (second.tier, second.tier_since, second.orders, second.spent_minor) == ("", None, 1, 500)


_TEXTS = [
    ("", ["1001", "1002", "1003"]),
    ("ann", ["1001", "1002"]),
    ("SCHM", ["1001"]),
    ("anna schm", ["1001"]),
    ("schmidt ann", ["1001"]),
    ("anna lee", []),
    ("ANNA@", ["1001"]),
    ("anna@x.test", ["1001"]),
    ("+49 30 9", ["1002"]),
    ("0049 (30) 123", ["1001"]),
    ("493012", ["1001"]),
    ("030 12345", ["1001"]),
    ("030", ["1001", "1002"]),
    ("3099", []),
    ("30999", ["1002"]),
    ("0301234567", []),
    ("o1", ["1001"]),
    ("#o1", ["1001"]),
    ("2026-77", ["1002"]),
    ("#2026-77", ["1002"]),
    ("2026-7", []),
    ("émi", ["1002"]),
    ("ÉMI", ["1002"]),
    ("王小", ["1003"]),
    ("小明", ["1003"]),
    ("1003", ["1003"]),
    ("100", []),
    ("lee_", ["1002"]),
    ("lee%", []),
    ("%", []),
    ("_", []),
    ("gone", []),
    ("other", []),
]


def test_text_is_the_beginning_of_what_is_known(db: Database, shop: Shop) -> None:
    def is_found(case: tuple[str, list[str]]) -> None:
        text, ids = case
        assert _found(db, shop, text=text) == ids

    assert failing(is_found, [(case[0], case) for case in _TEXTS]) == {}


@pytest.mark.parametrize(
    ("timezone", "home", "text", "found"),
    [
        ("Europe/London", "GB", "07700 900123", True),
        ("Europe/London", "GB", "07700", True),
        ("Europe/London", "GB", "(07700) 900-123", True),
        ("Europe/London", "GB", "+44 7700", True),
        ("Europe/Berlin", "DE", "07700 900123", False),
        ("UTC", "", "07700 900123", False),
    ],
)
def test_phone_is_found_as_it_is_dialled_at_home(
    db: Database, timezone: str, home: str, text: str, found: bool
) -> None:
    with db.write() as connection:
        shop = replace(make_shop(connection), timezone=timezone)
    write(db, shop, [member("1", phone="+447700900123")])
    assert lists.home_of(shop) == home
    assert _found(db, shop, text=text) == ["1"] * found
    with db.read() as connection:
        if found and len(text) > 8:
            assert lists.find(connection, shop, text)


def test_text_is_looked_up_and_never_walked(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
    asked: list[tuple[str, Any]] = []
    with sqlite_db.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
        lists.search(connection, shop, text="07700900")
        statement, values = asked.pop()
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any("ix_orders_number" in step for step in plan), chr(10).join(plan)
    assert [step for step in plan if "SCAN" in step and "orders" in step] == []
    assert [step for step in plan if "SCAN members" in step or "SCAN identities" in step] == []


def test_filters_narrow_together(db: Database, shop: Shop) -> None:
    assert _found(db, shop, rule="spent() >= 1") == ["1001", "1002"]
    assert _found(db, shop, rule="spent() >= 1", text="ann.") == ["1002"]
    assert _found(db, shop, tier="gold") == ["1001"]
    assert _found(db, shop, tier=lists.NO_TIER) == ["1002", "1003"]
    assert _found(db, shop, tier="gold", rule="spent() < 1") == []
    assert _found(db, shop, tier="gold", rule='tier == "gold" and orders(days=30) >= 1') == ["1001"]
    assert _found(db, shop, tier="-", rule='tier == ""', text="1003") == ["1003"]


def test_wrong_filter_is_named(db: Database, shop: Shop) -> None:
    with db.read() as connection:
        with pytest.raises(InvalidInput, match="no tier 'silver'") as caught:
            lists.search(connection, shop, tier="silver")
        assert caught.value.hint == "There are: gold; - is no tier."
        with pytest.raises(UnknownField):
            lists.search(connection, shop, rule="spend() > 1", as_of=TODAY)


def test_pages_follow_each_other(db: Database, shop: Shop) -> None:
    with db.read() as connection:
        first = lists.search(connection, shop, limit=2)
        rest = lists.search(connection, shop, after=first[-1].member_id, limit=2)
    assert [row.external_id for row in (*first, *rest)] == ["1001", "1002", "1003"]


def test_member_is_found_by_every_address(db: Database, shop: Shop) -> None:
    with db.read() as connection:
        anna = lists.find(connection, shop, "1001")
        for told in (str(anna), " anna@x.test ", "ANNA@x.test", "+49 30 12345", "0049 3012345"):
            assert lists.find(connection, shop, told) == anna
        gone = connection.execute(select(members.c.member_id).where(members.c.email == "gone@x.test")).scalar_one()
        assert lists.find(connection, shop, "gone@x.test") == gone


@pytest.mark.parametrize("told", ["", "ann", "anna@", "+49", "99999999999999999999999", "10²"])
def test_nobody_is_found_by_half_an_address(db: Database, shop: Shop, told: str) -> None:
    with db.read() as connection, pytest.raises(NotFound) as caught:
        lists.find(connection, shop, told)
    assert "country code" in caught.value.hint


def test_shared_address_names_its_holders(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1005", first_name="Ben", phone="+493012345")])
    with db.read() as connection, pytest.raises(InvalidInput, match=r"fits 2 members: .*Anna Schmidt.*Ben"):
        lists.find(connection, shop, "+493012345")


def test_guest_is_found_by_the_old_id_too(db: Database, shop: Shop) -> None:
    guest = member("", email="new@x.test")
    write(db, shop, [order("g1", contact=guest)])
    with db.read() as connection:
        before = lists.find(connection, shop, "new@x.test")
    write(db, shop, [member("1009", email="new@x.test")])
    write(db, shop, [order("g1", 2_000, contact=guest, member_external_id="1009")])
    with db.read() as connection:
        after = lists.find(connection, shop, "1009")
        assert lists.find(connection, shop, str(before)) == after
