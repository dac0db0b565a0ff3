"""A statement that is kept says the same as one that is made, and what is kept has an end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, bindparam, select, text

from crm_plugin.store import members
from crm_plugin.store.prepared import Prepared, Shelf
from crm_plugin.store.session import Database
from tests.factories import make_shop, member, write

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_values_are_bound_as_they_are_stored(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    for hours in range(3):
        write(db, shop, [member(str(hours))], NOON + timedelta(hours=hours))
    m = members.c
    query = select(m.external_id).where(
        m.first_seen_at >= NOON + timedelta(hours=1),
        m.external_id.in_(["0", "1", "2"]),
        text("changed_at <= :until").bindparams(bindparam("until", 0, BigInteger)),
    )
    with db.read() as connection:
        kept = Prepared(query.order_by(m.external_id), connection.dialect)
        assert connection.execute(query).all() == []
        for hours, found in ((2, ["1", "2"]), (1, ["1"]), (0, [])):
            until = int((NOON + timedelta(hours=hours)).timestamp()) * 1_000_000
            assert list(kept.run(connection, {"until": until, "other": 1}).scalars()) == found


def test_shelf_keeps_what_was_used_last(sqlite_db: Database) -> None:
    shelf, made = Shelf(2), []

    def take(place: str, content: int) -> Prepared:
        def make() -> Prepared:
            made.append((place, content))
            return Prepared(text("SELECT 1"), sqlite_db.engine.dialect)

        return shelf.take(place, content, make)

    first = take("a", 1)
    take("b", 1)
    assert take("a", 1) is first
    take("c", 1)
    take("a", 1)
    take("b", 1)
    take("b", 2)
    assert (len(shelf), made) == (2, [("a", 1), ("b", 1), ("c", 1), ("b", 1), ("b", 2)])
