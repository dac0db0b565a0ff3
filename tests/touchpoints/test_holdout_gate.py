"""Who is held out is known at planning and again at sending, and gets a row that says so."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from crm_plugin.errors import InvalidInput
from crm_plugin.store import journeys, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints.holdout import SALT, share
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.states import State
from tests.touchpoints.guarding import NOON, journey, rows, send, shop_with


@pytest.mark.slow
def test_planning_and_sending_hold_out_the_same_members(db: Database) -> None:
    shop = shop_with(db, 200)
    for key in ("a", "b"):
        journey(db, shop, key, holdout_pct=20)
    assert plan_shop(db, shop, NOON).total(State.SKIPPED) > 0
    held: dict[str, set[int]] = {}
    for row in rows(db):
        out = share(1, row.journey_key, SALT, row.member_id) < 2000
        assert (row.state, row.reason) == (("skipped", "holdout") if out else ("planned", ""))
        assert bool(row.settled_at) == out
        held.setdefault(row.journey_key, set()).update({row.member_id} if out else ())
    # The journeys hold out members of their own.
    assert held["a"] != held["b"]
    assert all(20 <= len(one) <= 60 for one in held.values())
    with db.write() as connection:
        connection.execute(update(touchpoints).values(state="planned", reason="", settled_at=None))
        connection.execute(update(journeys).where(journeys.c.journey_key == "b").values(enabled=False))
    send(db, shop, NOON)
    t = touchpoints.c
    with db.read() as connection:
        refused = connection.execute(select(t.member_id).where(t.journey_key == "a", t.reason == "holdout")).scalars()
        assert set(refused) == held["a"]


def test_nobody_is_held_out_of_what_cannot_reach_them(db: Database) -> None:
    shop = shop_with(db, 50, email="")
    journey(db, shop, "a", holdout_pct=50)
    plan_shop(db, shop, NOON)
    assert {row.reason for row in rows(db)} == {"no_address"}


@pytest.mark.parametrize(
    ("told", "field"), [({"holdout_pct": 51}, "holdout_pct"), ({"holdout_pct": "5"}, "holdout_pct")]
)
def test_wrong_share_is_refused(told: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_draft({"key": "a", "trigger": {"type": "birthday"}, "channels": ["email"], **told})
    assert caught.value.field == field


def test_about_their_order_goes_to_all() -> None:
    told = {"key": "a", "trigger": {"type": "post_purchase", "days": 1}, "channels": ["email"], "kind": "transactional"}
    with pytest.raises(InvalidInput):
        read_draft({**told, "holdout_pct": 5})
