"""What is read for a batch of many members goes by the members, not by all that was ever sent."""

from __future__ import annotations

from collections import namedtuple
from datetime import UTC, datetime

import pytest
from sqlalchemy import event

from crm_plugin.store.session import Database
from crm_plugin.touchpoints import batch, caps, claims, greetings, once
from crm_plugin.touchpoints.render import Text
from tests.touchpoints.guarding import NOON, journey, plant, shop_with
from tests.touchpoints.plans import counted

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MANY = range(100)
Due = namedtuple("Due", "touchpoint_id member_id next_try_at")
Greeting = namedtuple("Greeting", "touchpoint_id journey_key member_id due_at")


def _indexes(db: Database) -> list[str]:
    """The index by which each statement about touchpoints of many members reads them."""
    seen: list[tuple[str, tuple[object, ...]]] = []
    with db.read() as connection:
        event.listen(
            db.engine, "before_cursor_execute", lambda _c, _cursor, sql, values, *_: seen.append((sql, values))
        )
        once.lapses(connection, 1, MANY)
        once.orders(connection, 1, MANY)
        once.members(connection, 1, MANY, ["welcome"])
        caps.load(connection, 1, MANY, NOW)
        found = [Due(number, number, NOW) for number in MANY]
        claims._rivals(connection, found, found[-1], (), claims._asked(1, NOW, (), {}, claims.Place()))
        greetings.load(connection, 1, [Greeting(number, "birthday", number, NOW) for number in MANY])
        plans = [
            row[3]
            for sql, values in list(seen)
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
    return [plan for plan in plans if plan.startswith(("SEARCH touchpoints", "SCAN touchpoints"))]


def test_members_choose_the_index(sqlite_db: Database) -> None:
    plans = _indexes(sqlite_db)
    assert len(plans) == 7
    assert [plan for plan in plans if "member_id=?" not in plan and "subject_order_id=?" not in plan] == []


def test_what_no_journey_in_hand_asks_for_is_not_read(db: Database) -> None:
    shop = shop_with(db, 3)
    journey(db, shop, "a")
    plant(db, "a")
    rows = claims.claim(db, 1, NOON, 3, resting=())
    with db.read() as connection, counted(db) as statements:
        known = batch.load(connection, shop, rows, NOON)
    assert len(known.members) == 3
    assert [one for one in statements if "substr(" in one or "FROM sync_state" in one] == []


def test_parts_without_the_word_are_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def names_of(part: str) -> frozenset[str]:
        taken.append(part)
        return frozenset({"order", "member"})

    monkeypatch.setattr(batch, "names_of", names_of)
    text = Text("key", "email", "en", subject="Hello {{ member.first_name }}", body_text="Your {{ order.number }}")
    assert batch._spoken_in([text]) == {"order", "member"}
    assert taken == ["Your {{ order.number }}"]
