"""The policy of a tier programme: one document that says what earns, keeps and ends each level. Read strictly, written canonically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from crm_plugin.rules.measure import Measure, at_least
from crm_plugin.rules.windows import PROGRAM

NO_TERM, DAYS, END_OF_YEAR, END_OF_NEXT_YEAR = "none", "days", "end_of_year", "end_of_next_year"
TERMS = (NO_TERM, END_OF_YEAR, END_OF_NEXT_YEAR)
STRAIGHT, ONE_STEP, NEVER = "straight", "one_step", "never"
DESCENTS = (STRAIGHT, ONE_STEP, NEVER)
MOST_DAYS = 36_500
Bar = int | Decimal


@dataclass(frozen=True, slots=True)
class PolicyLevel:
    """One level: bars on the measure, or rules. What keeps it and what brings it back are as what earns it where nothing is said."""

    key: str
    title: Mapping[str, str] = field(default_factory=dict)
    entry: Bar | None = None
    keep: Bar | None = None
    reentry: Bar | None = None
    rule: str = ""
    keep_rule: str = ""
    reentry_rule: str = ""
    invitation: bool = False
    reward: str = ""

    @property
    def keeps_itself(self) -> bool:
        """Whether nothing is asked of whoever holds it."""
        return self.invitation and self.keep is None and not self.keep_rule

    def as_dict(self) -> dict[str, Any]:
        bars = {name: getattr(self, name) for name in ("entry", "keep", "reentry")}
        told: dict[str, Any] = {"key": self.key, "title": dict(self.title)}
        told |= {name: _written(bar) for name, bar in bars.items() if bar is not None}
        rules = {name: getattr(self, name) for name in ("rule", "keep_rule", "reentry_rule", "reward")}
        told |= {name: text for name, text in rules.items() if text}
        return told | ({"invitation": True} if self.invitation else {})


def _written(bar: Bar) -> int | str:
    return bar if isinstance(bar, int) else format(bar, "f")


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it, the lowest level first; `effective_on` None is at once."""

    levels: tuple[PolicyLevel, ...]
    program: str = PROGRAM
    title: Mapping[str, str] = field(default_factory=dict)
    measure: Measure | None = None
    term: str = NO_TERM
    term_days: int = 0
    grace_days: int = 0
    descent: str = STRAIGHT
    effective_on: date | None = None

    @property
    def plain(self) -> bool:
        """Whether the highest level that holds is the member's and nothing else is promised: what the fast pass can tell."""
        bare = self.term == NO_TERM and not self.grace_days and self.descent == STRAIGHT
        return bare and not any(
            one.invitation or one.reward or one.keep_rule or one.reentry_rule or one.keep is not None
            or one.reentry is not None or (one.entry is not None and self.measure is not None and self.measure.by_year)
            for one in self.levels
        )  # fmt: skip

    @property
    def keys(self) -> list[str]:
        """The levels' keys, the lowest first."""
        return [one.key for one in self.levels]

    def as_dict(self) -> dict[str, Any]:
        """The canonical document: loading it gives the same policy. The day it takes effect is no part of it."""
        told: dict[str, Any] = {"program": self.program}
        if self.title:
            told["title"] = dict(self.title)
        if self.measure is not None:
            window = {"days": self.measure.days} if self.measure.days is not None else self.measure.window
            told |= {"measure": self.measure.what, "window": window}
            told |= {"exclude": self.measure.excluded.as_dict()} if self.measure.excluded else {}
        # By the year a level is held through the next where nothing is said.
        if self.term != NO_TERM or (self.measure is not None and self.measure.by_year):
            told["term"] = {"days": self.term_days} if self.term == DAYS else self.term
        told |= {"grace_days": self.grace_days} if self.grace_days else {}
        told |= {"descent": self.descent} if self.descent != STRAIGHT else {}
        return {**told, "levels": [one.as_dict() for one in self.levels]}

    def as_file(self) -> dict[str, Any]:
        """The same with the day it is planned for."""
        return self.as_dict() | ({"effective_on": self.effective_on.isoformat()} if self.effective_on else {})

    def entry_text(self, level: PolicyLevel, today: date) -> str:
        """The rule that earns a level; empty for one by invitation."""
        return "" if level.invitation else self._text(level.rule, level.entry, today)

    def first_text(self, level: PolicyLevel, today: date) -> str:
        """The rule that earns it on a programme's first day: what the year before has reached still holds this year."""
        return "" if level.invitation else self._text(level.rule, level.entry, today, keep=True)

    def reentry_text(self, level: PolicyLevel, today: date) -> str:
        """The rule for whoever held it before; empty where it is that of everybody."""
        return self._text(level.reentry_rule, level.reentry, today)

    def keep_text(self, level: PolicyLevel, today: date) -> str:
        """The rule that keeps a level; empty where nothing is asked."""
        if level.keeps_itself or self.descent == NEVER:
            return ""
        if level.keep_rule or level.keep is not None:
            return self._text(level.keep_rule, level.keep, today, keep=True)
        return self._text(level.rule, level.entry, today, keep=True)

    def _text(self, rule: str, bar: Bar | None, today: date, *, keep: bool = False) -> str:
        if rule or bar is None:
            return rule
        assert self.measure is not None
        return at_least(self.measure, bar, today, last_year_too=keep)

    def ends(self, begins: date) -> date | None:
        """The last day of a term that begins on that day; None without a term."""
        if self.term == DAYS and self.descent != NEVER:
            return begins + timedelta(days=self.term_days - 1)
        if self.term == NO_TERM or self.descent == NEVER:
            return None
        return date(begins.year + (self.term == END_OF_NEXT_YEAR), 12, 31)

    def ends_again(self, last: date, today: date) -> date | None:
        """The last day of the term after one that ended on `last`, or of one of those that follow, so that it is not over today.

        What was kept through the end of a year is kept for one year more, however long the first term was.
        """
        following = last + timedelta(days=1)
        if self.term == DAYS and self.descent != NEVER:
            missed = (today - following).days // self.term_days
            return self.ends(following + timedelta(days=max(missed, 0) * self.term_days))
        if self.term == NO_TERM or self.descent == NEVER:
            return None
        year = following.year if self.term == END_OF_YEAR else last.year + 1
        return date(max(year, today.year), 12, 31)


def of_ladder(program: str, levels: Sequence[tuple[str, Mapping[str, str], str]], before: Policy | None) -> Policy:
    """A policy with these levels (key, title, rule); what the one before promises besides stays for levels that are still there."""
    old = {} if before is None else {one.key: one for one in before.levels}
    found = []
    for key, title, rule in levels:
        one = old.get(key, PolicyLevel(key, rule=rule))
        if before is not None and key in old and rule != before.entry_text(one, date.min):
            one = replace(one, entry=None, rule=rule, invitation=one.invitation and not rule)
        found.append(replace(one, title=dict(title)))
    base = Policy((), program) if before is None else before
    return replace(base, levels=tuple(found), effective_on=None)
