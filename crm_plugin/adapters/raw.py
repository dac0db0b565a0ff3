"""Reading untrusted JSON: a page is cut into records, each record is decoded apart, so that a bad one is set aside alone.

Structs are msgspec's; `read_record` turns what msgspec says into a MalformedResponse with the path inside the record.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from crm_plugin.errors import MalformedResponse
from crm_plugin.phrases import Phrase, phrase

T = TypeVar("T")

_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
# What bytes from outside can make of a decoder: no JSON, another form, no UTF-8, brackets within brackets without end.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_AT_PATH = re.compile(r"^(?P<reason>.*?)(?: - at `(?P<path>[^`]+)`)?$", re.DOTALL)
# Stray text before the JSON is short; a page full of brackets that never parses is not worth more tries than this.
_MAX_STARTS = 200


class FieldError(ValueError):
    """A value of the right JSON type that still cannot be used; `path` is its place inside the record."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


def split_rows(body: bytes) -> list[msgspec.Raw]:
    """The records of a JSON list, each still raw. Raises: one of UNREADABLE when it is no JSON list."""
    return _ROWS.decode(body)


def read_record(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw, *, adapter: str = "") -> T:
    """One record. Raises: MalformedResponse with the path of what cannot be read."""
    try:
        return decoder.decode(raw)
    except UNREADABLE as error:
        found = _AT_PATH.match(str(error))
        reason, path = (found["reason"], found["path"] or "$") if found else (str(error), "$")
        raise MalformedResponse(whole(_told(reason)), adapter=adapter, path=path) from error


def whole(reason: str) -> Phrase:
    """A reason as a sentence."""
    return phrase("%(reason)s.", reason=reason)


def malformed(error: FieldError, adapter: str) -> MalformedResponse:
    """What a record is that has such a value."""
    return MalformedResponse(whole(error.reason), adapter=adapter, path=error.path)


class Usable:
    """Within it a value that cannot be used makes the record malformed; one serves all records of an adapter."""

    def __init__(self, adapter: str) -> None:
        self._adapter = adapter

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FieldError):
            raise malformed(error, self._adapter) from error


def _told(reason: str) -> str:
    """What msgspec says, as a phrase where it is one of the usual."""
    if found := re.fullmatch(r"Expected `(.+)`, got `(.+)`", reason):
        return phrase("Expected `%(wanted)s`, got `%(found)s`", wanted=found[1], found=found[2])
    if found := re.fullmatch(r"Object missing required field `(.+)`", reason):
        return phrase("Object missing required field `%(name)s`", name=found[1])
    if found := re.fullmatch(r"JSON is malformed: (.+)", reason, re.DOTALL):
        return phrase("JSON is malformed: %(what)s", what=found[1])
    return phrase("Input data was truncated") if reason == "Input data was truncated" else reason


def json_part(body: bytes) -> bytes | None:
    """The body from where its JSON list or object begins; None when nothing in it parses wholly.

    Stores with a chatty plugin put warnings or a byte order mark before the answer. What stands before the first bracket, or before a line
    that begins with one, is cut when all the rest parses. Nothing is cut from what begins as JSON: the end of a broken-off list may
    well parse, `[]` for example, and half an answer must never pass for a whole one.
    """
    if _parses(body):
        return body
    if body.lstrip()[:1] in (b"[", b"{"):
        return None
    return next((body[start:] for start in _starts(body) if _parses(body[start:])), None)


def text_of(raw: bytes | msgspec.Raw) -> str:
    """A raw record as text for keeping; bytes that are no UTF-8 are replaced."""
    return bytes(raw).decode("utf-8", "replace")


def read_or_none(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw) -> T | None:
    """A value in the form asked for, or None when it is not that."""
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        return None


def any_json(raw: bytes | msgspec.Raw) -> Any:
    """A raw value as plain Python, or None when it is no JSON."""
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return None


def label_of(raw: bytes | msgspec.Raw, names: Sequence[str], otherwise: str) -> str:
    """The record's own id, read from the first of `names` that it has, also when the rest of it is broken."""
    value = any_json(raw)
    if isinstance(value, dict):
        for name in names:
            if isinstance(value.get(name), (int, str)) and value[name] not in ("", 0):
                return str(value[name])
    return otherwise


def _parses(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except UNREADABLE:
        return False
    return body.lstrip()[:1] in (b"[", b"{")


def _starts(body: bytes) -> list[int]:
    first = re.search(rb"[\[{]", body)
    lines = [found.end() - 1 for found in re.finditer(rb"\n[\[{]", body)]
    return [first.start(), *lines[:_MAX_STARTS]] if first else []
