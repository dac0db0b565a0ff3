"""Two journeys that speak to the same member on one day of one occasion are told of; those that do not, are not."""

from __future__ import annotations

from typing import Any

import pytest

from crm_plugin.store.session import Database
from crm_plugin.touchpoints.alike import doubled, speaks_on
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.journeys import get, save, switch
from crm_plugin.touchpoints.recipes import install_one
from tests.factories import write
from tests.touchpoints.steps.stage import SEND, START, person, stage

ON: dict[str, Any] = {
    "trigger": {"type": "birthday", "days": 0},
    "channels": ["email"],
    "template": "hello",
    "enabled": True,
}


def _told(db: Database, club: dict[str, Any], **other: Any) -> list[str]:
    """What is told of a journey beside another that is on."""
    shop = stage(db)
    write(db, shop, [person(1, country="DE")])
    with db.write() as connection:
        save(connection, shop, read_draft({**ON, **other, "key": "other"}), START)
        journey = save(connection, shop, read_draft({"key": "own", **club}), START)
        return [str(one) for one in doubled(connection, shop, journey, START)]


def test_both_birthday_recipes_are_told_of(db: Database) -> None:
    shop = stage(db)
    write(db, shop, [person(1)])
    with db.write() as connection:
        install_one(connection, shop, "birthday", START)
        install_one(connection, shop, "birthday_club", START)
        club = get(connection, shop.shop_id, "birthday_club")
        assert speaks_on(club) == {-7, 0}
        assert doubled(connection, shop, club, START) == []
        save(connection, shop, read_draft({**ON, "key": "birthday"}), START)
        [told] = doubled(connection, shop, club, START)
    assert str(told) == (
        "The journey birthday is on and speaks to the same members on the same occasion, on the same day (days from it: 0)."
    )


def test_recipe_that_takes_the_place_of_another_is_told_of(sqlite_db: Database) -> None:
    shop = stage(sqlite_db)
    with sqlite_db.write() as connection:
        for key in ("lapse", "slipping_away"):
            install_one(connection, shop, key, START)
        switch(connection, shop, "lapse", True, START)
        [told] = doubled(connection, shop, get(connection, shop.shop_id, "slipping_away"), START)
    assert str(told) == "The journey lapse is on and says the same: only one of the two should be."


@pytest.mark.parametrize(
    ("own", "other", "count"),
    [
        (ON, {}, 1),
        (ON, {"enabled": False}, 0),
        ({**ON, "trigger": {"type": "birthday", "days": -7}}, {}, 0),
        ({**ON, "trigger": {"type": "joined"}}, {}, 0),
        ({**ON, "audience": 'country == "DE"'}, {}, 1),
        ({**ON, "audience": 'country == "DE"'}, {"audience": 'country == "FR"'}, 0),
        ({"trigger": ON["trigger"], "steps": [{"key": "rest", "wait": {"days": 2}}, SEND]}, {}, 0),
    ],
)
def test_the_same_day_and_members_are_needed(
    sqlite_db: Database, own: dict[str, Any], other: dict[str, Any], count: int
) -> None:
    assert len(_told(sqlite_db, own, **other)) == count
