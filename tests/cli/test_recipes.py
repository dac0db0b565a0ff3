"""Ready-made journeys from the command line."""

from __future__ import annotations

from typing import Any

import pytest

from crm_plugin.errors import NotFound
from crm_plugin.touchpoints.recipes import recipe_called, recipes
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


def test_what_comes_next_is_told_and_stages_stand_under_headings(run: Run, say: Any) -> None:
    run("shop", "add", "shop", "--platform", "csv", "--currency", "EUR", "--timezone", "Europe/Berlin")
    told = say("recipe", "install", "shop", "Win-back").out.splitlines()
    assert told[0] == "“Winning back” was added as the journey win_back, switched off. What comes next:"
    assert told[2].startswith("  2. Set a sender up for email, sms: ")
    assert told[-1] == "  5. Switch it on: `crm-plugin journey on shop win_back`."
    table = say("recipe", "list", "shop").out.splitlines()
    assert table[0].split("\t") == ["stage", "on", "switched off", "can be added"]
    assert table[-2].startswith("0 of 8 stages are spoken to; nothing speaks to: Prospect, First order, ")


@pytest.mark.parametrize("name", ["win_back", "win-back", "Win Back", "winning back", "赢回老顾客"])
def test_recipe_goes_by_key_and_title(name: str) -> None:
    assert recipe_called(name).key == "win_back"


def test_a_slip_of_the_pen_is_answered_by_what_may_be_meant() -> None:
    with pytest.raises(NotFound) as told:
        recipe_called("winback campain")
    assert str(told.value) == "There is no recipe 'winback campain'. Did you mean win_back?"
