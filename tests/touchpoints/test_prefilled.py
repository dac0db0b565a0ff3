"""Texts with what their readers have alike written in before: they read as the texts that were not, or leave it to those."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from itertools import product

import pytest

from crm_plugin.errors import InvalidInput, RenderError
from crm_plugin.touchpoints.policy import Brand
from crm_plugin.touchpoints.prefilled import Common, prefilled
from crm_plugin.touchpoints.render import PARTS, Rendered, Text, render
from crm_plugin.touchpoints.scene import JourneyView, Scene, ShopView, sample_scenes
from crm_plugin.woven import Woven
from tests.touchpoints.test_render import POLICY, VIEW

_BARE = ShopView("", "", "", "EUR")
_AWKWARD = ShopView(
    'A & "B" <{{ days }}> {% if %}', "https://shop.example/?a=1&b='2'", "1 <Lane>\n\nYork & Co\r\nUK", "JPY"
)
_COMMON = frozenset(Common.__dataclass_fields__)


def _recipes() -> Iterator[Text]:
    """Every text there is."""
    for folder in (files("crm_plugin") / "templates" / "messages").iterdir():
        if not folder.is_dir():
            continue
        for channel, locale in product(PARTS, ("en", "zh-CN")):
            head = "subject" if channel == "email" else "title"
            names = (f"{channel}.{locale}.{head}.txt", f"{channel}.{locale}.txt", f"{channel}.{locale}.html")
            told = [path.read_text("utf-8") if (path := folder / name).is_file() else "" for name in names]
            if told[1]:
                yield Text(folder.name, channel, locale, 1, *told)


def _scenes(view: ShopView, locale: str, days: int, *, marketing: bool) -> list[Scene]:
    policy = replace(POLICY, cta_url=view.url)
    found = [one for order in (True, False) for one in sample_scenes(policy, view, locale, with_order=order)]
    return [replace(one, days=days, marketing=marketing, cta_url=view.url) for one in found]


def _is_filled(text: Text, scene: Scene, brand: Brand = POLICY.brand) -> bool:
    """Whether a text came out with what was written in before; it has to read as without, or to be left to be told wrong."""
    told = {name: value for name, value in scene.names().items() if name not in _COMMON}
    common = Common(**{name: getattr(scene, name) for name in _COMMON})
    found = prefilled(text, common, brand)
    made = found.fill(told) if found.parts else None
    try:
        assert made in (None, render(text, scene, brand)), text
    except (RenderError, InvalidInput):
        assert made is None, text
    return made is not None


def test_every_recipe_reads_alike() -> None:
    texts = list(_recipes())
    assert len(texts) > 100
    logo = Brand("#ffffff", "#000000", "https://shop.example/logo.png?a=1&b=2")
    for text in texts:
        if text.locale == "en":
            made = [_is_filled(text, scene) for scene in _scenes(_AWKWARD, text.locale, -7, marketing=True)]
        else:
            made = [_is_filled(text, scene, logo) for scene in _scenes(_BARE, text.locale, 0, marketing=False)]
        # Some speak of an order, which not every scene has.
        assert made[:2] == [True, True], text


@pytest.mark.parametrize(
    "source",
    [
        "{{ shop.title }}|{{ shop.title | upper }}|{{ shop['title'] }}|{{ shop.url | urlencode }}|{{ cta_url | e }}",
        "{% set journey = member %}{{ journey.first_name }}{{ days }}",
        "{% for days in order.lines %}{{ days.title }}{% else %}-{% endfor %}{{ marketing }}",
        "{% for line in shop.address.splitlines() %}{{ loop.index }}{{ line }}{% else %}nowhere{% endfor %}",
        "{% for letter in ['a', 'b'] %}{{ letter }}{{ locale }}{% endfor %}{% for no in [] %}{{ no }}{% endfor %}",
        "{% if days > 0 and member.first_name %}a{% elif marketing %}b{% elif member.last_name %}c{% else %}d{% endif %}",
        "{% if member.first_name %}a{% elif marketing %}b{% elif member.last_name %}c{% else %}d{% endif %}",
        "{% if member.first_name %}a{% elif not marketing %}b{% elif member.last_name %}c{% endif %}",
        "{% if marketing %}{% set way = 'in' %}{% endif %}{% if way is defined %}{{ way }}{% endif %}",
        "{% with title = shop.title %}{{ title ~ days ~ member.name }}{% endwith %}",
        "{{ 5 | money }}{{ 5 | money(shop.currency) }}{{ occasion | date }}{{ days + 1 }}{{ 'yes' if marketing else 'no' }}",
        "{{ shop.address | replace('\n', ', ') }}{{ ['<', '&'] | join(shop.title) }}",
        "{% set name = 'mine' %}{{ name }}",
        "{{ journey.key }}{{ journey.key == 'sample' }}{{ lang | default('no lang') }}{{ answers.why_left | length }}",
    ],
)
def test_whatever_a_text_does_it_reads_alike(source: str) -> None:
    text = Text("t", "email", "en", 1, source, "{{ name | default('') }}" + source, f"<p>{source}</p>")
    filled = [
        _is_filled(text, scene)
        for view, days, marketing in ((VIEW, 3, True), (_BARE, 0, False), (_AWKWARD, -7, True))
        for scene in _scenes(view, "en", days, marketing=marketing)
    ]
    assert any(filled)


def test_what_is_the_same_for_all_is_asked_of_nobody() -> None:
    source = "{% if days < 0 %}{{ order.number }}{% endif %}{{ shop.title }} {{ member.first_name }}"
    common = Common(VIEW, JourneyView("j"), "en", 3, True, VIEW.url)
    found = prefilled(Text("t", "sms", "en", body_text=source), common, POLICY.brand)
    assert found.asked == {"member"}
    assert found.fill({"member": _scenes(VIEW, "en", 3, marketing=True)[0].member}) == Rendered(
        "en", "", "Lantern & Leaf Ada"
    )


def test_mails_of_one_text_have_most_of_it_in_common() -> None:
    text = next(one for one in _recipes() if (one.template_key, one.channel, one.locale) == ("birthday", "email", "en"))
    common = Common(VIEW, JourneyView("j"), "en", 0, True, VIEW.url)
    found = prefilled(text, common, POLICY.brand)
    scene = _scenes(VIEW, "en", 0, marketing=True)[0]
    anna, tom = (
        found.fill(
            {"member": replace(scene.member, first_name=name), "unsubscribe_url": f"https://crm.example/u/{name}"}
        )
        for name in ("Anna", "Tom")
    )
    assert isinstance(anna and anna.html, Woven)
    assert isinstance(tom and tom.html, Woven)
    same = anna.html.blocks[1::2]
    assert all(one is other for one, other in zip(same, tom.html.blocks[1::2], strict=True))
    assert sum(map(len, same)) > len(anna.html) // 2
    assert "Anna" not in "".join(same)


@pytest.mark.parametrize(
    "source", ["{{ nobody }}", "{{ member.nothing }}", "{{ brand.color }}", "{% if %}", "x" * 100_001]
)
def test_mistake_is_left_to_the_text_as_it_was_written(source: str) -> None:
    text = Text("t", "email", "en", 1, "s", source, "<p>Hello</p>")
    assert not any(_is_filled(text, scene) for scene in _scenes(VIEW, "en", 3, marketing=True))
