"""Tiers by rule: a member holds the highest level whose rule is true.

One pass over all of a shop finds who changes; only they are written, each change with its reason for good. A member who was deleted
holds no level.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from crm_plugin.clock import day_number
from crm_plugin.errors import InvalidInput
from crm_plugin.ids import new_ids
from crm_plugin.phrases import phrase
from crm_plugin.rules import Book, Rule, read_book
from crm_plugin.rules.asked import NOTHING, Rewritten, book_then, refuse_asked
from crm_plugin.rules.earned import Change, Level, changes, compiled, plan_for
from crm_plugin.rules.sql import ACTIVE, PROGRAM_KEY
from crm_plugin.store import audit, bulk, member_tiers, members, shops, tier_changes, tier_levels, writebacks
from crm_plugin.store.base import to_json as json_text
from crm_plugin.store.base import to_micros
from crm_plugin.store.members import lock
from crm_plugin.store.program import put_beside_facts
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop

__all__ = [
    "APPLIED",
    "SAVED",
    "Level",
    "Move",
    "Preview",
    "TierReport",
    "apply",
    "apply_within",
    "check_level",
    "held",
    "levels",
    "preview",
    "read_level",
    "save_and_apply",
    "save_levels",
]

# What the audit log calls the two acts.
SAVED, APPLIED = "tiers.saved", "tiers.applied"


@dataclass(frozen=True, slots=True)
class Move:
    """How many members go from one level to another; an empty key is no level."""

    from_level: str
    to_level: str
    members: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What levels would come to: active members for each (the empty key for none), and who would move."""

    as_of: date
    levels: dict[str, int]
    moves: tuple[Move, ...]
    # Of each move the member who is here longest and the newest; one id where only one moves.
    examples: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict, compare=False)

    @property
    def moved(self) -> int:
        """How many members would move."""
        return sum(move.members for move in self.moves)

    def as_dict(self) -> dict[str, Any]:
        return {"as_of": self.as_of.isoformat(), "levels": self.levels, "moves": [asdict(move) for move in self.moves]}


@dataclass(frozen=True, slots=True)
class TierReport:
    """What one run changed."""

    as_of: date
    moves: tuple[Move, ...]

    @property
    def changed(self) -> int:
        """How many members changed level."""
        return sum(move.members for move in self.moves)

    def as_dict(self) -> dict[str, Any]:
        moves = [asdict(move) for move in self.moves]
        return {"as_of": self.as_of.isoformat(), "changed": self.changed, "moves": moves}


def read_level(document: Mapping[str, Any]) -> Level:
    """A level as a file or form tells it: key, rule, title (a text, or one for each language). Raises: InvalidInput."""
    unknown = sorted(set(document) - {"key", "rule", "title"})
    if unknown:
        raise InvalidInput(
            phrase("A level has no %(unknown)r.", unknown=unknown[0]),
            field=unknown[0],
            hint=phrase("It has key, title and rule."),
        )
    title = document.get("title") or {}
    titles = title if isinstance(title, Mapping) else {"en": title}
    return Level(
        str(document.get("key", "")),
        str(document.get("rule", "")),
        {str(lang): str(name) for lang, name in titles.items()},
    )


def check_level(level: Level) -> Rule:
    """One level's rule, checked by itself. Raises: InvalidInput for its key, RuleError for its rule."""
    return compiled([level])[0][1]


def levels(connection: Connection, shop_id: int) -> list[Level]:
    """The saved levels, lowest first."""
    columns = tier_levels.c
    query = select(tier_levels).where(columns.shop_id == shop_id, columns.program_key == PROGRAM_KEY)
    rows = connection.execute(query.order_by(columns.rank))
    return [Level(row.level_key, row.rule_text, row.title) for row in rows]


def save_levels(
    connection: Connection,
    shop: Shop,
    wanted: Sequence[Level],
    now: datetime,
    *,
    actor: str = "",
    besides: Rewritten = NOTHING,
) -> None:
    """Save these levels, lowest first, in place of those there are; nobody moves before `apply`. An `actor` goes into the audit log.

    A level that a saved rule asks for stays, or the rule would mean something else; `besides` are those rewritten in the same transaction.
    Raises: InvalidInput, RuleError; nothing is written then.
    """
    then = book_then(connection, shop, [level.key for level in wanted], besides.segments)
    ranks = compiled(wanted, then)
    refuse_asked(connection, shop, then, replace(besides, tiers=True))
    _refuse_same_names(wanted)
    before = levels(connection, shop.shop_id) if actor else []
    _put(connection, shop, ranks, now)
    if actor:
        # The ladder before too: who holds a level that is gone, and what was, are still told by its name.
        kept = {name: [one.as_dict() for one in ladder] for name, ladder in (("levels", wanted), ("before", before))}
        audit.note(connection, shop.shop_id, actor, SAVED, kept, now)


def check_levels(wanted: Sequence[Level], book: Book) -> None:
    """Hold levels against the names there will be. Raises: InvalidInput, RuleError."""
    compiled(wanted, book)
    _refuse_same_names(wanted)


def put_levels(connection: Connection, shop: Shop, wanted: Sequence[Level], now: datetime) -> None:
    """The same for levels whose names were checked by whoever saves what they name too. Raises: InvalidInput, RuleError."""
    _put(connection, shop, compiled(wanted), now)


def _put(connection: Connection, shop: Shop, ranks: Sequence[tuple[Level, Rule]], now: datetime) -> None:
    _one_at_a_time(connection, shop)
    rows = [
        {
            "shop_id": shop.shop_id,
            "program_key": PROGRAM_KEY,
            "level_key": level.key,
            "rank": rank,
            "title": dict(level.title),
            "rule_text": rule.text,
            "rule": rule.json,
            "updated_at": now,
        }
        for rank, (level, rule) in enumerate(ranks)
    ]
    columns = tier_levels.c
    connection.execute(delete(tier_levels).where(columns.shop_id == shop.shop_id, columns.program_key == PROGRAM_KEY))
    if rows:
        connection.execute(insert(tier_levels), rows)


def _refuse_same_names(wanted: Sequence[Level]) -> None:
    """Refuse two levels that a reader could not tell apart. Raises: InvalidInput."""
    seen: set[tuple[str, str]] = set()
    for level in wanted:
        for lang, name in level.title.items():
            if name and (lang, name.casefold()) in seen:
                raise InvalidInput(
                    phrase("Two levels are called %(name)r.", name=name),
                    field="title",
                    hint=phrase("Give each a name of its own."),
                )
            seen.add((lang, name.casefold()))


def held(connection: Connection, shop_id: int) -> dict[str, int]:
    """How many members hold each level now; levels nobody holds are left out."""
    columns = member_tiers.c
    query = select(columns.level_key, func.count()).where(
        columns.shop_id == shop_id, columns.program_key == PROGRAM_KEY
    )
    return {key: number for key, number in connection.execute(query.group_by(columns.level_key))}  # noqa: C416


def preview(connection: Connection, shop: Shop, wanted: Sequence[Level], as_of: date) -> Preview:
    """What these levels would come to if they were saved and applied; writes nothing. Raises: InvalidInput, RuleError."""
    plan = plan_for(shop, compiled(wanted, read_book(connection, shop.shop_id)), as_of)
    everybody = plan.everybody
    chosen = everybody.select.where(members.c.state == ACTIVE)
    pairs = chosen.with_only_columns(members.c.member_id, everybody.held, everybody.earned).subquery()
    first, last = func.min(pairs.c.member_id), func.max(pairs.c.member_id)
    query = select(pairs.c.held, pairs.c.earned, func.count(), first, last).group_by(pairs.c.held, pairs.c.earned)
    counted = {"": 0} | {level.key: 0 for level in wanted}
    moved: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], tuple[int, ...]] = {}
    for before, after, number, oldest, newest in connection.execute(query):
        counted[after] += number
        if before != after:
            moved[before, after] += number
            examples[before, after] = tuple(dict.fromkeys((oldest, newest)))
    return Preview(as_of, counted, _moves(moved), examples)


def apply(db: Database, shop: Shop, *, as_of: date, now: datetime, actor: str = "job:tiers") -> TierReport:
    """Bring every member to the level earned on that local day, in one transaction; a second run writes nothing."""
    with db.write() as writer, db.read() as reader:
        return apply_within(writer, reader, shop, as_of=as_of, now=now, actor=actor)


def save_and_apply(
    db: Database, shop: Shop, wanted: Sequence[Level], *, as_of: date, now: datetime, actor: str
) -> TierReport:
    """Save these levels and bring every member to the one earned, both or neither. Raises: InvalidInput, RuleError."""
    with db.write() as writer, db.read() as reader:
        save_levels(writer, shop, wanted, now, actor=actor)
        return apply_within(writer, reader, shop, as_of=as_of, now=now, actor=actor)


def apply_within(
    writer: Connection, reader: Connection, shop: Shop, *, as_of: date, now: datetime, actor: str
) -> TierReport:
    """The same inside a transaction. `reader` is a connection of its own: what is written cannot disturb what is still being read."""
    _one_at_a_time(writer, shop)
    lock(writer, shop.shop_id)
    plan = plan_for(shop, compiled(levels(writer, shop.shop_id), read_book(writer, shop.shop_id)), as_of)
    moved: Counter[tuple[str, str]] = Counter()
    for page in changes(reader, plan):
        _write(writer, shop, page, as_of, now)
        moved.update((change.before, change.after) for change in page)
    report = TierReport(as_of, _moves(moved))
    if moved:
        audit.note(writer, shop.shop_id, actor, APPLIED, report.as_dict(), now)
    return report


def _one_at_a_time(connection: Connection, shop: Shop) -> None:
    """Who saves or applies waits here for whoever is at it, and then finds nothing left to do. SQLite has one writer anyway."""
    connection.execute(select(shops.c.shop_id).where(shops.c.shop_id == shop.shop_id).with_for_update(key_share=True))


_HELD = ("shop_id", "program_key", "member_id", "level_key", "since_at", "since_on")
_KEPT = ("shop_id", "change_id", "program_key", "member_id", "from_level", "to_level", "changed_at", "as_of", "reason")
_SETS = "level_key = excluded.level_key, since_at = excluded.since_at, since_on = excluded.since_on"


def _write(connection: Connection, shop: Shop, page: Sequence[Change], as_of: date, now: datetime) -> None:
    at_micros, day = to_micros(now), day_number(as_of)
    gone = [change.member_id for change in page if not change.after]
    forget = "DELETE FROM member_tiers WHERE shop_id = ? AND program_key = ? AND member_id IN ({marks})"
    bulk.execute_in(connection, forget, (shop.shop_id, PROGRAM_KEY), gone)
    rows = sorted(
        (shop.shop_id, PROGRAM_KEY, change.member_id, change.after, at_micros, day) for change in page if change.after
    )
    bulk.upsert_rows(connection, member_tiers, _HELD, _HELD[:3], _SETS, rows)
    put_beside_facts(connection, shop.shop_id, ((change.member_id, change.after) for change in page), at_micros)
    writebacks.queue_levels(connection, shop.shop_id, PROGRAM_KEY, [(one.member_id, one.after) for one in page], now)
    kept = [
        (
            shop.shop_id,
            change_id,
            PROGRAM_KEY,
            change.member_id,
            change.before,
            change.after,
            at_micros,
            day,
            json_text(change.reason),
        )
        for change_id, change in zip(new_ids(len(page)), page, strict=True)
    ]
    bulk.insert_rows(connection, tier_changes, _KEPT, kept)


def _moves(moved: Mapping[tuple[str, str], int]) -> tuple[Move, ...]:
    return tuple(Move(before, after, number) for (before, after), number in sorted(moved.items()))
