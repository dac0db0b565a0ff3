"""Texts: every recipe renders for a full and a bare member; what a text may not do is refused with its place."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from crm_plugin.errors import InvalidInput, RenderError
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.locales import choose_locale
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.render import Text, check, render
from crm_plugin.touchpoints.scene import ShopView, sample_scenes

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
        ("body_text", "Hi {{ membr.first_name }}", "line 1: there is no `membr`; did you mean `member`?"),
        (
            "body_text",
            "Hi {{ member.frist_name }}",
            "line 1: there is no `member.frist_name`; did you mean `member.first_name`?",
        ),
        ("body_text", "line\n{% if %}", "line 2"),
        ("subject", "{{ member.__class__ }}", "a name that begins with _ cannot be used"),
        ("body_text", "{% include 'x' %}", "cannot take in other files"),
        ("body_text", "  ", "is empty"),
        ("subject", "", "has no subject"),
        ("body_html", "{{ shop.titel }}", "there is no `shop.titel`; did you mean `shop.title`?"),
        ("body_text", "{{ range(9) }}", "cannot call range"),
    ],
)
def test_bad_texts_are_refused(part: str, source: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(_text(**{part: source}), _scenes(), POLICY.brand)
    assert words in str(caught.value)
    assert caught.value.field == part


# What people write, and what they are told, after the text's name.
_TYPOS = [
    # Names.
    ("{{ member.first-name }}", "there is no `name`; did you mean `member.name`?"),
    ("{{ firstname }}", "there is no `firstname`; did you mean `member.first_name`?"),
    ("{{ Member.first_name }}", "there is no `Member`; did you mean `member`?"),
    ("{{ unsubscribe }}", "there is no `unsubscribe`; did you mean `unsubscribe_url`?"),
    ("{{ foo }}", "there is no `foo`; there are member, shop, journey, occasion, days, order, "),
    ("{{ member.First_Name }}", "there is no `member.First_Name`; did you mean `member.first_name`?"),
    ("{{ member['frist_name'] }}", "there is no `member.frist_name`; did you mean `member.first_name`?"),
    ("{{ member.tier }}", "there is no `member.tier`; did you mean `member.tier_title`?"),
    ("{{ member.nickname | default('friend') }}", "there is no `member.nickname`; did you mean `member.name`?"),
    ("{{ journey.title }}", "there is no `journey.title`; there are journey.key."),
    ("{% if order %}{{ order.nummer }}{% endif %}", "there is no `order.nummer`; did you mean `order.number`?"),
    ("{% for x in order.lines | reverse %}{{ x.titel }}{% endfor %}", "there is no `x.titel`; did you mean `x.title`?"),
    ("{% for x in order.line %}{% endfor %}", "there is no `order.line`; did you mean `order.lines`?"),
    ("{% for x in order.lines %}{{ loop.idx }}{% endfor %}", "there is no `loop.idx`; did you mean `loop.index`?"),
    ("{% set m = member %}{{ m.frist_name }}", "there is no `member.frist_name`; did you mean `member.first_name`?"),
    (
        "{{ order.number }}",
        "`order.number` has nothing to show where a message follows no order: put it between {% if ",
    ),
    ("{{ member.first_name.foo }}", "there is no `foo` in a text."),
    ("{{ occasion.yeer }}", "there is no `yeer` in a day."),
    ("{{ member.orders.foo }}", "there is no `foo` in a number."),
    ("{{ [1, 2][9] }}", "there is no `9` in a list."),
    ("{{ none.x }}", "there is no `x` in an empty value."),
    ("{{ member._spent_minor }}", "a name that begins with _ cannot be used."),
    # Filters and tests.
    ("{{ member.first_name | uper }}", "there is no filter `uper`; did you mean `upper`?"),
    ("{{ member.first_name | nl2br }}", "there is no filter `nl2br`; there are abs, capitalize, "),
    ("{{ member.first_name is defned }}", "there is no `is defned`; did you mean `is defined`?"),
    ("{{ occasion | date('lang') }}", "`date` needs a day such as `occasion`, and knows "),
    ("{{ 'x' | date }}", "`date` needs a day such as `occasion`, and knows "),
    ("{{ occasion | date(format='%d') }}", "what stands in the brackets there does not fit."),
    ("{{ member.first_name | replace('a') }}", "what stands in the brackets there does not fit."),
    ("{{ 'x' | money }}", "`money` needs a number."),
    ("{{ member.orders | length }}", "what is done there does not fit what it is done to."),
    # Sums and comparisons.
    ("{{ member.orders + 'x' }}", "it counts with what is no number. Amounts such as `member.spent` are texts."),
    ("{{ member.first_name + 1 }}", "it counts with what is no number."),
    ("{{ member.spent * 1.1 }}", "it counts with what is no number."),
    ("{{ -member.spent }}", "it counts with what is no number."),
    ("{% if member.spent > 100 %}x{% endif %}", "it compares what is not of one kind."),
    ("{{ days / 0 }}", "it divides by zero."),
    # What is not closed.
    ("{{ member.first_name", "a {{ is not closed with }}."),
    ("{{ member.first_name }", "a {{ is closed with }}, a {% with %}."),
    ("{% if days", "a {% is not closed with %}."),
    ("{% if days %}x", "{% if %} is not closed with {% endif %}."),
    ("{% for x in order.lines %}x", "{% for %} is not closed with {% endfor %}."),
    ("{% if days %}x{% endfor %}", "{% endfor %} comes before the {% if %} of line 1 is closed with {% endif %}."),
    ("{% for x in order.lines %}{% endif %}", "{% endif %} comes before the {% for %} of line 1 is closed with"),
    ("{% endif %}", "{% endif %} closes nothing: no {% if %} is open."),
    ("{% else %}", "{% else %} stands outside of {% if %} and {% endif %}."),
    ("{# note", "a {# is not closed with #}."),
    ("{% raw %}x", "{% raw %} is not closed with {% endraw %}."),
    ("{{ 'abc }}", "a quotation mark is not closed."),
    ("{{ member.first_name | replace('a', 'b' }}", "a ( is not closed with )."),
    # What cannot stand there.
    ("{% fi days %}x{% endif %}", "there is no {% fi %}; did you mean {% if %}?"),
    ("{% if days %}x{% elseif 2 %}y{% endif %}", "there is no {% elseif %}; did you mean {% elif %}?"),
    ("{% if days %}x{% esle %}y{% endif %}", "there is no {% esle %}; did you mean {% else %}?"),
    ("{% zebra %}", "there is no {% zebra %}."),
    ("{% if days = 1 %}x{% endif %}", "to compare, write == in place of =."),
    ("{{ }}", "something is missing before }}."),
    ("{% if %}x{% endif %}", "something is missing before %}."),
    ("{{ member.first_name ~ }}", "something is missing before }}."),
    ("{{ member..name }}", "a name is missing after a point."),
    ("{{ member first_name }}", "`first_name` cannot stand there."),
    ("{{ $name }}", "`$` cannot stand there."),
    ("{% for in order.lines %}{% endfor %}", "a loop is written as {% for line in order.lines %}."),
    ("{% %}", "{% and %} have nothing between them."),
]
# Words of Python's and Jinja's that say nothing to a merchant.
_FOREIGN = (
    "object",
    "attribute",
    "NoneType",
    "crm_plugin",
    "class",
    "Jinja",
    "token",
    "template",
    "'str'",
    "argument",
    "..",
)


@pytest.mark.parametrize(("source", "words"), _TYPOS, ids=[source for source, _ in _TYPOS])
@pytest.mark.parametrize("part", ["body_text", "body_html"])
def test_typo_is_told_in_plain_words_with_its_line(part: str, source: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(_text(**{part: f"Dear all\n\n{source}"}), _scenes(), POLICY.brand)
    told = str(caught.value)
    assert told.startswith(f"t (email, en, {part}), line 3: {words.replace('of line 1', 'of line 3')}")
    assert (caught.value.field, caught.value.line) == (part, 3)
    assert [word for word in _FOREIGN if word in told.replace(source, "")] == []


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("{% if days %}\na\n{% if order %}\nb\n{% endif %}\nc\n", 1),
        ("{% if days %}\na\n{% if order %}\nb\n", 3),
        ("a\n{{ days }}\n{{ days\nb\nc", 3),
        ("a\n\n{{ order.number }} {{ order.total }}", 3),
        ("{{ days }}\n{{ x }}\n{{ member.y }}", 2),
    ],
)
def test_mistake_is_told_where_it_begins(source: str, line: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(_text(body_text=source), _scenes(), POLICY.brand)
    assert caught.value.line == line


def test_names_of_ones_own_are_not_looked_at() -> None:
    source = (
        "{% set order = member %}{{ order.first_name }}{% for x in order.name.split() %}{{ x.upper() }}{% endfor %}"
        "{% with shop = occasion %}{{ shop.year }}{% endwith %}{% for x in [1] %}{{ loop.first }}{% endfor %}"
    )
    check(_text(body_text=source), _scenes(), POLICY.brand)


def test_joined_mail_fails_in_the_line_of_its_own_text() -> None:
    with pytest.raises(RenderError) as caught:
        render(_text(body_html="<p>\n{{ order.number }}</p>"), _scenes()[0], POLICY.brand)
    assert (caught.value.line, caught.value.variable) == (2, "number")


# Each of these held the whole process for minutes, took gigabytes, or went past the guards.
_HEAVY = [
    ("{{ 9 ** (9 ** 8) % 7 }}", "cannot raise to a power"),
    ("{{ 'a' * 2000000000 }}", "longer than 2000"),
    ("{{ 2000000000 * [1] }}", "longer than 2000"),
    ("{{ '%0999999999d' % 1 }}", "% is only for numbers"),
    ("{{ '%0999999999d' | format(1) }}", "there is no filter `format`"),
    ("{{ 'x' | center(1500000000) }}", "there is no filter `center`"),
    ("{{ 'x' | indent(1500000000, true) }}", "there is no filter `indent`"),
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


def test_first_words_stand_beside_the_subject_and_end_in_ascii() -> None:
    told = "Tea & cups " * 20
    made = render(
        _text(subject="s", body_text=f"Hello\n\n{told}", body_html="<p>Hello</p>"), _scenes()[0], POLICY.brand
    )
    shown = made.html.partition('aria-hidden="true"')[2].partition("&#847;")[0].partition(">\n")[2]
    assert shown == " ".join(("Tea &amp; cups " * 11).split()[:-1]) + "&hellip;"
    assert made.html.isascii()
    short = render(
        _text(subject="s", body_text="Hello\n<b> & Co", body_html="<p>Hello</p>"), _scenes()[0], POLICY.brand
    )
    assert ">\n&lt;b&gt; &amp; Co&#847;" in short.html
