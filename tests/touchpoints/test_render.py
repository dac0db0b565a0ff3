"""Texts: every recipe renders for a full and a bare member; what a text may not do is refused with its place."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest

from crm_plugin.errors import InvalidInput, RenderError
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.render import ShopView, Text, check, choose_locale, render, sample_scenes

SHOP = Shop(1, "s", "Lantern & Leaf", "csv", "https://shop.example", "EUR", "Europe/Berlin", "en")
VIEW = ShopView("Lantern & Leaf", "https://shop.example", "1 Mill Lane\nYork", "EUR")
POLICY = policy_of(SHOP)


def _recipe(recipe: str, channel: str, locale: str) -> Text:
    folder = files("crm_plugin") / "templates" / "messages" / recipe

    def read(name: str) -> str:
        path = folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    head = "subject" if channel == "email" else "title"
    return Text(
        recipe,
        channel,
        locale,
        subject=read(f"{channel}.{locale}.{head}.txt"),
        body_text=read(f"{channel}.{locale}.txt"),
        body_html=read(f"{channel}.{locale}.html"),
    )


def _text(**parts: str) -> Text:
    return Text("t", "email", "en", **{"subject": "Hello", "body_text": "Hello", **parts})  # type: ignore[arg-type]


def _scenes(locale: str = "en", *, with_order: bool = False) -> list[Any]:
    return sample_scenes(POLICY, VIEW, locale, with_order=with_order)


@pytest.mark.parametrize("locale", ["en", "zh-CN"])
@pytest.mark.parametrize("channel", ["email", "sms", "inapp", "note"])
@pytest.mark.parametrize("recipe", ["birthday", "lapse", "post_purchase"])
def test_recipes_render_for_anyone(recipe: str, channel: str, locale: str) -> None:
    text = _recipe(recipe, channel, locale)
    if not text.body_text:
        assert (channel, recipe != "post_purchase") == ("note", True)
        return
    scenes = _scenes(locale, with_order=recipe == "post_purchase")
    check(text, scenes, POLICY.brand)
    full, bare = (render(text, scene, POLICY.brand) for scene in scenes)
    assert "None" not in full.text + bare.text
    assert "{" not in full.text + bare.text
    if channel == "email":
        assert "https://shop.example/u/sample" in full.html
        assert "https://shop.example/u/sample" in full.text
        assert "Lantern &amp; Leaf" in full.html
        assert f"background-color: {POLICY.brand.color}" in full.html
        assert len(full.html.encode()) < 60_000
        assert "\n" not in full.subject


def test_address_keeps_its_lines() -> None:
    made = render(_text(body_html="<p>Hi</p>"), _scenes()[0], POLICY.brand)
    assert "Lantern &amp; Leaf<br>1 Mill Lane<br>York</p>" in made.html


def test_names_are_escaped_in_html_alone() -> None:
    scene = _scenes()[0]
    made = render(_text(body_text="{{ shop.title }}", body_html="<p>{{ shop.title }}</p>"), scene, POLICY.brand)
    assert made.text == "Lantern & Leaf\n"
    assert "<p" in made.html
    assert "Lantern &amp; Leaf</p>" in made.html


def test_money_and_dates_follow_the_language() -> None:
    text = _text(body_text="{{ member.spent }} {{ 12.5 | money }} {{ occasion | date }}")
    english, chinese = (render(text, _scenes(locale)[0], POLICY.brand).text for locale in ("en", "zh-CN"))
    assert english == "€482.50 €12.50 March 14, 2026\n"
    assert chinese == "€482.50 €12.50 2026年3月14日\n"


@pytest.mark.parametrize(
    ("part", "source", "words"),
    [
        ("body_text", "Hi {{ membr.first_name }}", "there is no variable 'membr'"),
        ("body_text", "Hi {{ member.frist_name }}", "uses frist_name that is not there"),
        ("body_text", "line\n{% if %}", "line 2"),
        ("subject", "{{ member.__class__ }}", "may not"),
        ("body_text", "{% include 'x' %}", "cannot take in other files"),
        ("body_text", "  ", "is empty"),
        ("subject", "", "has no subject"),
        ("body_html", "{{ shop.titel }}", "uses titel that is not there"),
        ("body_text", "{{ range(9) }}", "there is no variable 'range'"),
    ],
)
def test_bad_texts_are_refused(part: str, source: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(_text(**{part: source}), _scenes(), POLICY.brand)
    assert words in str(caught.value)
    assert caught.value.field == part


def test_missing_value_names_template_and_variable() -> None:
    with pytest.raises(RenderError) as caught:
        render(_text(body_text="{{ order.number }}"), _scenes()[0], POLICY.brand)
    assert (caught.value.variable, "t (email, en, body_text)" in caught.value.message) == ("number", True)


@pytest.mark.parametrize(
    ("wanted", "fallback", "chosen"),
    [
        ("zh_CN", "en", "zh-CN"),
        ("zh", "en", "zh-CN"),
        ("zh-TW", "en", "en"),
        ("de-AT", "en", "en"),
        ("de-AT", "zh-CN", "zh-CN"),
        ("", "", "en"),
        ("en-GB", "zh-CN", "en"),
    ],
)
def test_nearest_language_is_chosen(wanted: str, fallback: str, chosen: str) -> None:
    assert choose_locale(wanted, {"en", "zh-CN"}, fallback) == chosen
