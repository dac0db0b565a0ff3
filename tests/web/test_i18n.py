"""Every string of the pages is translated, with the same placeholders; nothing is left over."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask, render_template_string
from markupsafe import escape

from crm_plugin.adapters.base import Setting, SettingType
from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.phrases import packed, phrase, unpacked
from crm_plugin.web.i18n import explained, in_words
from tests.web.catalogue import Message, plain_errors, present, wanted

_PLACEHOLDER = re.compile(r"%\(([a-z_]+)\)[sdr]")


@pytest.fixture(scope="module")
def needed() -> set[Message]:
    return set(wanted())


@pytest.fixture(scope="module")
def translated() -> dict[Message, tuple[str, ...]]:
    """Messages with their translations; Chinese has one form for all numbers."""
    return dict(_entries())


def _entries() -> Iterator[tuple[Message, tuple[str, ...]]]:
    for entry in present():
        if entry.id:
            key = entry.id if isinstance(entry.id, str) else tuple(entry.id)
            strings = (entry.string,) if isinstance(entry.string, str) else tuple(entry.string)
            yield key, tuple(text for text in strings if text)  # type: ignore[misc]


@pytest.mark.slow
def test_each_string_is_in_chinese(needed: set[Message], translated: dict[Message, tuple[str, ...]]) -> None:
    missing = sorted(str(message) for message in needed if not translated.get(message))
    assert missing == [], "run `./dev i18n` and translate these"


@pytest.mark.slow
def test_nothing_unused_stays(needed: set[Message], translated: dict[Message, tuple[str, ...]]) -> None:
    assert sorted(str(message) for message in translated.keys() - needed) == []


def test_placeholders_are_the_same(translated: dict[Message, tuple[str, ...]]) -> None:
    differing = []
    for message, strings in translated.items():
        source = message if isinstance(message, str) else message[-1]
        # A number may be left out where the sentence does without it, nothing else may.
        used = set(_PLACEHOLDER.findall(source))
        differing += [message for text in strings if (set(_PLACEHOLDER.findall(text)) ^ used) - {"num"}]
    assert differing == []


def test_each_translation_has_one_form(translated: dict[Message, tuple[str, ...]]) -> None:
    assert [message for message, strings in translated.items() if len(strings) > 1] == []


@pytest.mark.slow
def test_errors_that_pages_can_show_are_phrases() -> None:
    assert [f"{place}: {text}" for place, text in plain_errors()] == [], "put it into phrase() and translate it"


def test_labels_of_settings_are_told_in_chinese(app: Flask) -> None:
    with app.test_request_context("/?lang=zh"):
        app.preprocess_request()
        with pytest.raises(InvalidInput) as caught:
            Setting(
                "url", "Store address", SettingType.URL, help="As in the browser, such as https://shop.example."
            ).read("")
        assert explained(caught.value) == "缺少“店铺网址”。与浏览器中一致，例如 https://shop.example。"


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        (phrase("There is no tier %(tier)r.", tier="金卡"), "没有等级“金卡”。"),
        (phrase("There are: %(names)s.", names=("gold", phrase("email"))), "现有：gold，邮件。"),
        (
            RuleError(phrase("The rule is empty."), line=1, column=2, hint=phrase("Put texts in quotes.")),
            "第 1 行第 2 列：规则是空的。文本请加上引号。",
        ),
        (
            unpacked(packed(phrase("%(place)s: %(what)s", place="x", what=phrase("The list is empty.")))),
            "x：列表是空的。",
        ),
        ("HTTP 500", "HTTP 500"),
        (phrase("nobody has translated this, 5 %"), "nobody has translated this, 5 %"),
    ],
)
def test_phrases_are_told_in_the_readers_language(app: Flask, text: object, chinese: str) -> None:
    for lang, told in (("en", str(text)), ("zh", chinese)):
        with app.test_request_context(f"/?lang={lang}"):
            app.preprocess_request()
            assert in_words(str(text)) == told
            assert render_template_string("{{ text }}", text=str(text)) == str(escape(told))
