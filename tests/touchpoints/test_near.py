"""What is near the next level goes by what a programme counts, and a journey that could never, or always, speak is refused."""

from __future__ import annotations

from typing import Any

import pytest

from crm_plugin.rules import tiers
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.triggers import Trigger
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import journeys, near
from crm_plugin.touchpoints.recipes import install_one
from tests.factories import NOON, make_shop


def _levels(*entries: int) -> list[dict[str, Any]]:
    return [{"key": f"l{number}", "entry": entry} for number, entry in enumerate(entries)]


@pytest.mark.parametrize(
    ("club", "within", "told"),
    [
        ({"measure": "orders", "levels": _levels(1, 45)}, 2, "Everybody is within 50 of the next level: none takes more than 44."),
        ({"measure": "spent", "levels": _levels(10_000, 50_000)}, 2_500, ""),
        ({"measure": "orders", "levels": [{"key": "fan", "rule": "orders() >= 2"}]}, 50, "Nobody can say how much is missing"),
    ],
    ids=["orders", "yen", "rules"],
)  # fmt: skip
def test_near_is_a_tenth_of_what_a_level_takes(
    sqlite_db: Database, club: dict[str, Any], within: int, told: str
) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
        tiers.save_policy(connection, shop, read_policy(club), NOON, actor="test")
        install_one(connection, shop, "near_tier", NOON)
        trigger = journeys.get(connection, shop.shop_id, "near_tier").trigger
        assert (trigger.get("within") or 50) == within
        found = [
            str(one.message) for one in near.faults(connection, shop, Trigger("tier_near", more={"within": 50}), NOON)
        ]
    assert [one[: len(told)] for one in found] == ([told] if told else [])
