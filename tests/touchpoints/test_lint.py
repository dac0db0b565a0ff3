"""Marketing by text message says how to stop it; all else is let be."""

from __future__ import annotations

import pytest

from crm_plugin.touchpoints.lint import warnings
from crm_plugin.touchpoints.recipes import recipe_texts, recipes
from crm_plugin.touchpoints.render import Rendered

LINK = "https://crm.example/u/abc"


@pytest.mark.parametrize(
    "text",
    [
        "Reply STOP to opt out",
        "Shop: Sale! Txt STOP to 12345",
        "To unsubscribe text us",
        "Opt-out: END",
        "【店】新品上市 拒收请回复R",
        "【店】新品上市，回T退订",
        f"Stop here: {LINK}",
    ],
)
def test_way_out_is_seen(text: str) -> None:
    assert warnings("sms", Rendered("en", "", text), marketing=True, link=LINK) == []


@pytest.mark.parametrize(
    "text", ["Non-stop sale until the weekend ends", "Cancel any time, no strings", "Happy birthday!", ""]
)
def test_missing_way_out_is_told(text: str) -> None:
    (told,) = warnings("sms", Rendered("en", "", text), marketing=True, link=LINK)
    assert told.endswith("End it with: {% if marketing %} Reply STOP to opt out{% endif %}")
    (told,) = warnings("sms", Rendered("zh-CN", "", text), marketing=True)
    assert told.endswith("拒收请回复R{% endif %}")
    assert warnings("sms", Rendered("en", "", text), marketing=False) == []
    for channel in ("email", "inapp", "note"):
        assert warnings(channel, Rendered("en", "", text), marketing=True) == []


def test_recipes_have_one() -> None:
    found = [text for recipe in recipes() for text in recipe_texts(recipe.key) if text.channel == "sms"]
    assert len(found) == 62
    assert [warnings("sms", Rendered(one.locale, "", one.body_text), marketing=True) for one in found] == [[]] * 62
