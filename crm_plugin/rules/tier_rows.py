"""Writing what a pass found: levels held, their history, terms, levels passed and their rewards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert

from crm_plugin.clock import day_number, local_day
from crm_plugin.ids import new_id, new_ids
from crm_plugin.rules.earned import Change
from crm_plugin.rules.policy import Policy
from crm_plugin.rules.standing import BY_HAND, INVITATION, UNDONE, Held
from crm_plugin.rules.standing_sql import Seen
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.store import bulk, member_tiers, tier_changes, tier_entries, tier_terms, writebacks
from crm_plugin.store.base import from_micros, to_micros
from crm_plugin.store.base import to_json as json_text
from crm_plugin.store.program import put_beside_facts
from crm_plugin.store.tenants import Shop

# Who was known to the store for longer than this before we saw them comes with a history, and has earned its levels long ago.
HISTORY_DAYS = 7


@dataclass(frozen=True, slots=True)
class Writing:
    """Where and when: one programme of a shop within one run. `writes_back`: the store is told of levels; None to look it up."""

    connection: Connection
    shop: Shop
    program: str
    run_id: int | None
    version: int
    as_of: date
    now: datetime
    writes_back: bool | None = None

    @property
    def at(self) -> int:
        return to_micros(self.now)


@dataclass(frozen=True, slots=True)
class Turn:
    """One member's level or term changed from `before` to `after`; `cause` and `reason` say why."""

    member_id: int
    before: Held
    after: Held
    cause: str
    reason: dict[str, Any] = field(default_factory=dict)
    seen: Seen | None = None

    @property
    def moves(self) -> bool:
        """Whether the level itself is another one."""
        return self.before.level != self.after.level


_HELD = ("shop_id", "program_key", "member_id", "level_key", "since_at", "since_on")
_TERM = ("valid_until", "grace_until", "in_grace", "fixed", "fixed_until", "fixed_reason", "fixed_by")
_CHANGED = (
    "shop_id", "change_id", "program_key", "member_id", "from_level", "to_level", "changed_at", "as_of", "reason",
    "run_id", "policy_version",
)  # fmt: skip
_TURNED = (
    "shop_id", "event_id", "program_key", "member_id", "level_key", "kind", "at", "as_of", "run_id", "policy_version",
    "before", "after", "detail",
)  # fmt: skip
_ENTERED = (
    "shop_id", "program_key", "member_id", "level_key", "held", "state", "reward", "at", "as_of", "run_id", "held_run_id",
)  # fmt: skip


def put_changes(to: Writing, page: Sequence[Change]) -> None:
    """Levels without a term: the few columns that a large pass writes."""
    day = day_number(to.as_of)
    forget(to, [change.member_id for change in page if not change.after])
    own = (to.shop.shop_id, to.program)
    rows = sorted((*own, change.member_id, change.after, to.at, day) for change in page if change.after)
    sets = ", ".join(f"{name} = excluded.{name}" for name in _HELD[3:])
    # What an earlier policy promised is over with the level.
    plain = f"{sets}, valid_until = NULL, grace_until = NULL"
    bulk.upsert_rows(to.connection, member_tiers, _HELD, _HELD[:3], plain, rows)
    _pass_on(to, [(change.member_id, change.after) for change in page])
    kept = [
        (
            to.shop.shop_id,
            change_id,
            to.program,
            change.member_id,
            change.before,
            change.after,
            to.at,
            day,
            json_text(change.reason),
            to.run_id,
            to.version,
        )
        for change_id, change in zip(new_ids(len(page)), page, strict=True)
    ]
    bulk.insert_rows(to.connection, tier_changes, _CHANGED, kept)


def put_turns(to: Writing, page: Sequence[Turn]) -> None:
    """Levels and terms with all that is known of them. Of several of one member the last holds, and each is kept in the history."""
    last = {turn.member_id: turn.after for turn in page}
    forget(to, [member_id for member_id, after in last.items() if not after.level])
    own = (to.shop.shop_id, to.program)
    rows = sorted((*own, member_id, *_columns(after)) for member_id, after in last.items() if after.level)
    names = (*_HELD, *_TERM)
    sets = ", ".join(f"{name} = excluded.{name}" for name in names[3:])
    bulk.upsert_rows(to.connection, member_tiers, names, _HELD[:3], sets, rows)
    _pass_on(to, list({turn.member_id: turn.after.level for turn in page if turn.moves}.items()))
    # Numbered together, for the history tells both by their numbers.
    numbered = list(zip(new_ids(len(page)), page, strict=True))
    bulk.insert_rows(to.connection, tier_changes, (*_CHANGED, "before", "after"), _change_rows(to, numbered))
    bulk.insert_rows(to.connection, tier_terms, _TURNED, _turn_rows(to, numbered))


def put_words(to: Writing, member_ids: Sequence[int], level: str, kind: str, told: dict[str, Any]) -> None:
    """Note of each of these what was said about a level that nothing changed by."""
    row = {"program_key": to.program, "level_key": level, "kind": kind, "detail": told}
    place = {"at": to.now, "as_of": to.as_of, "run_id": to.run_id, "policy_version": to.version}
    rows = [{"shop_id": to.shop.shop_id, "event_id": new_id(), "member_id": one, **row, **place} for one in member_ids]
    if rows:
        to.connection.execute(insert(tier_terms), rows)


def put_entries(to: Writing, policy: Policy, page: Iterable[Turn], *, first: bool, last_at: datetime | None) -> None:
    """Levels passed, each once for good; those passed on the way up by whoever is no newcomer with a history give their reward."""
    places = {key: place for place, key in enumerate(policy.keys)}
    day = day_number(to.as_of)
    rows: dict[tuple[int, str], tuple[Any, ...]] = {}
    for turn in page:
        if not turn.moves or turn.cause in (BY_HAND, UNDONE):
            continue
        low, high = (places.get(level, -1) for level in (turn.before.level, turn.after.level))
        gives = high > low and not first and not _with_history(to, turn, last_at)
        for place, level in enumerate(policy.levels[: max(low, high) + 1]):
            if level.invitation and place not in (low, high):
                continue
            given = level.reward if gives and low < place <= high else ""
            state = "open" if given else "passed"
            held = place in (low, high)
            own = (to.shop.shop_id, to.program, turn.member_id, level.key)
            rows[turn.member_id, level.key] = (
                *own,
                held,
                state,
                given,
                to.at,
                day,
                to.run_id,
                to.run_id if held else None,
            )
    kept = (
        "held = (tier_entries.held OR excluded.held), "
        "held_run_id = CASE WHEN tier_entries.held THEN tier_entries.held_run_id ELSE excluded.held_run_id END"
    )
    bulk.upsert_rows(to.connection, tier_entries, _ENTERED, _ENTERED[:4], kept, [rows[key] for key in sorted(rows)])


def take_invitations(to: Writing, page: Iterable[Turn], *, taken: bool = True) -> None:
    """An accepted invitation lifts once; `taken` False gives it back."""
    by_level: dict[str, list[int]] = {}
    for turn in page:
        if turn.cause == INVITATION:
            by_level.setdefault(turn.after.level if taken else turn.before.level, []).append(turn.member_id)
    for level, who in by_level.items():
        sql = (
            f"UPDATE tier_invitations SET taken = {'true' if taken else 'false'} "  # noqa: S608
            "WHERE shop_id = ? AND program_key = ? AND level_key = ? AND state = 'accepted' AND member_id IN ({marks})"
        )
        bulk.execute_in(to.connection, sql, (to.shop.shop_id, to.program, level), who)


def forget(to: Writing, who: Collection[int]) -> None:
    """These hold no level any more."""
    sql = "DELETE FROM member_tiers WHERE shop_id = ? AND program_key = ? AND member_id IN ({marks})"
    bulk.execute_in(to.connection, sql, (to.shop.shop_id, to.program), who)


def _with_history(to: Writing, turn: Turn, last_at: datetime | None) -> bool:
    seen = turn.seen
    if seen is None or last_at is None or seen.first_order_on is None or seen.first_seen_at <= to_micros(last_at):
        return False
    first_seen = local_day(from_micros(seen.first_seen_at), to.shop.timezone)
    return seen.first_order_on < first_seen - timedelta(days=HISTORY_DAYS)


def _pass_on(to: Writing, levels: Sequence[tuple[int, str]]) -> None:
    """Whoever else goes by the level held: the facts, and the store."""
    if to.program == PROGRAM:
        put_beside_facts(to.connection, to.shop.shop_id, levels, to.at)
    writebacks.queue_levels(to.connection, to.shop.shop_id, to.program, levels, to.now, is_told=to.writes_back)


def _columns(held: Held) -> tuple[Any, ...]:
    days = [
        None if one is None else day_number(one)
        for one in (held.since_on, held.valid_until, held.grace_until, held.fixed_until)
    ]
    since, valid, grace, fixed_until = days
    told = (held.in_grace, held.fixed, fixed_until, held.fixed_reason, held.fixed_by)
    return (held.level, held.since_at, since, valid, grace, *told)


def _change_rows(to: Writing, numbered: Sequence[tuple[int, Turn]]) -> list[tuple[Any, ...]]:
    day = day_number(to.as_of)
    return [
        (
            to.shop.shop_id,
            change_id,
            to.program,
            turn.member_id,
            turn.before.level,
            turn.after.level,
            to.at,
            day,
            json_text({"cause": turn.cause, **turn.reason}),
            to.run_id,
            to.version,
            json_text(turn.before.as_dict()),
            json_text(turn.after.as_dict()),
        )
        for change_id, turn in numbered
        if turn.moves
    ]


def _turn_rows(to: Writing, numbered: Sequence[tuple[int, Turn]]) -> list[tuple[Any, ...]]:
    day = day_number(to.as_of)
    return [
        (
            to.shop.shop_id,
            event_id,
            to.program,
            turn.member_id,
            turn.after.level,
            turn.cause,
            to.at,
            day,
            to.run_id,
            to.version,
            json_text(turn.before.as_dict()),
            json_text(turn.after.as_dict()),
            json_text(turn.reason),
        )
        for event_id, turn in numbered
        if not turn.moves
    ]
