"""One round of a journey of several steps: who comes in, and every step that has fallen due, in a number of statements that depends on the
steps and not on the members.

Steps are taken in the order in which they are written. Each leads to a later one, so whoever comes to a step in this round is taken along
when its turn comes, and nobody is looked at twice.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, Text, case, text, type_coerce

from crm_plugin.store.base import from_micros, to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.due import LATE_OVERLAP
from crm_plugin.touchpoints.holdout import WHOLE, share_sql
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import acts, duties, ending, sends, waits
from crm_plugin.touchpoints.steps.enrol import enrol
from crm_plugin.touchpoints.steps.moves import Insert, Outcome, Stand, apply, decide, rule, word
from crm_plugin.touchpoints.versions import Version, versions

_DUE = text(
    "SELECT version, step_key, phase, MIN(base_at) AS oldest, COUNT(*) AS many FROM enrolments WHERE shop_id = :shop_id "
    "AND journey_key = :journey_key AND state = 'active' AND due_at <= CAST(:now AS BIGINT) GROUP BY version, step_key, phase"
)
_RANK = {ending.DUE: 0, ending.HEARD: 1, ending.WAITS: 2, ending.SENT: 3}


def run(
    connection: Connection, shop: Shop, journey: Journey, due: Iterable[Select[Any]], now: datetime, insert: Insert
) -> int:
    """Take in whoever the selects of `due` find, then move all who are due; answers how many came in.

    The caller holds the journey's lock. Raises: RuleError when a rule of a version with somebody inside cannot be asked.
    """
    taken = sum(enrol(connection, shop, journey, found, now) for found in due)
    begun, mark = journey.enabled_at or now, journey.planned_through
    since = mark if mark is not None and mark <= now else begun
    waits.hear(connection, shop.shop_id, journey.key, since - LATE_OVERLAP, now)
    move(connection, shop, journey, now, insert)
    duties.settle(connection, shop, journey, now)
    return taken


def move(connection: Connection, shop: Shop, journey: Journey, now: datetime, insert: Insert) -> None:
    """Every step that is due, for all who are inside, each on their version."""
    sends.wake(connection, shop.shop_id, journey.key, now)
    ours = {"shop_id": shop.shop_id, "journey_key": journey.key, "now": to_micros(now)}
    rows = connection.execute(_DUE, ours).all()
    if not rows:
        return
    oldest = min(from_micros(row.oldest) for row in rows)
    known = versions(connection, shop.shop_id, journey, {row.version for row in rows})
    acts.hold_pools(connection, shop.shop_id, known.values())
    for number, version in known.items():
        standing = {(row.step_key, row.phase): row.many for row in rows if row.version == number}
        _move_version(connection, shop, version, standing, min(oldest, now), now, insert)


def _move_version(
    connection: Connection,
    shop: Shop,
    version: Version,
    standing: dict[tuple[str, str], int],
    oldest: datetime,
    now: datetime,
    insert: Insert,
) -> None:
    path = version.journey.flow.path
    queue: list[tuple[int, int, str, str]] = []
    seen: set[tuple[str, str]] = set()

    def add(key: str, phase: str) -> None:
        name = phase if phase in _RANK else ending.WAITS
        if key in path and (key, phase) not in seen:
            seen.add((key, phase))
            heapq.heappush(queue, (path[key].order, _RANK[name], key, phase))

    for key, phase in sorted(standing):
        add(key, phase)
    while queue:
        _order, _rank, key, phase = heapq.heappop(queue)
        stand = Stand(connection, shop, version, path[key], phase, now, insert)
        taken = _take(stand, oldest)
        if phase == ending.SENT and taken < standing[key, phase]:
            sends.rest(stand)
        if not taken:
            continue
        for to in path[key].goes.values():
            add(to, ending.DUE)
        if phase == ending.DUE:
            # A wait may be over already, and a touchpoint settled as soon as it was planned.
            for later, many in _after(stand):
                standing[key, later] = standing.get((key, later), 0) + many
                add(key, later)


def _after(stand: Stand) -> tuple[tuple[str, int], ...]:
    """In which phases of the step some may be due who have just begun it; of messages, of how many it is known."""
    kind = stand.place.step.kind
    if kind == "wait":
        event = stand.told.get("event")
        return ((ending.HEARD, 0), (ending.EVENT + event, 0)) if event else ((ending.WAITS, 0),)
    if kind not in ("send", "webhook"):
        return ()
    settled = sends.wake(stand.connection, stand.shop.shop_id, stand.version.journey.key, stand.now, stand)
    return ((ending.SENT, settled),) if settled else ()


def _take(stand: Stand, oldest: datetime) -> int:
    """Take one step for all who stand at it in one phase; answers of how many it was decided."""
    kind = stand.place.step.kind
    if stand.phase == ending.SENT:
        taken = decide(stand, sends.ends(stand))
    elif stand.phase != ending.DUE:
        taken = decide(stand, waits.ends(stand))
    else:
        taken = decide(stand, _outcome(stand, oldest), asks=True)
        if taken and kind in _BESIDES:
            _BESIDES[kind](stand, taken)
    if taken:
        apply(stand)
    return taken


_BESIDES: dict[str, Any] = {
    "send": lambda stand, _taken: sends.plan(stand),
    "webhook": lambda stand, _taken: sends.plan(stand),
    "coupon": acts.coupon,
    "tag": lambda stand, _taken: acts.tag(stand),
    "task": lambda stand, _taken: acts.task(stand),
    "tier": lambda stand, _taken: acts.tier(stand),
}


def _outcome(stand: Stand, oldest: datetime) -> Outcome:
    kind = stand.place.step.kind
    if kind in ("send", "webhook"):
        return sends.begins(stand)
    if kind == "wait":
        return waits.begins(stand, oldest)
    if kind == "branch":
        return Outcome(arm=case((rule(stand, stand.told["rule"]), word("then")), else_=word("else")))
    if kind == "split":
        return Outcome(arm=_arm(stand))
    return Outcome(ends=kind == "end", reason=word(ending.DONE if kind == "end" else ""))


def _arm(stand: Stand) -> Any:
    """The arm of each by their share, which stays the same for the step whatever the version."""
    drawn = share_sql(stand.shop.shop_id, stand.version.journey.key, f"split:{stand.place.step.key}", "e.member_id")
    upto, arms = 0, ""
    for name, percent in stand.told["arms"].items():
        upto += percent * WHOLE // 100
        arms += f" WHEN s.drawn < {upto} THEN '{name}'"
    return type_coerce(text(f"(SELECT CASE{arms} END FROM (SELECT {drawn} AS drawn) AS s)"), Text)  # noqa: S608
