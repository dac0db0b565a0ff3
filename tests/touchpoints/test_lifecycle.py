"""The life of a customer: every recipe has its stage, and a shop is told which stages its journeys speak to."""

from __future__ import annotations

from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.lifecycle import OFF, ON, READY, STAGES, lifecycle, missing
from crm_plugin.touchpoints.recipes import install, install_one, recipes
from tests.factories import NOON, make_shop


def _told(db: Database) -> dict[str, dict[str, str]]:
    with db.read() as connection:
        return {
            one.stage.key: {means.recipe.key: means.state for means in one.means} for one in lifecycle(connection, 1)
        }


def _shop(db: Database) -> Shop:
    with db.write() as connection:
        shop = make_shop(connection)
        install(connection, shop, NOON)
    return shop


def test_every_recipe_speaks_to_stages_that_there_are() -> None:
    keys = [stage.key for stage in STAGES]
    assert keys == ["prospect", "first_time", "repeat", "loyal", "advocate", "at_risk", "lapsed", "won_back"]
    for one in recipes():
        assert one.stages, one.key
        assert set(one.stages) <= set(keys), one.key
        assert one.replaces in {"", *(other.key for other in recipes())}, one.key


def test_new_shop_speaks_to_nobody(sqlite_db: Database) -> None:
    _shop(sqlite_db)
    with sqlite_db.read() as connection:
        assert [stage.key for stage in missing(lifecycle(connection, 1))] == [stage.key for stage in STAGES]
    told = _told(sqlite_db)
    assert told["lapsed"]["lapse"] == OFF
    assert told["first_time"]["second_purchase"] == READY


def test_what_is_switched_on_covers_its_stages(sqlite_db: Database) -> None:
    shop = _shop(sqlite_db)
    with sqlite_db.write() as connection:
        journeys.switch(connection, shop, "lapse", True, NOON)
        install_one(connection, shop, "second_purchase", NOON)
    with sqlite_db.read() as connection:
        covered = [one.stage.key for one in lifecycle(connection, 1) if one.covered]
        first = lifecycle(connection, 1)[1].as_dict()
    assert covered == ["at_risk", "lapsed"]
    assert (first["stage"], first["covered"], first["on"]) == ("first_time", False, [])
    assert "second_purchase" in first["off"]


def test_journey_of_another_name_that_speaks_with_the_texts_counts(sqlite_db: Database) -> None:
    shop = _shop(sqlite_db)
    with sqlite_db.write() as connection:
        own = {"key": "miss_you", "trigger": {"type": "lapse", "days": 90}, "channels": ["sms"], "template": "lapse"}
        journeys.save(connection, shop, read_draft({**own, "enabled": True}), NOON)
    with sqlite_db.read() as connection:
        means = next(one for one in lifecycle(connection, 1)[6].means if one.recipe.key == "lapse")
    assert (means.state, means.journey) == (ON, "miss_you")
