"""Every string of the pages is translated, with the same placeholders; nothing is left over."""

from __future__ import annotations

import re

import pytest
from babel.messages.plurals import get_plural

from tests.web.catalogue import present, wanted

_PLACEHOLDER = re.compile(r"%\([a-z_]+\)[sd]")


def test_each_string_is_in_chinese() -> None:
    entries = {entry.id: entry.string for entry in present() if entry.id}
    missing = [message for message in wanted() if not entries.get(message) or not all(entries[message])]
    assert missing == [], "run `./dev i18n` and translate these"


def test_nothing_unused_stays() -> None:
    assert sorted(str(entry.id) for entry in present() if entry.id and entry.id not in wanted()) == []


@pytest.mark.parametrize("entry", [entry for entry in present() if entry.id], ids=lambda entry: str(entry.id)[:40])
def test_placeholders_are_the_same(entry: object) -> None:
    ids = (entry.id,) if isinstance(entry.id, str) else entry.id  # type: ignore[attr-defined]
    strings = (entry.string,) if isinstance(entry.string, str) else entry.string  # type: ignore[attr-defined]
    used = set(_PLACEHOLDER.findall(ids[-1]))
    assert len(strings) == (1 if len(ids) == 1 else get_plural("zh").num_plurals)
    for string in strings:
        assert set(_PLACEHOLDER.findall(string)) == used
