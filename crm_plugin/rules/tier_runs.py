"""One application of all of a shop's programmes: a run, which can be undone (`tier_undo`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, literal, literal_column, or_, select, update

from crm_plugin.clock import day_number
from crm_plugin.ids import new_id
from crm_plugin.rules import Book, read_book
from crm_plugin.rules.earned import Level, changes, compiled, plan_for
from crm_plugin.rules.nodes import fields_of
from crm_plugin.rules.policies import Kept, in_force, programs, put_levels
from crm_plugin.rules.policy import Policy
from crm_plugin.rules.sql import is_history
from crm_plugin.rules.standing import GRACE, INVITATION, REMOVED, RENEWED, RULE, Step, next_step
from crm_plugin.rules.standing_sql import Looked, Rung, Seen, rungs
from crm_plugin.rules.text import field_text
from crm_plugin.rules.tier_holds import go_on, held_back
from crm_plugin.rules.tier_rows import Turn, Writing, put_changes, put_entries, put_turns, put_words, take_invitations
from crm_plugin.store import bulk, member_tiers, tier_bars, tier_passes, tier_runs
from crm_plugin.store.base import to_micros
from crm_plugin.store.program import BOUND
from crm_plugin.store.tenants import Shop


@dataclass(frozen=True, slots=True)
class Move:
    """How many members go from one level to another; an empty key is no level."""

    from_level: str
    to_level: str
    members: int


@dataclass(slots=True)
class Tally:
    """What a run did in one programme."""

    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    terms: Counter[str] = field(default_factory=Counter)

    @property
    def moves(self) -> tuple[Move, ...]:
        return moves_of(self.moved)


@dataclass(frozen=True, slots=True)
class Ran:
    """A whole run; `run_id` None when nothing changed, `still` the programmes it passed by."""

    run_id: int | None
    tallies: Mapping[str, Tally]
    still: tuple[str, ...] = ()


def moves_of(moved: Mapping[tuple[str, str], int]) -> tuple[Move, ...]:
    """The counted moves, sorted."""
    return tuple(Move(before, after, number) for (before, after), number in sorted(moved.items()))


def run(
    writer: Connection, reader: Connection, shop: Shop, *, as_of: date, now: datetime, actor: str, daily: bool = False
) -> Ran:
    """Bring every member of every programme to what that local day makes of them, each programme by its policy in force.

    A `daily` run passes by a programme that stands still; one by hand makes it go on.
    """
    kept = {one: in_force(writer, shop.shop_id, one, as_of) for one in programs(writer, shop.shop_id)}
    for one in kept.values():
        put_levels(writer, shop, one.policy, None, as_of, now)
    still = held_back(writer, shop, kept, now) if daily else {}
    if not daily:
        go_on(writer, shop, now, actor=actor)
    kept = {program: one for program, one in kept.items() if program not in still}
    book, run_id = read_book(writer, shop.shop_id), new_id()
    before = {one: pass_of(writer, shop, one) for one in kept}
    tallies = {
        program: _one(Writing(writer, shop, program, run_id, one.version, as_of, now), reader, one, book, before[program])
        for program, one in kept.items()
    }  # fmt: skip
    for program, one in kept.items():
        _note_pass(writer, shop, program, before[program], one.version, as_of, now)
    versions = {one: [row.policy_version, kept[one].version] for one, row in before.items() if row is not None}
    versions |= {one: [0, kept[one].version] for one, row in before.items() if row is None}
    if not any(tally.moved or tally.terms for tally in tallies.values()) and all(a == b for a, b in versions.values()):
        return Ran(None, tallies, tuple(still))
    passes = {one: None if row is None else noted(row) for one, row in before.items()}
    row = {"run_id": run_id, "at": now, "as_of": as_of, "actor": actor, "policies": versions, "passes": passes}
    writer.execute(insert(tier_runs).values(shop_id=shop.shop_id, **row))
    return Ran(run_id, tallies, tuple(still))


def run_for(writer: Connection, shop: Shop, program: str, member_id: int, *, as_of: date, now: datetime) -> Tally:
    """The same for one member of one programme, at once; it is part of no run."""
    kept = in_force(writer, shop.shop_id, program, as_of)
    to = Writing(writer, shop, program, None, kept.version, as_of, now)
    return _one(to, writer, kept, read_book(writer, shop.shop_id), pass_of(writer, shop, program), member_id)


def is_bound(connection: Connection, shop_id: int, program: str, day: date) -> bool:
    """Whether anybody has a term or was fixed by hand, at no level too: the fast pass knows nothing of these."""
    c, b = member_tiers.c, tier_bars.c
    barred = exists(
        select(literal(1)).where(b.shop_id == shop_id, b.program_key == program, or_(b.until.is_(None), b.until >= day))
    )
    own: tuple[Any, ...] = (c.shop_id == shop_id, c.program_key == program, literal_column(f"({BOUND})"))
    return bool(connection.execute(select(or_(exists(select(literal(1)).where(*own)), barred))).scalar_one())


def ladder_of(policy: Policy, as_of: date) -> list[Level]:
    """A plain policy's levels as the fast pass takes them."""
    return [Level(one.key, policy.entry_text(one, as_of), one.title) for one in policy.levels]


def _one(
    to: Writing, reader: Connection, kept: Kept, book: Book, last: Row[Any] | None, only: int | None = None
) -> Tally:
    policy, tally, history = kept.policy, Tally(), is_history(to.connection, to.shop, to.as_of)
    if policy.plain and not is_bound(to.connection, to.shop.shop_id, to.program, to.as_of):
        plan = plan_for(
            to.shop, compiled(ladder_of(policy, to.as_of), book), to.as_of, to.program, only, history=history
        )
        for page in changes(reader, plan):
            put_changes(to, page)
            tally.moved.update((change.before, change.after) for change in page)
        return tally
    _expire(to)
    new = last is not None and last.policy_version != kept.version
    ladder = rungs(policy, book, to.as_of, first=last is None)
    found = turns_of(reader, to, policy, ladder, new=new, only=only, history=history)
    if only is not None or (new and any(one.reentry for one in ladder)):
        # What this transaction has written decides too, and is seen on its own connection alone: read all before going on.
        found = iter(list(turns_of(to.connection, to, policy, ladder, new=new, only=only, history=history)))
    for turns in found:
        put_turns(to, turns)
        put_entries(to, policy, turns, first=last is None, last_at=last.last_at if last is not None else None)
        take_invitations(to, turns)
        tally.moved.update((turn.before.level, turn.after.level) for turn in turns if turn.moves)
        tally.terms.update(turn.cause for turn in turns if not turn.moves)
    return tally


def turns_of(
    reader: Connection,
    to: Writing,
    policy: Policy,
    ladder: list[Rung],
    *,
    new: bool,
    only: int | None = None,
    history: bool = False,
    unmarked: bool = False,
) -> Iterator[list[Turn]]:
    """Who changes and how, in pages; nothing is written. For the last two see `Looked`."""
    for page in Looked(to.shop, policy, ladder, to.as_of, only, history=history, unmarked=unmarked).rows(reader):
        turns = []
        for seen in page:
            step = next_step(policy, seen.held, seen.sees, to.as_of, to.at)
            if step is not None:
                reason = _reason(ladder, seen, step) | ({"new_policy": True} if new else {})
                turns.append(Turn(seen.member_id, seen.held, step.after, step.cause, reason, seen))
        yield turns


def _reason(ladder: list[Rung], seen: Seen, step: Step) -> dict[str, Any]:
    """The rule that holds now, the one of the level lost, and what the fields of both came to."""
    by_key = {rung.level.key: rung for rung in ladder}
    before, after = by_key.get(seen.held.level), by_key.get(step.after.level)
    up = step.cause in (RULE,) and after is not None and (before is None or ladder.index(after) > ladder.index(before))
    told: dict[str, Any] = {}
    decided = []
    if after is not None and step.cause not in (GRACE,):
        rule = after.entry if up else after.keep
        if rule is not None:
            told["rule"], decided = rule.text, [rule]
    if before is not None and not up and step.cause not in (RENEWED, REMOVED, INVITATION) and before.keep is not None:
        told["lost_rule"] = before.keep.text
        decided.append(before.keep)
    names = dict.fromkeys(field_text(asked) for rule in decided for asked in fields_of(rule.node))
    told["values"] = {name: seen.values[name] for name in names}
    for name in ("valid_until", "grace_until"):
        last = getattr(step.after, name)
        if last is not None:
            told[name] = last.isoformat()
    return told


def _expire(to: Writing) -> None:
    """Invitations nobody answered in time."""
    own = (to.shop.shop_id, day_number(to.as_of))
    late = "FROM tier_invitations WHERE shop_id = ? AND state = 'invited' AND expires_on < ? AND program_key = ?"
    gone = bulk.execute(to.connection, f"SELECT member_id, level_key {late}", (*own, to.program)).all()
    if not gone:
        return
    for member_id, level in gone:
        put_words(to, [member_id], level, "expired", {})
    bulk.execute(
        to.connection,
        "UPDATE tier_invitations SET state = 'expired', answered_at = ? "
        "WHERE shop_id = ? AND state = 'invited' AND expires_on < ? AND program_key = ?",
        (to_micros(to.now), *own, to.program),
    )


def noted(row: Row[Any]) -> dict[str, int]:
    """A programme's row of passes as a run keeps it, to be put back."""
    first, last = to_micros(row.first_at), to_micros(row.last_at)
    return {
        "first_at": first,
        "last_at": last,
        "last_on": day_number(row.last_on),
        "policy_version": row.policy_version,
    }


def pass_of(connection: Connection, shop: Shop, program: str) -> Row[Any] | None:
    c = tier_passes.c
    return connection.execute(select(tier_passes).where(c.shop_id == shop.shop_id, c.program_key == program)).first()


def _note_pass(
    connection: Connection, shop: Shop, program: str, before: Row[Any] | None, version: int, as_of: date, now: datetime
) -> None:
    row = {"last_at": now, "last_on": as_of, "policy_version": version}
    if before is None:
        own = {"shop_id": shop.shop_id, "program_key": program, "first_at": now}
        connection.execute(insert(tier_passes).values(**own, **row))
        return
    c = tier_passes.c
    connection.execute(update(tier_passes).where(c.shop_id == shop.shop_id, c.program_key == program).values(**row))
