"""Typing the number of people: asked for above a size, counted anew, and nothing is published without it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.errors import InvalidInput
from crm_plugin.store import enrolments, shops
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import confirming, program, publishing
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.journeys import get, save
from crm_plugin.touchpoints.plan import plan_shop
from tests.factories import write
from tests.touchpoints.steps.stage import SEND, START, person, stage

CAMPAIGN: dict[str, Any] = {"key": "j", "trigger": {"type": "campaign"}, "channels": ["email"], "template": "hello"}
REST: dict[str, Any] = {"key": "rest", "wait": {"days": 3}}


@pytest.fixture
def shop(db: Database) -> Shop:
    """Three members, and a number to be typed above two."""
    made = stage(db)
    write(db, made, [person(number) for number in (1, 2, 3)])
    with db.write() as connection:
        connection.execute(update(shops).values(settings={"blast": {"confirm_above": 2}}))
        return shop_by_id(connection, made.shop_id)


def _enabled(db: Database) -> bool:
    with db.read() as connection:
        return get(connection, 1, "j").enabled


def test_a_campaign_to_many_asks_for_their_number(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        save(connection, shop, read_draft(CAMPAIGN), START)
    for typed, message in (
        ("", "This reaches 3 people at once."),
        ("2", "This reaches 3 people at once, and not 2."),
        ("many", "This reaches 3 people at once."),
        ("3" * 5000, "This reaches 3 people at once."),
    ):
        with pytest.raises(InvalidInput) as refused, db.write() as connection:
            publishing.publish(connection, shop, "j", START, typed=typed)
        assert (refused.value.message, refused.value.hint) == (message, "Type 3 to go ahead.")
        assert refused.value.field == "confirm"
        assert not _enabled(db)
    with db.write() as connection:
        assert publishing.publish(connection, shop, "j", START, typed=" 3 ").enabled


def test_whoever_had_it_is_not_counted_again(sqlite_db: Database) -> None:
    shop = stage(sqlite_db)
    write(sqlite_db, shop, [person(number) for number in (1, 2, 3)])
    with sqlite_db.write() as connection:
        journey = save(connection, shop, read_draft({**CAMPAIGN, "enabled": True}), START)
        assert confirming.people(connection, shop, journey, START) == 3
    plan_shop(sqlite_db, shop, START.replace(hour=12))
    write(sqlite_db, shop, [person(4)])
    with sqlite_db.read() as connection:
        assert confirming.people(connection, shop, journey, START) == 1


def test_taking_in_many_asks_for_their_number(db: Database, shop: Shop) -> None:
    told = {"key": "j", "trigger": {"type": "birthday", "days": 0}, "steps": [REST, SEND], "audience": "everyone"}
    with db.write() as connection:
        publishing.save_draft(connection, shop, told, START)
        journey = publishing.publish(connection, shop, "j", START)
        assert publishing.take_in(connection, shop, journey, 1, START) == 1
    write(db, shop, [person(number) for number in (4, 5)])
    with pytest.raises(InvalidInput, match="4 people at once"), db.write() as connection:
        publishing.take_in(connection, shop, journey, 50, START)
    with db.write() as connection:
        assert publishing.take_in(connection, shop, journey, 50, START, typed="4") == 4
        assert len(connection.execute(select(enrolments)).all()) == 5


def test_a_file_asks_as_a_page_does(db: Database, shop: Shop) -> None:
    document = {"journeys": [{**CAMPAIGN, "enabled": True}]}
    with pytest.raises(InvalidInput, match="Type 3 to go ahead"), db.write() as connection:
        program.load(connection, shop, document, START)
    for _again in range(2):
        with db.write() as connection:
            program.load(connection, shop, document, START, typed="" if _again else "3")


@pytest.mark.parametrize(
    ("count", "typed", "fits"), [(5050, "5000", True), (4950, "5000", True), (5051, "5000", False)]
)
def test_a_hundredth_more_or_fewer_is_let_through(shop: Shop, count: int, typed: str, fits: bool) -> None:
    if fits:
        confirming.require(shop, count, typed)
    else:
        with pytest.raises(InvalidInput):
            confirming.require(shop, count, typed)
