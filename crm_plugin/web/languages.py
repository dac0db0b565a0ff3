"""The languages a merchant can choose for messages, by the names readers know them under."""

from __future__ import annotations

from babel import Locale, UnknownLocaleError
from flask_babel import get_locale

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
    return f"{told} ({tag})" if told else tag
