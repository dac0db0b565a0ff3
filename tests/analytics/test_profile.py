"""One member's page: the whole story in order, why this tier, what the next one needs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select

from crm_plugin.analytics import members as lists
from crm_plugin.analytics.timeline import TermChanged, TierChanged
from crm_plugin.errors import NotFound
from crm_plugin.ids import new_id
from crm_plugin.records import ConsentRecord, ConsentState, OrderLineRecord, OrderStatus
from crm_plugin.rules import by_hand, tiers
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.store import consent, journeys, orders, touchpoint_contents, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.factories import make_shop, member, order, refund, write

JOINED = datetime(2026, 1, 1, 12, tzinfo=UTC)
TODAY = date(2026, 6, 1)
LEVELS = [tiers.Level("silver", "spent() >= 50", {"en": "Silver"}), tiers.Level("gold", "spent() >= 500 and tag('x')")]


def at(day: int) -> datetime:
    return JOINED + timedelta(days=day)


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        made = make_shop(connection)
        make_shop(connection, 2)
        tiers.save_levels(connection, made, LEVELS, JOINED)
        row = {"trigger": "birthday", "template_key": "greet", "updated_at": JOINED}
        connection.execute(insert(journeys).values(shop_id=1, journey_key="greet", title={"en": "Birthday"}, **row))
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=at(1), wording="Yes please"),)
    person = member(
        "1",
        email="ada@x.test",
        phone="+493012345",
        first_name="Ada",
        joined_at=JOINED,
        birth_month=12,
        birth_day=10,
        tags=("vip",),
        consents=yes,
        attributes={"size": "M"},
    )
    write(db, made, [person, member("2", email="ben@x.test")], JOINED)
    lines = (OrderLineRecord(sku="A", title="Shirt", quantity=2, total_minor=9_000),)
    write(db, made, [order("o1", 9_000, number="101", member_external_id="1", placed_at=at(2), lines=lines)], at(2))
    gone = order("o2", 100, member_external_id="1", placed_at=at(3), status=OrderStatus.CANCELLED)
    write(db, made, [gone, order("o3", 5, member_external_id="1", status=OrderStatus.TRASH)], at(3))
    write(db, made, [refund("r1", 1_000, order_external_id="o1", refunded_at=at(4), reason="Too small")], at(4))
    tiers.apply(db, made, as_of=at(5).date(), now=at(5))
    return made


def _contact(db: Database, member_id: int, state: str, **more: Any) -> None:
    touchpoint_id = new_id()
    row = {
        "journey_key": "greet",
        "occasion": str(touchpoint_id),
        "occasion_on": TODAY,
        "channel": "email",
        "due_at": at(6),
        "next_try_at": at(6),
        "valid_until": at(9),
        "planned_at": at(6),
        "updated_at": at(6),
    }
    with db.write() as connection:
        ids = {"shop_id": 1, "touchpoint_id": touchpoint_id}
        connection.execute(insert(touchpoints).values(**ids, member_id=member_id, state=state, **{**row, **more}))
        connection.execute(
            insert(touchpoint_contents).values(**ids, subject="Happy birthday", body_text="", rendered_at=at(6))
        )


def _find(db: Database, shop: Shop, told: str = "ada@x.test") -> int:
    with db.read() as connection:
        return lists.find(connection, shop, told)


def test_timeline_tells_everything_newest_first(db: Database, shop: Shop) -> None:
    member_id = _find(db, shop)
    _contact(db, member_id, "accepted", accepted_at=at(6))
    _contact(db, member_id, "skipped", reason="no_consent", settled_at=at(7))
    _contact(db, member_id, "planned", next_try_at=at(30))
    _contact(db, _find(db, shop, "ben@x.test"), "accepted", accepted_at=at(8))
    with db.read() as connection:
        seen = lists.profile(connection, shop, member_id, TODAY)
        short = lists.profile(connection, shop, member_id, TODAY, limit=2)
    told = [(event.kind, event.at) for event in seen.timeline]
    assert told == [
        ("touchpoint", at(7)),
        ("touchpoint", at(6)),
        ("tier", at(5)),
        ("refund", at(4)),
        ("order", at(3)),
        ("order", at(2)),
        ("consent", at(1)),
        ("joined", JOINED),
    ]
    assert short.timeline == seen.timeline[:2]
    assert [(one.state, one.at, one.subject) for one in seen.upcoming] == [("planned", at(30), "Happy birthday")]


def test_timeline_tells_what_became_of_a_level(db: Database, shop: Shop) -> None:
    member_id = _find(db, shop)
    with db.write() as connection:
        desk = by_hand.Desk(connection, shop, at(6), "test")
        by_hand.fix(desk, member_id, "silver", "She asked")
    with db.read() as connection:
        seen = lists.profile(connection, shop, member_id, TODAY)
        told = seen.timeline[0]
        assert told == TermChanged(at(6), "silver", "by_hand", at(6).date(), {"reason": "She asked", "by": "test"})
        assert lists.profile(connection, shop, _find(db, shop, "ben@x.test"), TODAY).timeline == ()
    assert seen.as_dict()["timeline"][0]["kind"] == "term"


def test_other_programmes_are_told_beside(db: Database, shop: Shop) -> None:
    member_id = _find(db, shop)
    club = {"program": "club", "term": {"days": 9}, "levels": [{"key": "a", "rule": "orders() >= 1"}]}
    told = {"as_of": at(6).date(), "now": at(6), "actor": "test"}
    tiers.save_policy_and_apply(db, shop, read_policy(club), **told)
    with db.read() as connection:
        seen = lists.profile(connection, shop, member_id, TODAY)
    assert (seen.tier.key, list(seen.tier.others)) == ("silver", ["club"])
    held = seen.tier.others["club"]
    assert (held.level, held.since_on, held.valid_until) == ("a", at(6).date(), at(14).date())
    assert [(one.kind, one.program) for one in seen.timeline if isinstance(one, TierChanged)] == [
        ("tier", "club"),
        ("tier", "main"),
    ]
    assert seen.as_dict()["tier"]["others"] == {"club": "a"}


@pytest.mark.slow
def test_history_is_read_once_for_all_levels(db: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    member_id, numbers = _find(db, shop), []
    event.listen(db.engine, "before_cursor_execute", note)
    try:
        for count in (1, 9):
            with db.write() as connection:
                ladder = [tiers.Level(f"l{number}", f"orders() >= {number}") for number in range(1, count + 1)]
                tiers.save_levels(connection, shop, ladder, JOINED)
            with db.read() as connection:
                asked.clear()
                seen = lists.profile(connection, shop, member_id, TODAY)
            assert [level.explanation.matches for level in seen.tier.levels] == [True] + [False] * (count - 1)
            numbers.append(len(asked))
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    assert numbers[0] == numbers[1]


def test_timeline_entries_hold_their_numbers(db: Database, shop: Shop) -> None:
    with db.read() as connection:
        seen = lists.profile(connection, shop, _find(db, shop), TODAY).as_dict()
        order_id = connection.execute(select(orders.c.order_id).where(orders.c.external_id == "o1")).scalar_one()
    told = {(event["kind"], event["at"]): event for event in seen["timeline"]}
    assert told["order", at(2)] == {
        "kind": "order",
        "at": at(2),
        "order_id": str(order_id),
        "number": "101",
        "status": "completed",
        "counts": True,
        "total_minor": 9_000,
        "currency": "EUR",
        "lines": ({"title": "Shirt", "sku": "A", "quantity": 2.0, "total_minor": 9_000},),
    }
    assert not told["order", at(3)]["counts"]
    given = told["refund", at(4)]
    assert (given["order_number"], given["amount_minor"], given["reason"]) == ("101", 1_000, "Too small")
    moved = told["tier", at(5)]
    assert (moved["from_level"], moved["to_level"], moved["reason"]["rule"]) == ("", "silver", "spent() >= 50")
    assert moved["reason"]["values"] == {"spent()": "80.00"}


def test_profile_says_who_and_what_is_allowed(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        consent.suppress(connection, 1, "sms", "+493012345", reason="bounce", at=at(9), source="twilio")
        consent.suppress(connection, 1, "email", "other@x.test", reason="bounce", at=at(9), source="smtp")
    with db.read() as connection:
        seen = lists.profile(connection, shop, _find(db, shop), TODAY)
    assert (seen.name, seen.birth_md, seen.tags, seen.attributes) == ("Ada", 1210, ("vip",), {"size": "M"})
    assert {(one.kind, one.value) for one in seen.identities} >= {("email", "ada@x.test"), ("phone", "+493012345")}
    assert (seen.facts.orders, seen.facts.spent_minor, seen.facts.average_minor) == (1, 8_000, 9_000)
    assert [(one.channel, one.topic, one.state) for one in seen.permissions] == [("email", "marketing", "granted")]
    assert [one.wording for one in seen.consent_log] == ["Yes please"]
    assert [(one.channel, one.reason) for one in seen.suppressions] == [("sms", "bounce")]


def test_tier_says_why_and_what_is_missing(db: Database, shop: Shop) -> None:
    with db.read() as connection:
        tier = lists.profile(connection, shop, _find(db, shop), TODAY).tier
    assert (tier.key, tier.since_on) == ("silver", at(5).date())
    assert tier.level is not None
    assert [(leaf.text, leaf.truth) for leaf in tier.level.explanation.leaves] == [("spent() >= 50", True)]
    assert tier.next is not None
    assert tier.next.key == "gold"
    assert [(leaf.text, leaf.truth) for leaf in tier.next.explanation.leaves] == [
        ("spent() >= 500", False),
        ('tag("x")', False),
    ]


def test_tier_taken_out_of_the_programme_is_still_named(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        tiers.save_levels(connection, shop, LEVELS[1:], at(6))
    with db.read() as connection:
        tier = lists.profile(connection, shop, _find(db, shop), TODAY).tier
    assert (tier.key, tier.level) == ("silver", None)
    assert tier.next is not None
    assert tier.next.key == "gold"


def test_member_of_whom_nothing_is_known(db: Database, shop: Shop) -> None:
    with db.read() as connection:
        seen = lists.profile(connection, shop, _find(db, shop, "2"), TODAY)
    assert (seen.facts.orders, seen.facts.average_minor, seen.tier.key, seen.timeline, seen.upcoming) == (
        0,
        None,
        "",
        (),
        (),
    )


def test_other_shop_sees_nobody(db: Database, shop: Shop) -> None:
    member_id = _find(db, shop)
    with db.write() as connection:
        other = make_shop(connection, 3)
    with db.read() as connection, pytest.raises(NotFound):
        lists.profile(connection, other, member_id, TODAY)
