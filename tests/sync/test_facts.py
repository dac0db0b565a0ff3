"""Facts kept by delta always equal a recount from the orders, whatever comes in whatever order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from crm_plugin.records import MemberRecord, OrderStatus, Page, Record, Stream
from crm_plugin.store import member_facts, metadata, refunds
from crm_plugin.store.session import Database
from crm_plugin.sync import facts
from crm_plugin.sync.upsert import write_page
from tests.factories import NOON, make_shop, member, order, refund, write

_EMAILS = ("a@x.test", "b@x.test", "c@x.test")


@st.composite
def _orders(draw: st.DrawFn) -> Record:
    number = draw(st.integers(0, 5))
    guest = draw(st.booleans())
    total = draw(st.integers(0, 5000))
    refunds = draw(
        st.none()
        | st.lists(st.integers(0, 3), unique=True, max_size=2).map(
            lambda ids: tuple(refund(f"r{i}", 10 + i) for i in ids)
        )
    )
    return order(
        f"o{number}",
        total,
        status=draw(
            st.sampled_from([OrderStatus.COMPLETED, OrderStatus.PENDING, OrderStatus.CANCELLED, OrderStatus.TRASH])
        ),
        currency=draw(st.sampled_from(["EUR", "USD", "JPY"])),
        discount_minor=draw(st.integers(0, 99)),
        member_external_id="" if guest else draw(st.sampled_from(["1", "2"])),
        contact=draw(st.none() | st.sampled_from(_EMAILS).map(lambda email: MemberRecord(external_id="", email=email))),
        placed_at=NOON - timedelta(days=draw(st.integers(0, 4)), hours=draw(st.integers(0, 13))),
        updated_at=draw(st.none() | st.integers(0, 3).map(lambda days: NOON + timedelta(days=days))),
        refunds=refunds,
        deleted=draw(st.sampled_from([False, False, False, True])),
    )


@st.composite
def _refunds(draw: st.DrawFn) -> Record:
    return refund(
        f"r{draw(st.integers(0, 4))}",
        draw(st.integers(0, 500)),
        currency=draw(st.sampled_from(["EUR", "USD"])),
        order_external_id=draw(st.sampled_from(["", "o0", "o1", "o9"])),
        member_external_id=draw(st.sampled_from(["", "1", "3"])),
        deleted=draw(st.sampled_from([False, False, True])),
    )


@st.composite
def _members(draw: st.DrawFn) -> Record:
    return member(draw(st.sampled_from(["1", "2", "3"])), email=draw(st.sampled_from(["", *_EMAILS])))


_PAGES = st.lists(
    st.one_of(
        st.lists(_orders(), min_size=1, max_size=4),
        st.lists(_refunds(), min_size=1, max_size=3),
        st.lists(_members(), min_size=1, max_size=2),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all examples; each has a shop of its own."""
    database = Database.at(f"sqlite:///{tmp_path_factory.mktemp('facts') / 'x.sqlite3'}")
    metadata.create_all(database.engine)
    yield database
    database.dispose()


_numbers = itertools.count(1)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(pages=_PAGES, repeat=st.booleans())
def test_delta_equals_recount(shared: Database, pages: list[list[Record]], repeat: bool) -> None:
    with shared.write() as connection:
        shop = make_shop(connection, next(_numbers), settings={"rates": {"USD": "0.9"}})
    for page in pages:
        for _ in range(2 if repeat else 1):
            write(shared, shop, page)
            with shared.read() as connection:
                assert facts.recount(connection, shop.shop_id) == []


def test_order_change_moves_sums(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [order("o1", 1000, member_external_id="7"), order("o2", 500, member_external_id="7")])
    write(db, shop, [order("o1", 700, member_external_id="7")])
    write(db, shop, [refund("r1", 200, order_external_id="o1")])
    with db.read() as connection:
        row = connection.execute(select(member_facts)).one()
        assert (row.orders_count, row.gross_minor, row.refunded_minor, row.spent_minor) == (2, 1200, 200, 1000)
        assert facts.recount(connection, shop.shop_id) == []


def test_first_order_leaving_recounts_dates(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    early = NOON - timedelta(days=10)
    write(db, shop, [order("o1", member_external_id="7", placed_at=early), order("o2", member_external_id="7")])
    write(db, shop, [order("o1", member_external_id="7", placed_at=early, status=OrderStatus.CANCELLED)])
    with db.read() as connection:
        row = connection.execute(select(member_facts)).one()
    assert (row.orders_count, row.first_order_at, row.first_order_on.isoformat()) == (1, NOON, "2026-06-01")


def test_rebuild_follows_new_rates_and_zone(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    late = NOON.replace(hour=23)
    write(db, shop, [order("o1", 1000, currency="USD", member_external_id="7", placed_at=late)])
    with db.write() as connection:
        before = connection.execute(select(member_facts)).one()
        moved = replace(shop, timezone="America/New_York", settings={"rates": {"USD": "0.5"}})
        facts.rebuild(connection, moved, NOON)
        after = connection.execute(select(member_facts)).one()
    assert (before.unconverted_orders, before.gross_minor, before.last_order_on.isoformat()) == (1, 0, "2026-06-02")
    assert (after.unconverted_orders, after.gross_minor, after.last_order_on.isoformat()) == (0, 500, "2026-06-01")


def test_recount_waits_for_orders_being_written(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [order("o1", member_external_id="7")])

    def rebuild() -> None:
        with db.write() as connection:
            facts.rebuild(connection, shop, NOON)

    other = Thread(target=rebuild)
    with db.write() as connection:
        write_page(connection, shop, Page(Stream.ORDERS, (order("o2", member_external_id="7"),), ""), NOON)
        other.start()
        # Long enough for the other one to have counted, if nothing held it.
        other.join(0.5)
    other.join()
    with db.read() as connection:
        assert connection.execute(select(member_facts.c.orders_count)).scalar_one() == 2
        assert facts.recount(connection, shop.shop_id) == []


def test_refund_moved_within_a_page_keeps_its_row(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [order("o1", member_external_id="7", refunds=(refund("r0", 10),)), order("o2")])
    write(db, shop, [order("o1", refunds=()), order("o2", member_external_id="7", refunds=(refund("r0", 10),))])
    with db.read() as connection:
        row = connection.execute(select(refunds)).one()
        assert (row.external_id, row.order_external_id, row.amount_minor) == ("r0", "o2", 10)
        assert facts.recount(connection, shop.shop_id) == []
