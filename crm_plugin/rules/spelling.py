"""A look over a rule's text before Python's parser sees it: what people write by mistake is named where it stands, with the right form."""

from __future__ import annotations

import re

from crm_plugin.errors import RuleSyntaxError

MAX_LENGTH = 10_000
MAX_DEPTH = 40

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+|\#[^\n]*)
  | (?P<text>"(?:[^"\\\n\0]|\\["'\\ntrbf]|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4})*"
            |'(?:[^'\\\n\0]|\\["'\\ntrbf]|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4})*')
  | (?P<number>\d+(?:_\d+)*(?:\.\d+)?)
  | (?P<name>[^\W\d]\w*)
  | (?P<operator>==|!=|>=|<=|&&|\|\||=>|=<|<>|[<>=!&|+*/%-])
  | (?P<bracket>[()\[\]])
  | (?P<comma>,)
    """,
    re.VERBOSE,
)
_CLOSES = {")": "(", "]": "["}
_INSTEAD = {
    "&&": "and",
    "&": "and",
    "||": "or",
    "|": "or",
    "!": "not",
    "=>": ">=",
    "=<": "<=",
    "<>": "!=",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
    "（": "(",
    "）": ")",
    "，": ",",
    "“": '"',
    "”": '"',
    "„": '"',
    "‘": "'",
    "’": "'",
    "＝": "==",
    "＞": ">",
    "＜": "<",
}
_WORDS = frozenset({"and", "or", "not", "in", "everyone"})


def look_over(text: str) -> None:
    """Raises: RuleSyntaxError at the first thing that no rule may hold."""
    if len(text) > MAX_LENGTH:
        raise RuleSyntaxError(
            f"The rule is longer than {MAX_LENGTH} characters.", hint="Make segments out of its parts."
        )
    surrogate = re.search("[\ud800-\udfff]", text)
    if surrogate:
        raise _error(text, surrogate.start(), "This character cannot be stored.")
    # Open brackets: character, whether they hold a field's arguments, and where they stand.
    opened: list[tuple[str, bool, int]] = []
    place, before, glued = 0, "", ""
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _unreadable(text, place)
        kind, mark = str(match.lastgroup), match.group()
        if kind == "bracket":
            _bracket(text, place, mark, opened, is_call=glued == "name" and before not in _WORDS)
        elif kind == "operator":
            _operator(text, place, mark, is_call=bool(opened) and opened[-1][1])
        elif kind == "name":
            _name(text, place, mark, glued)
        elif kind == "number":
            _number(text, place, mark, glued)
        elif kind == "text" and glued == "name":
            raise _error(
                text, place - len(before), f"{before!r} before a text means nothing here.", "Write the text alone."
            )
        if kind != "space":
            before = mark
        glued = kind
        place = match.end()
    if opened:
        raise _error(text, opened[-1][2], f"This {opened[-1][0]!r} is never closed.")


def position(text: str, place: int) -> tuple[int, int]:
    """Line and column, both from 1, of a place in the text."""
    line = text.count("\n", 0, place) + 1
    return line, place - (text.rfind("\n", 0, place) + 1) + 1


def _bracket(text: str, place: int, mark: str, opened: list[tuple[str, bool, int]], *, is_call: bool) -> None:
    if mark in "([":
        if len(opened) == MAX_DEPTH:
            raise _error(text, place, "The rule is nested too deeply.")
        opened.append((mark, mark == "(" and is_call, place))
    elif not opened or opened[-1][0] != _CLOSES[mark]:
        raise _error(text, place, f"This {mark!r} closes nothing.")
    else:
        opened.pop()


def _operator(text: str, place: int, mark: str, *, is_call: bool) -> None:
    if mark in _INSTEAD:
        raise _error(text, place, f"{mark!r} is not an operator here.", f"Write {_INSTEAD[mark]}.")
    if mark == "=" and not is_call:
        raise _error(text, place, "'=' does not compare.", "Write == to compare.")


def _name(text: str, place: int, mark: str, glued: str) -> None:
    if glued == "number":
        raise _error(text, place, "A number is followed by letters.", "Write numbers as 1000 or 10.5.")
    if mark not in _WORDS and mark.lower() in _WORDS:
        raise _error(text, place, f"{mark!r} is written in small letters.", f"Write {mark.lower()}.")


def _number(text: str, place: int, mark: str, glued: str) -> None:
    if glued == "number" or (len(mark) > 1 and mark[0] == "0" and mark[1] != "."):
        raise _error(
            text, place, f"{mark} is not written as a number is.", "Write numbers as 1000 or 10.5, without separators."
        )


def _unreadable(text: str, place: int) -> RuleSyntaxError:
    found = text[place]
    if found in _INSTEAD:
        return _error(text, place, f"{found!r} cannot stand here.", f"Write {_INSTEAD[found]} instead.")
    if found in "\"'":
        line = text[place + 1 :].split("\n", 1)[0]
        if "\\" in line:
            return _error(text, place, "This text has a backslash that means nothing.", "Write \\\\ for a backslash.")
        return _error(text, place, "This text has no closing quote.", f"Close it with {found}.")
    if found in "$€£¥":
        return _error(
            text,
            place,
            f"{found!r} cannot stand here.",
            "Write amounts as plain numbers; they are in the shop's currency.",
        )
    return _error(text, place, f"{found!r} cannot stand here.")


def _error(text: str, place: int, message: str, hint: str = "") -> RuleSyntaxError:
    line, column = position(text, place)
    return RuleSyntaxError(message, line=line, column=column, hint=hint)
