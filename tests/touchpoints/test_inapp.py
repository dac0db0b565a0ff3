"""The in-app inbox: what a storefront marks is that shop's and that member's alone."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select

from crm_plugin.errors import NotFound
from crm_plugin.store import inapp_messages, journeys, members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import inapp
from tests.factories import NOON, make_shop, member, write


def _delivered(db: Database, shop_id: int, member_id: int) -> None:
    """A card that went out to the member, with ids that other shops use too."""
    row: dict[str, Any] = {
        "journey_key": "greet",
        "occasion": "2026",
        "occasion_on": NOON.date(),
        "channel": "inapp",
        "adapter": "inapp",
        "state": "accepted",
        "provider_message_id": "7",
    }
    times = dict.fromkeys(("due_at", "next_try_at", "valid_until", "planned_at", "updated_at"), NOON)
    message = {"message_id": 7, "touchpoint_key": "k", "title": "Hi", "body": "Hi", "url": "", "created_at": NOON}
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
