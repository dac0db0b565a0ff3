"""What a journey of several steps says beside its trigger and audience: its steps, its goal, who leaves early, who comes in again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from sqlalchemy import Row

from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.phrases import phrase
from crm_plugin.rules import compile_rule
from crm_plugin.touchpoints.steps.document import Place, Step, path, read_steps, walk

# Who leaves: whomever the audience no longer holds, or nobody before the end.
AUDIENCE, NEVER = "audience", "never"
EXITS = (AUDIENCE, NEVER)
# Who comes in again: each occasion, never a second time, or not within so many days.
EACH, ONCE, EVERY_DAYS = "each", "once", "every_days"
NAMES = ("goal", "exit", "reentry", "steps")


@dataclass(frozen=True)
class Flow:
    """The steps and what goes with them; without steps a journey is one send of its own. `every_days` 0 where re-entry is no period."""

    steps: tuple[Step, ...] = ()
    goal_text: str = ""
    exit: str = AUDIENCE
    reentry: str = EACH
    every_days: int = 0

    @cached_property
    def path(self) -> dict[str, Place]:
        """Where each step leads."""
        return path(self.steps)

    @property
    def sends(self) -> tuple[Step, ...]:
        """The steps that send, in the order in which they are written."""
        return tuple(step for step in walk(self.steps) if step.kind == "send")

    @property
    def channels(self) -> tuple[str, ...]:
        """Every channel that a step sends by, in the order in which they are named first."""
        return tuple(dict.fromkeys(name for step in self.sends for name in step.told["channels"]))

    def as_dict(self) -> dict[str, Any]:
        """As a programme file writes it: nothing for a journey without steps, and only what is not usual."""
        if not self.steps:
            return {}
        told: dict[str, Any] = {"goal": self.goal_text} if self.goal_text else {}
        if self.exit != AUDIENCE:
            told["exit"] = self.exit
        if self.reentry != EACH:
            told["reentry"] = self._reentry()
        return {**told, "steps": [step.as_dict() for step in self.steps]}

    def columns(self) -> dict[str, Any]:
        """As `journeys` keeps it."""
        steps = [step.as_dict() for step in self.steps]
        return {"goal_text": self.goal_text, "exit": self.exit, "reentry": self._reentry(), "steps": steps}

    def _reentry(self) -> Any:
        return {EVERY_DAYS: self.every_days} if self.reentry == EVERY_DAYS else self.reentry


WITHOUT_STEPS = Flow()


class Speaks(Protocol):
    """What a step that sends takes from its journey where it does not say it itself."""

    @property
    def topic(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def validity_days(self) -> int: ...


def voice_of(step: Step, journey: Speaks) -> dict[str, Any]:
    """What a journey says of itself in one of its steps that send: texts, channels, topic, kind, validity."""
    told = step.told
    if step.kind == "webhook":
        # No word to the member: it takes no consent, counts towards no limit and disturbs nobody.
        quiet = {"template_key": "", "channels": ("webhook",), "topic": "marketing", "kind": "transactional"}
        return {**quiet, "validity_days": told.get("validity_days", journey.validity_days)}
    return {
        "template_key": told["template"],
        "channels": tuple(told["channels"]),
        "topic": told.get("topic", journey.topic),
        "kind": told.get("kind", journey.kind),
        "validity_days": told.get("validity_days", journey.validity_days),
    }


def read_flow(told: Mapping[str, Any]) -> Flow:
    """Steps, goal, exit and re-entry out of a journey's document. Raises: InvalidInput, RuleError naming its place."""
    steps = read_steps(told.get("steps"))
    if not steps:
        if idle := [name for name in NAMES if name != "steps" and told.get(name) is not None]:
            raise InvalidInput(
                phrase("A journey without steps has no %(names)s.", names=idle),
                field=idle[0],
                hint=phrase("Give it steps."),
            )
        return WITHOUT_STEPS
    if doubled := [name for name in ("channels", "template") if told.get(name) is not None]:
        raise InvalidInput(
            phrase("A journey of several steps has its %(names)s in its steps.", names=doubled),
            field=doubled[0],
            hint=phrase("Take it out here."),
        )
    exits = told.get("exit", AUDIENCE)
    if exits not in EXITS:
        raise InvalidInput(
            phrase("`%(name)s` is %(value)r.", name="exit", value=exits),
            field="exit",
            hint=phrase("Use one of: %(names)s.", names=list(EXITS)),
        )
    goal = str(told.get("goal") or "").strip()
    if goal:
        try:
            compile_rule(goal)
        except RuleError as error:
            place = ": ".join(part for part in ("goal", error.path) if part)
            raise type(error)(
                error.message, line=error.line, column=error.column, path=place, hint=error.hint
            ) from error
    return Flow(steps, goal, exits, *_reentry(told.get("reentry", EACH)))


def flow_of(row: Row[Any]) -> Flow:
    """The flow of a stored journey."""
    if not row.steps:
        return WITHOUT_STEPS
    return Flow(read_steps(row.steps), row.goal_text, row.exit, *_reentry(row.reentry))


def _reentry(told: Any) -> tuple[str, int]:
    if told in (EACH, ONCE):
        return str(told), 0
    days = told.get(EVERY_DAYS) if isinstance(told, Mapping) and set(told) == {EVERY_DAYS} else None
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= 3650:
        raise InvalidInput(
            phrase("`%(name)s` is %(value)r.", name="reentry", value=told),
            field="reentry",
            hint=phrase("Use each, once, or {every_days: 90} (1 to 3650)."),
        )
    return EVERY_DAYS, days
