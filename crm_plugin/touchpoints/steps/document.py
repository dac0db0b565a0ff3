"""The steps of a journey as a document: read and checked, written back, and laid out as a path from step to step.

Steps are nested, so no step leads back to an earlier one: whoever comes in comes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.touchpoints.steps.kinds import KINDS

MOST_STEPS, MOST_NESTED = 100, 6
THEN, ELSE = "then", "else"
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}")
# A step of these kinds goes on in one of several lists.
SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `told` are its parameters, complete and as they are written; `lists` what follows, by then and else or by arm."""

    key: str
    kind: str
    told: Mapping[str, Any]
    lists: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As a programme file writes it."""
        written: dict[str, Any] = {"key": self.key, self.kind: KINDS[self.kind].write(self.told)}
        inner = {name: [one.as_dict() for one in steps] for name, steps in self.lists.items()}
        if self.kind == SPLIT:
            return {**written, "arms": inner}
        return {**written, **{name: steps for name, steps in inner.items() if steps}}


@dataclass(frozen=True, slots=True)
class Place:
    """A step where it stands on the path: which step follows it, by the list it goes on in (of most steps only ""); "" is the end."""

    step: Step
    order: int
    goes: Mapping[str, str]


def read_steps(told: Any) -> tuple[Step, ...]:
    """The steps of a journey. Raises: InvalidInput naming the step, RuleError for the rule of a branch."""
    seen: set[str] = set()
    steps = _list(told, seen, 0)
    if len(seen) > MOST_STEPS:
        raise InvalidInput(
            phrase("The journey has %(count)s steps.", count=len(seen)),
            field="steps",
            hint=phrase("At most %(most)s; make two journeys of it.", most=MOST_STEPS),
        )
    return steps


def _list(told: Any, seen: set[str], depth: int) -> tuple[Step, ...]:
    if told is None:
        return ()
    if not isinstance(told, list | tuple):
        raise InvalidInput(phrase("Steps are a list."), field="steps", hint=phrase("- key: … for each."))
    if depth > MOST_NESTED:
        raise InvalidInput(
            phrase("Steps are nested too deeply."),
            field="steps",
            hint=phrase("At most %(most)s times.", most=MOST_NESTED),
        )
    return tuple(_step(one, seen, depth) for one in told)


def _step(told: Any, seen: set[str], depth: int) -> Step:
    key = told.get("key") if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping) or not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidInput(
            phrase("A step has no key, or %(key)r, which cannot be one.", key=key),
            field="steps",
            hint=phrase("Small letters, digits, _ and -."),
        )
    if key in seen:
        raise InvalidInput(
            phrase("The step %(step)s is there twice.", step=key),
            field=f"steps.{key}",
            hint=phrase("Give each a key of its own."),
        )
    seen.add(key)
    kinds = [name for name in told if name in KINDS]
    if len(kinds) != 1:
        raise InvalidInput(
            phrase("The step %(step)s must do exactly one thing.", step=key),
            field=f"steps.{key}",
            hint=phrase("One of: %(names)s.", names=list(KINDS)),
        )
    kind = KINDS[kinds[0]]
    params = kind.read(told[kind.name], f"steps.{key}")
    lists = kind.lists(params)
    given: Mapping[str, Any] = told
    allowed = {"key", kind.name, *lists}
    if kind.name == SPLIT:
        given, allowed = _arms(told, key, lists), {"key", kind.name, "arms"}
    unknown = sorted(str(name) for name in set(told) - allowed)
    if unknown:
        raise InvalidInput(
            phrase("The step %(step)s has no %(unknown)s.", step=key, unknown=unknown),
            field=f"steps.{key}",
            hint=phrase("It has: %(names)s.", names=sorted(allowed)),
        )
    return Step(key, kind.name, params, {name: _list(given.get(name), seen, depth + 1) for name in lists})


def _arms(told: Mapping[str, Any], key: str, arms: Sequence[str]) -> Mapping[str, Any]:
    """The lists of a split's arms; one that is left out holds nothing."""
    given = told.get("arms", {})
    unknown = sorted(str(name) for name in given if name not in arms) if isinstance(given, Mapping) else [str(given)]
    if unknown:
        raise InvalidInput(
            phrase("The step %(step)s has no arm %(unknown)s.", step=key, unknown=unknown),
            field=f"steps.{key}",
            hint=phrase("It has: %(names)s.", names=list(arms)),
        )
    known: Mapping[str, Any] = given
    return known


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    """All steps in the order in which they are written, those of the lists within after the step that goes on in them."""
    for step in steps:
        yield step
        for inner in step.lists.values():
            yield from walk(inner)


def kinds(steps: Sequence[Step]) -> list[str]:
    """What these steps and those within them do, each word once; a wait for an event also as `wait:` and the event."""
    waits = {f"wait:{step.told['event']}" for step in walk(steps) if step.kind == "wait" and "event" in step.told}
    return sorted({step.kind for step in walk(steps)} | waits)


def path(steps: Sequence[Step]) -> dict[str, Place]:
    """Where each step leads, by key. What follows a list is what follows the step it hangs on; every step leads to a later one."""
    order = {step.key: number for number, step in enumerate(walk(steps))}
    found: dict[str, Place] = {}

    def lay(inner: Sequence[Step], after: str) -> None:
        for number, step in enumerate(inner):
            then = inner[number + 1].key if number + 1 < len(inner) else after
            goes = {name: listed[0].key if listed else then for name, listed in step.lists.items()}
            if step.kind == "end":
                goes = {"": ""}
            elif not goes:
                goes = {"": then}
            found[step.key] = Place(step, order[step.key], goes)
            for listed in step.lists.values():
                lay(listed, then)

    lay(steps, "")
    return found


def allot(steps: Sequence[Step], before: Mapping[str, int]) -> dict[str, int]:
    """A number for each step key, those of earlier versions kept; 0 is the send of a journey without steps."""
    numbers = dict(before)
    for step in walk(steps):
        numbers.setdefault(step.key, max(numbers.values(), default=0) + 1)
    return numbers
