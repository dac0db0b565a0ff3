"""What members chose themselves holds at planning and at sending, and moves with them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.records import MemberRecord
from crm_plugin.store import member_dials, members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import dial
from crm_plugin.touchpoints.dial import Dial
from crm_plugin.touchpoints.plan import plan_shop
from tests.factories import member, order, write
from tests.touchpoints.guarding import NOON, START, bought, journey, plant, rows, send, shop_with, states

_DAY = timedelta(days=1)


def _turn(db: Database, **told: Any) -> Dial:
    with db.write() as connection:
        person = connection.execute(select(members.c.member_id)).scalar_one()
        return dial.turn(connection, 1, person, START, source="link", **told)


def test_only_birthdays_at_planning_and_at_sending(db: Database) -> None:
    shop = shop_with(db)
    write(db, shop, [order("o", member_external_id="0", placed_at=NOON - _DAY)], START)
    journey(db, shop, "birthday")
    journey(db, shop, "after", trigger={"type": "post_purchase", "days": 1})
    _turn(db, frequency="birthday")
    plan_shop(db, shop, NOON)
    assert states(db) == {"birthday": ("planned", ""), "after": ("skipped", "member_dial")}
    with db.write() as connection:
        connection.execute(update(touchpoints).values(state="planned", reason="", settled_at=None))
    send(db, shop, NOON)
    assert states(db) == {"birthday": ("accepted", ""), "after": ("skipped", "member_dial")}


def test_pause_defers_what_outlasts_it_and_skips_the_rest(db: Database) -> None:
    shop = shop_with(db)
    for key in ("long", "short"):
        journey(db, shop, key)
    plant(db, "long", valid_until=NOON + 9 * _DAY)
    plant(db, "short", valid_until=NOON + 2 * _DAY)
    _turn(db, snooze_until=NOON + 3 * _DAY)
    send(db, shop, NOON)
    assert states(db) == {"long": ("planned", "member_dial"), "short": ("skipped", "member_dial")}
    assert rows(db)[0].next_try_at == NOON + 3 * _DAY
    assert send(db, shop, NOON + 3 * _DAY).states == {"accepted": 1}


def test_pause_longer_than_the_window_is_known_at_planning(db: Database) -> None:
    shop = shop_with(db)
    journey(db, shop, "a")
    _turn(db, snooze_until=NOON + 30 * _DAY)
    plan_shop(db, shop, NOON)
    assert states(db) == {"a": ("skipped", "member_dial")}


def test_about_their_own_order_comes_all_the_same(db: Database) -> None:
    shop = shop_with(db)
    bought(db, shop)
    journey(db, shop, "a", trigger={"type": "post_purchase", "days": 1}, kind="transactional")
    _turn(db, frequency="birthday", snooze_until=NOON + 30 * _DAY)
    plan_shop(db, shop, NOON)
    assert send(db, shop, NOON).states == {"accepted": 1}


def test_what_is_not_told_stays(db: Database) -> None:
    shop_with(db)
    assert _turn(db, per_month=2) == Dial("monthly", 2)
    until = START + _DAY
    assert _turn(db, snooze_until=until) == Dial("monthly", 2, until)
    assert _turn(db, frequency="birthday") == Dial("birthday", None, until)
    assert _turn(db, awake=True) == Dial("birthday")
    with db.read() as connection:
        assert len(connection.execute(select(member_dials)).all()) == 1


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"frequency": "often"}, "frequency"),
        ({"frequency": "monthly"}, "per_month"),
        ({"per_month": 0}, "per_month"),
        ({"per_month": 31}, "per_month"),
        ({"snooze_until": START}, "snooze_until"),
        ({"snooze_until": START + 400 * _DAY}, "snooze_until"),
    ],
)
def test_what_cannot_be_chosen_is_told(db: Database, told: dict[str, Any], field: str) -> None:
    shop_with(db)
    with pytest.raises(InvalidInput) as caught:
        _turn(db, **told)
    assert caught.value.field == field
    with db.read() as connection:
        assert connection.execute(select(member_dials)).all() == []


def test_nobody_elses_dial_is_turned(db: Database) -> None:
    shop_with(db)
    with db.write() as connection, pytest.raises(NotFound):
        dial.turn(connection, 1, 5, START, per_month=1, source="link")


def test_dial_of_a_guest_becomes_the_accounts(db: Database) -> None:
    shop = shop_with(db)
    guest = order("g", contact=MemberRecord(external_id="", email="guest@x.test"), placed_at=START)
    write(db, shop, [guest], START)
    with db.write() as connection:
        query = select(members.c.member_id).where(members.c.email == "guest@x.test")
        dial.turn(connection, 1, connection.execute(query).scalar_one(), START, per_month=1, source="link")
    write(db, shop, [member("9", email="guest@x.test")], NOON)
    with db.read() as connection:
        account = connection.execute(select(members.c.member_id).where(members.c.external_id == "9")).scalar_one()
        assert dial.of(connection, 1, account) == Dial("monthly", 1)
