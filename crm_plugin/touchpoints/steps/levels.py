"""Steps that give levels: what they go by is read with those in hand, and what they decide is written once for each programme."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, bindparam, select, text
from sqlalchemy.sql.selectable import SelectBase

from crm_plugin.rules import by_hand, policies
from crm_plugin.rules.book import NAMES, book_of
from crm_plugin.rules.held import held_of
from crm_plugin.rules.standing import NOTHING
from crm_plugin.rules.supposed import TIER
from crm_plugin.store import member_tiers, tier_bars, writebacks
from crm_plugin.store.base import to_json
from crm_plugin.store.rows import given
from crm_plugin.store.together import Part, ask
from crm_plugin.touchpoints.steps.document import Step, walk
from crm_plugin.touchpoints.steps.moves import Group, Stand, Stay, tell
from crm_plugin.touchpoints.versions import Version

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
            ask(group.connection, parts(group, [program], unseen), rows)
        by_hand.write(_desk(group, program), before, decisions)
    group.decided.clear()


def programs_of(steps: Iterable[Step]) -> list[str]:
    """The programmes of which steps give levels."""
    return sorted({step.told["program"] for step in steps if step.kind == TIER})


_SHOP: Any = bindparam("shop_id", type_=BigInteger)
# What a shop has of names and of programmes, whose rows `know` takes.
ASKED: tuple[SelectBase, ...] = (NAMES, policies.saved(_SHOP), writebacks.switch(_SHOP))


def know(group: Group, known: Iterable[Version], names: Any, saved: Iterable[Any], switch: Iterable[Any]) -> None:
    """Keep what steps of these versions that give levels go by, as `ASKED` found it."""
    group.book = book_of(names)
    writes_back = any(row.enabled for row in switch)
    by_program: dict[str, list[policies.Kept]] = {}
    for row in saved:
        by_program.setdefault(row.program_key, []).append(policies.kept_of(row))
    for program in programs_of(step for version in known for step in walk(version.journey.flow.steps)):
        kept = by_program.get(program)
        # What was saved before there were versions is looked up.
        now = (
            policies.of_day(kept, group.today)
            if kept
            else policies.in_force(group.connection, group.shop.shop_id, program, group.today)
        )
        group.programs[program] = by_hand.Before(now, {}, set(), writes_back)


def parts(group: Group, programs: Sequence[str], members: Collection[int]) -> list[Part]:
    """What these members, the `rows` of the statement, hold in these programmes, and where nothing by hand; the group keeps it."""
    chosen = f"SELECT w.member_id FROM {given(group.is_sqlite, {'member_id': 'BIGINT'})}"  # noqa: S608
    chosen = f"IN ({chosen})" if group.is_sqlite else f"= ANY(ARRAY({chosen}))"

    def held(found: Iterable[Any]) -> None:
        for program in programs:
            group.programs[program].held.update(dict.fromkeys(members, NOTHING))
        for row in found:
            group.programs[row.program_key].held[row.member_id] = held_of(row)

    def barred(found: Iterable[Any]) -> None:
        for row in found:
            group.programs[row.program_key].barred.add(row.member_id)

    return [
        Part(
            select(table).where(
                table.c.shop_id == group.shop.shop_id,
                table.c.program_key.in_(programs),
                text(f"{table.name}.member_id {chosen}"),
            ),
            keep,
        )
        for table, keep in ((member_tiers, held), (tier_bars, barred))
        if programs
    ]


def _desk(group: Group, program: str) -> by_hand.Desk:
    return by_hand.Desk(group.connection, group.shop, group.now, f"journey {group.journey_key}", program)


def _decision(desk: by_hand.Desk, told: Mapping[str, Any], member_ids: Sequence[int]) -> by_hand.Decision:
    until = desk.today + timedelta(days=told["until_days"]) if "until_days" in told else None
    return by_hand.Decision(member_ids, told["level"], until, told.get("reason", ""), invites=bool(told.get("invite")))
