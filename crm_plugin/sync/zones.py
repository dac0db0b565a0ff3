"""Members whose stored zone this machine does not know, for its tables are older or the name was given up: the next in the chain is theirs.

Their days fall into no calendar else, and nobody would tell. It is the chain by which a zone is found when a member is written: own, state
or country, phone, shop.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from crm_plugin.clock import is_known_zone
from crm_plugin.store import bulk, members
from crm_plugin.store.base import to_micros
from crm_plugin.store.members import lock, zones_of
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.addresses import member_zone

_PAGE = 1000
_WRITTEN = ("zone", "changed_at", "touched_at", "shop_id", "member_id")


def replace_unknown(db: Database, shop: Shop, now: datetime) -> int:
    """Give everybody in a zone that is unknown here the next one that is known; how many they were. What is theirs is then found late."""
    with db.read() as connection:
        unknown = sorted(name for name in zones_of(connection, shop.shop_id) if not is_known_zone(name))
    if not unknown or not is_known_zone(shop.timezone):
        return 0
    m, at, found, last = members.c, to_micros(now), 0, 0
    asked = select(m.member_id, m.timezone, m.phone, m.country, m.region).where(
        m.shop_id == shop.shop_id, m.zone.in_(unknown)
    )
    while True:
        # A page at a time, so that no other writer waits long; killed in between, the next round goes on.
        with db.write() as connection:
            lock(connection, shop.shop_id)
            page = connection.execute(asked.where(m.member_id > last).order_by(m.member_id).limit(_PAGE)).all()
            rows = [
                (
                    member_zone(row.timezone, row.phone, row.country, row.region, shop.timezone),
                    *(at, at, shop.shop_id, row.member_id),
                )
                for row in page
            ]
            bulk.update_rows(connection, members, _WRITTEN, ("shop_id", "member_id"), rows)
        if not page:
            return found
        found, last = found + len(page), page[-1].member_id
