"""What a policy would do to the levels that are held: who goes where, who stays, some of each with what decided. Writes nothing.

Where the policy in force has not been applied today, some would move anyway: what the changed policy itself does is told apart from that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from sqlalchemy import Connection, and_, func, select

from crm_plugin.rules import read_book
from crm_plugin.rules.earned import changes, compiled, plan_for
from crm_plugin.rules.policies import in_force
from crm_plugin.rules.policy import Policy
from crm_plugin.rules.sql import ACTIVE, is_history
from crm_plugin.rules.standing import DELETED
from crm_plugin.rules.standing_sql import rungs
from crm_plugin.rules.tier_rows import Writing
from crm_plugin.rules.tier_runs import is_bound, ladder_of, pass_of, turns_of
from crm_plugin.store import member_tiers, members
from crm_plugin.store.base import from_micros
from crm_plugin.store.members import names_of
from crm_plugin.store.tenants import Shop

# Of each cell so many members by name.
SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One member of a cell, with the values that decided."""

    member_id: int
    name: str
    cause: str
    values: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        # Ids as text, for JavaScript rounds such long numbers.
        return {"id": str(self.member_id), "name": self.name, "cause": self.cause, "values": dict(self.values)}


@dataclass(frozen=True, slots=True)
class Cell:
    """Members who go from one level to another, or stay; `first` and `last` are those here longest and newest of who go.

    `anyway` are those who would go the same way today by the policy in force.
    """

    from_level: str
    to_level: str
    members: int
    first: int = 0
    last: int = 0
    samples: tuple[Sample, ...] = ()
    anyway: int = 0

    @property
    def pair(self) -> tuple[str, str]:
        return self.from_level, self.to_level

    @property
    def moves(self) -> bool:
        return self.from_level != self.to_level


@dataclass(frozen=True, slots=True)
class Lab:
    """The whole outcome. `ranks` is how high each level stands, also those the policy has no more.

    `effect` is what the policy itself does: whom it gives another level than the policy in force gives today, from that to this. `today`
    counts who would move today by the policy in force.
    """

    program: str
    as_of: date
    cells: tuple[Cell, ...]
    after: Mapping[str, int]
    ranks: Mapping[str, float] = field(default_factory=dict)
    terms: Mapping[str, int] = field(default_factory=dict)
    effect: tuple[Cell, ...] = ()
    today: int = 0

    @property
    def caused(self) -> int:
        """How many have another level by this policy than by the one in force."""
        return sum(cell.members for cell in self.effect)

    def total(self, kind: str) -> int:
        """How many go that way: in, out, up, down or stay."""
        return sum(cell.members for cell in self.cells if self.kind(cell) == kind)

    def kind(self, cell: Cell) -> str:
        """Which way a cell goes."""
        if not cell.moves:
            return "stay"
        if not cell.from_level:
            return "in"
        if not cell.to_level:
            return "out"
        return "up" if self.ranks.get(cell.to_level, 0) > self.ranks.get(cell.from_level, 0) else "down"

    def as_dict(self) -> dict[str, Any]:
        cells = [
            {
                "from": cell.from_level,
                "to": cell.to_level,
                "kind": self.kind(cell),
                "members": cell.members,
                "anyway": cell.anyway,
                "samples": [one.as_dict() for one in cell.samples],
            }
            for cell in self.cells
        ]
        totals = {kind: self.total(kind) for kind in ("in", "out", "up", "down", "stay")}
        told = {"program": self.program, "as_of": self.as_of.isoformat(), **totals}
        effect = [
            {"from": cell.from_level, "to": cell.to_level, "kind": self.kind(cell), "members": cell.members}
            for cell in self.effect
        ]
        told |= {"caused": self.caused, "today": self.today, "effect": effect}
        return {**told, "levels": dict(self.after), "terms": dict(self.terms), "matrix": cells}


@dataclass(slots=True)
class _Going:
    """Who goes from one level to another, while they are counted."""

    members: int = 0
    first: int = 0
    last: int = 0
    anyway: int = 0
    samples: list[Sample] = field(default_factory=list)

    def take(self, one: Sample, *, anyway: bool) -> None:
        self.anyway += anyway
        self.first = min(self.first, one.member_id) if self.members else one.member_id
        self.last = max(self.last, one.member_id)
        self.members += 1
        if len(self.samples) < SAMPLES:
            self.samples.append(one)


def look_at(connection: Connection, shop: Shop, policy: Policy, as_of: date) -> Lab:
    """What this policy would come to on that day if it were in force. Raises: InvalidInput, RuleError."""
    live = in_force(connection, shop.shop_id, policy.program, as_of).policy
    stay = Counter(_active(connection, shop, policy.program))
    terms: Counter[str] = Counter()
    going: dict[tuple[str, str], _Going] = {}
    gone = 0
    same = policy.as_dict() == live.as_dict()
    waiting = {} if same else moves_today(connection, shop, policy.program, as_of)
    today, effect = len(waiting), Counter[tuple[str, str]]()
    for before, after, one in _moves(connection, shop, policy, as_of, unmarked=live.plain and not policy.plain):
        if before == after:
            terms[one.cause] += 1
            continue
        _, anyway = waiting.pop(one.member_id, (before, after if same else before))
        going.setdefault((before, after), _Going()).take(one, anyway=anyway == after)
        effect.update([(anyway, after)] if anyway != after else [])
        # Whoever was deleted is in no count of active members.
        stay[before] -= one.cause != DELETED
        gone += one.cause == DELETED
    # Whoever is left of these would move today and stays by this policy.
    effect.update((after, before) for before, after in waiting.values())
    names = names_of(connection, shop.shop_id, [one.member_id for found in going.values() for one in found.samples])
    cells = [Cell(key, key, number) for key, number in sorted(stay.items()) if number]
    for (before, after), found in sorted(going.items()):
        samples = tuple(replace(one, name=names.get(one.member_id, "")) for one in found.samples)
        cells.append(Cell(before, after, found.members, found.first, found.last, samples, found.anyway))
    counted = Counter({"": 0} | dict.fromkeys(policy.keys, 0))
    for cell in cells:
        counted[cell.to_level] += cell.members
    counted[""] -= gone
    caused = tuple(Cell(before, after, number) for (before, after), number in sorted(effect.items()))
    today = sum(found.members for found in going.values()) if same else today
    return Lab(policy.program, as_of, tuple(cells), dict(counted), _ranks(policy, live), dict(terms), caused, today)


def moves_today(connection: Connection, shop: Shop, program: str, as_of: date) -> dict[int, tuple[str, str]]:
    """Who would move on that day by the policy in force, from which level to which."""
    live = in_force(connection, shop.shop_id, program, as_of).policy
    # After a first import that may be everybody: each way is kept once, so that a million members take about 75 MB.
    ways: dict[tuple[str, str], tuple[str, str]] = {}
    return {
        one.member_id: ways.setdefault((before, after), (before, after))
        for before, after, one in _moves(connection, shop, live, as_of)
        if before != after
    }


def _ranks(policy: Policy, live: Policy) -> dict[str, float]:
    """How high each level stands; one that is no more just above its neighbour below that still is."""
    ranks, below = {key: float(place) for place, key in enumerate(policy.keys)}, -1.0
    for key in live.keys:
        below = ranks.setdefault(key, below + 0.5)
    return ranks


def _moves(
    connection: Connection, shop: Shop, policy: Policy, as_of: date, *, unmarked: bool = False
) -> Iterator[tuple[str, str, Sample]]:
    """Everybody whose level or term would be another one; saving one that is `unmarked` would mark who held which level before."""
    book, history = read_book(connection, shop.shop_id), is_history(connection, shop, as_of)
    if policy.plain and not is_bound(connection, shop.shop_id, policy.program, as_of):
        plan = plan_for(shop, compiled(ladder_of(policy, as_of), book), as_of, policy.program, history=history)
        for page in changes(connection, plan):
            for one in page:
                reason = one.reason
                yield one.before, one.after, Sample(one.member_id, "", str(reason["cause"]), reason["values"])
        return
    to = Writing(connection, shop, policy.program, None, 0, as_of, from_micros(0))
    first = pass_of(connection, shop, policy.program) is None
    ladder = rungs(policy, book, as_of, first=first)
    for turns in turns_of(connection, to, policy, ladder, new=False, history=history, unmarked=unmarked):
        for turn in turns:
            sample = Sample(turn.member_id, "", turn.cause, turn.reason["values"])
            yield turn.before.level, turn.after.level, sample


def _active(connection: Connection, shop: Shop, program: str) -> dict[str, int]:
    """How many active members hold each level now, the empty key for none."""
    m, t = members.c, member_tiers.c
    same = and_(t.shop_id == m.shop_id, t.program_key == program, t.member_id == m.member_id)
    query = (
        select(t.level_key, func.count())
        .select_from(members.outerjoin(member_tiers, same))
        .where(m.shop_id == shop.shop_id, m.state == ACTIVE)
        .group_by(t.level_key)
    )
    return {key or "": number for key, number in connection.execute(query)}
