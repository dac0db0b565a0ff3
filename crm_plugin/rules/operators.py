"""The catalogues of operators: one row each, with its meaning in Python, in SQL and in words."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func

from crm_plugin.rules.dialects import position


@dataclass(frozen=True, slots=True)
class Operator:
    """A comparison. `call` works on plain values and on SQL expressions alike.

    `mirrored` says the same with the sides exchanged, `negated` the opposite. `ordered` ones need a number.
    """

    key: str
    call: Callable[[Any, Any], Any]
    mirrored: str
    negated: str
    ordered: bool
    en: str
    zh: str


OPERATORS: dict[str, Operator] = {
    row.key: row
    for row in (
        Operator("==", operator.eq, "==", "!=", False, "is", "为"),
        Operator("!=", operator.ne, "!=", "==", False, "is not", "不为"),
        Operator(">=", operator.ge, "<=", "<", True, "is at least", "不低于"),
        Operator(">", operator.gt, "<", "<=", True, "is more than", "高于"),
        Operator("<=", operator.le, ">=", ">", True, "is at most", "不高于"),
        Operator("<", operator.lt, ">", ">=", True, "is less than", "低于"),
    )
}


@dataclass(frozen=True, slots=True)
class Match:
    """A look into a text; `call` takes the member's text and the piece, both folded by `fold`."""

    key: str
    call: Callable[[str, str], bool]
    sql: Callable[[ColumnElement[str], str], ColumnElement[bool]]
    en: str
    zh: str
    en_not: str
    zh_not: str


# No LIKE: a % or _ that a merchant writes means itself. Lengths count characters on both databases.
def _starts(column: ColumnElement[str], piece: str) -> ColumnElement[bool]:
    found: ColumnElement[bool] = func.substr(column, 1, len(piece)) == piece
    return found


def _ends(column: ColumnElement[str], piece: str) -> ColumnElement[bool]:
    # A negative start counts from the end on SQLite alone, so the place is counted; a shorter text cannot end so.
    start = func.length(column) - (len(piece) - 1)
    return (func.length(column) >= len(piece)) & (func.substr(column, start) == piece)


def _contains(column: ColumnElement[str], piece: str) -> ColumnElement[bool]:
    found: ColumnElement[bool] = position(column, piece) > 0
    return found


MATCHES: dict[str, Match] = {
    row.key: row
    for row in (
        Match("starts_with", str.startswith, _starts, "starts with", "以{}开头", "does not start with", "不以{}开头"),
        Match("ends_with", str.endswith, _ends, "ends with", "以{}结尾", "does not end with", "不以{}结尾"),
        Match("contains", operator.contains, _contains, "contains", "包含{}", "does not contain", "不包含{}"),
    )
}

_CAPITALS = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def fold(text: str) -> str:
    """Small letters for A to Z and nothing else: the one folding both databases do alike, whatever their locale."""
    return text.translate(_CAPITALS)


CALCULATIONS: dict[str, tuple[str, str]] = {
    "+": ("plus", "加"),
    "-": ("minus", "减"),
    "*": ("times", "乘以"),
    "/": ("divided by", "除以"),
}
