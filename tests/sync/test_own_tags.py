"""A tag that a journey gave stays, whatever the store tells of the member's tags."""

from __future__ import annotations

from sqlalchemy import insert, select

from crm_plugin.store import member_tags, members
from crm_plugin.store.session import Database
from tests.factories import make_shop, member, write


def test_a_store_takes_away_only_its_own_tags(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1", email="a@x.test", tags=("vip", "old"))])
    with db.write() as connection:
        member_id = connection.execute(select(members.c.member_id)).scalar_one()
        given = {"shop_id": shop.shop_id, "member_id": member_id, "tag": "winback", "own": True}
        connection.execute(insert(member_tags).values(**given))
    write(db, shop, [member("1", email="a@x.test", tags=("vip", "new"))])
    with db.read() as connection:
        kept = connection.execute(select(member_tags.c.tag, member_tags.c.own).order_by(member_tags.c.tag)).all()
    assert [tuple(row) for row in kept] == [("new", False), ("vip", False), ("winback", True)]
