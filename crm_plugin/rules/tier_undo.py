"""Undoing a run: levels, terms and policies as they were, wherever they are still as the run left them.

Whoever is put back is as if the run had never been, for bars of re-entry and rewards too. The programme stands still after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, not_, select, update

from crm_plugin.clock import from_day_number
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules import read_book
from crm_plugin.rules.asked import Rewritten, refuse_asked
from crm_plugin.rules.held import held_now
from crm_plugin.rules.policies import in_force, one_at_a_time, put_levels, versions
from crm_plugin.rules.policies import save as save_version
from crm_plugin.rules.policy import Policy
from crm_plugin.rules.sql import ACTIVE
from crm_plugin.rules.standing import NOTHING, UNDONE, Held
from crm_plugin.rules.tier_holds import Hold, hold
from crm_plugin.rules.tier_rows import Turn, Writing, put_turns, take_invitations
from crm_plugin.store import (
    audit,
    members,
    tier_bars,
    tier_changes,
    tier_entries,
    tier_invitations,
    tier_passes,
    tier_runs,
    tier_terms,
)
from crm_plugin.store.base import from_micros, to_micros
from crm_plugin.store.members import lock
from crm_plugin.store.tenants import Shop

_PAGE = 5_000
ACTION = "tiers.undone"


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of it: members put back, members that moved on since and stay, rewards withdrawn, programmes whose policy is the former."""

    run_id: int
    restored: int
    left: int
    withdrawn: int
    policies: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        counts = {"restored": self.restored, "left": self.left, "withdrawn": self.withdrawn}
        return {"run": str(self.run_id), **counts, "policies": list(self.policies)}


@dataclass(frozen=True, slots=True)
class _Did:
    """What the run made of one member; `before` None where it has to be looked up."""

    member_id: int
    from_level: str
    before: Held | None
    after: Held
    cause: str
    change_id: int


def undo(
    connection: Connection,
    shop: Shop,
    *,
    today: date,
    now: datetime,
    actor: str,
    run_id: int | None = None,
    reason: str = "",
) -> Undone:
    """Undo the last run, or the one named. What the rules say has not changed by it, so no daily run moves anybody after it.

    Raises: InvalidInput when there is nothing to undo, or later runs stand on it; nothing is written then.
    """
    one_at_a_time(connection, shop)
    lock(connection, shop.shop_id)
    run = _run(connection, shop, run_id)
    restored = left = withdrawn = 0
    back: list[str] = []
    for program, (before, after) in sorted(run.policies.items()):
        # With a first pass there is no former policy to go back to: it stays, and stands still.
        begun = run.passes.get(program, {}) is None
        if (
            before != after
            and not begun
            and _restore_policy(connection, shop, program, before, after, today, now, actor)
        ):
            back.append(program)
        version = in_force(connection, shop.shop_id, program, today).version
        to = Writing(connection, shop, program, None, version, today, now)
        for page in _pages(connection, shop, program, run):
            turns = _turns(to, page, run.run_id)
            put_turns(to, turns)
            take_invitations(to, [replace(one, cause=cause) for one, cause in _lifted(turns, page)], taken=False)
            restored += len(turns)
            left += len(page) - len(turns)
        withdrawn += _withdraw(connection, shop, program, run.run_id)
        _ask_again(to, run)
        _restore_pass(to, run, before, restored_policy=program in back)
        hold(connection, shop, Hold(program, run.run_id, now, actor, reason.strip(), version))
    c = tier_runs.c
    own = (c.shop_id == shop.shop_id, c.run_id == run.run_id)
    connection.execute(update(tier_runs).where(*own).values(undone_at=now))
    found = Undone(run.run_id, restored, left, withdrawn, tuple(back))
    audit.note(connection, shop.shop_id, actor, ACTION, {**found.as_dict(), "reason": reason.strip()}, now)
    return found


def _run(connection: Connection, shop: Shop, run_id: int | None) -> Row[Any]:
    c = tier_runs.c
    query = select(tier_runs).where(c.shop_id == shop.shop_id).order_by(c.at.desc(), c.run_id.desc())
    if run_id is not None:
        query = query.where(c.run_id == run_id)
    found = connection.execute(query.limit(1)).first()
    if found is None or found.undone_at is not None:
        raise InvalidInput(
            phrase("There is nothing to undo."),
            hint=phrase("Only a run that changed something can be undone, and only once."),
        )
    later = [one for one in connection.execute(_later(shop, found)) if set(one.policies) & set(found.policies)]
    if later:
        raise InvalidInput(
            phrase("%(count)s later runs stand on this one.", count=len(later)),
            field="run",
            hint=phrase(
                "Undo them first, the newest first: %(runs)s.", runs=", ".join(str(one.run_id) for one in later)
            ),
        )
    return found


def _later(shop: Shop, run: Row[Any]) -> Select[Any]:
    """The runs after this one that stand, the newest first."""
    c = tier_runs.c
    after = (c.at > run.at) | ((c.at == run.at) & (c.run_id > run.run_id))
    query = select(c.run_id, c.policies).where(c.shop_id == shop.shop_id, c.undone_at.is_(None), after)
    return query.order_by(c.at.desc(), c.run_id.desc())


def _restore_pass(to: Writing, run: Row[Any], version: int, *, restored_policy: bool) -> None:
    """The programme as it was calculated before the run; one calculated for the first time is not calculated yet."""
    c = tier_passes.c
    own = (c.shop_id == to.shop.shop_id, c.program_key == to.program)
    before = run.passes.get(to.program, {})
    if before is None:
        to.connection.execute(delete(tier_passes).where(*own))
        return
    values: dict[str, Any] = {name: from_micros(before[name]) for name in ("first_at", "last_at") if name in before}
    values |= {"last_on": from_day_number(before["last_on"])} if "last_on" in before else {}
    values["policy_version"] = to.version if restored_policy else version
    to.connection.execute(update(tier_passes).where(*own).values(**values))


def _ask_again(to: Writing, run: Row[Any]) -> None:
    """Invitations that the run has let expire are open again."""
    c = tier_invitations.c
    own = (c.shop_id == to.shop.shop_id, c.program_key == to.program, c.state == "expired", c.answered_at == run.at)
    to.connection.execute(update(tier_invitations).where(*own).values(state="invited", answered_at=None))


def _restore_policy(
    connection: Connection, shop: Shop, program: str, before: int, after: int, today: date, now: datetime, actor: str
) -> bool:
    """A new version like the former one; not where another has been saved since."""
    if in_force(connection, shop.shop_id, program, today).version != after:
        return False
    known = {one.version: one.policy for one in versions(connection, shop.shop_id, program)}
    # Before there were versions the ladder of that time is the first; a programme that was new is without levels again.
    former = known.get(before or min(known))
    policy = former if former is not None and (before or min(known) < after) else Policy((), program)
    book = read_book(connection, shop.shop_id)
    then = replace(book, levels={**book.levels, program: policy.keys})
    refuse_asked(connection, shop, then, today, Rewritten(tiers=True))
    save_version(connection, shop, policy, now, actor=actor)
    put_levels(connection, shop, in_force(connection, shop.shop_id, program, today).policy, None, today, now)
    return True


def _pages(connection: Connection, shop: Shop, program: str, run: Row[Any]) -> Iterator[list[_Did]]:
    """What the run did in a programme. The keys of all of it are read before anything is written beside, the rest by pages."""
    c, e = tier_changes.c, tier_terms.c
    moved = (c.shop_id == shop.shop_id, c.changed_at == run.at, c.run_id == run.run_id, c.program_key == program)
    turned = (e.shop_id == shop.shop_id, e.at == run.at, e.run_id == run.run_id, e.program_key == program)
    changes = list(connection.execute(select(c.change_id).where(*moved)).scalars())
    terms = list(connection.execute(select(e.event_id).where(*turned, e.after.is_not(None))).scalars())
    for start in range(0, len(changes), _PAGE):
        those = select(tier_changes).where(c.shop_id == shop.shop_id, c.change_id.in_(changes[start : start + _PAGE]))
        yield [_moved(row) for row in connection.execute(those)]
    for start in range(0, len(terms), _PAGE):
        those = select(tier_terms).where(e.shop_id == shop.shop_id, e.event_id.in_(terms[start : start + _PAGE]))
        yield [_turned(row) for row in connection.execute(those)]


def _turned(row: Row[Any]) -> _Did:
    return _Did(row.member_id, row.level_key, Held.of(row.before), Held.of(row.after), row.kind, row.event_id)


def _moved(row: Row[Any]) -> _Did:
    cause = str(row.reason.get("cause", ""))
    if row.after is not None:
        return _Did(row.member_id, row.from_level, Held.of(row.before), Held.of(row.after), cause, row.change_id)
    after = Held(row.to_level, to_micros(row.changed_at), row.as_of) if row.to_level else NOTHING
    before = None if row.from_level else NOTHING
    return _Did(row.member_id, row.from_level, before, after, cause, row.change_id)


def _turns(to: Writing, page: Sequence[_Did], run_id: int) -> list[Turn]:
    """Back for everybody who still is as the run left them; for one who was two in the run, once."""
    who = sorted({one.member_id for one in page})
    now = held_now(to.connection, to.shop.shop_id, to.program, who)
    since = _since(to, [one for one in page if one.before is None])
    shut, newest = _shut_out(to, who), _newest(to, [one.member_id for one in page if not one.after.level])
    turns, done = [], set[int]()
    for one in page:
        current = now.get(one.member_id, NOTHING)
        # Who holds no level has no row that tells whether anything happened since.
        moved_on = current != one.after or (not current.level and newest[one.member_id] != one.change_id)
        if moved_on or one.member_id in done or (not current.level and one.member_id in shut):
            continue
        done.add(one.member_id)
        before = one.before
        if before is None:
            since_at, since_on = since.get(one.member_id, (one.after.since_at or to.at, one.after.since_on or to.as_of))
            before = Held(one.from_level, since_at, since_on)
        turns.append(Turn(one.member_id, current, before, UNDONE, {"run": str(run_id)}))
    return turns


def _shut_out(to: Writing, who: Sequence[int]) -> set[int]:
    """Those of these who hold no level by hand, or are gone: what they lost is not given back."""
    b, m = tier_bars.c, members.c
    barred = select(b.member_id).where(
        b.shop_id == to.shop.shop_id,
        b.program_key == to.program,
        b.member_id.in_(who),
        b.until.is_(None) | (b.until >= to.as_of),
    )
    gone = select(m.member_id).where(m.shop_id == to.shop.shop_id, m.member_id.in_(who), m.state != ACTIVE)
    return {*to.connection.execute(barred).scalars(), *to.connection.execute(gone).scalars()}


def _newest(to: Writing, who: Sequence[int]) -> dict[int, int]:
    """The newest change of each of these."""
    c = tier_changes.c
    own = (c.shop_id == to.shop.shop_id, c.program_key == to.program, c.member_id.in_(who))
    query = select(c.member_id, func.max(c.change_id)).where(*own).group_by(c.member_id)
    return {member_id: change_id for member_id, change_id in to.connection.execute(query)} if who else {}  # noqa: C416


def _since(to: Writing, page: Sequence[_Did]) -> dict[int, tuple[int, date]]:
    """Since when the former level was held, by the change that had led to it."""
    c = tier_changes.c
    wanted = {one.member_id: one for one in page}
    query = select(c.member_id, c.change_id, c.to_level, c.changed_at, c.as_of, c.after).where(
        c.shop_id == to.shop.shop_id, c.program_key == to.program, c.member_id.in_(sorted(wanted))
    )
    found: dict[int, tuple[int, date]] = {}
    for row in to.connection.execute(query.order_by(c.change_id)):
        one = wanted[row.member_id]
        if row.change_id < one.change_id and row.to_level == one.from_level:
            # What was put back is held since before.
            back = Held.of(row.after) if row.after is not None else None
            since_on = row.as_of if back is None else back.since_on or row.as_of
            found[row.member_id] = (to_micros(row.changed_at) if back is None else back.since_at, since_on)
    return found


def _lifted(turns: Sequence[Turn], page: Sequence[_Did]) -> Iterator[tuple[Turn, str]]:
    causes: Mapping[int, str] = {one.member_id: one.cause for one in page}
    for turn in turns:
        yield turn, causes[turn.member_id]


def _withdraw(connection: Connection, shop: Shop, program: str, run_id: int) -> int:
    """The levels passed or held in that run are not, and what they would have given is not given; what was used stays.

    A level that was held after it, by hand or by an invitation, stays passed.
    """
    c = tier_entries.c
    own = (c.shop_id == shop.shop_id, c.program_key == program, c.run_id == run_id)
    number = connection.execute(select(func.count()).where(*own, c.state == "open")).scalar_one()
    in_it = (c.shop_id == shop.shop_id, c.program_key == program, c.held_run_id == run_id)
    connection.execute(update(tier_entries).where(*in_it).values(held=False, held_run_id=None))
    connection.execute(delete(tier_entries).where(*own, c.state != "used", not_(c.held)))
    connection.execute(update(tier_entries).where(*own, c.state == "open").values(state="passed", reward=""))
    return int(number)
