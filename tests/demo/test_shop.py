"""The made-up shop: the same each time, whole in itself, and with work for the triggers on its date."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal

import pytest

from crm_plugin.demo.people import Part
from crm_plugin.demo.shop import DemoShop, generate
from crm_plugin.sync.addresses import email_key, member_zone, phone_key

UNTIL = date(2026, 11, 24)


@pytest.fixture(scope="module")
def small() -> DemoShop:
    return generate(seed=3, members=200, years=2, until=UNTIL)


def _days(shop: DemoShop) -> dict[int, list[date]]:
    """Days of each account's counting orders, ascending."""
    days = defaultdict(list)
    for row in shop.orders:
        if row["customer_id"] and row["status"] not in ("cancelled", "failed", "trash"):
            days[row["customer_id"]].append(date.fromisoformat(row["date_created"][:10]))
    return days


def test_counts_of_a_small_shop(small: DemoShop) -> None:
    assert small.counts == {
        "accounts": 156,
        "guests": 44,
        "members": 200,
        "products": 34,
        "variations": 42,
        "orders": 484,
        "nameless": 1,
        "refunds": 42,
    }
    assert small.order_states == {
        "cancelled": 11,
        "completed": 435,
        "failed": 13,
        "pending": 3,
        "processing": 2,
        "refunded": 17,
        "trash": 3,
    }


def test_same_seed_same_bytes_in_another_process(small: DemoShop) -> None:
    code = (
        "from datetime import date; from crm_plugin.demo.shop import generate; "
        f"print(generate(seed=3, members=200, years=2, until=date({UNTIL.year}, {UNTIL.month}, {UNTIL.day})).digest())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "99"}, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == small.digest()


def test_other_seed_or_date_is_another_shop(small: DemoShop) -> None:
    assert generate(seed=4, members=200, years=2, until=UNTIL).digest() != small.digest()
    assert generate(seed=3, members=200, years=2, until=UNTIL - timedelta(1)).digest() != small.digest()


@pytest.mark.parametrize(("members", "years"), [(19, 1), (20, 0)])
def test_too_small_a_shop_is_refused(members: int, years: int) -> None:
    with pytest.raises(ValueError, match="at least 20 members and one year"):
        generate(members=members, years=years, until=UNTIL)


@pytest.mark.parametrize("until", [date(2028, 2, 29), date(2026, 3, 29), date(2027, 1, 1)])
def test_smallest_shop_on_awkward_dates(until: date) -> None:
    shop = generate(seed=1, members=20, years=1, until=until)
    assert (len(shop.customers), shop.guests) == (15, 5)


def test_nobody_can_be_reached_by_accident(small: DemoShop) -> None:
    told = [row["email"] for row in small.customers] + [row["billing"]["email"] for row in small.orders]
    assert {address.rpartition(".")[2].lower() for address in told if address} == {"example", "test"}
    assert all(email_key(address) for address in told if address)


@pytest.mark.slow
def test_phones_are_read_and_tell_a_zone() -> None:
    shop = generate(seed=3, members=800, years=1, until=UNTIL)
    zones = defaultdict(set)
    for row in shop.customers:
        billing = row["billing"]
        if billing["phone"]:
            number = phone_key(billing["phone"], billing["country"])
            assert number
            zones[billing["country"]].add(member_zone("", number, billing["country"], "", "none"))
    assert {country: sorted(found) for country, found in sorted(zones.items())} == {
        "AU": ["Australia/Sydney"],
        "CN": ["Asia/Shanghai"],
        "DE": ["Europe/Berlin"],
        "FR": ["Europe/Paris"],
        "GB": ["Europe/London"],
        "IE": ["Europe/Dublin"],
        "US": ["America/Chicago", "America/Denver", "America/Los_Angeles", "America/New_York"],
    }


def test_guests_are_as_many_as_their_addresses(small: DemoShop) -> None:
    accounts = {row["email"] for row in small.customers}
    guests = {row["billing"]["email"].lower() for row in small.orders if row["customer_id"] == 0} - {""}
    assert len(accounts) == 156
    assert len(guests - accounts) == small.guests == 44
    assert len(guests & accounts) > 0


def test_everything_happened_before_the_day(small: DemoShop) -> None:
    rows = [*small.customers, *small.orders, *small.refunds, *small.products, *small.variations]
    latest = max(row[name] for row in rows for name in row if name.startswith("date_") and row[name])
    assert latest < "2026-11-24T00:00:00"


def test_amounts_add_up(small: DemoShop) -> None:
    returned = defaultdict(Decimal)
    for row in small.refunds:
        returned[row["parent_id"]] += Decimal(row["amount"])
    for row in small.orders:
        lines = sum((Decimal(x["total"]) + Decimal(x["total_tax"]) for x in row["line_items"]), Decimal(0))
        assert lines + Decimal(row["shipping_total"]) + Decimal(row["shipping_tax"]) == Decimal(row["total"])
        before = sum((Decimal(x["subtotal"]) + Decimal(x["subtotal_tax"]) for x in row["line_items"]), Decimal(0))
        assert before - lines == Decimal(row["discount_total"]) + Decimal(row["discount_tax"])
        assert -sum((Decimal(x["total"]) for x in row["refunds"]), Decimal(0)) == returned[row["id"]]
        assert (row["status"] == "refunded") == (returned[row["id"]] == Decimal(row["total"]))
        assert returned[row["id"]] <= Decimal(row["total"])


def test_ids_follow_time(small: DemoShop) -> None:
    events = sorted([*small.orders, *small.refunds], key=lambda row: row["id"])
    times = [row["date_created_gmt"] for row in events]
    assert times == sorted(times)
    assert [row["id"] for row in events] == list(range(501, 501 + len(events)))


def test_triggers_have_work_on_the_day(small: DemoShop) -> None:
    days = _days(small)
    by_id = {row["id"]: {entry["key"]: entry["value"] for entry in row["meta_data"]} for row in small.customers}
    assert [days[one][-1] for one in small.due[Part.LAPSED_60]] == [UNTIL - timedelta(60)] * 2
    assert [days[one][-1] for one in small.due[Part.LAPSED_90]] == [UNTIL - timedelta(90)] * 2
    assert all(UNTIL - timedelta(14) in days[one] for one in small.due[Part.BOUGHT_14])
    assert sorted(by_id[one]["birthday"][-5:] for one in small.due[Part.BIRTHDAY]) == ["11-24", "11-25"]
    assert [by_id[one]["birthday"][-5:] for one in small.due[Part.LEAP_DAY]] == ["02-29"]
    assert {by_id[one]["marketing_opt_in"] for ids in small.due.values() for one in ids} == {"yes"}
