"""The policies a shop has: each version kept, the one in force on a day, and the levels of it beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, Text, delete, insert, literal, select

from crm_plugin.clock import local_day
from crm_plugin.rules.book import Book
from crm_plugin.rules.document import to_json
from crm_plugin.rules.policy import Policy, of_ladder
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.standing_sql import Rung, rungs, that_stands
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.store import member_tiers, shops, tier_changes, tier_entries, tier_levels, tier_policies
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop

# Since when what was saved before there were versions has been in force.
_ALWAYS = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy with its version; 0 is the ladder of a shop that saved it before there were versions."""

    version: int
    policy: Policy
    effective_on: date
    actor: str = ""
    created_at: datetime | None = None


def one_at_a_time(connection: Connection, shop: Shop) -> None:
    """Who saves, applies or undoes waits here for whoever is at it, and sees what that came to. SQLite has one writer anyway.

    Whoever locks the shop's members too (`store.members.lock`) does so after this.
    """
    connection.execute(select(shops.c.shop_id).where(shops.c.shop_id == shop.shop_id).with_for_update(key_share=True))


def programs(connection: Connection, shop_id: int) -> list[str]:
    """The programmes there are, the main one first."""
    found: set[str] = set()
    for table in (tier_policies, tier_levels, member_tiers):
        query = select(table.c.program_key).where(table.c.shop_id == shop_id).distinct()
        found |= set(connection.execute(query).scalars())
    return sorted(found, key=lambda key: (key != PROGRAM, key))


def in_force(connection: Connection, shop_id: int, program: str, day: date) -> Kept:
    """The policy of that day; of a day before all of them the first, and without any one without levels."""
    kept = versions(connection, shop_id, program)
    return of_day(kept, day) if kept else Kept(0, _ladder(connection, shop_id, program), _ALWAYS)


def of_day(kept: Sequence[Kept], day: date) -> Kept:
    """The one of these versions (the oldest first) that is in force on a day."""
    effective = [one for one in kept if one.effective_on <= day]
    return max(effective, key=lambda one: (one.effective_on, one.version)) if effective else kept[0]


def versions(connection: Connection, shop_id: int, program: str) -> list[Kept]:
    """All versions, the oldest first."""
    c = tier_policies.c
    query = select(tier_policies).where(c.shop_id == shop_id, c.program_key == program).order_by(c.version)
    return [kept_of(row) for row in connection.execute(query)]


def every_version(connection: Connection, shop_id: int) -> dict[str, list[Kept]]:
    """The versions of all programmes, the main one first; of one that has none yet its ladder as version 0."""
    found: dict[str, list[Kept]] = {one: [] for one in programs(connection, shop_id)}
    t = tier_levels.c
    for row in connection.execute(saved(shop_id)):
        found[row.program_key].append(kept_of(row))
    ladders: dict[str, list[tuple[str, Any, str]]] = {}
    for row in connection.execute(select(tier_levels).where(t.shop_id == shop_id).order_by(t.rank)):
        ladders.setdefault(row.program_key, []).append((row.level_key, row.title, row.rule_text))
    return {
        program: kept or [Kept(0, of_ladder(program, ladders.get(program, []), None), _ALWAYS)]
        for program, kept in found.items()
    }


def from_day(kept: Sequence[Kept], today: date) -> list[Kept]:
    """Those of these versions (the oldest first) that are in force on a day or will be, that day's first."""
    days = sorted({one.effective_on for one in kept if one.effective_on > today})
    return list({one.version: one for one in (of_day(kept, day) for day in (today, *days))}.values())


def plans(kept: Sequence[Kept], today: date) -> list[Kept]:
    """Those of these versions (the oldest first) that change something on a day to come, the next first."""
    days = sorted({one.effective_on for one in kept if one.effective_on > today})
    found, before = [], of_day(kept, today).policy.as_dict()
    for day in days:
        then = of_day(kept, day)
        if then.policy.as_dict() != before:
            found.append(then)
        before = then.policy.as_dict()
    return found


def saved(shop_id: int) -> Select[Any]:
    """The versions of all programmes, the oldest first; `kept_of` reads a row."""
    c = tier_policies.c
    return select(tier_policies).where(c.shop_id == shop_id).order_by(c.version)


def kept_of(row: Any) -> Kept:
    """A version as its row tells it."""
    policy = read_policy(row.document, row.program_key)
    return Kept(row.version, policy, row.effective_on, row.actor, row.created_at)


def newest_policies(connection: Connection, shop: Shop) -> dict[str, Policy]:
    """The policies saved last, by programme; the main one only where it promises more than its levels do."""
    found: dict[str, Policy] = {}
    for program in programs(connection, shop.shop_id):
        kept = versions(connection, shop.shop_id, program)
        if not kept or not kept[-1].policy.levels or (program == PROGRAM and is_bare_ladder(kept[-1].policy)):
            continue
        saved_at = kept[-1].created_at
        planned = saved_at is not None and kept[-1].effective_on > local_day(saved_at, shop.timezone)
        found[program] = replace(kept[-1].policy, effective_on=kept[-1].effective_on if planned else None)
    return found


def is_bare_ladder(policy: Policy) -> bool:
    """Whether it is nothing but levels with a rule each."""
    return policy.plain and policy.measure is None and not policy.title


def save(connection: Connection, shop: Shop, policy: Policy, now: datetime, *, actor: str) -> Kept:
    """Keep a policy as the newest version, unless it is the one that will be in force then anyway.

    With a day to come it takes effect on that day, and what is in force today stays until then.
    """
    today = local_day(now, shop.timezone)
    effective = max(policy.effective_on or today, today)
    known = versions(connection, shop.shop_id, policy.program)
    before = in_force(connection, shop.shop_id, policy.program, effective)
    if before.policy.as_dict() == policy.as_dict():
        return before
    version = known[-1].version if known else 0
    if not known and (before.policy.levels or effective > today):
        # What there was before there were versions, be it nothing, is the first of them: what is undone goes back to it.
        version += 1
        _keep(connection, shop, before.policy, version, _ALWAYS, "", now)
    if before.policy.plain and not policy.plain:
        _mark_passed(connection, shop, before.policy, now)
    return _keep(connection, shop, policy, version + 1, effective, actor, now)


def _keep(
    connection: Connection, shop: Shop, policy: Policy, version: int, effective: date, actor: str, now: datetime
) -> Kept:
    row = {"program_key": policy.program, "version": version, "effective_on": effective, "actor": actor}
    document = policy.as_dict()
    connection.execute(insert(tier_policies).values(shop_id=shop.shop_id, **row, document=document, created_at=now))
    return Kept(version, replace(policy, effective_on=None), effective, actor, now)


def put_levels(
    connection: Connection, shop: Shop, policy: Policy, book: Book | None, today: date, now: datetime
) -> None:
    """Make the levels that rules and pages know those of the policy in force; nothing is written where they are."""
    rows = [_level_row(shop, policy, rank, one, now) for rank, one in enumerate(rungs(policy, book, today))]
    c = tier_levels.c
    own = (c.shop_id == shop.shop_id, c.program_key == policy.program)
    there = connection.execute(select(tier_levels).where(*own).order_by(c.rank)).mappings().all()
    if [_bare(dict(one)) for one in there] == [_bare(one) for one in rows]:
        return
    connection.execute(delete(tier_levels).where(*own))
    if rows:
        connection.execute(insert(tier_levels), rows)


def _level_row(shop: Shop, policy: Policy, rank: int, one: Rung, now: datetime) -> dict[str, Any]:
    return {
        "shop_id": shop.shop_id,
        "program_key": policy.program,
        "level_key": one.level.key,
        "rank": rank,
        "title": dict(one.level.title),
        "rule_text": "" if one.entry is None else one.entry.text,
        "rule": {} if one.entry is None else one.entry.json,
        "plan": _plan(policy, one),
        "updated_at": now,
    }


def _plan(policy: Policy, one: Rung) -> dict[str, Any]:
    """What the fields of being near and at risk ask of a level."""
    plan: dict[str, Any] = {}
    if one.keep is not None and (one.entry is None or one.keep.json != one.entry.json):
        plan["keep"] = to_json(one.keep.node)
    if one.keep is None:
        plan["kept"] = True
    if one.level.entry is not None and policy.measure is not None:
        plan |= {"measure": policy.measure.text(), "entry": str(one.level.entry)}
    return plan


def _bare(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("level_key", "rank", "title", "rule_text", "rule", "plan")}


def _ladder(connection: Connection, shop_id: int, program: str) -> Policy:
    c = tier_levels.c
    query = select(tier_levels).where(c.shop_id == shop_id, c.program_key == program).order_by(c.rank)
    levels = [(row.level_key, row.title, row.rule_text) for row in connection.execute(query)]
    return of_ladder(program, levels, None)


def _mark_passed(connection: Connection, shop: Shop, policy: Policy, now: datetime) -> None:
    """Whoever held a level before rewards were kept track of has passed it, and those below it."""
    t, h, e = tier_changes.c, member_tiers.c, tier_entries.c
    happened = that_stands(shop, policy.program)
    today = local_day(now, shop.timezone)
    columns = ["shop_id", "program_key", "member_id", "level_key", "held", "state", "reward", "at", "as_of"]
    for place, key in enumerate(policy.keys):
        above = policy.keys[place:]
        was = select(t.member_id).where(*happened, t.to_level.in_(above))
        held = select(h.member_id).where(
            h.shop_id == shop.shop_id, h.program_key == policy.program, h.level_key.in_(above)
        )
        who = was.union(held).subquery()
        itself = select(t.member_id).where(*happened, t.to_level == key)
        there = select(e.member_id).where(
            e.shop_id == shop.shop_id, e.program_key == policy.program, e.level_key == key
        )
        rows = select(
            *(_as(value) for value in (shop.shop_id, policy.program)),
            who.c.member_id,
            _as(key),
            who.c.member_id.in_(itself),
            *(_as(value) for value in ("passed", "", to_micros(now))),
            _as(today.toordinal() - _ALWAYS.toordinal()),
        ).where(who.c.member_id.not_in(there))
        connection.execute(insert(tier_entries).from_select(columns, rows))


def _as(value: int | str) -> Any:
    return literal(value, Text if isinstance(value, str) else BigInteger)
