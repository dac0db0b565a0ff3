"""How one member's level goes on from day to day: up at once, down when a term and its grace are over.

A pass that missed days goes through the terms that ended meanwhile one after the other, by what holds on its own day: what held on the
days between is not known any more, nor is when a level without a term was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from crm_plugin.clock import day_number, from_day_number
from crm_plugin.rules.policy import NEVER, ONE_STEP, Policy

# Why a level is another one, or its term.
RULE, DELETED, REMOVED, TERM_OVER = "rule", "deleted", "level_removed", "term_over"
INVITATION, BY_HAND, UNDONE = "invitation", "by_hand", "undone"
RENEWED, GRACE, FREED = "renewed", "grace", "freed"


@dataclass(frozen=True, slots=True)
class Held:
    """What a member holds; an empty level is none. The days are those of `member_tiers`."""

    level: str = ""
    since_at: int = 0
    since_on: date | None = None
    valid_until: date | None = None
    grace_until: date | None = None
    in_grace: bool = False
    fixed: bool = False
    fixed_until: date | None = None
    fixed_reason: str = ""
    fixed_by: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON: what is not there is left out, days are numbers."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return {name: day_number(one) if isinstance(one, date) else one for name, one in told.items() if one}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Held:
        """What `as_dict` gave."""
        days = ("since_on", "valid_until", "grace_until", "fixed_until")
        values: dict[str, Any] = {name: from_day_number(one) if name in days else one for name, one in told.items()}
        return cls(**values)


NOTHING = Held()


@dataclass(frozen=True, slots=True)
class Sees:
    """What holds for a member today, level by level, the lowest first: what lifts them to it, what keeps it.

    `lately` tells whether what lifts them is of this year; the year before counts on a programme's first day alone.
    """

    entry: Sequence[bool]
    keep: Sequence[bool]
    gone: bool = False
    lately: Sequence[bool] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of it, and why."""

    after: Held
    cause: str


def next_step(policy: Policy, held: Held, sees: Sees, today: date, now: int) -> Step | None:
    """What today makes of what is held; None for nothing. `now` (microseconds) is since when a new level is held."""
    if sees.gone:
        return Step(NOTHING, DELETED) if held.level else None
    keys = policy.keys
    rank = keys.index(held.level) if held.level in keys else -1
    if rank >= 0 and held.fixed and (held.fixed_until is None or held.fixed_until >= today):
        return None
    lifted = max((place for place in range(rank + 1, len(keys)) if sees.entry[place]), default=None)
    if lifted is not None:
        cause = INVITATION if policy.levels[lifted].invitation else RULE
        begins = today if not sees.lately or sees.lately[lifted] else date(today.year - 1, 12, 31)
        begun = _begun(policy, keys[lifted], today, begins, now)
        # What began last year may have ended since, and be renewed.
        later = _stay_or_fall(policy, begun, sees, today, now) if begins < today else None
        return Step(begun if later is None else later.after, cause)
    if rank < 0:
        return Step(NOTHING, REMOVED) if held.level else None
    freed = _freed(policy, held, today)
    return _stay_or_fall(policy, freed, sees, today, now) or (Step(freed, FREED) if freed != held else None)


def _freed(policy: Policy, held: Held, today: date) -> Held:
    """Once the days by hand are over, the level is one whose term has just ended."""
    if not held.fixed:
        return held
    last = held.fixed_until or today - timedelta(days=1)
    grace = last + timedelta(days=policy.grace_days)
    bare = replace(held, fixed=False, fixed_until=None, fixed_reason="", fixed_by="")
    return replace(bare, valid_until=last, grace_until=grace)


def _stay_or_fall(policy: Policy, held: Held, sees: Sees, today: date, now: int) -> Step | None:
    """Renewed, in grace, or down by as many levels as terms have ended; `fell` is the day a level would have been lost on."""
    cause, before, keys = "", held, policy.keys
    while held.valid_until is None or held.valid_until < today:
        rank = keys.index(held.level)
        if sees.keep[rank] or policy.descent == NEVER:
            held, cause = _renewed(policy, held, today), cause or RENEWED
            break
        if held is before and held.valid_until is None and held.since_on == today:
            # What began today is lost tomorrow at the earliest: a second pass on one day goes no further than the first.
            break
        last, grace = _grace(policy, held, today)
        if grace >= today:
            held, cause = replace(held, valid_until=last, grace_until=grace, in_grace=True), cause or GRACE
            break
        fell = min(grace + timedelta(days=1), today)
        below = _below(policy, rank, sees)
        cause = TERM_OVER if before.valid_until is not None or policy.grace_days else RULE
        if below is None:
            return Step(NOTHING, cause)
        held = _begun(policy, keys[below], today, fell, now)
        if fell == today:
            break
    return None if held == before else Step(held, cause)


def _grace(policy: Policy, held: Held, today: date) -> tuple[date, date]:
    """The last day of the term and of the grace after it; without a term, grace begins today."""
    if held.valid_until is None:
        last = today - timedelta(days=1)
        return last, last + timedelta(days=policy.grace_days)
    return held.valid_until, held.grace_until or held.valid_until


def _renewed(policy: Policy, held: Held, today: date) -> Held:
    # What is renewed in grace begins when the term had ended, so that nobody gains by being late.
    ends = policy.ends(today) if held.valid_until is None else policy.ends_again(held.valid_until, today)
    return replace(held, valid_until=ends, grace_until=_with_grace(policy, ends), in_grace=False)


def _below(policy: Policy, rank: int, sees: Sees) -> int | None:
    """Where one falls to: never to a level by invitation."""
    lower = [place for place in range(rank) if not policy.levels[place].invitation]
    if policy.descent == ONE_STEP:
        return lower[-1] if lower else None
    return max((place for place in lower if sees.keep[place]), default=None)


def _begun(policy: Policy, level: str, today: date, begins: date, now: int) -> Held:
    ends = policy.ends(begins)
    return Held(level, now, today, ends, _with_grace(policy, ends))


def _with_grace(policy: Policy, ends: date | None) -> date | None:
    return None if ends is None else ends + timedelta(days=policy.grace_days)
