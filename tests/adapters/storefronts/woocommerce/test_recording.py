"""A recorded excerpt of a WooCommerce 11.0.1 store (invented people, records as sent), served over HTTP and pulled by the product."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from crm_plugin.adapters.storefronts.woocommerce import WooCommerceStorefront
from crm_plugin.demo.server import ServedShop, serve
from crm_plugin.demo.shop import DemoShop
from crm_plugin.store import (
    member_consents,
    member_facts,
    members,
    metadata,
    order_lines,
    orders,
    products,
    refunds,
    sync_state,
)
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import facts
from crm_plugin.sync.connect import add_shop
from crm_plugin.sync.pull import sync_shop

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
BULK_EDIT = datetime(2026, 10, 1, 10, tzinfo=UTC)
_PAYLOADS = Path(__file__).with_name("payloads")


def _recorded(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = msgspec.json.decode((_PAYLOADS / f"{name}.json").read_bytes())
    return rows


@pytest.fixture
def served() -> Iterator[ServedShop]:
    shop = DemoShop(
        title="Recorded",
        currency="EUR",
        timezone="Europe/Paris",
        until=date(2026, 11, 24),
        customers=_recorded("customers"),
        products=_recorded("products"),
        variations=[],
        orders=_recorded("orders"),
        refunds=_recorded("refunds"),
        due={},
        guests=0,
    )
    with serve(shop) as running:
        yield running


@pytest.fixture
def shop(db: Database, served: ServedShop) -> Shop:
    """The excerpt, pulled in pages of ten: the twelve orders of one second fill more than a page."""
    keys = {"key": served.key, "secret": served.secret}
    made = add_shop(
        db, SecretBox("A" * 43 + "="), name="rec", platform="woocommerce", credentials=keys, url=served.url, now=NOW
    )
    assert (made.currency, made.timezone, made.title) == ("EUR", "Europe/Paris", "Recorded")
    assert _sync(db, made, served).problems == 0
    return made


def _sync(db: Database, shop: Shop, served: ServedShop, *, full: bool = False) -> Any:
    storefront = WooCommerceStorefront({"url": served.url, "key": served.key, "secret": served.secret})
    storefront.client.per_page = 10
    try:
        return sync_shop(db, shop, storefront, now=NOW, full=full)
    finally:
        storefront.close()


def _all(db: Database) -> dict[str, list[Any]]:
    """Every row of every table but the bookkeeping of the sync itself."""
    with db.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(table))))
            for table in metadata.sorted_tables
            if table is not sync_state
        }


def _by_currency(db: Database, column: Any, currency: Any) -> dict[str, int]:
    with db.read() as connection:
        return {
            code: int(total)
            for code, total in connection.execute(select(currency, func.sum(column)).group_by(currency))
        }


def _owners(db: Database) -> dict[str, tuple[str, str, str] | None]:
    """Guest order → account id, e-mail and phone of its member; None when it is nobody's."""
    member = orders.outerjoin(
        members, (members.c.shop_id == orders.c.shop_id) & (members.c.member_id == orders.c.member_id)
    )
    query = select(orders.c.external_id, members.c.external_id, members.c.email, members.c.phone).select_from(member)
    guests = {str(row["id"]) for row in _recorded("orders") if not row["customer_id"]}
    with db.read() as connection:
        return {
            order: (account or "", email, phone)
            for order, account, email, phone in connection.execute(query)
            if order in guests
        }


def test_counts_and_totals_are_the_recordings_own(db: Database, shop: Shop) -> None:
    with db.read() as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table))
            for table in (members, orders, order_lines, refunds, products)
        }
        # 18 accounts that the store lists, and 17 that only their orders speak of.
        accounts = connection.scalar(select(func.count()).where(members.c.external_id.is_not(None)))
        undated = connection.scalar(select(func.count()).where(refunds.c.dated.is_(False)))
        assert facts.recount(connection, shop.shop_id) == []
    assert counts == {"members": 51, "orders": 44, "order_lines": 111, "refunds": 8, "products": 3}
    assert (accounts, undated) == (35, 0)
    assert _by_currency(db, orders.c.total_minor, orders.c.currency) == {"EUR": 812493, "USD": 265732}
    assert _by_currency(db, refunds.c.amount_minor, refunds.c.currency) == {"EUR": 45401, "USD": 23549}
    with db.read() as connection:
        sums = select(
            func.sum(member_facts.c.orders_count),
            func.sum(member_facts.c.gross_minor),
            func.sum(member_facts.c.unconverted_orders),
        )
        # Dollars have no rate here: their orders count, their money does not.
        assert tuple(connection.execute(sums).one()) == (42, 736044, 10)


def test_guests_find_whom_they_are(db: Database, shop: Shop) -> None:
    owners = _owners(db)
    # An account's e-mail, whatever its letters.
    assert {order: owners[order][0] for order in ("1468", "1533", "1598")} == {"1468": "39", "1533": "11", "1598": "64"}
    # One guest over three orders by e-mail, and a fourth that left only their phone.
    assert {owners[order] for order in ("749", "883", "1460", "1986")} == {
        ("", "invite031@example.test", "+905321234531")
    }
    # Nothing but a phone that nobody else has: a member of their own.
    assert {order: owners[order] for order in ("489", "912", "1771")} == {
        "489": ("", "", "+49221987668"),
        "912": ("", "", "+81312345694"),
        "1771": ("", "", "+905321234537"),
    }
    assert None not in owners.values()


def test_birthdays_and_consents_under_every_key(db: Database, shop: Shop) -> None:
    born = members.c.birth_md.is_not(None)
    with db.read() as connection:
        found = {
            row.external_id: (row.birth_year, row.birth_md)
            for row in connection.execute(select(members).where(born, members.c.external_id.is_not(None)))
        }
        said = dict(
            connection.execute(
                select(members.c.external_id, member_consents.c.state)
                .join_from(
                    members,
                    member_consents,
                    (members.c.shop_id == member_consents.c.shop_id)
                    & (members.c.member_id == member_consents.c.member_id),
                )
                .where(members.c.external_id.is_not(None))
            ).all()
        )
    assert found == {
        "5": (1993, 325),
        "9": (1985, 213),
        "13": (2002, 318),
        "25": (1975, 627),
        "29": (1950, 308),
        "45": (1966, 115),
        "101": (1961, 1008),
    }
    # Written as "1", "yes" and "no"; 39 agreed as a guest, at a checkout.
    assert said == {
        "4": "granted",
        "7": "granted",
        "13": "granted",
        "25": "withdrawn",
        "34": "withdrawn",
        "39": "granted",
        "64": "granted",
    }


def test_names_and_addresses_come_as_they_are(db: Database, shop: Shop) -> None:
    wanted = ("3", "9", "24", "29", "101", "302")
    with db.read() as connection:
        rows = connection.execute(select(members).where(members.c.external_id.in_(wanted))).all()
    assert {row.external_id: (row.first_name, row.last_name, row.email, row.zone) for row in rows} == {
        "3": ("Jo 🎉", "O'Brien", "client002@example.test", "America/Chicago"),
        "9": ("花子", "髙橋", "client008@example.test", "Asia/Tokyo"),
        "24": ("Łukasz", "Źródłowski", "client023@example.test", "Europe/Warsaw"),
        "29": ("İpek", "Çelik", "client028@example.test", "Europe/Istanbul"),
        "101": ("Олексій", "Гриценко", "client100@example.test", "Europe/Paris"),
        "302": ("Gérante", "", "gerante@example.test", "Europe/Paris"),
    }


def test_same_second_loses_nothing(db: Database, shop: Shop) -> None:
    with db.read() as connection:
        assert connection.scalar(select(func.count()).where(orders.c.updated_at == BULK_EDIT)) == 12


@pytest.mark.slow
def test_second_pull_writes_no_row(db: Database, shop: Shop, served: ServedShop) -> None:
    before = _all(db)
    assert _sync(db, shop, served).rows == 0
    assert _all(db) == before
    assert _sync(db, shop, served, full=True).rows == 0
    assert _all(db) == before
