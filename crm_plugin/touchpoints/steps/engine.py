"""One round of a journey of several steps: who comes in, and every step that has fallen due.

Those who are due are read, taken from step to step in memory until each rests, and written, in a number of statements that depends on what
the steps bring: not on the members, nor on how many steps somebody passes. Steps are taken in the order in which they are written. Each
leads to a later one, so whoever comes to a step in this round is taken along when its turn comes, and nobody is looked at twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from datetime import datetime
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection, Select

from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.holdout import WHOLE, share
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import acts, asking, ending, levels, sends, waits
from crm_plugin.touchpoints.steps.enrol import enrol
from crm_plugin.touchpoints.steps.loading import load
from crm_plugin.touchpoints.steps.moves import Group, Insert, Stand, Stay
from crm_plugin.touchpoints.versions import Version

# How many are in hand at once.
MOST = 10_000
# Steps that bring something about, which nobody gets twice.
_ONCE = frozenset({"send", "coupon", "tag", "tier", "task", "webhook"})


def run(
    connection: Connection,
    shop: Shop,
    journey: Journey,
    kinds: Set[str],
    due: Iterable[Select[Any]],
    now: datetime,
    insert: Insert,
) -> int:
    """Take in whoever the selects of `due` find, then move all who are due; answers how many came in.

    `kinds` are what the steps do in any version that somebody may be inside of, in the words of `document.kinds`.

    The caller holds the journey's lock. Raises: RuleError when a rule of a version with somebody inside cannot be asked.
    """
    taken = sum(enrol(connection, shop, journey, found, now) for found in due)
    move(connection, shop, journey, kinds, now, insert, came=taken > 0)
    return taken


def move(
    connection: Connection, shop: Shop, journey: Journey, kinds: Set[str], now: datetime, insert: Insert, *, came: bool
) -> None:
    """Every step that is due, for all who are inside, each on their version; `came` says that somebody just came in."""
    more = True
    while more:
        group = Group(connection, shop, journey.key, now, insert, came)
        sends.take_up(group, MOST)
        stays, known = load(group, journey, kinds, MOST)
        acts.hold_pools(connection, shop.shop_id, known.values())
        for number, version in known.items():
            _walk(group, version, [stay for stay in stays if stay.version == number])
        acts.write(group)
        group.write()
        # Of each there may be more only where there were as many as were asked for.
        more, came = len(group.news) == MOST or len(group.moved) >= MOST, False


def _walk(group: Group, version: Version, stays: Sequence[Stay]) -> None:
    """Take these from step to step, all who come to one together, until each rests or is at the end."""
    asking.ask_all(group, version, stays)
    standing: dict[str, list[Stay]] = defaultdict(list)
    for stay in stays:
        standing[stay.step_key].append(stay)
    for place in sorted(version.journey.flow.path.values(), key=lambda place: place.order):
        here = sorted(standing.pop(place.step.key, ()), key=lambda stay: stay.enrolment_id)
        if not here:
            continue
        _step(Stand(group, version, place), here)
        for stay in here:
            # A message that left by a clock ahead of ours leads to what is not due yet.
            if not stay.end_reason and stay.step_key != place.step.key and stay.due_at <= group.at:
                standing[stay.step_key].append(stay)


def _step(stand: Stand, here: Sequence[Stay]) -> None:
    """Take one step for all who stand at it. Raises: RuleError."""
    kind = stand.step.kind
    due = [stay for stay in here if stay.phase == ending.DUE]
    if sent := [stay for stay in here if stay.phase == ending.SENT]:
        sends.settle(stand, sent)
    waits.end(stand, [stay for stay in here if stay.phase not in (ending.SENT, ending.DUE)])
    going = asking.who_stays(stand, due)
    if kind in _ONCE:
        going = [stay for stay in going if not _passes(stand, stay)]
    if going:
        _TAKES[kind](stand, going)


def _passes(stand: Stand, stay: Stay) -> bool:
    """Whether somebody took the step on another version already, which had it at another place; that it is passed by is noted."""
    before = stay.taken is not None and stand.step.key in stay.taken.split(" ")
    if before:
        stand.group.done(stay, stand.to(), reason=ending.BEFORE)
    return before


def _split(stand: Stand, stays: Sequence[Stay]) -> None:
    """The arm of each by their share, which stays the same for the step whatever the version."""
    shop_id, key, salt = stand.group.shop.shop_id, stand.version.journey.key, f"split:{stand.step.key}"
    arms = list(stand.told["arms"])
    bounds = [upto * WHOLE // 100 for upto in accumulate(stand.told["arms"].values())]
    for stay in stays:
        arm = arms[bisect_right(bounds, share(shop_id, key, salt, stay.member_id))]
        stand.group.done(stay, stand.to(arm), detail=arm)


def _end(stand: Stand, stays: Sequence[Stay]) -> None:
    for stay in stays:
        stand.group.done(stay, "", reason=ending.DONE, what=ending.ENDED)


_TAKES: dict[str, Callable[[Stand, Sequence[Stay]], None]] = {
    "send": sends.take,
    "webhook": sends.take,
    "wait": waits.take,
    "branch": asking.branch,
    "split": _split,
    "coupon": acts.coupon,
    "tag": acts.tag,
    "task": acts.task,
    "tier": levels.take,
    "end": _end,
}
