"""Text that remembers what it was made of, so that a page can say it in the reader's language and the command line in English.

`phrase("There is no tier %(tier)s.", tier="gold")` is that English sentence; the message and the values stay with it, also in the database.
What is put together by `+`, f-strings or slices is plain text again: parts are put into one another as values, sentences by `joined`.
"""

from __future__ import annotations

import json
from typing import Any

# Between the English text and its parts where a phrase is stored: no text of ours or of a provider's holds it.
_MARK = "\x1f"


class Phrase(str):
    """An English text with the message and the values it was made of. A value is a text, a phrase, a number, None, or a tuple of these."""

    __slots__ = ("message", "values")
    message: str
    values: dict[str, Any]

    def __str__(self) -> str:
        # `str(error)` hands on the error's own text, and that must not forget what it is.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.message, self.values)


def phrase(message: str, /, **values: object) -> Phrase:
    """The message with its values, `%(name)s` in it; without any it stands as it is. Lists are told with commas."""
    return _made(message, {name: _kept(value) for name, value in values.items()})


def joined(*texts: str) -> str:
    """Sentences one after the other; empty ones are left out."""
    told, *more = [text for text in texts if text] or [""]
    for text in more:
        told = phrase("%(sentence)s %(next)s", sentence=told, next=text)
    return told


def cut(text: str, longest: int) -> str:
    """The text, shortened where it is longer than that many characters."""
    return text if len(text) <= longest else text[:longest]


def packed(text: str) -> str:
    """As it is stored: the English, and behind a mark what it was made of."""
    # A text in PostgreSQL holds no NUL.
    plain = "".join(text).replace(_MARK, " ").replace("\0", "")
    if not isinstance(text, Phrase):
        return plain
    return f"{plain}{_MARK}{json.dumps(_as_json(text), ensure_ascii=False)}"


def unpacked(stored: str) -> str:
    """The text as it was before it was stored; what was stored as plain text stays that."""
    plain, mark, parts = stored.partition(_MARK)
    if not mark:
        return plain
    try:
        told = _from_json(json.loads(parts))
    except (ValueError, TypeError, KeyError, AttributeError):
        return plain
    return told if isinstance(told, Phrase) else plain


def _made(message: str, values: dict[str, Any]) -> Phrase:
    told = Phrase(message % {name: _plain(value) for name, value in values.items()} if values else message)
    told.message, told.values = message, values
    return told


def _kept(value: object) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_kept(item) for item in value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _plain(value: Any) -> Any:
    return ", ".join(str(item) for item in value) if isinstance(value, tuple) else value


def _as_json(value: Any) -> Any:
    if isinstance(value, Phrase):
        return {"message": value.message, "values": {name: _as_json(one) for name, one in value.values.items()}}
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return _made(value["message"], {name: _from_json(one) for name, one in value["values"].items()})
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value
