"""In which of its languages a text is read."""

from __future__ import annotations

from collections.abc import Collection


def choose_locale(wanted: str, there: Collection[str], fallback: str) -> str:
    """Of the locales a text is written in, the one nearest to the member's; then the shop's, English, any.

    zh-TW is not served zh-CN's text when there is English and the shop is no Chinese one: scripts differ.
    """
    names = sorted(there)
    for told in (wanted, fallback, "en"):
        tag = told.replace("_", "-")
        if not tag:
            continue
        exact = next((name for name in names if name.lower() == tag.lower()), None)
        if exact is not None:
            return exact
        language = tag.split("-")[0].lower()
        near = next(
            (name for name in names if name.split("-")[0].lower() == language and not _other_script(tag, name)), None
        )
        if near is not None:
            return near
    return names[0] if names else ""


_TRADITIONAL = frozenset({"tw", "hk", "mo", "hant"})


def _other_script(one: str, other: str) -> bool:
    def traditional(tag: str) -> bool:
        return any(part.lower() in _TRADITIONAL for part in tag.split("-")[1:])

    return one.lower().startswith("zh") and traditional(one) != traditional(other)
