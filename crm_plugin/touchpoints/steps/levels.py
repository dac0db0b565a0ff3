"""Steps that give levels: what they go by is read with the versions, and what they decide is written once for each programme."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, select, text

from crm_plugin.rules import by_hand, policies
from crm_plugin.rules.book import NAMES, book_of
from crm_plugin.rules.held import held_of
from crm_plugin.rules.standing import NOTHING
from crm_plugin.rules.supposed import TIER
from crm_plugin.store import member_tiers, tier_bars, writebacks
from crm_plugin.store.base import to_json
from crm_plugin.store.rows import given
from crm_plugin.store.together import together
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps.document import Step, walk
from crm_plugin.touchpoints.steps.moves import Group, Stand, Stay, tell
from crm_plugin.touchpoints.versions import Version, stored, versions_of

REFUSED = "refused"


def take(stand: Stand, stays: Sequence[Stay]) -> None:
    """Fix a level by hand for each, or invite them. What the programme does not allow is noted, and they go on."""
    group, program = stand.group, stand.told["program"]
    desk = _desk(group, program)
    decision = _decision(desk, stand.told, list(dict.fromkeys(stay.member_id for stay in stays)))
    refused = by_hand.refusal(desk, group.programs[program].kept, decision)
    for stay in stays:
        event = group.done(stay, stand.to())
        if refused is not None:
            tell(event, REFUSED, "".join(refused.message))
        elif not decision.invites:
            group.said[stay.member_id, (TIER, program)] = decision.level
    if refused is None:
        group.decided.setdefault(program, []).append(decision)


def write(group: Group) -> None:
    """Write what steps decided until now, those of one programme together, in the order of the steps."""
    for program, decisions in group.decided.items():
        before = group.programs[program]
        # Whoever came past a message that was skipped, or a wait that was over, was not seen to come here.
        if unseen := {one for decision in decisions for one in decision.member_ids} - before.held.keys():
            rows = {"rows": to_json([[one] for one in sorted(unseen)])}
            note_held(group, [program], unseen, *together(group.connection, held_by(group, [program]), rows))
        by_hand.write(_desk(group, program), before, decisions)
    group.decided.clear()


def programs_of(steps: Iterable[Step]) -> list[str]:
    """The programmes of which steps give levels."""
    return sorted({step.told["program"] for step in steps if step.kind == TIER})


def read_with(group: Group, journey: Journey, numbers: Collection[int]) -> dict[int, Version]:
    """These versions of a journey that gives levels, and in the same statement what the shop has of programmes and of names."""
    shop_id = group.shop.shop_id
    queries = [stored(shop_id, journey, numbers), NAMES, policies.saved(shop_id), writebacks.switch(shop_id)]
    told, names, saved, switch = together(group.connection, queries, {"shop_id": shop_id})
    group.book = book_of(names)
    found = versions_of(told, journey)
    by_program: dict[str, list[policies.Kept]] = {}
    for row in saved:
        by_program.setdefault(row.program_key, []).append(policies.kept_of(row))
    for program in programs_of(step for version in found.values() for step in walk(version.journey.flow.steps)):
        kept = by_program.get(program)
        # What was saved before there were versions is looked up.
        now = (
            policies.of_day(kept, group.today)
            if kept
            else policies.in_force(group.connection, shop_id, program, group.today)
        )
        group.programs[program] = by_hand.Before(now, {}, set(), any(row.enabled for row in switch))
    return found


def held_by(group: Group, programs: Sequence[str]) -> list[Select[Any]]:
    """What the members in `rows` hold in these programmes, and where they hold nothing by hand; `note_held` takes the rows."""
    chosen = f"SELECT w.member_id FROM {given(group.is_sqlite, {'member_id': 'BIGINT'})}"  # noqa: S608
    chosen = f"IN ({chosen})" if group.is_sqlite else f"= ANY(ARRAY({chosen}))"
    return [
        select(table).where(
            table.c.shop_id == group.shop.shop_id,
            table.c.program_key.in_(programs),
            text(f"{table.name}.member_id {chosen}"),
        )
        for table in (member_tiers, tier_bars)
    ]


def note_held(
    group: Group, programs: Iterable[str], members: Collection[int], held: Iterable[Any], barred: Iterable[Any]
) -> None:
    """Keep what `held_by` found of these members in these programmes; whoever is in none of the rows holds nothing."""
    for program in programs:
        group.programs[program].held.update(dict.fromkeys(members, NOTHING))
    for row in held:
        group.programs[row.program_key].held[row.member_id] = held_of(row)
    for row in barred:
        group.programs[row.program_key].barred.add(row.member_id)


def _desk(group: Group, program: str) -> by_hand.Desk:
    return by_hand.Desk(group.connection, group.shop, group.now, f"journey {group.journey_key}", program)


def _decision(desk: by_hand.Desk, told: Mapping[str, Any], member_ids: Sequence[int]) -> by_hand.Decision:
    until = desk.today + timedelta(days=told["until_days"]) if "until_days" in told else None
    return by_hand.Decision(member_ids, told["level"], until, told.get("reason", ""), invites=bool(told.get("invite")))
