"""From a draft to what runs: what is refused and where, pauses and what became late, archives, moving to another version, insiders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.rules import segments
from crm_plugin.store import coupon_codes, coupon_pools, enrolment_events, enrolments, journeys, members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import publishing, texts
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.journeys import get
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.steps import insiders, moving
from crm_plugin.touchpoints.steps.checks import warnings
from tests.factories import write
from tests.touchpoints.steps.stage import (
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
)

TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
REST = {"key": "rest", "wait": {"days": 3}}
OUT = {"key": "out", "end": {}}


@pytest.fixture
def shop(db: Database) -> Shop:
    return stage(db)


def _told(*steps: dict[str, Any], **told: Any) -> dict[str, Any]:
    return {"key": "j", "trigger": {"type": "birthday", "days": 0}, "steps": list(steps), **told}


def _publish(db: Database, shop: Shop, *steps: dict[str, Any], **told: Any) -> Journey:
    with db.write() as connection:
        publishing.save_draft(connection, shop, _told(*steps, **told), START)
        return publishing.publish(connection, shop, "j", START)


def _send(template: str, *channels: str) -> dict[str, Any]:
    return {"key": "hello", "send": {"template": template, "channels": list(channels)}}


@pytest.mark.parametrize(
    ("steps", "more", "field", "message"),
    [
        ([_send("gone", "email")], {}, "steps.hello.channels", "The journey has no text for email."),
        ([_send("hello", "inapp", "email")], {}, "steps.hello.channels", "The journey has no text for in-app."),
        (
            [_send("mixed", "email", "inapp")],
            {},
            "steps.hello.template",
            "The step hello has no in-app text in zh-CN, in which other messages of the journey are written.",
        ),
        ([_send("phone", "sms")], {}, "steps.hello.channels", "The step hello has no sender for sms."),
        ([OUT, SEND], {}, "steps.hello", "Nobody comes to the step hello: every way ends before it."),
        (
            [{"key": "b", "branch": "everyone", "then": [OUT], "else": [{"key": "x", "end": {}}]}, SEND],
            {},
            "steps.hello",
            "Nobody comes to the step hello: every way ends before it.",
        ),
        (
            [{"key": "w", "wait": {"days": 200}}, {"key": "v", "wait": {"days": 166}}],
            {},
            "steps.v",
            "At the step v somebody may be inside for 366 days.",
        ),
        (
            [{"key": "w", "wait": {"days": 12}}, SEND],
            {"trigger": {"type": "birthday", "days": -7}},
            "steps.hello",
            "The step hello may come 5 days after what the journey is about, when it is worth nothing any more.",
        ),
        (
            [{"key": "w", "wait": {"until": {"occasion": 5, "at": "10:00"}}}, SEND],
            {"trigger": {"type": "birthday", "days": -7}},
            "steps.hello",
            "The step hello may come 5 days after what the journey is about, when it is worth nothing any more.",
        ),
        (
            [{"key": "w", "wait": {"until": {"occasion": 180, "at": "10:00"}}}, {"key": "v", "wait": {"days": 179}}],
            {"trigger": {"type": "birthday", "days": -7}},
            "steps.v",
            "At the step v somebody may be inside for 366 days.",
        ),
        (
            [{"key": "c", "coupon": {"pool": "empty"}}],
            {},
            "steps.c.pool",
            "The pool empty of the step c has no codes left.",
        ),
        ([{"key": "t", "tier": {"level": "gold", "reason": "x"}}], {}, "steps.t.level", "There is no tier 'gold'."),
    ],
)
def test_what_it_lacks_is_told_with_its_place_and_nothing_is_published(
    db: Database, shop: Shop, steps: list[dict[str, Any]], more: dict[str, Any], field: str, message: str
) -> None:
    with db.write() as connection:
        for channel, locale in (("email", "en"), ("email", "zh-CN"), ("inapp", "en")):
            texts.put(connection, shop.shop_id, Text("mixed", channel, locale, subject="Hi", body_text="Hi."), START)
        texts.put(connection, shop.shop_id, Text("phone", "sms", "en", body_text="Hi. Reply STOP to opt out"), START)
    with pytest.raises(InvalidInput) as caught:
        _publish(db, shop, *steps, **more)
    assert (caught.value.field, caught.value.message) == (field, message)
    with db.read() as connection:
        assert connection.execute(select(journeys.c.journey_key).where(journeys.c.enabled)).all() == []


@pytest.mark.parametrize("wait", [{"occasion": 0, "at": "10:00"}, {"occasion": 3, "at": "10:00"}])
def test_a_wait_until_the_occasion_ends_on_a_day_however_long_it_took_to_come_there(
    db: Database, shop: Shop, wait: dict[str, Any]
) -> None:
    until = {"key": "day", "wait": {"until": wait}}
    published = _publish(db, shop, REST, until, SEND, trigger={"type": "birthday", "days": -7}, validity_days=3)
    assert published.status == "on"


@pytest.mark.parametrize(
    ("steps", "more", "path"),
    [
        ([SEND], {"audience": 'segment("gone")'}, "audience"),
        ([SEND], {"goal": 'segment("gone")'}, "goal"),
        ([{"key": "b", "branch": 'segment("gone")', "then": [SEND]}], {}, "steps.b"),
    ],
)
def test_a_dead_segment_is_told_with_its_place(
    db: Database, shop: Shop, steps: list[dict[str, Any]], more: dict[str, Any], path: str
) -> None:
    with pytest.raises(CrmError) as caught:
        _publish(db, shop, *steps, **more)
    assert caught.value.path.startswith(path)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("steps", "more"),
    [
        ([SEND], {"goal": 'segment("kept")'}),
        ([{"key": "b", "branch": "everyone", "else": [{"key": "c", "branch": 'segment("kept")'}]}], {}),
        ([{"key": "s", "split": {"a": 50, "b": 50}, "arms": {"b": [{"key": "c", "branch": 'segment("kept")'}]}}], {}),
    ],
)
def test_a_segment_that_a_step_asks_for_cannot_be_removed(
    db: Database, shop: Shop, steps: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    with db.write() as connection:
        segments.save(connection, shop, "kept", "orders() >= 1", START)
        publishing.save_draft(connection, shop, _told(*steps, **more), START)
        with pytest.raises(InvalidInput, match="The journey j keeps its rule"):
            segments.remove(connection, shop, "kept", START)


def test_a_draft_changes_nothing_until_it_is_published(db: Database, shop: Shop) -> None:
    assert _publish(db, shop, SEND).status == "on"
    with db.write() as connection:
        publishing.save_draft(connection, shop, _told(REST, SEND), START)
        still = get(connection, shop.shop_id, "j")
        assert ([step.key for step in still.flow.steps], still.version) == (["hello"], 1)
        published = publishing.publish(connection, shop, "j", START)
    assert ([step.key for step in published.flow.steps], published.version) == (["rest", "hello"], 2)
    assert published.draft is None


def test_a_channel_without_a_sender_beside_others_is_a_warning(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        texts.put(connection, shop.shop_id, Text("hello", "sms", "en", body_text="Hi. Reply STOP to opt out"), START)
    journey = _publish(db, shop, _send("hello", "email", "sms"))
    with db.read() as connection:
        assert warnings(connection, shop, journey) == ["The step hello has no sender for sms."]


def test_tags_that_members_come_by_on_the_way_are_not_missed(db: Database, shop: Shop) -> None:
    mark = {"key": "mark", "tag": {"add": ["told"]}}
    asks = {"key": "asks", "branch": {"rule": 'tag("told") or tag("left:price") or tag("tolled")'}, "then": [SEND]}
    journey = _publish(db, shop, mark, asks)
    with db.read() as connection:
        assert warnings(connection, shop, journey) == ["No member has a tag, so nobody has 'tolled'."]


def test_a_pause_keeps_what_waits_and_tells_what_became_late(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1), person(2, birth_day=3), person(3, birth_day=9), person(4)], START)
    _publish(db, shop, SEND, REST, {**SEND, "key": "again"}, validity_days=3)
    assert plan(db, shop, TEN) == {"enrolled": 2, "planned": 2}
    with db.write() as connection:
        connection.execute(update(members).where(members.c.external_id == "4").values(state="deleted"))
        assert publishing.pause(connection, shop, "j", TEN).status == "paused"
    assert plan(db, shop, TEN + 2 * DAY) == {}
    later = TEN + timedelta(days=8, hours=1)
    with db.read() as connection:
        told = publishing.late(connection, shop, "j", later)
    assert told.as_dict() == {
        "messages_valid": 0,
        "messages_missed": 2,
        "occasions_valid": 1,
        "occasions_missed": 1,
        "inside_valid": 0,
        "inside_missed": 0,
        "valid": 1,
        "missed": 3,
    }
    with db.write() as connection:
        journey, same = publishing.resume(connection, shop, "j", later)
        assert (journey.status, same) == ("on", told)
        with pytest.raises(InvalidInput, match="not paused"):
            publishing.resume(connection, shop, "j", later)
    assert plan(db, shop, later) == {"enrolled": 2, "missed": 2, "planned": 1}


def test_steps_due_in_a_pause_are_counted_too(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    _publish(db, shop, REST, SEND, validity_days=2)
    plan(db, shop, TEN)
    with db.write() as connection:
        publishing.pause(connection, shop, "j", TEN)
        assert publishing.late(connection, shop, "j", TEN + 4 * DAY).inside_valid == 1
        publishing.resume(connection, shop, "j", TEN + 6 * DAY)
    assert plan(db, shop, TEN + 6 * DAY) == {"missed": 1}
    assert planned(db) == [(2, "missed", "window_over", "06-04 08:00")]


def test_an_archive_ends_all_and_is_opened_only_by_publishing(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1)], START)
    _publish(db, shop, SEND)
    plan(db, shop, TEN)
    with db.write() as connection:
        journey, ended = publishing.archive(connection, shop, "j", TEN)
        assert (journey.status, ended) == ("archived", 1)
        with pytest.raises(InvalidInput, match="archived"):
            journey_store.switch(connection, shop, "j", True, TEN)
    assert inside(db) == {"m1": ("archived", "hello", "")}
    assert [row[1:3] for row in planned(db)] == [("cancelled", "journey_off")]
    assert story(db)[-1] == ("ended", "hello", "", "archived", "")
    with db.write() as connection:
        assert publishing.publish(connection, shop, "j", TEN + DAY).status == "on"


def test_moving_to_the_newest_version_is_looked_at_before(db: Database, shop: Shop) -> None:
    write(db, shop, [person(n) for n in (1, 2)] + [person(3, consents=())], START)
    _publish(db, shop, SEND, REST, {**SEND, "key": "old"})
    plan(db, shop, TEN)
    with db.write() as connection:
        publishing.save_draft(connection, shop, _told(REST, {"key": "new", "tag": {"add": ["x"]}}), TEN)
        publishing.publish(connection, shop, "j", TEN)
        seen = moving.preview(connection, shop, "j")
        assert [(one.version, one.step_key, one.count, one.to_step) for one in seen] == [
            (1, "hello", 2, ""),
            (1, "rest", 1, "rest"),
        ]
        moved, stay = moving.move(connection, shop, "j", TEN)
        assert (moved, [(one.step_key, one.count) for one in stay]) == (1, [("hello", 2)])
    assert story(db, 3)[-1] == ("moved", "rest", "rest", "", "1")
    settle(db, TEN)
    plan(db, shop, TEN + 3 * DAY)
    assert inside(db)["m3"] == ("done", "new", "due")
    with db.read() as connection:
        e = enrolments.c
        assert sorted(connection.execute(select(e.version)).scalars()) == [1, 1, 2]
        assert [one.step_key for one in moving.preview(connection, shop, "j")] == ["old"]


def test_a_step_that_was_taken_is_passed_by_where_a_newer_version_has_it_later(db: Database, shop: Shop) -> None:
    write(db, shop, [person(1, consents=())], START)
    _publish(db, shop, SEND, REST, {"key": "old", "tag": {"add": ["x"]}})
    plan(db, shop, TEN)
    with db.write() as connection:
        publishing.save_draft(connection, shop, _told(REST, SEND, {"key": "new", "tag": {"add": ["y"]}}), TEN)
        publishing.publish(connection, shop, "j", TEN)
        assert moving.move(connection, shop, "j", TEN) == (1, [])
    assert plan(db, shop, TEN + 3 * DAY) == {}
    assert story(db)[-2:] == [("done", "hello", "new", "before", ""), ("done", "new", "", "", "")]
    assert len(planned(db)) == 1


def test_insiders_are_counted_bounded_and_taken_once(db: Database, shop: Shop) -> None:
    write(db, shop, [person(n, tags=("in",)) for n in range(5)] + [person(9)], START)
    journey = _publish(db, shop, SEND, REST, trigger={"type": "lapse", "days": 60}, audience='tag("in")')
    with db.write() as connection:
        assert insiders.count(connection, shop, journey, TEN) == 5
        with Counting(db) as ran:
            assert insiders.take_in(connection, shop, journey, 3, TEN) == 3
        assert ran.count == 3 + (not db.is_sqlite)
        assert insiders.count(connection, shop, journey, TEN) == 2
        assert insiders.take_in(connection, shop, journey, 3, TEN) == 2
        assert insiders.take_in(connection, shop, journey, 3, TEN) == 0
        with pytest.raises(InvalidInput, match="Say how many"):
            insiders.take_in(connection, shop, journey, 0, TEN)
    assert plan(db, shop, TEN) == {"planned": 5}
    with db.read() as connection:
        v = enrolment_events.c
        assert set(connection.execute(select(v.detail).where(v.what == "enrolled")).scalars()) == {"inside:20605"}


def test_nobody_is_taken_in_where_everyone_is_meant(db: Database, shop: Shop) -> None:
    journey = _publish(db, shop, SEND)
    with db.read() as connection, pytest.raises(InvalidInput, match="means everyone"):
        insiders.count(connection, shop, journey, TEN)


def test_nobody_is_taken_into_a_campaign_which_reaches_them_by_itself(sqlite_db: Database) -> None:
    shop = stage(sqlite_db)
    write(sqlite_db, shop, [person(1)], START)
    journey = _publish(sqlite_db, shop, SEND, trigger={"type": "campaign"}, audience="known(email)")
    with pytest.raises(InvalidInput, match="by itself"), sqlite_db.write() as connection:
        publishing.take_in(connection, shop, journey, 9, TEN)
    plan(sqlite_db, shop, TEN)
    assert len(planned(sqlite_db)) == 1


def test_whoever_has_a_message_of_before_it_had_steps_is_not_taken_in(sqlite_db: Database) -> None:
    shop = stage(sqlite_db)
    write(sqlite_db, shop, [person(1), person(2, birth_day=9)], START)
    told = {"key": "j", "trigger": {"type": "birthday", "days": 0}, "audience": "known(email)"}
    with sqlite_db.write() as connection:
        alone = {**told, "channels": ["email"], "template": "hello", "enabled": True}
        journey_store.save(connection, shop, read_draft(alone), START)
    plan(sqlite_db, shop, TEN)
    with sqlite_db.write() as connection:
        publishing.save_draft(connection, shop, {**told, "steps": [SEND]}, TEN)
        journey = publishing.publish(connection, shop, "j", TEN)
        assert insiders.count(connection, shop, journey, TEN) == 1


def test_saving_a_journey_that_is_on_publishes_it(db: Database, shop: Shop) -> None:
    _publish(db, shop, SEND)
    with db.write() as connection:
        saved = journey_store.save(connection, shop, read_draft(_told(SEND, REST)), TEN)
        assert (saved.version, saved.enabled) == (2, True)
        draft = read_draft(_told(SEND, {"key": "c", "coupon": {"pool": "p"}}))
        with pytest.raises(InvalidInput, match="no codes left"):
            journey_store.save(connection, shop, draft, TEN)


def test_a_pool_with_codes_will_do(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        ours = {"shop_id": shop.shop_id, "pool_key": "p"}
        connection.execute(insert(coupon_pools).values(**ours, title="", created_at=START))
        connection.execute(insert(coupon_codes).values(**ours, code="C1", place=1))
    assert _publish(db, shop, {"key": "c", "coupon": {"pool": "p"}}, SEND).status == "on"


_ONE = {"key": "j", "trigger": {"type": "birthday", "days": 0}, "channels": ["email"], "template": "hello"}


@pytest.mark.parametrize(
    ("told", "field", "message"),
    [
        ({"template": "gone"}, "channels", "The journey has no text for email."),
        ({"template": "phone", "channels": ["sms"]}, "channels", "The journey has no sender for sms."),
        (
            {"template": "mixed", "channels": ["email", "inapp"]},
            "template",
            "The journey has no in-app text in zh-CN, in which its other messages are written.",
        ),
        ({"audience": 'segment("gone")'}, "audience", "There is no segment 'gone'."),
        ({"trigger": {"type": "segment_entered", "segment": "gone"}}, "trigger", "There is no segment 'gone'."),
    ],
)
def test_what_one_message_lacks_is_told_with_its_place_and_nothing_is_switched_on(
    db: Database, told: dict[str, Any], field: str, message: str
) -> None:
    shop = stage(db)
    with db.write() as connection:
        texts.put(connection, shop.shop_id, Text("phone", "sms", "en", body_text="Hi. Reply STOP to opt out"), START)
        for channel, locale in (("email", "en"), ("email", "zh-CN"), ("inapp", "en")):
            text = Text("mixed", channel, locale, subject="Hello", body_text="Hello.")
            texts.put(connection, shop.shop_id, text, START)
        journey_store.save(connection, shop, read_draft({**_ONE, **told}), START)
    for live in (publishing.publish, publishing.switch_on):
        with pytest.raises(CrmError) as refused, db.write() as connection:
            live(connection, shop, "j", START)
        place = getattr(refused.value, "field", "") or getattr(refused.value, "path", "")
        assert (place.partition(":")[0], refused.value.message) == (field, message)
        with db.read() as connection:
            assert not get(connection, shop.shop_id, "j").enabled
