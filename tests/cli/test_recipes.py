"""Ready-made journeys from the command line."""

from __future__ import annotations

from crm_plugin.touchpoints.recipes import recipes
from tests.cli.conftest import Run


def test_list_tells_what_there_is(run: Run) -> None:
    code, told = run("recipe", "list")
    assert code == 0
    assert [one["recipe"] for one in told] == [one.key for one in recipes()]
    second = next(one for one in told if one["recipe"] == "second_purchase")
    assert (second["title"], second["stages"]) == ("From the first order to the second", ["first_time"])


def test_recipe_is_added_once_and_its_stage_is_covered_when_it_is_on(run: Run) -> None:
    assert run("shop", "add", "shop", "--platform", "csv", "--currency", "EUR", "--timezone", "Europe/Berlin")[0] == 0
    assert run("recipe", "install", "shop", "second_purchase") == (
        0,
        {"journey": "second_purchase", "enabled": False, "templates": ["second_purchase"]},
    )
    stages = {one["stage"]: one for one in run("recipe", "list", "shop")[1]}
    assert stages["first_time"]["covered"] is False
    assert "second_purchase" in stages["first_time"]["off"]
    code, told = run("recipe", "install", "shop", "second_purchase")
    assert (code, told["error"]["message"]) == (1, "The journey second_purchase is there already.")
    assert run("recipe", "install", "shop", "secnd")[0] == 1
