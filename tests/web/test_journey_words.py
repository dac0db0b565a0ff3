"""What starts a journey and whom it is for, with the names a shop gave."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from crm_plugin.rules.called import Called
from crm_plugin.rules.tiers import Level, save_levels
from crm_plugin.rules.triggers import read_trigger
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.web.journey_words import when
from tests.factories import NOON
from tests.web.conftest import Page, words

BY = Called(
    {("main", "gold"): {"en": "Gold", "zh-CN": "金卡"}, ("club", "a"): {"en": "Friend", "zh-CN": "茶友"}},
    "EUR",
    {"club": {"en": "Tea club", "zh-CN": "茶友会"}},
    {"best": "Best customers"},
)


@pytest.mark.parametrize(
    ("trigger", "english", "chinese"),
    [
        ({"type": "tier_up", "level": "gold"}, "Upon a rise in tier (Gold)", "升级（金卡）时"),
        (
            {"type": "tier_up", "program": "club", "level": "a"},
            "Upon a rise in tier (Tea club, Friend)",
            "升级（茶友会，茶友）时",
        ),
        (
            {"type": "tier_near", "within": 1500},
            "Upon an order that brings the next tier near (1,500 EUR)",
            "使下一等级临近的订单（1,500 EUR）时",
        ),
        (
            {"type": "segment_entered", "segment": "best"},
            "Upon entering a segment (Best customers)",
            "进入分群（Best customers）时",
        ),
    ],
)
def test_trigger_has_the_names_of_the_shop(app: Flask, trigger: dict[str, Any], english: str, chinese: str) -> None:
    read = read_trigger(trigger.pop("type"), trigger)
    for lang, said in (("en", english), ("zh", chinese)):
        with app.test_request_context(f"/?lang={lang}"):
            app.preprocess_request()
            assert when(read, BY) == said


def test_audience_has_the_names_of_the_shop(runtime: Runtime, shop: Shop, page: Page) -> None:
    told = {"key": "j", "title": {"en": "J"}, "trigger": {"type": "birthday"}, "channels": ["email"]}
    with runtime.db.write() as connection:
        save_levels(connection, shop, [Level("gold", "orders() >= 1", {"en": "Gold", "zh-CN": "金卡"})], NOON)
        draft = read_draft({**told, "audience": 'tier == "gold" and spent() >= 100'})
        journeys.save(connection, shop, draft, NOON)
    said = "to members whose tier is “Gold” and whose amount spent is at least 100 EUR, if they agreed"
    assert said in words(page("journeys"))
    assert said in words(page("journeys/j"))
    assert "会员等级为“金卡”，并且消费金额不低于 100 EUR 的会员" in words(page("journeys?lang=zh"))
