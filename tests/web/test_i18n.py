"""Every string of the pages is translated, with the same placeholders; nothing is left over."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.web.catalogue import Message, present, wanted

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


def test_each_string_is_in_chinese(needed: set[Message], translated: dict[Message, tuple[str, ...]]) -> None:
    missing = sorted(str(message) for message in needed if not translated.get(message))
    assert missing == [], "run `./dev i18n` and translate these"


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
