"""The served shop, pulled by the product: what the generator says it made is what arrives."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from sqlalchemy import func, select

from crm_plugin.demo.server import serve
from crm_plugin.demo.shop import generate
from crm_plugin.store import member_facts, members, orders, refunds
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.sync.connect import add_shop, open_storefront
from crm_plugin.sync.pull import sync_shop

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)


def test_everything_arrives_once(db: Database) -> None:
    made = generate(seed=3, members=200, years=2, until=date(2026, 11, 24))
    box = SecretBox("A" * 43 + "=")
    with serve(made) as served:
        keys = {"key": served.key, "secret": served.secret}
        shop = add_shop(db, box, name="demo", platform="woocommerce", credentials=keys, url=served.url, now=NOW)
        storefront = open_storefront(db, box, shop)
        assert sync_shop(db, shop, storefront, now=NOW).as_dict()["problems"] == 0
        assert sync_shop(db, shop, storefront, now=NOW).as_dict()["rows"] == 0
        storefront.close()
    with db.read() as connection:
        found = {
            "accounts": connection.scalar(select(func.count()).where(members.c.external_id.is_not(None))),
            "members": connection.scalar(select(func.count()).select_from(members)),
            "orders": connection.scalar(select(func.count()).select_from(orders)),
            "nameless": connection.scalar(select(func.count()).where(orders.c.member_id.is_(None))),
            "refunds": connection.scalar(select(func.count()).select_from(refunds)),
        }
        gross = connection.scalar(select(func.sum(member_facts.c.gross_minor)))
    assert found == {name: made.counts[name] for name in found}
    counted = (
        Decimal(row["total"])
        for row in made.orders
        if row["billing"]["email"] and row["status"] not in ("cancelled", "failed", "trash")
    )
    assert gross == int(sum(counted) * 100)
