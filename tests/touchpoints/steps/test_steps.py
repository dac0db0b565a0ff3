"""Each kind of step, one after the other, and leaving before the end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from crm_plugin.records import Message, SendResult
from crm_plugin.rules import tiers
from crm_plugin.store import (
    coupon_codes,
    coupon_pools,
    delivery_events,
    enrolment_events,
    enrolments,
    member_tags,
    member_tiers,
    members,
    tasks,
    touchpoints,
)
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import senders
from crm_plugin.touchpoints.compose import compose
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.holdout import share
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.readying import Ways
from crm_plugin.touchpoints.steps import engine
from crm_plugin.touchpoints.steps.duties import load_codes
from tests.factories import order, write
from tests.touchpoints.steps.stage import (
    BOX,
    SEND,
    START,
    Counting,
    inside,
    person,
    plan,
    planned,
    settle,
    stage,
    story,
    turn_on,
)

# When birthdays of 1 June are greeted in Berlin.
TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def shop(db: Database) -> Shop:
    return stage(db)


def test_send_wait_send(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1), person(2, birth_month=7)], START)
    turn_on(db, shop, SEND, {"key": "rest", "wait": {"days": 3}}, {**SEND, "key": "again"})
    assert plan(db, shop, TEN) == {"enrolled": 1, "planned": 1}
    assert inside(db) == {"m1": ("active", "hello", "sent")}
    assert plan(db, shop, TEN + DAY) == {}
    settle(db, TEN + DAY)
    assert plan(db, shop, TEN + 2 * DAY) == {}
    # It counts from when the message left.
    assert inside(db) == {"m1": ("active", "rest", "waits")}
    assert plan(db, shop, TEN + 4 * DAY) == {"planned": 1}
    settle(db, TEN + 4 * DAY)
    plan(db, shop, TEN + 5 * DAY)
    assert inside(db) == {"m1": ("done", "again", "due")}
    assert planned(db) == [(1, "accepted", "", "06-01 08:00"), (3, "accepted", "", "06-05 08:00")]
    assert story(db) == [
        ("enrolled", "", "hello", "", "2026"),
        ("begun", "hello", "hello", "", ""),
        ("done", "hello", "rest", "accepted", ""),
        ("begun", "rest", "rest", "", ""),
        ("done", "rest", "again", "", ""),
        ("begun", "again", "again", "", ""),
        ("done", "again", "", "accepted", ""),
    ]


def test_a_skipped_send_goes_on_at_once(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1, consents=())], START)
    turn_on(db, shop, SEND, {"key": "rest", "wait": {"hours": 1, "minutes": 30}}, {**SEND, "key": "again"})
    assert plan(db, shop, TEN) == {"enrolled": 1, "skipped": 1}
    assert inside(db) == {"m1": ("active", "rest", "waits")}
    assert plan(db, shop, TEN + timedelta(minutes=89)) == {}
    assert plan(db, shop, TEN + timedelta(minutes=90)) == {"skipped": 1}
    assert inside(db) == {"m1": ("done", "again", "due")}
    assert story(db)[2] == ("done", "hello", "rest", "skipped", "no_consent")


def test_after_an_outage_the_stale_is_missed_and_the_rest_goes_on(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    steps = [{**SEND, "key": key} for key in ("one", "two", "three")]
    rest = [{"key": f"rest{number}", "wait": {"days": 4}} for number in (1, 2)]
    turn_on(db, shop, steps[0], rest[0], steps[1], rest[1], steps[2], validity_days=3)
    assert plan(db, shop, TEN + timedelta(days=10)) == {"enrolled": 1, "missed": 2, "planned": 1}
    assert planned(db) == [
        (1, "missed", "window_over", "06-01 08:00"),
        (3, "missed", "window_over", "06-05 08:00"),
        (5, "planned", "", "06-09 08:00"),
    ]


def test_two_sends_after_an_outage_do_not_come_at_once(db: Database, shop: Shop) -> None:
    """Both are still worth reading, but what waits after a message counts from when it left."""
    write(db, shop, [person(1)], START)
    turn_on(db, shop, SEND, {"key": "rest", "wait": {"days": 2}}, {**SEND, "key": "again"}, validity_days=10)
    later = TEN + timedelta(days=5)
    assert plan(db, shop, later) == {"enrolled": 1, "planned": 1}
    settle(db, later)
    assert plan(db, shop, later + DAY) == {}
    assert plan(db, shop, later + 2 * DAY) == {"planned": 1}


@pytest.mark.parametrize(
    ("zone", "until", "due"),
    [
        ("Europe/Berlin", {"weekday": "tue", "at": "09:30"}, "2026-06-02 07:30"),
        ("Europe/Berlin", {"weekday": "mon", "at": "10:00"}, "2026-06-01 08:00"),
        ("Europe/Berlin", {"weekday": "mon", "at": "09:59"}, "2026-06-08 07:59"),
        ("Europe/Berlin", {"at": "23:15"}, "2026-06-01 21:15"),
        ("America/New_York", {"weekday": "sun", "at": "10:00"}, "2026-06-07 14:00"),
        ("Pacific/Kiritimati", {"weekday": "sun", "at": "10:00"}, "2026-06-06 20:00"),
    ],
)
def test_wait_until_an_hour_where_the_member_lives(
    db: Database, shop: Shop, zone: str, until: dict[str, str], due: str
) -> None:
    write(db, shop, [person(1, timezone=zone)], START)
    turn_on(db, shop, {"key": "rest", "wait": {"until": until}}, SEND, at=START - 2 * DAY)
    plan(db, shop, TEN + timedelta(hours=8))
    with db.read() as connection:
        row = connection.execute(select(enrolments.c.due_at, enrolments.c.base_at, enrolments.c.phase)).one()
    # Who waits for the message came to its step at that instant.
    ends = row.base_at if row.phase == "sent" else row.due_at
    assert (f"{ends:%Y-%m-%d %H:%M}", row.phase) == (due, "sent" if ends <= TEN + timedelta(hours=8) else "waits")


@pytest.mark.parametrize(
    ("start", "at", "due"),
    [
        # The clocks go forward on 29 March 2026 and back on 25 October: the hour that is skipped, and the one that comes twice.
        (datetime(2026, 3, 28, 12, tzinfo=UTC), "02:30", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        (datetime(2026, 10, 24, 12, tzinfo=UTC), "02:30", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 24, 12, tzinfo=UTC), "10:00", datetime(2026, 10, 25, 9, 0, tzinfo=UTC)),
    ],
)
def test_wait_until_an_hour_over_a_change_of_the_clocks(start: datetime, at: str, due: datetime) -> None:
    from crm_plugin.store.base import to_micros
    from crm_plugin.touchpoints.steps.waits import spans

    found = [
        till for after, till in spans({"at": at}, "Europe/Berlin", start, start) if after < to_micros(start) <= till
    ]
    assert found == [to_micros(due)]


def test_wait_until_the_day_it_is_about_where_the_member_lives(db: Database, shop: Shop) -> None:
    """Born on 1 June: the announcement a week before, held up for two days for one of them, moves the day itself for nobody."""
    people = [person(1), person(2, timezone="Asia/Shanghai"), person(3, timezone="America/New_York")]
    write(db, shop, people, START - 8 * DAY)
    rest = {"key": "rest", "wait": {"until": {"occasion": 0, "at": "10:00"}}}
    told = {"trigger": {"type": "birthday", "days": -7}, "validity_days": 5}
    turn_on(db, shop, SEND, rest, {**SEND, "key": "day"}, at=START - 8 * DAY, **told)
    plan(db, shop, TEN - 6 * DAY)
    settle(db, TEN - 5 * DAY)
    plan(db, shop, TEN - 5 * DAY)
    e = enrolments.c
    with db.read() as connection:
        found = connection.execute(select(e.step_key, e.due_at).order_by(e.due_at)).all()
    assert [(row.step_key, f"{row.due_at:%m-%d %H:%M}") for row in found] == [
        ("rest", "06-01 02:00"),
        ("rest", "06-01 08:00"),
        ("rest", "06-01 14:00"),
    ]
    plan(db, shop, TEN)
    assert [one for one in planned(db) if one[0] == 3] == [
        (3, "planned", "", "06-01 02:00"),
        (3, "planned", "", "06-01 08:00"),
    ]


def test_wait_until_a_day_that_is_over_is_none(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    rest = {"key": "rest", "wait": {"until": {"occasion": -3, "at": "10:00"}}}
    turn_on(db, shop, rest, SEND)
    assert plan(db, shop, TEN) == {"enrolled": 1, "planned": 1}


def test_a_wait_for_an_order_ends_with_it_or_with_its_time(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1), person(2)], START)
    wait = {"key": "buys", "wait": {"event": "order_placed", "within_days": 7}}
    turn_on(db, shop, {**wait, "then": [{"key": "won", "tag": {"add": ["won"]}}], "else": [{**SEND, "key": "miss"}]})
    plan(db, shop, TEN)
    assert inside(db) == dict.fromkeys(("m1", "m2"), ("active", "buys", "event:order_placed"))
    bought = TEN + 2 * DAY
    write(db, shop, [order("o1", member_external_id="1", placed_at=bought)], bought + timedelta(minutes=5))
    plan(db, shop, bought + timedelta(minutes=6))
    assert inside(db) == {"m1": ("done", "won", "due"), "m2": ("active", "buys", "event:order_placed")}
    assert story(db)[2] == ("done", "buys", "won", "", "then")
    assert plan(db, shop, TEN + timedelta(days=7)) == {"planned": 1}
    assert inside(db)["m2"] == ("active", "miss", "sent")


def test_an_order_from_before_the_wait_was_reached_counts(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    wait = {"key": "buys", "wait": {"event": "order_placed", "within_days": 7}}
    turn_on(db, shop, {**wait, "then": [{"key": "won", "tag": {"add": ["won"]}}]})
    write(db, shop, [order("o1", member_external_id="1", placed_at=TEN + DAY)], TEN + DAY)
    plan(db, shop, TEN + 2 * DAY)
    assert inside(db) == {"m1": ("done", "won", "due")}


def test_what_happened_by_a_clock_ahead_ends_the_wait_when_it_is_so_late(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    turn_on(db, shop, {"key": "buys", "wait": {"event": "order_placed", "within_days": 7}}, SEND)
    plan(db, shop, TEN)
    write(db, shop, [order("o1", member_external_id="1", placed_at=TEN + 3 * HOUR)], TEN + HOUR)
    for hours in (1, 2):
        plan(db, shop, TEN + hours * HOUR)
        assert inside(db) == {"m1": ("active", "buys", "heard")}
    assert plan(db, shop, TEN + 3 * HOUR) == {"planned": 1}
    assert [due for *_, due in planned(db)] == ["06-01 11:00"]


@pytest.mark.parametrize(("machine", "arm"), [(False, "then"), (True, "else")])
def test_a_wait_for_an_opening_is_about_the_message_before(db: Database, shop: Shop, machine: bool, arm: str) -> None:
    write(db, shop, [person(1)], START)
    wait = {"key": "opens", "wait": {"event": "opened", "within_days": 2}}
    turn_on(
        db,
        shop,
        SEND,
        {**wait, "then": [{"key": "warm", "tag": {"add": ["warm"]}}], "else": [{"key": "out", "end": {}}]},
    )
    plan(db, shop, TEN)
    settle(db, TEN)
    plan(db, shop, TEN + timedelta(hours=1))
    assert inside(db) == {"m1": ("active", "opens", "event:opened")}
    opened = TEN + timedelta(hours=2)
    _opened(db, shop, opened, machine=machine)
    plan(db, shop, opened + timedelta(minutes=1))
    plan(db, shop, TEN + timedelta(days=2))
    assert story(db)[4][-1] == arm


def _opened(db: Database, shop: Shop, at: datetime, *, machine: bool = False) -> None:
    """The only message was opened then."""
    told = {"adapter": "smtp", "provider_event_id": "e1", "kind": "opened", "machine": machine, "raw": {}, "reason": ""}
    told |= {"at": at, "received_at": at, "event_id": 7, "shop_id": shop.shop_id}
    with db.write() as connection:
        told["touchpoint_id"] = connection.execute(select(touchpoints.c.touchpoint_id)).scalar_one()
        connection.execute(insert(delivery_events).values(**told))


@pytest.mark.parametrize(("after", "arm"), [(2 * DAY, "then"), (2 * DAY + timedelta(seconds=1), "else")])
def test_an_opening_after_the_time_of_the_wait_is_none_however_late_the_wait_is_found(
    db: Database, shop: Shop, after: timedelta, arm: str
) -> None:
    write(db, shop, [person(1)], START)
    turn_on(db, shop, SEND, {"key": "opens", "wait": {"event": "opened", "within_days": 2}})
    plan(db, shop, TEN)
    settle(db, TEN)
    _opened(db, shop, TEN + after)
    plan(db, shop, TEN + 5 * DAY)
    assert [row[-1] for row in story(db) if row[:2] == ("done", "opens")] == [arm]


def test_an_opening_from_before_the_wait_ends_it_at_once_and_not_earlier(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    rest, later = {"key": "rest", "wait": {"days": 1}}, {"key": "later", "wait": {"days": 1}}
    turn_on(db, shop, SEND, rest, {"key": "opens", "wait": {"event": "opened", "within_days": 2}}, later)
    plan(db, shop, TEN)
    settle(db, TEN)
    plan(db, shop, TEN + timedelta(hours=1))
    _opened(db, shop, TEN + timedelta(hours=2))
    plan(db, shop, TEN + DAY)
    with db.read() as connection:
        e = enrolments.c
        assert connection.execute(select(e.step_key, e.due_at)).all() == [("later", TEN + 2 * DAY)]


@pytest.mark.parametrize(("rule", "phase"), [("orders() == 0", "event:opened"), ("orders() > 0", "heard")])
def test_an_opening_of_the_message_before_the_last_is_none(db: Database, shop: Shop, rule: str, phase: str) -> None:
    """The last may be one that was skipped in the same round."""
    write(db, shop, [person(1)], START)
    skipped = {"key": "skipped", "send": {"template": "hello", "channels": ["sms"]}}
    opens = {"key": "opens", "wait": {"event": "opened", "within_days": 2}}
    turn_on(
        db, shop, SEND, {"key": "none", "branch": rule, "then": [skipped]}, opens, {"key": "rest", "wait": {"days": 1}}
    )
    plan(db, shop, TEN)
    _opened(db, shop, TEN)
    settle(db, TEN)
    plan(db, shop, TEN + HOUR)
    begun = select(enrolment_events.c.phase).where(
        enrolment_events.c.what == "begun", enrolment_events.c.step_key == "opens"
    )
    with db.read() as connection:
        assert connection.execute(begun).scalars().all() == [phase]


def test_branch_and_split(db: Database, shop: Shop) -> None:
    write(db, shop, [person(n) for n in range(1, 41)], START)
    write(db, shop, [order("o1", member_external_id="1", placed_at=START)], START)
    split = {
        "key": "tone",
        "split": {"a": 60, "b": 30, "none": 10},
        "arms": {"a": [{"key": "ta", "tag": {"add": ["a"]}}]},
    }
    turn_on(
        db,
        shop,
        {
            "key": "buyer",
            "branch": "orders() >= 1",
            "then": [{"key": "tb", "tag": {"add": ["buyer"]}}],
            "else": [split],
        },
    )
    plan(db, shop, TEN)
    with db.read() as connection:
        tagged = {tag: set() for tag in ("a", "buyer")}
        for member_id, tag, own in connection.execute(
            select(member_tags.c.member_id, member_tags.c.tag, member_tags.c.own)
        ):
            assert own
            tagged[tag].add(member_id)
        rows = connection.execute(select(members.c.member_id, members.c.external_id)).all()
    buyer = {row.member_id for row in rows if row.external_id == "1"}
    assert tagged["buyer"] == buyer
    wanted = {row.member_id for row in rows if share(shop.shop_id, "j", "split:tone", row.member_id) < 6000} - buyer
    assert tagged["a"] == wanted
    assert {where[0] for where in inside(db).values()} == {"done"}


def test_what_a_rule_cannot_tell_goes_the_other_way(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    turn_on(
        db, shop, {"key": "late", "branch": "days_since_order > 3", "then": [SEND], "else": [{"key": "out", "end": {}}]}
    )
    plan(db, shop, TEN)
    assert inside(db) == {"m1": ("done", "out", "due")}


def test_coupons_are_handed_out_once_and_run_out(db: Database, shop: Shop) -> None:
    write(db, shop, [person(n) for n in range(1, 6)], START)
    with db.write() as connection:
        ours = {"shop_id": shop.shop_id, "pool_key": "p"}
        connection.execute(insert(coupon_pools).values(**ours, title="", created_at=START))
        codes = [{**ours, "code": f"C{place}", "place": place} for place in range(3)]
        connection.execute(insert(coupon_codes), codes)
    turn_on(db, shop, {"key": "code", "coupon": {"pool": "p"}}, SEND)
    assert plan(db, shop, TEN) == {"enrolled": 5, "planned": 5}
    with db.read() as connection:
        c = coupon_codes.c
        handed = connection.execute(select(c.code, c.enrolment_id, c.member_id).order_by(c.code)).all()
        e = enrolments.c
        whose = {row.enrolment_id: row.member_id for row in connection.execute(select(e.enrolment_id, e.member_id))}
    assert [row.code for row in handed] == ["C0", "C1", "C2"]
    assert len({row.enrolment_id for row in handed}) == 3
    assert all(whose[row.enrolment_id] == row.member_id for row in handed)
    told = [story(db, who)[1] for who in range(1, 6)]
    assert sorted((one[3], one[4]) for one in told) == [
        ("", "C0"),
        ("", "C1"),
        ("", "C2"),
        ("no_stock", ""),
        ("no_stock", ""),
    ]


def test_code_past_what_takes_time_is_handed_out(db: Database, shop: Shop) -> None:
    """A message that is skipped, and a wait that is found to be over: nobody knew in time that somebody would come to it."""
    write(db, shop, [person(1), person(2)], START)
    with db.write() as connection:
        load_codes(connection, shop, "p", ["A", "B", "C"], START)
    skipped = {"key": "skipped", "send": {"template": "hello", "channels": ["sms"]}}
    code = {"key": "code", "coupon": {"pool": "p"}}
    turn_on(db, shop, {"key": "first", "coupon": {"pool": "p"}}, {"key": "rest", "wait": {"hours": 1}}, skipped, code)
    for at in (TEN, TEN + 2 * HOUR):
        plan(db, shop, at)
    told = [[detail for _what, step, _to, _reason, detail in story(db, who) if step == "code"] for who in (1, 2)]
    assert sorted(told) == [[""], ["C"]]


def test_code_that_was_made_for_a_member_is_theirs_alone(db: Database, shop: Shop) -> None:
    write(db, shop, [person(n) for n in range(1, 4)], START)
    with db.write() as connection:
        ids = {row.external_id: row.member_id for row in connection.execute(select(members))}
        ours = {"shop_id": shop.shop_id, "pool_key": "p"}
        connection.execute(insert(coupon_pools).values(**ours, title="", created_at=START))
        # Two for the second member, one for nobody in particular, and one for somebody who does not come.
        whose = [ids["2"], ids["2"], None, 99]
        codes = [{**ours, "code": f"C{place}", "place": place, "member_id": who} for place, who in enumerate(whose)]
        connection.execute(insert(coupon_codes), codes)
    turn_on(db, shop, {"key": "code", "coupon": {"pool": "p"}}, SEND)
    assert plan(db, shop, TEN) == {"enrolled": 3, "planned": 3}
    told = [story(db, who)[1] for who in range(1, 4)]
    assert told[1][3:5] == ("", "C0")
    assert sorted(one[3:5] for one in (told[0], told[2])) == [("", "C2"), ("no_stock", "")]


def test_own_code_is_handed_out_whatever_version_others_are_on(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1), person(2, birth_day=2)], START)
    with db.write() as connection:
        load_codes(connection, shop, "p", ["A", "B", "C"], START)
        who = select(members.c.member_id).where(members.c.external_id == "1").scalar_subquery()
        connection.execute(update(coupon_codes).where(coupon_codes.c.code == "B").values(member_id=who))
    for day, hours in ((0, 30), (1, 6)):
        turn_on(db, shop, {"key": "rest", "wait": {"hours": hours}}, {"key": "code", "coupon": {"pool": "p"}})
        plan(db, shop, TEN + day * DAY)
    plan(db, shop, TEN + DAY + 6 * HOUR)
    assert [story(db, who)[-1][4] for who in (1, 2)] == ["B", "A"]


def test_steps_of_one_round_see_what_those_before_them_brought(db: Database, shop: Shop) -> None:
    """A rule is asked anew once a step before it has changed what it asks for, also one that was asked before."""
    write(db, shop, [person(1)], START)
    with db.write() as connection:
        levels = [tiers.read_level({"key": "gold", "title": {"en": "Gold"}, "rule": "spent() >= 1000"})]
        tiers.put_main_levels(connection, shop, levels, START)

    def asks(key: str, rule: str) -> dict[str, Any]:
        return {"key": key, "branch": rule}

    turn_on(
        db,
        shop,
        asks("fresh", 'tag("a")'),
        {"key": "give", "tag": {"add": ["a"]}},
        asks("tagged", 'tag("a")'),
        asks("plain", 'tier == "gold"'),
        {"key": "lift", "tier": {"level": "gold", "reason": "x"}},
        asks("golden", 'tier == "gold"'),
        {"key": "take", "tag": {"remove": ["a"]}},
        asks("bare", 'tag("a")'),
        {"key": "gives", "tag": {"add": ["b"]}},
        {"key": "takes", "tag": {"remove": ["b"]}},
        goal='tag("b")',
    )
    plan(db, shop, TEN)
    assert inside(db) == {"m1": ("goal", "takes", "")}
    arms = {step: arm for what, step, _to, _reason, arm in story(db) if arm in ("then", "else")}
    assert arms == {"fresh": "else", "tagged": "then", "plain": "else", "golden": "then", "bare": "else"}
    with db.read() as connection:
        assert connection.execute(select(member_tags.c.tag)).scalars().all() == ["b"]


def test_more_than_are_in_hand_at_once(db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST", 3)
    write(db, shop, [person(n) for n in range(7)], START)
    turn_on(db, shop, SEND, {"key": "t", "tag": {"add": ["a"]}}, {"key": "rest", "wait": {"days": 1}})
    assert plan(db, shop, TEN) == {"enrolled": 7, "planned": 7}
    settle(db, TEN)
    plan(db, shop, TEN + timedelta(hours=1))
    assert set(inside(db).values()) == {("active", "rest", "waits")}
    assert all(
        [what for what, *_ in story(db, who)] == ["enrolled", "begun", "done", "done", "begun"] for who in range(7)
    )


def test_more_waits_end_than_are_in_hand_at_once(db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST", 3)
    write(db, shop, [person(n) for n in range(7)], START)
    turn_on(db, shop, {"key": "buys", "wait": {"event": "order_placed", "within_days": 7}})
    plan(db, shop, TEN)
    orders = [order(f"o{n}", member_external_id=str(n), placed_at=TEN + DAY) for n in range(7)]
    write(db, shop, orders, TEN + DAY)
    plan(db, shop, TEN + DAY)
    assert set(inside(db).values()) == {("done", "buys", "due")}


def test_whoever_is_due_is_heard_where_more_are_than_are_in_hand_at_once(
    db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happened in time ends their wait, though the time is over when the round finds it."""
    monkeypatch.setattr(engine, "MOST", 3)
    write(db, shop, [person(10 * day + n, birth_day=day) for n in range(3) for day in (1, 2)], START)
    for day, within in ((1, 9), (2, 2)):
        turn_on(db, shop, {"key": "buys", "wait": {"event": "order_placed", "within_days": within}})
        plan(db, shop, TEN + (day - 1) * DAY)
    at = TEN + 2 * DAY
    everybody = [10 * day + n for n in range(3) for day in (1, 2)]
    write(db, shop, [order(f"o{who}", member_external_id=str(who), placed_at=at) for who in everybody], at)
    plan(db, shop, TEN + 4 * DAY)
    assert [story(db, who)[-1] for who in everybody] == [("done", "buys", "", "", "then")] * 6


def test_message_that_is_settled_as_it_is_planned_is_passed_in_the_same_round(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1, consents=()), person(2)], START)
    turn_on(db, shop, SEND, {"key": "rest", "wait": {"days": 1}})
    assert plan(db, shop, TEN) == {"enrolled": 2, "planned": 1, "skipped": 1}
    assert inside(db) == {"m1": ("active", "rest", "waits"), "m2": ("active", "hello", "sent")}
    assert ("done", "hello", "rest", "skipped", "no_consent") in story(db)
    with db.read() as connection:
        t = touchpoints.c
        assert set(connection.execute(select(t.state, t.taken_up))) == {("skipped", True), ("planned", False)}


def test_tasks(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1), person(2)], START)
    turn_on(db, shop, {"key": "call", "task": {"title": {"en": "Call"}, "due_days": 3, "owner": "Eva"}})
    plan(db, shop, TEN)
    plan(db, shop, TEN + DAY)
    with db.read() as connection:
        found = connection.execute(select(tasks)).all()
    assert [(row.title, row.owner, row.due_on.isoformat(), row.done_at) for row in found] == [
        ({"en": "Call"}, "Eva", "2026-06-04", None)
    ] * 2
    assert len({row.task_id for row in found}) == 2


def test_tags_are_taken_where_they_are_our_own(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1, tags=("store",)), person(2)], START)
    with db.write() as connection:
        ids = connection.execute(select(members.c.member_id).order_by(members.c.external_id)).scalars().all()
        connection.execute(
            insert(member_tags), [{"shop_id": 1, "member_id": one, "tag": "ours", "own": True} for one in ids]
        )
    turn_on(db, shop, {"key": "clean", "tag": {"remove": ["ours", "store"]}})
    plan(db, shop, TEN)
    with db.read() as connection:
        assert [tuple(row) for row in connection.execute(select(member_tags.c.tag, member_tags.c.own))] == [
            ("store", False)
        ]
        touched = connection.execute(select(members.c.touched_at)).scalars().all()
    assert touched == [TEN, TEN]


def test_levels_are_fixed_for_a_time(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1), person(2)], START)
    with db.write() as connection:
        levels = [tiers.read_level({"key": "gold", "title": {"en": "Gold"}, "rule": "spent() >= 1000"})]
        tiers.put_main_levels(connection, shop, levels, START)
    step = {"level": "gold", "reason": "A second chance", "until_days": 30}
    turn_on(db, shop, {"key": "lift", "tier": step}, {"key": "no", "tier": {"level": "gone", "reason": "x"}})
    plan(db, shop, TEN)
    with db.read() as connection:
        t = member_tiers.c
        held = connection.execute(select(t.level_key, t.fixed, t.fixed_until, t.fixed_by)).all()
    assert [(row[0], row[1], row[2].isoformat(), row[3]) for row in held] == [
        ("gold", True, "2026-07-01", "journey j")
    ] * 2
    assert story(db)[2][3:] == ("refused", "There is no tier 'gone'.")


def test_goal_audience_and_deletion_end_it_before_the_next_step(db: Database, shop: Shop) -> None:
    write(
        db,
        shop,
        [person(1), person(2, tags=("in",)), person(3, tags=("in",)), person(4, tags=("in",)), person(5, tags=("in",))],
        START,
    )
    turn_on(
        db,
        shop,
        SEND,
        {"key": "rest", "wait": {"days": 1}},
        {**SEND, "key": "again"},
        audience='tag("in")',
        goal="orders() >= 1",
    )
    assert plan(db, shop, TEN) == {"enrolled": 4, "planned": 4}
    settle(db, TEN)
    plan(db, shop, TEN + timedelta(hours=1))
    write(db, shop, [order("o1", member_external_id="2", placed_at=TEN)], TEN)
    write(db, shop, [person(3, tags=())], TEN)
    with db.write() as connection:
        connection.execute(update(members).where(members.c.external_id == "4").values(state="deleted"))
    assert plan(db, shop, TEN + DAY) == {"planned": 1}
    assert inside(db) == {
        "m2": ("goal", "again", ""),
        "m3": ("audience", "again", ""),
        "m4": ("member_gone", "again", ""),
        "m5": ("active", "again", "sent"),
    }


def test_with_exit_never_the_audience_is_asked_at_the_door_alone(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1, tags=("in",)), person(2)], START)
    turn_on(db, shop, {"key": "rest", "wait": {"days": 1}}, SEND, audience='tag("in")', exit="never")
    assert plan(db, shop, TEN) == {"enrolled": 1}
    write(db, shop, [person(1, tags=())], TEN)
    assert plan(db, shop, TEN + DAY) == {"planned": 1}


def test_a_rule_that_cannot_be_asked_stands_still_and_is_told(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    turn_on(db, shop, {"key": "who", "branch": 'segment("gone")', "then": [SEND]})
    report = plan_shop(db, shop, TEN)
    assert list(report.problems) == ["j"]
    assert inside(db) == {}


@pytest.mark.parametrize("crowd", [3, 60])
def test_statements_depend_on_steps_and_not_on_members(db: Database, shop: Shop, crowd: int) -> None:
    write(db, shop, [person(n) for n in range(crowd)], START)
    turn_on(
        db,
        shop,
        {"key": "t", "tag": {"add": ["x"]}},
        {"key": "b", "branch": "orders() >= 1"},
        SEND,
        {"key": "w", "wait": {"days": 1}},
    )
    with Counting(db) as ran:
        assert plan(db, shop, TEN) == {"enrolled": crowd, "planned": crowd}
    assert ran.count == STATEMENTS[db.is_sqlite]
    with Counting(db) as idle:
        plan(db, shop, TEN + timedelta(hours=1))
    assert idle.count == IDLE[db.is_sqlite]


STATEMENTS = {True: 16, False: 12}
IDLE = {True: 10, False: 9}


def test_a_webhook_goes_through_the_outbox(db: Database, shop: Shop) -> None:
    """Also for who agreed to nothing, at night, and with what another system has to know: ids, the coupon, what the step says."""
    write(db, shop, [person(1, consents=(), timezone="Asia/Tokyo")], START)
    senders.save_connection(db, BOX, shop, "webhook", {"signing_secret": "0123456789abcdef"}, START, probe=False)
    hook = {"url": "https://erp.example/hook", "event": "won", "fields": ["member", "coupon"], "body": {"list": "lost"}}
    step = {"key": "tell", "webhook": hook}
    turn_on(db, shop, step, {"key": "out", "end": {}}, at=START - DAY)
    night = datetime(2026, 6, 1, 15, 0, tzinfo=UTC)
    assert plan(db, shop, night) == {"enrolled": 1, "planned": 1}
    calls: list[tuple[str, str, Any]] = []

    class System:
        parallel, most_a_minute, flow = 1, 0, staticmethod(lambda: None)

        def send(self, message: Message, *, idempotency_key: str) -> SendResult:
            calls.append((message.to, idempotency_key, json.loads(message.text)))
            return SendResult(idempotency_key)

        def close(self) -> None: ...

    ways = Ways(compose, lambda *_a, **_k: System())  # type: ignore[arg-type,return-value]
    assert dispatch_shop(db, BOX, shop, night, ways=ways).states == {"accepted": 1}
    plan(db, shop, night + timedelta(minutes=1))
    assert inside(db) == {"m1": ("done", "out", "due")}
    with db.read() as connection:
        member_id = connection.execute(select(members.c.member_id)).scalar_one()
    assert calls == [
        (
            "https://erp.example/hook",
            f"j:{member_id}:1:2026",
            {
                "event": "won",
                "journey": "j",
                "version": 1,
                "step": "tell",
                "member": {"id": str(member_id), "external_id": "1"},
                "coupon": None,
                "body": {"list": "lost"},
            },
        )
    ]
