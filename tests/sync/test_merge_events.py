"""What was raised for a guest, kept for them or begun by them belongs to the account that they have become."""

from __future__ import annotations

from datetime import date

from sqlalchemy import insert, select

from crm_plugin.store import checkouts, member_dates, member_events, members, refills
from crm_plugin.store.events import raise_event, remember_date
from crm_plugin.store.session import Database
from crm_plugin.sync.merge import merge
from tests.factories import NOON, make_shop, member, order, write


def test_events_dates_checkouts_and_refills_follow(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("ada", email="ada@x.test")], NOON)
    write(db, shop, [order("o1", contact=member("", email="guest@x.test"))], NOON)
    m = members.c
    with db.write() as connection:
        account = connection.execute(select(m.member_id).where(m.external_id == "ada")).scalar_one()
        guest = connection.execute(select(m.member_id).where(m.external_id.is_(None))).scalar_one()
        for member_id in (account, guest):
            raise_event(connection, shop, "complaint", member_id, NOON, subject="both")
            raise_event(connection, shop, "complaint", member_id, NOON, subject=str(member_id))
            remember_date(connection, shop, member_id, "Grace", 619, NOON)
            row = {"order_id": 1, "bought_on": NOON.date(), "quantity": 1, "expected_on": date(2026, 7, 1)}
            connection.execute(insert(refills).values(shop_id=1, member_id=member_id, sku="S", changed_at=NOON, **row))
            told = {"started_at": NOON, "touched_at": NOON, "touched_on": NOON.date(), "seen_at": NOON}
            ids = {"shop_id": 1, "checkout_id": member_id, "external_id": str(member_id), "member_id": member_id}
            connection.execute(insert(checkouts).values(**ids, **told))
        merge(connection, shop, guest, account, NOON)
    with db.read() as connection:
        found = {
            table.name: connection.execute(select(table.c.member_id)).scalars().all()
            for table in (member_events, member_dates, refills, checkouts)
        }
    assert found == {
        "member_events": [account] * 3,
        "member_dates": [account],
        "refills": [account],
        "checkouts": [account] * 2,
    }
