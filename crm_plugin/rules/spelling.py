"""A look over a rule's text before Python's parser sees it: what people write by mistake is named where it stands, with the right form."""

from __future__ import annotations

import re
from keyword import iskeyword

from crm_plugin.errors import RuleSyntaxError
from crm_plugin.phrases import joined, phrase
from crm_plugin.rules.operators import MATCHES

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
        raise _error(
            text,
            MAX_LENGTH,
            phrase("The rule is longer than %(most)s characters.", most=MAX_LENGTH),
            phrase("Make segments out of its parts."),
        )
    surrogate = re.search("[\ud800-\udfff]", text)
    if surrogate:
        raise _error(text, surrogate.start(), phrase("This character cannot be stored."))
    # Open brackets: character, whether they hold a field's arguments, and where they stand.
    opened: list[tuple[str, bool, int]] = []
    place, before, glued = 0, "", ""
    # Whether what stands before is a value or a field, so that another cannot follow.
    stands = False
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _unreadable(text, place)
        kind, mark = str(match.lastgroup), match.group()
        if stands and glued == "space" and kind in ("name", "number", "text") and not iskeyword(mark):
            _side_by_side(text, place, mark, before)
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
                text,
                place - len(before),
                phrase("%(before)r before a text means nothing here.", before=before),
                phrase("Write the text alone."),
            )
        if kind != "space":
            before = mark
            # Two texts in a row are one.
            stands = mark in (")", "]") or kind == "number" or (kind == "name" and not iskeyword(mark))
        glued = kind
        place = match.end()
    if opened:
        raise _error(text, opened[-1][2], phrase("This %(mark)r is never closed.", mark=opened[-1][0]))


def position(text: str, place: int) -> tuple[int, int]:
    """Line and column, both from 1, of a place in the text."""
    line = text.count("\n", 0, place) + 1
    return line, place - (text.rfind("\n", 0, place) + 1) + 1


def _side_by_side(text: str, place: int, mark: str, before: str) -> None:
    if mark.lower() in _WORDS:
        return
    if mark in MATCHES:
        raise _error(
            text,
            place,
            phrase("%(mark)s stands before its brackets.", mark=mark),
            phrase("Write %(written)s.", written=f'{mark}(email, "…")'),
        )
    raise _error(
        text,
        place,
        phrase("Between %(before)s and %(mark)s something is missing.", before=_short(before), mark=_short(mark)),
        joined(
            phrase("Compare with == or >=, and join conditions by and / or."),
            phrase("Amounts are plain numbers in the shop's currency."),
        ),
    )


def _short(mark: str) -> str:
    return mark if len(mark) <= 40 else mark[:39] + "…"


def _bracket(text: str, place: int, mark: str, opened: list[tuple[str, bool, int]], *, is_call: bool) -> None:
    if mark in "([":
        if len(opened) == MAX_DEPTH:
            raise _error(text, place, phrase("The rule is nested too deeply."))
        opened.append((mark, mark == "(" and is_call, place))
    elif not opened or opened[-1][0] != _CLOSES[mark]:
        raise _error(text, place, phrase("This %(mark)r closes nothing.", mark=mark))
    else:
        opened.pop()


def _operator(text: str, place: int, mark: str, *, is_call: bool) -> None:
    if mark in _INSTEAD:
        raise _error(
            text,
            place,
            phrase("%(mark)r is not an operator here.", mark=mark),
            phrase("Write %(written)s.", written=_INSTEAD[mark]),
        )
    if mark == "=" and not is_call:
        raise _error(text, place, phrase("'=' does not compare."), phrase("Write == to compare."))


def _name(text: str, place: int, mark: str, glued: str) -> None:
    if glued == "number":
        raise _error(text, place, phrase("A number is followed by letters."), phrase("Write numbers as 1000 or 10.5."))
    if mark not in _WORDS and mark.lower() in _WORDS:
        raise _error(
            text,
            place,
            phrase("%(mark)r is written in small letters.", mark=mark),
            phrase("Write %(written)s.", written=mark.lower()),
        )


def _number(text: str, place: int, mark: str, glued: str) -> None:
    if glued == "number" or (len(mark) > 1 and mark[0] == "0" and mark[1] != "."):
        raise _error(
            text,
            place,
            phrase("%(mark)s is not written as a number is.", mark=mark),
            phrase("Write numbers as 1000 or 10.5, without separators."),
        )


def _unreadable(text: str, place: int) -> RuleSyntaxError:
    found = text[place]
    if found in _INSTEAD:
        return _error(
            text,
            place,
            phrase("%(found)r cannot stand here.", found=found),
            phrase("Write %(written)s instead.", written=_INSTEAD[found]),
        )
    if found in "\"'":
        line = text[place + 1 :].split("\n", 1)[0]
        if "\\" in line:
            return _error(
                text,
                place,
                phrase("This text has a backslash that means nothing."),
                phrase("Write \\\\ for a backslash."),
            )
        return _error(
            text, place, phrase("This text has no closing quote."), phrase("Close it with %(found)s.", found=found)
        )
    if found in "$€£¥":
        return _error(
            text,
            place,
            phrase("%(found)r cannot stand here.", found=found),
            phrase("Write amounts as plain numbers; they are in the shop's currency."),
        )
    return _error(text, place, phrase("%(found)r cannot stand here.", found=found))


def _error(text: str, place: int, message: str, hint: str = "") -> RuleSyntaxError:
    line, column = position(text, place)
    return RuleSyntaxError(message, line=line, column=column, hint=hint)
