"""Texts: every recipe renders for a full and a bare member; what a text may not do is refused with its place."""

from __future__ import annotations

from dataclasses import replace
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
        ("body_text", "{{ range(9) }}", "cannot call range"),
    ],
)
def test_bad_texts_are_refused(part: str, source: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(_text(**{part: source}), _scenes(), POLICY.brand)
    assert words in str(caught.value)
    assert caught.value.field == part


# Each of these held the whole process for minutes, took gigabytes, or went past the guards.
_HEAVY = [
    ("{{ 9 ** (9 ** 8) % 7 }}", "cannot raise to a power"),
    ("{{ 'a' * 2000000000 }}", "longer than 2000"),
    ("{{ 2000000000 * [1] }}", "longer than 2000"),
    ("{{ '%0999999999d' % 1 }}", "% is only for numbers"),
    ("{{ '%0999999999d' | format(1) }}", "there is no filter 'format'"),
    ("{{ 'x' | center(1500000000) }}", "there is no filter 'center'"),
    ("{{ 'x' | indent(1500000000, true) }}", "there is no filter 'indent'"),
    ("{{ 'x'.ljust(1500000000) }}", "cannot call ljust"),
    ("{% set f = 'x'.ljust %}{{ f(1500000000) }}", "cannot call f"),
    ("{{ '{:1500000000}'.format(1) }}", "cannot call format"),
    ("{{ 5 | round(-1000000000) }}", "round takes"),
    ("{{ '1e999999' | money }}", "out of range"),
    ("{% set s = 'aaaaaaaaaaaaaaaa' %}" + "{% set s = s ~ s %}" * 40, "longer than 2000"),
    ("{% set s = 'aaaaaaaaaaaaaaaa' %}" + "{% set s = s + s %}" * 40, "longer than 2000"),
    ("{% set s = 'aaaaaaaaaaaaaaaa' %}" + "{% set s = s | replace('a', 'aa') %}" * 40, "longer than 2000"),
    ("{% set s = [1] %}" + "{% set s = [s, s] %}" * 40 + "{{ s }}", "a list can only hold"),
    ("{% set s %}a{% endset %}", "needs a value"),
    ("{% for a in 'aaaa' %}{{ a }}{% endfor %}", "a loop needs a list"),
    (
        "{% set s = 'a a'.split() %}{% for a in s %}{% for a in s %}{% for a in s %}{% endfor %}{% endfor %}{% endfor %}",
        "deeper than two",
    ),
    ("{% for a in [1, 2] %}" + "{{ a }}" * 200 + "{% endfor %}", "does too much"),
    ("{% set s = ('a ' * 1000).split() %}{% for a in s %}{{ 'x' * 500 }}{% endfor %}", "longer than 200000"),
    ("{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "cannot"),
    ("{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}", "cannot define macros"),
    ("{% block a %}{{ self.a() }}{% endblock %}", "cannot define blocks"),
    ("{{ [member] | map(attribute='_spent_minor') | list }}", "there is no filter"),
    ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "simpler"),
    ("{% if 1 %}" * 120 + "{% endif %}" * 120, "simpler"),
    ("{{ " + "9" * 5000 + " }}", "simpler"),
]


@pytest.mark.parametrize(("source", "words"), _HEAVY, ids=[source[:40] for source, _ in _HEAVY])
def test_heavy_texts_are_refused(source: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(_text(body_text=source), _scenes(), POLICY.brand)
    assert words in str(caught.value)


def test_ordinary_means_still_work() -> None:
    scene = _scenes(with_order=True)[0]
    source = (
        "{% for line in order.lines | reverse %}{{ loop.index }}. {{ line.title | upper }}{% else %}nothing{% endfor %}"
        "{{ '-' * 3 }}{{ member.first_name ~ ' ' ~ member.last_name }} {{ (days * 2 + 1) % 4 }} {{ 7.256 | round(1) }}"
        "{{ ' gold' if member.tier_title in ['Gold', 'Silver'] else '' }} {{ member.first_name | replace('A', 'I') }}"
    )
    assert render(_text(body_text=source), scene, POLICY.brand).text == "1. LINEN SHIRT---Ada Lovelace 3 7.3 gold Ida\n"


def test_joined_names_stay_escaped_in_html() -> None:
    source = "{{ '<b>' | safe ~ shop.title ~ '</b>' | safe }}"
    made = render(_text(body_html=f"<p>{source}</p>"), _scenes()[0], POLICY.brand)
    assert "<b>Lantern &amp; Leaf</b></p>" in made.html


def test_long_orders_end_after_500_lines() -> None:
    scene = _scenes(with_order=True)[0]
    assert scene.order is not None
    scene = replace(scene, order=replace(scene.order, lines=scene.order.lines * 1500))
    source = "{% for line in order.lines %}{{ line.quantity }}{% endfor %}"
    assert render(_text(body_text=source), scene, POLICY.brand).text == "2" * 500 + "\n"


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
