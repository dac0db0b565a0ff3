"""The catalogue of operators: one row each, with its meaning in Python, in SQL and in words."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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
