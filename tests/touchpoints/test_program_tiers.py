"""Tier programmes in a shop's programme file: loaded whole, given back as they were, refused with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crm_plugin.errors import CrmError
from crm_plugin.rules import tiers
from crm_plugin.rules.policies import versions
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.program import dump, load
from crm_plugin.touchpoints.program_file import read_file
from crm_plugin.touchpoints.program_yaml import to_yaml
from tests.factories import NOON, make_shop

CLUB: dict[str, Any] = {
    "program": "main",
    "measure": "spent",
    "window": {"days": 365},
    "term": {"days": 365},
    "levels": [
        {"key": "silver", "title": {"en": "Silver"}, "entry": 100},
        {"key": "circle", "title": {}, "invitation": True},
    ],
}
COFFEE = {
    "program": "coffee",
    "title": {"en": "Coffee"},
    "levels": [{"key": "fan", "title": {}, "rule": "orders() >= 1"}],
}
DOCUMENT = {
    "tier_programs": [CLUB, COFFEE],
    "segments": [{"key": "fans", "title": "", "rule": 'tier(program="coffee") == "fan" and to_next_tier < 20'}],
}


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        return make_shop(connection)


def _load(db: Database, shop: Shop, document: dict[str, Any]) -> dict[str, Any]:
    with db.write() as connection:
        return load(connection, shop, document, NOON).as_dict()


def test_programmes_come_back_as_they_were(db: Database, shop: Shop, tmp_path: Path) -> None:
    report = _load(db, shop, DOCUMENT)
    assert report["tier_programs"] == {"added": 2, "changed": 0, "removed": 0, "same": 0}
    with db.read() as connection:
        told = dump(connection, shop)
    assert {name: told.get(name) for name in ("tiers", *DOCUMENT)} == {"tiers": None, **DOCUMENT}
    file = tmp_path / "program.yaml"
    file.write_text(to_yaml(told), encoding="utf-8")
    again = _load(db, shop, read_file(file))
    assert again["tier_programs"] == {"added": 0, "changed": 0, "removed": 0, "same": 2}
    with db.read() as connection:
        assert [len(versions(connection, shop.shop_id, one)) for one in ("main", "coffee")] == [1, 1]
        assert [level.key for level in tiers.levels(connection, shop.shop_id)] == ["silver", "circle"]


def test_plain_levels_take_the_place_of_a_policy(db: Database, shop: Shop) -> None:
    _load(db, shop, DOCUMENT)
    _load(db, shop, {"tiers": [{"key": "silver", "rule": "spent() >= 1"}]})
    with db.read() as connection:
        kept = versions(connection, shop.shop_id, "main")[-1].policy.as_dict()
    # What was promised beside the levels stays.
    assert (kept["levels"], kept["term"]) == ([{"key": "silver", "title": {}, "rule": "spent() >= 1"}], {"days": 365})


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"tier_programs": {"program": "main"}}, "tier_programs: It is a list."),
        ({"tier_programs": [COFFEE, COFFEE]}, "tier_programs, coffee: This programme is there twice."),
        ({"tier_programs": [CLUB], "tiers": []}, "tier_programs, main: The main programme stands in tiers too."),
        ({"tier_programs": [{**CLUB, "term": "ever"}]}, "tier_programs, main: term cannot be 'ever'."),
        (
            {"tier_programs": [{**COFFEE, "levels": [{"key": "fan", "rule": "ordrs() > 1"}]}]},
            "There is no field 'ordrs'",
        ),
        ({"tier_programs": [{**COFFEE, "levels": []}]}, "segment fans keeps its rule"),
    ],
)
def test_mistakes_name_their_place_and_nothing_is_written(
    db: Database, shop: Shop, document: dict[str, Any], said: str
) -> None:
    _load(db, shop, DOCUMENT)
    with db.read() as connection:
        before = dump(connection, shop)
    with pytest.raises(CrmError) as caught:
        _load(db, shop, document)
    assert said in str(caught.value)
    with db.read() as connection:
        assert dump(connection, shop) == before
