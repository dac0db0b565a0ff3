"""What Today tells: how far the store has been read and how fast, what waits, what became of what was due, what is new."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select, update

from crm_plugin.analytics import today as figures
from crm_plugin.ids import new_id
from crm_plugin.records import OrderStatus
from crm_plugin.store import members, sync_state, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.factories import make_shop, member, order, write

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
STREAMS = ("products", "members", "orders", "refunds")


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        made = make_shop(connection)
        other = make_shop(connection, 2)
    write(db, made, [member("1"), member("2")])
    write(db, other, [member("1"), member("2"), member("3")])
    return made


@pytest.fixture
def put(db: Database, shop: Shop) -> Callable[..., None]:
    """Touchpoints in a state, due at an instant."""

    def make(state: str, due_at: datetime, count: int = 1, reason: str = "", journey: str = "birthday") -> None:
        with db.write() as connection:
            who = connection.execute(select(members.c.member_id).where(members.c.shop_id == shop.shop_id)).scalars()
            row = {
                "shop_id": shop.shop_id,
                "journey_key": journey,
                "member_id": who.all()[0],
                "state": state,
                "reason": reason,
                "occasion_on": due_at.date(),
                "due_at": due_at,
                "next_try_at": due_at,
                "valid_until": due_at + timedelta(days=3),
                "planned_at": due_at,
                "updated_at": due_at,
            }
            for _ in range(count):
                key = new_id()
                connection.execute(insert(touchpoints).values(**row, touchpoint_id=key, occasion=str(key)))

    return make


def _stream(db: Database, shop: Shop, name: str, phase: str, **more: Any) -> None:
    row = {"cursor": "c", "done": 0, "started_at": NOW, "updated_at": NOW, "detail": "", **more}
    with db.write() as connection:
        connection.execute(insert(sync_state).values(shop_id=shop.shop_id, stream=name, phase=phase, **row))


def _streams(db: Database, shop: Shop) -> list[figures.StreamState]:
    with db.read() as connection:
        return figures.streams(connection, shop.shop_id)


def test_streams_come_as_pulled(db: Database, shop: Shop) -> None:
    for name in ("refunds", "orders", "products", "members"):
        _stream(db, shop, name, "idle")
    assert [state.stream for state in _streams(db, shop)] == list(STREAMS)


@pytest.mark.parametrize(
    ("phases", "read"),
    [
        ({}, False),
        ({"products": "idle", "members": "idle", "orders": "running"}, False),
        ({"products": "idle", "members": "idle", "orders": "idle", "refunds": "backfill"}, False),
        ({"products": "idle", "members": "idle", "orders": "idle", "refunds": "idle"}, True),
        ({"products": "running", "members": "idle", "orders": "stopped", "refunds": "idle"}, True),
    ],
)
def test_all_read_after_every_list(db: Database, shop: Shop, phases: dict[str, str], read: bool) -> None:
    for name, phase in phases.items():
        _stream(db, shop, name, phase)
    assert figures.all_read(_streams(db, shop), STREAMS) is read


def test_empty_cursor_is_not_read(db: Database, shop: Shop) -> None:
    _stream(db, shop, "orders", "stopped", cursor="")
    assert figures.all_read(_streams(db, shop), ("orders",)) is False


def test_pace_counts_all_lists_of_one_sync(db: Database, shop: Shop) -> None:
    _stream(db, shop, "products", "idle", done=100)
    _stream(db, shop, "members", "idle", done=900, started_at=NOW - timedelta(days=1))
    _stream(db, shop, "orders", "backfill", done=300, total=1_300)
    assert figures.pace(_streams(db, shop), NOW + timedelta(seconds=20)) == figures.Pace(20.0, 50)


@pytest.mark.parametrize(("done", "total", "seconds"), [(300, 600, 1), (0, 600, 60)])
def test_pace_unknown_at_first(db: Database, shop: Shop, done: int, total: int, seconds: int) -> None:
    _stream(db, shop, "orders", "backfill", done=done, total=total)
    assert figures.pace(_streams(db, shop), NOW + timedelta(seconds=seconds)) == figures.Pace(None, None)


def test_pace_without_total_names_no_end(db: Database, shop: Shop) -> None:
    _stream(db, shop, "orders", "running", done=50)
    assert figures.pace(_streams(db, shop), NOW + timedelta(seconds=10)) == figures.Pace(5.0, None)


def test_became_counts_what_was_due(db: Database, shop: Shop, put: Callable[..., None]) -> None:
    put("accepted", NOW - timedelta(days=1), 3)
    put("delivered", NOW - timedelta(days=2), 2)
    put("bounced", NOW - WEEK)
    put("skipped", NOW - timedelta(days=1), 4, "no_consent")
    put("failed", NOW - timedelta(days=3), 2, "render")
    put("missed", NOW - timedelta(days=3), 2, "window_over")
    put("cancelled", NOW - timedelta(days=3), 1, "journey_off")
    put("planned", NOW - timedelta(minutes=1), 5)
    put("unconfirmed", NOW - timedelta(minutes=1), 1, "crashed")
    put("accepted", NOW - WEEK - timedelta(seconds=1), 7)
    put("accepted", NOW, 9)
    with db.read() as connection:
        found = figures.became(connection, shop.shop_id, NOW - WEEK, NOW)
        elsewhere = figures.became(connection, 2, NOW - WEEK, NOW)
        unconfirmed = figures.count_unconfirmed(connection, shop.shop_id)
    reasons = (("no_consent", 4), ("render", 2), ("window_over", 2))
    assert found == figures.Became(sent=6, held_back=8, waiting=5, unconfirmed=1, reasons=reasons)
    assert elsewhere == figures.Became(0, 0, 0, 0, ())
    assert unconfirmed == 1


def test_waiting_falls_into_spans(db: Database, shop: Shop, put: Callable[..., None]) -> None:
    ends = [NOW + timedelta(hours=12), NOW + timedelta(hours=36)]
    put("planned", NOW - timedelta(days=2), 2)
    put("retry_wait", NOW + timedelta(hours=1), 1, "transient")
    put("planned", ends[0], 4, journey="lapse")
    put("planned", ends[1], 8)
    put("accepted", NOW, 16)
    with db.read() as connection:
        found = sorted(figures.waiting(connection, shop.shop_id, ends), key=lambda one: (one.span, one.journey_key))
    assert found == [figures.Waiting("birthday", 0, 3), figures.Waiting("lapse", 1, 4)]


def test_growth_compares_with_days_before(db: Database, shop: Shop) -> None:
    joined = [NOW - timedelta(days=days) for days in (0, 6, 7, 13, 14)]
    write(db, shop, [member(f"j{place}", joined_at=at) for place, at in enumerate(joined)])
    write(
        db,
        shop,
        [
            order("a", 1_000, placed_at=NOW, member_external_id="1"),
            order("b", 250, placed_at=NOW - timedelta(days=6)),
            order("c", 400, placed_at=NOW - timedelta(days=7)),
            order("d", 9_999, placed_at=NOW, status=OrderStatus.CANCELLED),
            order("e", 9_999, placed_at=NOW - timedelta(days=14)),
        ],
    )
    with db.read() as connection:
        found = figures.growth(connection, shop, date(2026, 6, 1))
        empty = figures.growth(connection, shop, date(2020, 1, 1))
    assert found == figures.Growth(2, 2, 2, 1, 1_250, 400)
    assert empty == figures.Growth(0, 0, 0, 0, 0, 0)


def test_members_counted_while_active(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        connection.execute(update(members).where(members.c.external_id == "2").values(state="deleted"))
    with db.read() as connection:
        assert figures.count_members(connection, shop.shop_id) == 1
        assert figures.count_members(connection, 2) == 2
        assert figures.has_orders(connection, shop.shop_id) is False
    write(db, shop, [order("o1", 100, member_external_id="1")])
    with db.read() as connection:
        assert figures.has_orders(connection, shop.shop_id) is True
        assert figures.has_orders(connection, 2) is False


def test_orders_without_a_rate_are_looked_up(db: Database, shop: Shop) -> None:
    told = [("o1", "USD", OrderStatus.PAID), ("o2", "USD", OrderStatus.PAID), ("o3", "GBP", OrderStatus.CANCELLED)]
    write(db, shop, [order(key, 100, currency=currency, status=status) for key, currency, status in told])
    asked: list[tuple[str, Any]] = []
    with db.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
        assert figures.without_rate(connection, shop.shop_id) == {"USD": 2}
        assert figures.without_rate(connection, 2) == {}
        if connection.dialect.name == "sqlite":
            statement, values = asked[0]
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
            assert [step for step in plan if "ix_orders_without_rate" in step] == plan[:1]
