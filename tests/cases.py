"""Many small cases in one test: a test of its own for each costs more than what is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Case = TypeVar("Case")


def failing(check: Callable[[Case], None], cases: Iterable[tuple[str, Case]]) -> dict[str, str]:
    """What does not hold, by the name of its case; all cases are gone through."""
    told = {}
    for name, case in cases:
        try:
            check(case)
        except AssertionError as error:
            told[name] = str(error)
    return told
