"""Once to one person and once about one order, also when orders are cancelled or change hands after the message left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.records import ConsentRecord, ConsentState, OrderStatus
from crm_plugin.store import journeys, members, sync_state, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch, gate, in_step, senders
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.ahead import expected
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import forecast, plan_shop
from crm_plugin.touchpoints.policy import policy_of
from tests.factories import make_shop, member, order, write

BOX = SecretBox("A" * 43 + "=")
START = datetime(2026, 5, 1, 0, 0, tzinfo=UTC)
YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=START),)
OLDER, NEWER = datetime(2026, 4, 1, 12, tzinfo=UTC), datetime(2026, 4, 3, 12, tzinfo=UTC)
MISSED_ON = datetime(2026, 6, 2, 12, tzinfo=UTC)


@pytest.fixture
def shop(db: Database) -> Shop:
    """One lapse after 60 days and one thanks on the day of the order, both on; one agreed member."""
    return _shop(db)


def _shop(db: Database, **told: Any) -> Shop:
    with db.write() as connection:
        made = make_shop(connection, **told)
    values = {"host": "127.0.0.1", "port": 9, "security": "none", "from_address": "shop@x.test"}
    senders.save_connection(db, BOX, made, "smtp", values, START, probe=False)
    _journey(db, made, key="miss", trigger={"type": "lapse", "days": 60}, validity_days=7)
    _journey(db, made, key="thanks", trigger={"type": "post_purchase", "days": 0}, kind="transactional")
    write(db, made, [member("1", email="a@x.test", consents=YES)], START)
    return made


def _journey(db: Database, shop: Shop, **told: Any) -> None:
    draft = read_draft({"channels": ["email"], **told})
    with db.write() as connection:
        journey_store.save(connection, shop, draft, START)
        connection.execute(update(journeys).values(enabled=True, enabled_at=START, planned_through=START))


def _rows(db: Database, key: str) -> list[Any]:
    t = touchpoints.c
    with db.read() as connection:
        query = select(touchpoints).where(t.journey_key == key).order_by(t.planned_at, t.occasion)
        return list(connection.execute(query))


def _send(db: Database, state: str = "accepted") -> None:
    with db.write() as connection:
        connection.execute(update(touchpoints).where(touchpoints.c.state == "planned").values(state=state))


def _verdicts(db: Database, shop: Shop, key: str, now: datetime) -> list[tuple[str, str | None, str]]:
    rows = [row for row in _rows(db, key) if row.state == "planned"]
    with db.read() as connection:
        known = batch.load(connection, shop, rows, now)
    judged = [(row, gate.judge(row, known, policy_of(shop), now)) for row in rows]
    return [(row.address, verdict.state, str(verdict.reason)) for row, verdict in judged]


def _two_orders(db: Database, shop: Shop) -> None:
    orders = [
        order("o1", placed_at=OLDER, member_external_id="1"),
        order("o2", placed_at=NEWER, member_external_id="1"),
    ]
    write(db, shop, orders, START)


def _cancel(db: Database, shop: Shop, now: datetime) -> None:
    write(db, shop, [order("o2", status=OrderStatus.CANCELLED, placed_at=NEWER, member_external_id="1")], now)


def test_cancelled_order_brings_no_second_lapse(db: Database, shop: Shop) -> None:
    _two_orders(db, shop)
    plan_shop(db, shop, MISSED_ON)
    _send(db)
    later = MISSED_ON + timedelta(days=1)
    _cancel(db, shop, later)
    plan_shop(db, shop, later + timedelta(minutes=1))
    assert [row.occasion for row in _rows(db, "miss")] == ["lapse:2026-04-03"]
    with db.read() as connection:
        assert forecast(connection, shop, MISSED_ON - timedelta(days=5), later) == []
        me = connection.execute(select(members.c.member_id)).scalar_one()
        assert expected(connection, shop, me, MISSED_ON - timedelta(days=5), 30) == []


def test_lapse_that_never_left_gives_way_to_the_next(db: Database, shop: Shop) -> None:
    _two_orders(db, shop)
    plan_shop(db, shop, MISSED_ON)
    _cancel(db, shop, MISSED_ON)
    plan_shop(db, shop, MISSED_ON + timedelta(minutes=1))
    assert _verdicts(db, shop, "miss", MISSED_ON) == [
        ("a@x.test", "skipped", "no_longer_matches"),
        ("a@x.test", None, ""),
    ]


def test_new_order_begins_a_new_pause(db: Database, shop: Shop) -> None:
    _two_orders(db, shop)
    plan_shop(db, shop, MISSED_ON)
    _send(db)
    write(db, shop, [order("o3", placed_at=MISSED_ON, member_external_id="1")], MISSED_ON)
    plan_shop(db, shop, MISSED_ON + timedelta(days=60))
    assert [row.occasion for row in _rows(db, "miss")] == ["lapse:2026-04-03", "lapse:2026-06-02"]
    assert _verdicts(db, shop, "miss", MISSED_ON + timedelta(days=60)) == [("a@x.test", None, "")]


def test_lapse_that_left_meanwhile_stops_the_waiting(db: Database, shop: Shop) -> None:
    _two_orders(db, shop)
    plan_shop(db, shop, MISSED_ON)
    _cancel(db, shop, MISSED_ON)
    plan_shop(db, shop, MISSED_ON + timedelta(minutes=1))
    with db.write() as connection:
        t = touchpoints.c
        connection.execute(update(touchpoints).where(t.occasion == "lapse:2026-04-03").values(state="accepted"))
    assert _verdicts(db, shop, "miss", MISSED_ON) == [("a@x.test", "skipped", "no_longer_matches")]


@pytest.mark.parametrize("sent", [True, False])
def test_order_that_changes_hands_is_spoken_of_once(db: Database, shop: Shop, sent: bool) -> None:
    placed = MISSED_ON - timedelta(hours=5)
    contact = member("", email="g@x.test")
    write(db, shop, [order("o9", placed_at=placed, updated_at=placed, contact=contact)], placed)
    plan_shop(db, shop, MISSED_ON)
    if sent:
        _send(db)
    moved = {"placed_at": placed, "updated_at": MISSED_ON, "contact": contact}
    write(db, shop, [order("o9", member_external_id="1", **moved)], MISSED_ON)
    plan_shop(db, shop, MISSED_ON + timedelta(minutes=1))
    rows = [(row.address, row.state) for row in _rows(db, "thanks")]
    if sent:
        assert rows == [("g@x.test", "accepted")]
        return
    assert rows == [("g@x.test", "planned"), ("a@x.test", "planned")]
    now = MISSED_ON + timedelta(minutes=2)
    assert _verdicts(db, shop, "thanks", now) == [
        ("g@x.test", "skipped", "no_longer_matches"),
        ("a@x.test", None, ""),
    ]
    with db.write() as connection:
        connection.execute(update(touchpoints).where(touchpoints.c.address == "g@x.test").values(state="accepted"))
    assert _verdicts(db, shop, "thanks", now) == [("a@x.test", "skipped", "no_longer_matches")]


def test_unpaid_order_waits_for_its_payment(db: Database, shop: Shop) -> None:
    placed = MISSED_ON - timedelta(hours=5)
    values = {"placed_at": placed, "member_external_id": "1"}
    write(db, shop, [order("o9", status=OrderStatus.PENDING, **values)], placed)
    plan_shop(db, shop, MISSED_ON)
    assert _verdicts(db, shop, "thanks", MISSED_ON) == [("a@x.test", "planned", "awaiting_payment")]
    write(db, shop, [order("o9", status=OrderStatus.PAID, **values)], MISSED_ON)
    assert _verdicts(db, shop, "thanks", MISSED_ON) == [("a@x.test", None, "")]
    over = MISSED_ON + timedelta(days=3)
    assert _verdicts(db, shop, "thanks", over) == [("a@x.test", "missed", "window_over")]


def test_unpaid_order_is_expected_to_be_spoken_of(db: Database, shop: Shop) -> None:
    write(db, shop, [order("o9", status=OrderStatus.PENDING, placed_at=MISSED_ON, member_external_id="1")], MISSED_ON)
    with db.read() as connection:
        me = connection.execute(select(members.c.member_id)).scalar_one()
        coming = expected(connection, shop, me, MISSED_ON - timedelta(hours=6), 3)
    assert [(one.journey_key, one.channel, one.reason) for one in coming] == [("thanks", "email", "")]


def _read(db: Database, phase: str, since: datetime, whole_since: datetime | None = None) -> None:
    """A reading that began at `since`; the last that came to its end began at `whole_since`."""
    row = {"shop_id": 1, "stream": "orders", "phase": phase, "started_at": since, "updated_at": since}
    with db.write() as connection:
        connection.execute(sync_state.delete())
        connection.execute(sync_state.insert().values(**row, whole_since=whole_since))


def test_lapse_waits_until_the_orders_are_known(db: Database) -> None:
    shop = _shop(db, platform="woocommerce", url="https://shop.example")
    _two_orders(db, shop)
    plan_shop(db, shop, MISSED_ON)
    [due] = [row.due_at for row in _rows(db, "miss")]
    waits = [("a@x.test", "planned", "awaiting_orders")]
    assert _verdicts(db, shop, "miss", MISSED_ON) == waits
    before = due - timedelta(seconds=1)
    for phase, since, whole in (
        ("backfill", due, None),
        ("running", due, before),
        ("stopped", due, before),
        ("idle", before, before),
    ):
        _read(db, phase, since, whole)
        assert _verdicts(db, shop, "miss", MISSED_ON) == waits
    _read(db, "idle", due, due)
    assert _verdicts(db, shop, "miss", MISSED_ON) == [("a@x.test", None, "")]
    write(db, shop, [order("o3", placed_at=MISSED_ON, member_external_id="1")], MISSED_ON)
    assert _verdicts(db, shop, "miss", MISSED_ON) == [("a@x.test", "skipped", "no_longer_matches")]


@pytest.mark.parametrize("phase", ["running", "backfill", "stopped"])
def test_lapse_waits_for_no_reading_that_began_later(db: Database, phase: str) -> None:
    shop = _shop(db, platform="woocommerce", url="https://shop.example")
    _two_orders(db, shop)
    plan_shop(db, shop, MISSED_ON)
    [due] = [row.due_at for row in _rows(db, "miss")]
    _read(db, phase, due + timedelta(minutes=5), whole_since=due)
    assert _verdicts(db, shop, "miss", MISSED_ON) == [("a@x.test", None, "")]


def test_store_without_its_adapter_keeps_only_lapses_waiting(db: Database) -> None:
    shop = _shop(db, platform="gone")
    _two_orders(db, shop)
    write(db, shop, [order("o9", placed_at=MISSED_ON - timedelta(hours=5), member_external_id="1")], START)
    plan_shop(db, shop, MISSED_ON)
    assert _verdicts(db, shop, "thanks", MISSED_ON) == [("a@x.test", None, "")]
    with db.read() as connection:
        assert not in_step.orders_of(connection, shop).covers(START)


def test_only_what_waits_for_orders_asks_of_the_store(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(in_step, "storefront_class", lambda name: asked.append(name) or storefront_class(name))
    shop = _shop(db, platform="woocommerce", url="https://shop.example")
    write(db, shop, [order("o1", placed_at=MISSED_ON - timedelta(hours=5), member_external_id="1")], START)
    plan_shop(db, shop, MISSED_ON)
    assert _verdicts(db, shop, "thanks", MISSED_ON) == [("a@x.test", None, "")]
    assert asked == []
    lapsed = MISSED_ON + timedelta(days=60)
    plan_shop(db, shop, lapsed)
    assert len(_verdicts(db, shop, "miss", lapsed)) == 1
    assert asked == ["woocommerce"]


def test_lapse_that_waited_too_long_is_missed(db: Database) -> None:
    shop = _shop(db, platform="woocommerce", url="https://shop.example")
    _two_orders(db, shop)
    plan_shop(db, shop, MISSED_ON)
    assert _verdicts(db, shop, "miss", MISSED_ON + timedelta(days=7)) == [("a@x.test", "missed", "window_over")]


def test_lapse_of_a_store_that_is_read_is_expected(db: Database) -> None:
    shop = _shop(db, platform="woocommerce", url="https://shop.example")
    _two_orders(db, shop)
    with db.read() as connection:
        me = connection.execute(select(members.c.member_id)).scalar_one()
        coming = expected(connection, shop, me, MISSED_ON - timedelta(days=5), 30)
    assert [(one.journey_key, one.channel, one.reason) for one in coming] == [("miss", "email", "")]
