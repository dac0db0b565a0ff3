"""One member gets so many messages and no more, whoever sends, however often, and whatever the clock does."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, update

from crm_plugin.errors import InvalidInput, OutcomeUnknown
from crm_plugin.store import journeys, touchpoints
from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import acts, claims, dial
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.guard_settings import Limit, limits_of, read_caps
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.recover import miss_shop
from crm_plugin.touchpoints.settings import save_settings
from tests.touchpoints import guarding
from tests.touchpoints.guarding import (
    BOX,
    NOON,
    PUBLIC,
    START,
    Sent,
    bought,
    plant,
    rows,
    send,
    shop_with,
    states,
)

DAY, WEEK = timedelta(days=1), timedelta(days=7)


def journey(db: Database, shop: Shop, key: str, **told: Any) -> None:
    """A journey of which a member may have several on a day, unlike those about birthdays."""
    guarding.journey(db, shop, key, **{"trigger": {"type": "campaign"}, **told})


def test_second_of_a_day_waits_for_the_next(db: Database) -> None:
    shop, sent = shop_with(db), Sent()
    for key in ("a", "b"):
        journey(db, shop, key)
        plant(db, key)
    report = send(db, shop, NOON, sent)
    assert (dict(report.states), dict(report.reasons)) == ({"accepted": 1, "planned": 1}, {"frequency_cap": 1})
    assert states(db) == {"a": ("accepted", ""), "b": ("planned", "frequency_cap")}
    assert rows(db)[1].next_try_at == NOON + DAY
    assert dict(send(db, shop, NOON + DAY - timedelta(microseconds=1), sent).states) == {}
    assert dict(send(db, shop, NOON + DAY, sent).states) == {"accepted": 1}
    assert len(sent.rows) == 2


def test_more_important_goes_first_then_what_brings_more(db: Database) -> None:
    shop = shop_with(db, settings={"caps": {"day": 1}})
    for key, more in (
        ("low", {"priority": 2}),
        ("poor", {"value_minor": 100}),
        ("rich", {"value_minor": 900}),
        ("high", {"priority": 8}),
    ):
        journey(db, shop, key, **more)
        plant(db, key)
    order = []
    for day in range(4):
        send(db, shop, NOON + DAY * day)
        order.append(next(key for key, told in states(db).items() if told[0] == "accepted" and key not in order))
    assert order == ["high", "rich", "poor", "low"]


def test_important_one_goes_before_those_that_were_due_first(db: Database) -> None:
    """Also where more is due than one claim takes."""
    shop = shop_with(db, 3)
    for key, more in (("low", {"priority": 2}), ("high", {"priority": 8})):
        journey(db, shop, key, **more)
    plant(db, "low", due=NOON - timedelta(hours=1))
    plant(db, "high")
    taken = claims.claim(db, 1, NOON, 2, resting=(), limits=policy_of(shop).limits)
    assert [row.journey_key for row in taken] == ["high", "high"]


def test_important_one_that_became_due_behind_a_round_goes_first(db: Database) -> None:
    shop = shop_with(db, 3)
    for key, more in (("low", {"priority": 2}), ("high", {"priority": 8})):
        journey(db, shop, key, **more)
    plant(db, "high", due=NOON - timedelta(hours=1))
    plant(db, "low")
    place = claims.Place((NOON - timedelta(minutes=30), 0))
    taken = claims.claim(db, 1, NOON, 9, resting=(), limits=policy_of(shop).limits, place=place)
    assert [row.journey_key for row in taken] == ["high"] * 3


def test_week_and_channel_have_limits_of_their_own(db: Database) -> None:
    shop = shop_with(db, settings={"caps": {"week": 3, "channels": {"sms": {"week": 1}}}})
    for number in range(4):
        journey(db, shop, f"mail{number}")
        plant(db, f"mail{number}", valid_until=NOON + timedelta(days=8))
    for number in range(2):
        journey(db, shop, f"text{number}", channels=["sms"], priority=9)
        there = {"channel": "sms", "adapter": "twilio", "address": "+49309018000"}
        plant(db, f"text{number}", valid_until=NOON + timedelta(days=8), **there)
    report = send(db, shop, NOON)
    assert dict(report.states) == {"accepted": 3, "planned": 3}
    told = states(db)
    assert [told[key][0] for key in ("text0", "text1")] == ["accepted", "planned"]
    assert sorted(told.values()).count(("planned", "frequency_cap")) == 3
    assert {row.next_try_at for row in rows(db) if row.reason == "frequency_cap"} == {NOON + WEEK}


def test_about_their_own_order_neither_counts_nor_waits(db: Database) -> None:
    shop = shop_with(db)
    bought(db, shop)
    about = {"trigger": {"type": "post_purchase", "days": 0}, "kind": "transactional", "topic": "orders"}
    journey(db, shop, "a")
    plant(db, "a")
    with db.read() as connection:
        order_id = connection.exec_driver_sql("SELECT order_id FROM orders").scalar_one()
    for number in range(3):
        journey(db, shop, f"order{number}", **about)
        plant(db, f"order{number}", occasion=f"order:{order_id}", subject_order_id=order_id)
    assert dict(send(db, shop, NOON).states) == {"accepted": 4}
    assert [row.capped_at for row in rows(db)] == [NOON, None, None, None]


def test_what_never_fits_is_missed_and_says_why(db: Database) -> None:
    shop = shop_with(db)
    for key in ("a", "b"):
        journey(db, shop, key)
    plant(db, "a")
    plant(db, "b", valid_until=NOON + timedelta(hours=20))
    send(db, shop, NOON)
    assert states(db)["b"] == ("missed", "frequency_cap")


def test_what_waited_for_room_to_the_end_says_so(db: Database) -> None:
    shop = shop_with(db)
    for key in ("a", "b"):
        journey(db, shop, key)
        plant(db, key)
    send(db, shop, NOON)
    assert miss_shop(db, shop, NOON + timedelta(days=8)) == 1
    assert states(db)["b"] == ("missed", "frequency_cap")


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        ("delivered", True),
        ("bounced", True),
        ("complained", True),
        ("unconfirmed", True),
        ("failed", False),
        ("planned", False),
    ],
)
def test_what_may_have_left_counts(db: Database, state: str, counts: bool) -> None:
    shop = shop_with(db)
    journey(db, shop, "a")
    journey(db, shop, "b")
    plant(db, "a", state=state, capped_at=NOON - timedelta(hours=1), next_try_at=NOON + WEEK)
    plant(db, "b")
    assert dict(send(db, shop, NOON).states) == {"planned" if counts else "accepted": 1}


@pytest.mark.parametrize(
    ("known", "then"), [(None, "planned"), (False, "accepted")], ids=["nobody knows", "it did not leave"]
)
def test_what_may_have_left_counts_while_it_waits_to_be_sent_again(db: Database, known: bool | None, then: str) -> None:
    shop = shop_with(db)
    journey(db, shop, "a")
    journey(db, shop, "b")
    plant(db, "a")
    [row] = rows(db)

    def silent(*_: Any, **__: Any) -> Any:
        raise OutcomeUnknown("No answer.")

    ways = Sent().ways()
    channel: Any = SimpleNamespace(send=silent, close=lambda: None, parallel=1, most_a_minute=0, flow=lambda: None)
    dispatch_shop(db, BOX, shop, NOON, public_url=PUBLIC, ways=replace(ways, open_channel=lambda *_, **__: channel))
    assert states(db)["a"][0] == "unconfirmed"
    with db.write() as connection:
        if known is not None:
            acts.settle(connection, shop, row.touchpoint_id, known, NOON, "me")
        acts.send_again(connection, shop, row.touchpoint_id, NOON, "me")
        # It waits for the morning.
        connection.execute(update(touchpoints).values(next_try_at=NOON + timedelta(hours=20), reason="quiet_hours"))
    plant(db, "b")
    send(db, shop, NOON)
    assert states(db)["b"] == (then, "frequency_cap" if then == "planned" else "")
    # Its own outcome keeps nobody from sending it again.
    send(db, shop, NOON + timedelta(hours=20 if known is None else 25))
    assert states(db)["a"] == ("accepted", "")


def test_one_in_flight_keeps_the_other_for_a_minute(db: Database) -> None:
    """However long ago it was taken: its worker may be asleep."""
    shop = shop_with(db)
    journey(db, shop, "a")
    journey(db, shop, "b")
    plant(db, "a", state="in_flight", capped_at=NOON - 2 * WEEK, claimed_until=NOON - 2 * WEEK)
    plant(db, "b")
    assert dict(send(db, shop, NOON).states) == {"planned": 1}
    assert rows(db)[1].next_try_at == NOON + timedelta(minutes=1)


def test_raised_limit_lets_go_at_once(db: Database) -> None:
    shop = shop_with(db)
    for key in ("a", "b"):
        journey(db, shop, key)
        plant(db, key)
    send(db, shop, NOON)
    with db.write() as connection:
        shop = save_settings(connection, shop, {"caps": {"day": 2}}, NOON)
    assert dict(send(db, shop, NOON).states) == {"accepted": 1}


def test_journey_that_became_marketing_meanwhile_counts(db: Database) -> None:
    """Taken as one about an order, edited before it left: it is taken anew."""
    shop, sent = shop_with(db), Sent()
    bought(db, shop)
    journey(db, shop, "a", trigger={"type": "post_purchase", "days": 0}, kind="transactional")
    with db.read() as connection:
        order_id = connection.exec_driver_sql("SELECT order_id FROM orders").scalar_one()
    plant(db, "a", occasion=f"order:{order_id}", subject_order_id=order_id)

    edited = []

    def edit(_done: int) -> None:
        if not edited:
            with db.write() as connection:
                connection.execute(update(journeys).values(kind="marketing"))
            edited.append(True)

    # The first look is taken before the edit, so the second claim is what counts.
    send(db, shop, NOON, sent, progress=edit)
    assert len(sent.rows) == 1


def test_clock_put_back_between_claim_and_sending(db: Database) -> None:
    shop, sent = shop_with(db), Sent()
    for key in ("a", "b"):
        journey(db, shop, key)
    plant(db, "a", state="accepted", capped_at=NOON, accepted_at=NOON)
    plant(db, "b")
    at = [NOON + DAY, NOON + DAY, NOON + timedelta(hours=1)]
    send(db, shop, NOON, sent, clock=lambda: at.pop(0) if len(at) > 1 else at[0])
    assert sent.rows == []
    assert states(db)["b"] == ("planned", "frequency_cap")


def test_clock_that_keeps_going_back_ends_the_round(db: Database) -> None:
    shop, sent = shop_with(db), Sent()
    journey(db, shop, "a")
    plant(db, "a")
    looked = itertools.count()
    send(db, shop, NOON, sent, clock=lambda: NOON + DAY - timedelta(minutes=next(looked)))
    assert next(looked) < 12
    assert (sent.rows, states(db)["a"]) == ([], ("planned", ""))


@pytest.mark.slow
def test_many_workers_at_once_keep_to_it(db: Database) -> None:
    shop, sent = shop_with(db, 12), Sent()
    for number in range(4):
        journey(db, shop, f"j{number}", priority=number + 1)
        plant(db, f"j{number}")
    go = threading.Barrier(4)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            go.wait()
            send(db, shop, NOON, sent)
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failed == []
    assert sorted(address for address, _ in sent.rows) == sorted(f"m{n}@x.test" for n in range(12))
    accepted = [row for row in rows(db) if row.state == "accepted"]
    assert len(accepted) == 12
    assert {row.state for row in rows(db)} == {"accepted", "planned"}


def test_claim_asks_as_much_for_many_members_as_for_few(sqlite_db: Database) -> None:
    asked: list[int] = []
    shop = shop_with(sqlite_db, 60)
    for key in ("a", "b"):
        journey(sqlite_db, shop, key)
        plant(sqlite_db, key)
    statements: list[str] = []
    event.listen(sqlite_db.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    for count in (1, 50):
        statements.clear()
        assert len(claims.claim(sqlite_db, 1, NOON, count, resting=(), limits=policy_of(shop).limits)) == count
        asked.append(len(statements))
    assert asked == [10, 10]


def test_dial_says_how_many_in_a_month(db: Database) -> None:
    shop = shop_with(db)
    with db.write() as connection:
        person = connection.exec_driver_sql("SELECT member_id FROM members").scalar_one()
        dial.turn(connection, 1, person, START, per_month=1, source="link")
    for key in ("a", "b"):
        journey(db, shop, key)
        plant(db, key, valid_until=NOON + timedelta(days=40))
    send(db, shop, NOON)
    assert states(db)["b"] == ("planned", "member_dial")
    assert rows(db)[1].next_try_at == NOON + timedelta(days=30)


def test_settings_are_read_and_kept(db: Database) -> None:
    shop = shop_with(db, settings={"caps": {"day": 2, "channels": {"sms": {"week": 1}}}})
    assert policy_of(shop).limits == (Limit(DAY, 2), Limit(WEEK, 1, "sms"))
    assert limits_of(read_caps({"day": 0, "week": 0})) == ()


def test_without_a_setting_one_a_day_and_three_a_week(db: Database) -> None:
    assert policy_of(shop_with(db)).limits == (Limit(DAY, 1), Limit(WEEK, 3))


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ("often", "caps"),
        ({"month": 1}, "caps.month"),
        ({"day": -1}, "caps.day"),
        ({"day": True}, "caps.day"),
        ({"week": "3"}, "caps.week"),
        ({"channels": ["sms"]}, "caps.channels"),
        ({"channels": {"fax": {"day": 1}}}, "caps.channels.fax"),
        ({"channels": {"sms": {"hour": 1}}}, "caps.channels.sms.hour"),
    ],
)
def test_wrong_limits_name_their_place(told: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_caps(told)
    assert caught.value.field == field


def test_rows_with_a_kept_setting_that_cannot_be_read_keep_the_default(db: Database) -> None:
    shop = shop_with(db)
    with db.write() as connection:
        connection.exec_driver_sql('UPDATE shops SET settings = \'{"caps": {"day": "lots"}}\'')
    with db.read() as connection:
        assert policy_of(shop_by_id(connection, shop.shop_id)).limits == (Limit(DAY, 1), Limit(WEEK, 3))


def test_accepted_rows_say_when_they_counted(db: Database) -> None:
    shop = shop_with(db)
    journey(db, shop, "a")
    plant(db, "a")
    send(db, shop, NOON)
    with db.read() as connection:
        assert connection.execute(touchpoints.select()).one().capped_at == NOON


def test_claims_of_a_round_go_on_behind_what_stands_still(db: Database) -> None:
    """What may not be taken is not walked through again; of a member's two messages the second is not passed by."""
    shop = shop_with(db, 6, settings={"caps": {"day": 0, "week": 0}})
    for key in ("still", "a", "b"):
        journey(db, shop, key)
    plant(db, "still")
    plant(db, "a", due=NOON + timedelta(minutes=1))
    plant(db, "b", due=NOON + timedelta(minutes=1))
    with db.write() as connection:
        connection.execute(update(journeys).where(journeys.c.journey_key == "still").values(paused_at=NOON))
    at, place = NOON + timedelta(hours=1), claims.Place()
    asked: list[Any] = []
    event.listen(db.engine, "before_cursor_execute", lambda *told: asked.append(told[2:4]))
    taken = [claims.claim(db, 1, at, count, resting=(), place=place) for count in (4, 8, 6, 6)]
    assert [[row.journey_key for row in rows] for rows in taken] == [["a"] * 4, ["a"] * 2 + ["b"] * 4, ["b"] * 2, []]
    behind = [values for statement, values in asked if "touchpoint_id) >" in statement and "LIMIT" in statement]
    assert [to_micros(claims._FIRST[0]) in values for values in behind] == [True, False, False, False]
    place.reset()
    assert claims.claim(db, 1, at, 6, resting=(), place=place) == []
