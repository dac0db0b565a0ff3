"""No promotion while something of the member's is not settled: the same at planning and at sending."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select, update

from crm_plugin.errors import InvalidInput
from crm_plugin.records import OrderStatus
from crm_plugin.store import events, members, order_events, orders, refunds, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import cases
from crm_plugin.touchpoints.guard_settings import Cases, read_cases
from crm_plugin.touchpoints.plan import plan_shop
from tests.factories import order, write
from tests.touchpoints.guarding import NOON, START, journey, plant, rows, send, shop_with

DAY = timedelta(days=1)
_PARCEL = {"status": "shipped", "shipped_at": NOON - 15 * DAY, "delivered_at": None}


def _ids(db: Database) -> list[int]:
    with db.read() as connection:
        return list(connection.execute(select(members.c.member_id).order_by(members.c.external_id)).scalars())


def _open(db: Database, shop: Shop) -> None:
    """Of eight members: complained; complained and settled; long ago; on hold; a promised refund; a late parcel; one that came; nothing."""
    ids = _ids(db)
    placed = [order(f"o{n}", member_external_id=str(n), placed_at=NOON - 20 * DAY) for n in range(8)]
    write(db, shop, placed, START)
    o = orders.c
    with db.write() as connection:
        for number, at in ((0, NOON - DAY), (1, NOON - DAY), (2, NOON - 31 * DAY)):
            events.raise_event(connection, shop, "complaint", ids[number], NOON, subject="t", at=at)
        events.withdraw_event(connection, shop, "complaint", ids[1], NOON, subject="t")
        connection.execute(update(orders).where(o.member_id == ids[3]).values(status=OrderStatus.ON_HOLD.value))
        connection.execute(
            insert(refunds).values(
                shop_id=1, refund_id=1, external_id="r", member_id=ids[4], currency="EUR", amount_minor=1, counts=True,
                dated=False, refunded_at=NOON - DAY, refunded_on=(NOON - DAY).date(), first_seen_at=NOON,
            )
        )  # fmt: skip
        connection.execute(update(orders).where(o.member_id == ids[5]).values(**_PARCEL))
        came = {**_PARCEL, "delivered_at": NOON - DAY}
        connection.execute(update(orders).where(o.member_id == ids[6]).values(**came))


def _tells_of_arrivals(db: Database) -> None:
    with db.write() as connection:
        some = connection.execute(select(orders.c.order_id).limit(1)).scalar_one()
        connection.execute(
            insert(order_events).values(
                shop_id=1, order_id=some, kind="delivered", at=NOON, happened_on=NOON.date(), seen_at=NOON
            )
        )


@pytest.fixture
def shop(db: Database) -> Shop:
    made = shop_with(db, 8)
    _open(db, made)
    _tells_of_arrivals(db)
    return made


def test_planning_and_sending_leave_the_same_members_alone(db: Database, shop: Shop) -> None:
    journey(db, shop, "a")
    ids = _ids(db)
    for attempt in range(2):
        if attempt:
            # As if all of it had happened after planning.
            with db.write() as connection:
                connection.execute(update(touchpoints).values(state="planned", reason="", settled_at=None))
            send(db, shop, NOON)
        else:
            plan_shop(db, shop, NOON)
        kept = {row.member_id: row.state for row in rows(db) if row.reason == "open_case"}
        assert kept == {ids[number]: "skipped" for number in (0, 3, 4, 5)}
    details = {row.member_id: str(row.reason_detail) for row in rows(db) if row.reason == "open_case"}
    assert details[ids[0]] == "They have complained, and it is not settled."
    assert details[ids[4]] == "An order or a return of theirs is not settled."
    assert details[ids[5]] == "A parcel of theirs is late."


def test_where_no_arrival_is_told_no_parcel_is_late(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        connection.execute(order_events.delete())
        assert _ids(db)[5] not in cases.open_cases(connection, 1, Cases(), _ids(db), NOON)


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ({"complaint_days": 0}, [3, 4, 5]),
        ({"complaint_days": 60}, [0, 2, 3, 4, 5]),
        ({"return_days": 0}, [0, 5]),
        ({"return_days": 10}, [0, 4, 5]),
        ({"late_parcel_days": 0}, [0, 3, 4]),
        ({"late_parcel_days": 16}, [0, 3, 4]),
        ({"complaint_days": 0, "return_days": 0, "late_parcel_days": 0}, []),
    ],
)
def test_settings_say_what_is_open(db: Database, shop: Shop, told: dict[str, int], left: list[int]) -> None:
    ids = _ids(db)
    with db.read() as connection:
        found = cases.open_cases(connection, 1, Cases(**read_cases(told)), ids, NOON)
    assert sorted(found) == sorted(ids[number] for number in left)


def test_about_their_own_order_goes_out_all_the_same(db: Database, shop: Shop) -> None:
    journey(db, shop, "a", trigger={"type": "post_purchase", "days": 0}, kind="transactional")
    ids = _ids(db)
    with db.read() as connection:
        query = select(orders.c.member_id, orders.c.order_id)
        of = {row.member_id: row.order_id for row in connection.execute(query)}
    plant(db, "a")
    with db.write() as connection:
        for member_id, order_id in of.items():
            connection.execute(
                update(touchpoints)
                .where(touchpoints.c.member_id == member_id)
                .values(subject_order_id=order_id, occasion=f"order:{order_id}")
            )
    send(db, shop, NOON)
    assert {row.member_id for row in rows(db) if row.state == "accepted"} >= {ids[0], ids[5]}


def test_one_statement_for_any_number_of_members(sqlite_db: Database) -> None:
    shop = shop_with(sqlite_db, 8)
    _open(sqlite_db, shop)
    statements: list[str] = []
    event.listen(sqlite_db.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    with sqlite_db.read() as connection:
        statements.clear()
        cases.open_cases(connection, 1, Cases(), range(1, 3000), NOON)
        asked = [one for one in statements if one != "BEGIN"]
        assert len(asked) == 1
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[0].replace('?', '1')}").all()
    told = "\n".join(str(row[3]) for row in plan)
    for index in (
        "ix_member_events_member", "ix_orders_on_hold", "ix_orders_member", "ix_refunds_member", "ix_order_events_day"
    ):  # fmt: skip
        assert index in told
    # The list of the members is gone through, and no table.
    assert "SCAN" not in told.replace("SCAN CONSTANT ROW", "").replace("SCAN json_each", "")


def test_the_statement_is_the_same_whoever_is_asked_about(sqlite_db: Database) -> None:
    shop_with(sqlite_db, 8)
    statements: list[str] = []
    event.listen(sqlite_db.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    with sqlite_db.read() as connection:
        for first in (1, 500, 1000):
            cases.open_cases(connection, 1, Cases(), range(first, first + 500), NOON)
    asked = [one for one in statements if one.startswith("SELECT c.member_id")]
    assert len(asked) == 3
    assert len(set(asked)) == 1


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ([], "open_cases"),
        ({"complaints": 1}, "open_cases.complaints"),
        ({"return_days": 91}, "open_cases.return_days"),
        ({"return_days": "3"}, "open_cases.return_days"),
    ],
)
def test_wrong_settings_name_their_place(told: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_cases(told)
    assert caught.value.field == field
