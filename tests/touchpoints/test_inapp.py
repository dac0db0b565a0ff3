"""The in-app inbox: what a storefront marks is that shop's and that member's alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from crm_plugin.errors import NotFound
from crm_plugin.rules import compile_rule
from crm_plugin.rules.sql import select_members
from crm_plugin.store import delivery_events, inapp_messages, journeys, members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import inapp, intake
from tests.factories import NOON, make_shop, member, write


def _delivered(db: Database, shop_id: int, member_id: int, key: str = "k", message_id: str | None = "7") -> None:
    """A card that went out to the member, with ids that other shops use too; `message_id` None: its sending is not noted yet."""
    row: dict[str, Any] = {
        "journey_key": "greet",
        "occasion": "2026",
        "occasion_on": NOON.date(),
        "channel": "inapp",
        "adapter": "inapp",
        "state": "accepted" if message_id else "in_flight",
        "provider_message_id": message_id,
        "accepted_at": NOON if message_id else None,
    }
    times = dict.fromkeys(("due_at", "next_try_at", "valid_until", "planned_at", "updated_at"), NOON)
    message = {"message_id": 7, "touchpoint_key": key, "title": "Hi", "body": "Hi", "url": "", "created_at": NOON}
    with db.write() as connection:
        journey = {"journey_key": "greet", "trigger": "birthday", "template_key": "greet", "updated_at": NOON}
        connection.execute(insert(journeys).values(shop_id=shop_id, **journey))
        owner = {"shop_id": shop_id, "member_id": member_id}
        connection.execute(insert(touchpoints).values(**owner, touchpoint_id=shop_id, **row, **times))
        connection.execute(insert(inapp_messages).values(**owner, **message))


def test_mark_reaches_no_other_shop(db: Database) -> None:
    people: dict[int, int] = {}
    for shop_id in (1, 2):
        with db.write() as connection:
            shop = make_shop(connection, shop_id)
        write(db, shop, [member("1")])
        with db.read() as connection:
            query = select(members.c.member_id).where(members.c.shop_id == shop_id)
            people[shop_id] = connection.execute(query).scalar_one()
        _delivered(db, shop_id, people[shop_id])
    with db.write() as connection:
        with pytest.raises(NotFound):
            inapp.mark(connection, 1, people[2], 7, "click", NOON)
        inapp.mark(connection, 1, people[1], 7, "click", NOON)
    t, m = touchpoints.c, inapp_messages.c
    with db.read() as connection:
        states = connection.execute(select(t.shop_id, t.state).order_by(t.shop_id)).all()
        clicked = connection.execute(select(m.shop_id, m.clicked_at).order_by(m.shop_id)).all()
    assert [tuple(row) for row in states] == [(1, "delivered"), (2, "accepted")]
    assert [tuple(row) for row in clicked] == [(1, NOON), (2, None)]


def _events(db: Database) -> list[tuple[Any, ...]]:
    e = delivery_events.c
    with db.read() as connection:
        rows = connection.execute(select(e.kind, e.touchpoint_id, e.at, e.machine).order_by(e.event_id)).all()
    return [tuple(row) for row in rows]


def _owner(db: Database) -> int:
    with db.read() as connection:
        return int(connection.execute(select(members.c.member_id)).scalar_one())


def test_marks_are_what_rules_ask_for(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1")])
    owner = _owner(db)
    _delivered(db, 1, owner)

    def holds(text: str) -> bool:
        with db.read() as connection:
            return (
                owner in connection.execute(select_members(shop, compile_rule(text).node, NOON.date())).scalars().all()
            )

    assert not holds("opened() >= 1")
    later = NOON + timedelta(minutes=5)
    for what, at in (("read", NOON), ("read", later), ("click", later), ("click", later)):
        with db.write() as connection:
            inapp.mark(connection, 1, owner, 7, what, at)
        assert holds('opened(channel="inapp", days=30) == 1 and machine_opened() == 0')
        assert holds("clicked() == 1") == (what == "click")
    assert _events(db) == [("delivered", 1, NOON, False), ("opened", 1, NOON, False), ("clicked", 1, later, False)]


def test_mark_before_the_send_was_noted_is_matched_later(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1")])
    owner = _owner(db)
    _delivered(db, 1, owner, message_id=None)
    with db.write() as connection:
        inapp.mark(connection, 1, owner, 7, "read", NOON)
    assert [row[:2] for row in _events(db)] == [("delivered", None), ("opened", None)]
    with db.write() as connection:
        connection.execute(update(touchpoints).values(state="accepted", provider_message_id="7", accepted_at=NOON))
    assert intake.match_early(db, shop, NOON) == {"delivered": 1}
    assert [row[:2] for row in _events(db)] == [("delivered", 1), ("opened", 1)]


def test_test_message_leaves_no_event(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1")])
    owner = _owner(db)
    _delivered(db, 1, owner, key=f"{inapp.TEST}1", message_id=None)
    with db.write() as connection:
        inapp.mark(connection, 1, owner, 7, "click", NOON)
    assert _events(db) == []
