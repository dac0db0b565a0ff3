"""The languages a merchant can choose for messages, and how sentences are put together in the reader's own."""

from __future__ import annotations

from collections.abc import Iterable

from babel import Locale, UnknownLocaleError
from flask_babel import get_locale

from crm_plugin.web.titles import chinese

_COMMON = ("en", "zh-CN", "zh-TW", "de", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "sv")


def choices(present: str) -> list[tuple[str, str]]:
    """Tags with names, the present one among them even where it is a rare one."""
    tags = list(_COMMON) if present in _COMMON or not present else [present, *_COMMON]
    return [(tag, name(tag)) for tag in tags]


def name(tag: str) -> str:
    """What a language is called in the reader's."""
    try:
        told = Locale.parse(tag, sep="-").get_display_name(get_locale())
    except (UnknownLocaleError, ValueError):
        return tag
    if not told:
        return tag
    # The names of languages come with the signs of Latin script.
    return f"{_wide(told)}（{tag}）" if chinese() else f"{told} ({tag})"


def _wide(name: str) -> str:
    return name.replace(" (", "（").replace(")", "）").replace(", ", "，")


def sentences(parts: Iterable[str]) -> str:
    """Whole sentences one after the other; Chinese has no space between them."""
    return ("" if chinese() else " ").join(part for part in parts if part)
