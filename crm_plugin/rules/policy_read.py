"""Reading the policy of a tier programme: strictly, each mistake with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules.book import check_key
from crm_plugin.rules.fields import nearest
from crm_plugin.rules.measure import LIFETIME, WINDOWS, Excluded, Measure, check_measure
from crm_plugin.rules.operands import plain
from crm_plugin.rules.policy import (
    DAYS,
    DESCENTS,
    END_OF_NEXT_YEAR,
    MOST_DAYS,
    NO_TERM,
    STRAIGHT,
    TERMS,
    Bar,
    Policy,
    PolicyLevel,
)
from crm_plugin.rules.windows import PROGRAM

# A bar with more digits before or behind the point is a slip of the hand.
_MOST_DIGITS = 15
_KEYS = (
    "program", "title", "measure", "window", "exclude", "levels", "term", "grace_days", "descent", "effective_on",
)  # fmt: skip
_LEVEL_KEYS = (
    "key", "title", "entry", "keep", "reentry", "rule", "keep_rule", "reentry_rule", "invitation", "reward",
)  # fmt: skip
# How a number of days is written where a word could stand.
_IN_DAYS = "{days: 365}"


def read_policy(document: Any, program: str = PROGRAM) -> Policy:
    """A policy as a file tells it; `program` is the programme of a document that names none. Raises: InvalidInput, RuleError."""
    if not isinstance(document, Mapping):
        raise InvalidInput(
            phrase("A policy is names and values."), hint=phrase("It begins with %(key)s.", key="levels:")
        )
    _refuse_unknown(document, _KEYS)
    measure = _measure(document)
    key = check_key(str(document.get("program") or program), phrase("tier programme"))
    # What was reached in a year holds through the end of the next, unless something else is said.
    term, days = _term(document.get("term"), END_OF_NEXT_YEAR if measure and measure.by_year else NO_TERM)
    told = document.get("levels", ())
    if not isinstance(told, Sequence) or isinstance(told, str):
        raise InvalidInput(phrase("The levels are a list, the lowest first."), field="levels")
    policy = Policy(
        tuple(_level(one, measure) for one in told),
        key,
        _titles(document.get("title")),
        measure,
        term,
        days,
        _days(document.get("grace_days", 0), "grace_days", 0),
        _one_of(document.get("descent", STRAIGHT), "descent", DESCENTS),
        _day(document.get("effective_on")),
    )
    return _refuse_doubles(policy)


def _level(told: Any, measure: Measure | None) -> PolicyLevel:
    if not isinstance(told, Mapping):
        raise InvalidInput(phrase("A level has a key, a title and what earns it."), field="levels")
    _refuse_unknown(told, _LEVEL_KEYS)
    key = check_key(str(told.get("key", "")), phrase("level"))
    texts = {name: _text(told.get(name), name) for name in ("rule", "keep_rule", "reentry_rule", "reward")}
    bars = {name: _bar(told[name], name) for name in ("entry", "keep", "reentry") if told.get(name) is not None}
    invitation = told.get("invitation", False)
    if not isinstance(invitation, bool):
        raise InvalidInput(phrase("%(name)s is true or false.", name="invitation"), field="invitation")
    level = PolicyLevel(
        key,
        _titles(told.get("title")),
        entry=bars.get("entry"),
        keep=bars.get("keep"),
        reentry=bars.get("reentry"),
        rule=texts["rule"],
        keep_rule=texts["keep_rule"],
        reentry_rule=texts["reentry_rule"],
        invitation=invitation,
        reward=texts["reward"],
    )
    _refuse_unclear(level, measure)
    return level


def _refuse_unclear(level: PolicyLevel, measure: Measure | None) -> None:
    """Refuse a level of which it is not said, or said twice, what earns, keeps or brings it back."""
    for bar, rule in (("entry", "rule"), ("keep", "keep_rule"), ("reentry", "reentry_rule")):
        if getattr(level, bar) is not None and getattr(level, rule):
            raise InvalidInput(
                phrase("The level %(key)s has both %(bar)s and %(rule)s.", key=level.key, bar=bar, rule=rule),
                field=rule,
                hint=phrase("Keep one of them."),
            )
        if getattr(level, bar) is not None and measure is None:
            raise InvalidInput(
                phrase("The level %(key)s has the bar %(bar)s, but nothing is measured.", key=level.key, bar=bar),
                field="measure",
                hint=phrase("Say what is measured, such as %(example)s.", example="measure: spent"),
            )
    earned = level.entry is not None or bool(level.rule)
    if level.invitation and (earned or level.reentry is not None or level.reentry_rule):
        raise InvalidInput(
            phrase("The level %(key)s is by invitation and cannot be earned besides.", key=level.key),
            field="invitation",
            hint=phrase("Leave out entry and rule, or invitation."),
        )
    if not level.invitation and not earned:
        raise InvalidInput(
            phrase("Nothing is said of what earns the level %(key)s.", key=level.key),
            field="entry",
            hint=phrase("Give it entry, rule, or invitation: true."),
        )


def _refuse_doubles(policy: Policy) -> Policy:
    keys: set[str] = set()
    below: Bar | None = None
    for one in policy.levels:
        if one.key in keys:
            raise InvalidInput(
                phrase("There are two levels %(key)r.", key=one.key),
                field="key",
                hint=phrase("Give each a key of its own."),
            )
        keys.add(one.key)
        if one.entry is not None:
            if below is not None and one.entry <= below:
                raise InvalidInput(
                    phrase("The level %(key)s asks for no more than the one below it.", key=one.key),
                    field="entry",
                    hint=phrase("Write the levels with the lowest first, each with a higher bar."),
                )
            below = one.entry
        _refuse_flapping(one)
    return policy


def _refuse_flapping(level: PolicyLevel) -> None:
    """Who has just earned a level keeps it: else one would lose and earn it in turn."""
    for name in ("entry", "reentry"):
        bar = getattr(level, name)
        if bar is not None and level.keep is not None and level.keep > bar:
            raise InvalidInput(
                phrase("The level %(key)s asks for more to keep it than %(name)s does.", key=level.key, name=name),
                field="keep",
                hint=phrase("Lower keep, or raise %(name)s.", name=name),
            )


def _measure(document: Mapping[str, Any]) -> Measure | None:
    told = document.get("measure")
    if told is None:
        for name in ("window", "exclude"):
            if document.get(name) is not None:
                raise InvalidInput(
                    phrase("%(name)s is said, but nothing is measured.", name=name),
                    field="measure",
                    hint=phrase("Say what is measured, such as %(example)s.", example="measure: spent"),
                )
        return None
    window, days = document.get("window", LIFETIME), None
    if isinstance(window, Mapping):
        _refuse_unknown(window, (DAYS,))
        days, window = _days(window.get(DAYS), "window", 1), LIFETIME
    measure = Measure(
        _text(told, "measure"), _one_of(window, "window", WINDOWS, _IN_DAYS), days, _excluded(document.get("exclude"))
    )
    check_measure(measure)
    return measure


def _excluded(told: Any) -> Excluded:
    if told is None:
        return Excluded()
    if not isinstance(told, Mapping):
        raise InvalidInput(
            phrase("What is excluded is said by name."),
            field="exclude",
            hint=phrase("For example: %(example)s.", example="{shipping: true}"),
        )
    _refuse_unknown(told, ("products", "categories", "shipping", "tax"))
    lists: dict[str, tuple[str, ...]] = {}
    for name in ("products", "categories"):
        named = told.get(name, ())
        if isinstance(named, str) or not isinstance(named, Sequence):
            raise InvalidInput(phrase("%(name)s is a list.", name=name), field="exclude")
        lists[name] = tuple(dict.fromkeys(str(one) for one in named))
    for name in ("shipping", "tax"):
        if not isinstance(told.get(name, False), bool):
            raise InvalidInput(phrase("%(name)s is true or false.", name=name), field="exclude")
    return Excluded(**lists, shipping=told.get("shipping", False), tax=told.get("tax", False))


def _term(told: Any, usual: str) -> tuple[str, int]:
    if isinstance(told, Mapping):
        _refuse_unknown(told, (DAYS,))
        return DAYS, _days(told.get(DAYS), "term", 1)
    return (usual, 0) if told is None else (_one_of(told, "term", TERMS, _IN_DAYS), 0)


def _refuse_unknown(told: Mapping[Any, Any], known: Sequence[str]) -> None:
    for name in told:
        if name not in known:
            raise InvalidInput(
                phrase("A policy has no %(unknown)r here.", unknown=str(name)),
                field=str(name),
                hint=nearest(str(name), known),
            )


def _one_of(told: Any, name: str, known: Sequence[str], *besides: str) -> str:
    if told not in known:
        raise InvalidInput(
            phrase("%(name)s cannot be %(value)r.", name=name, value=str(told)),
            field=name,
            hint=phrase("Use one of: %(names)s.", names=[*known, *besides]),
        )
    return str(told)


def _days(told: Any, name: str, least: int) -> int:
    if isinstance(told, bool) or not isinstance(told, int) or not least <= told <= MOST_DAYS:
        raise InvalidInput(
            phrase("%(name)s is a whole number of days from %(least)s to %(most)s.", name=name, least=least, most=MOST_DAYS),
            field=name,
        )  # fmt: skip
    return told


def _bar(told: Any, name: str) -> Bar:
    try:
        if isinstance(told, bool) or not isinstance(told, int | float | str | Decimal):
            raise InvalidOperation
        found = Decimal(str(told))
        # Written out, 1e999999999 would be a thousand million digits.
        if not found.is_finite() or abs(found.adjusted()) > _MOST_DIGITS:
            raise InvalidOperation
    except (InvalidOperation, ValueError) as error:
        raise InvalidInput(
            phrase("%(name)s is no number: %(value)s.", name=name, value=_shown(told)),
            field=name,
            hint=phrase("Write a plain number such as 1000."),
        ) from error
    return plain(found)


def _shown(told: Any) -> str:
    """The beginning of what was written; Python does not spell out a whole number of very many digits."""
    try:
        return str(told)[:40]
    except ValueError:
        return "…"


def _day(told: Any) -> date | None:
    if told is None:
        return None
    try:
        return date.fromisoformat(str(told))
    except ValueError as error:
        raise InvalidInput(
            phrase("%(value)r is not a day.", value=str(told)),
            field="effective_on",
            hint=phrase("Write it as 2026-11-24."),
        ) from error


def _text(told: Any, name: str) -> str:
    if told is None:
        return ""
    if not isinstance(told, str):
        raise InvalidInput(phrase("%(name)s is a text.", name=name), field=name)
    return told.strip()


def _titles(told: Any) -> dict[str, str]:
    if isinstance(told, Mapping):
        return {str(lang): _text(name, "title") for lang, name in told.items()}
    title = _text(told, "title")
    return {"en": title} if title else {}
