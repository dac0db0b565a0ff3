"""What an audience lacks that a journey uses: counted in one statement, and only what this journey asks for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.store import members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import texts
from crm_plugin.touchpoints.journey import as_drafted
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.journeys import get, save
from crm_plugin.touchpoints.lacking import AudienceCheck, audience_check
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.wording import asked_of_member
from tests.factories import member, write
from tests.touchpoints.plans import counted
from tests.touchpoints.steps.stage import SEND, START, YES, stage

NEWS = (ConsentRecord(channel="email", topic="news", state=ConsentState.GRANTED, at=START - timedelta(days=9)),)


@pytest.fixture
def shop(db: Database) -> Shop:
    shop = stage(db)
    people = [
        member(
            "1",
            email="m1@x.test",
            first_name="Ada",
            locale="en",
            timezone="Europe/Rome",
            birth_month=6,
            birth_day=1,
            consents=YES,
        ),
        member("2", email="m2@x.test", first_name="Bo", locale="zh-CN", country="DE", birth_month=6, consents=YES),
        member("3", email="m3@x.test", last_name="Lovelace", locale="fr", phone="+493012345678", consents=NEWS),
        member("4", phone="", locale=""),
    ]
    write(db, shop, people)
    return shop


def _check(db: Database, shop: Shop, **told: Any) -> AudienceCheck:
    document = {"key": "j", "trigger": {"type": "joined"}, "channels": ["email"], "template": "hello", **told}
    if "steps" in document:
        del document["channels"], document["template"]
    with db.write() as connection:
        draft = read_draft(document)
        save(connection, shop, draft, START)
        return audience_check(connection, shop, as_drafted(get(connection, shop.shop_id, "j"), draft), START)


def _gaps(found: AudienceCheck) -> list[tuple[str, int, str]]:
    return [(one.lacks, one.members, str(one.told)) for one in found.gaps]


def _write(db: Database, shop: Shop, *texts_: Text) -> None:
    with db.write() as connection:
        for one in texts_:
            texts.put(connection, shop.shop_id, one, START)


def test_each_gap_is_counted_with_the_rule_for_it(db: Database, shop: Shop) -> None:
    _write(
        db, shop, Text("hello", "email", "en", subject="Hi {{ member.first_name }}", body_text="Hi {{ member.name }}.")
    )
    found = _check(db, shop, trigger={"type": "birthday", "days": 0})
    assert found.members == 4
    assert _gaps(found) == [
        ("birthday", 2, "Without a birthday: never reached."),
        ("birth_day", 1, "With a month of birth and no day: the first of that month counts."),
        ("address", 1, "Without an address for e-mail: not written to."),
        ("consent", 1, "Have not agreed to e-mail, or the address is blocked: not written to."),
        ("language", 1, "Without a language: they get English."),
        ("text", 2, "Read a language that nothing is written in: they get English."),
        ("first_name", 2, "Without a first name: nothing stands in its place in hello (email, en)."),
        ("name", 1, "Without any name: “there” stands in its place, in Chinese “顾客”."),
    ]
    assert [one.share_pct for one in found.gaps[:2]] == [50, 25]
    # Nobody has to mend these: they say by which rule the hour is found.
    assert [(one.lacks, one.members, str(one.told)) for one in found.rules] == [
        ("zone", 1, "The hour is that of their state or country, for their own zone is not known."),
        ("zone", 1, "The hour is that of their phone number's country, else the shop's: no other place is known."),
        ("zone", 1, "The hour is the shop's (Europe/Berlin), for no place of theirs is known."),
    ]


def test_only_what_the_journey_uses_is_looked_at(db: Database, shop: Shop) -> None:
    found = _check(db, shop, audience='locale == "zh-CN"')
    assert (found.members, [one.lacks for one in found.gaps]) == (1, ["joined_on", "text"])
    # About the member's own order it keeps the shop's hours, and needs no yes.
    order = {"trigger": {"type": "order_paid"}, "kind": "transactional", "topic": "service"}
    assert [one.lacks for one in _check(db, shop, **order).gaps] == ["address", "language", "text"]


def test_steps_that_ask_for_another_consent_are_told_apart(db: Database, shop: Shop) -> None:
    news = {"key": "news", "send": {"template": "hello", "channels": ["email"], "topic": "news"}}
    found = _check(db, shop, steps=[SEND, {"key": "rest", "wait": {"days": 1}}, news])
    told = [(one.lacks, one.members, one.steps) for one in found.gaps if one.lacks == "consent"]
    assert told == [("consent", 1, ("hello",))]


def test_the_audience_is_gone_through_once(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        journey = save(
            connection, shop, read_draft({"key": "j", "trigger": {"type": "joined"}, "channels": ["email"]}), START
        )
    with counted(db) as statements, db.read() as connection:
        audience_check(connection, shop, journey, START)
    assert len([one for one in statements if "FROM members" in one]) == 1
    assert len(statements) <= 4


def test_nobody_is_a_share_of_none(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        connection.execute(update(members).values(state="deleted"))
    assert _check(db, shop) == AudienceCheck(0, ())


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("Hi {{ member.first_name }}", {"first_name": False}),
        ("Hi {{ member['first_name'] | upper }}", {"first_name": False}),
        ("Hi {{ member.first_name or 'you' }}", {"first_name": True}),
        ("Hi {{ member.first_name | default('you', true) }}", {"first_name": True}),
        ("Hi {{ member.first_name | default('you') }}", {"first_name": False}),
        ("Hi{% if member.first_name %}, {{ member.first_name }}{% endif %}", {"first_name": True}),
        ("{{ member.first_name if member.first_name else 'you' }}", {"first_name": True}),
        ("{% if member.orders %}{{ member.first_name }}{% endif %}", {"orders": True, "first_name": False}),
        ("{% if member.first_name %}a{% endif %}{{ member.first_name }}", {"first_name": False}),
        ("{% set who = member.first_name %}{{ who or 'you' }}", {"first_name": True}),
        ("Hi {{ shop.title }}", {}),
        ("{{ member.", {}),
    ],
)
def test_words_for_an_unknown_name_are_found(body: str, kept: dict[str, bool]) -> None:
    assert asked_of_member(Text("a", "sms", "en", body_text=body)) == kept
