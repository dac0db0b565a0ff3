"""Tiers by rule: a member holds the highest level whose rule is true.

One pass over members, facts and held levels finds who changes; only they are written, each change with its reason for good. A member who
was deleted holds no level.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, case, delete, func, insert, literal, select, text

from crm_plugin.clock import day_number
from crm_plugin.errors import InvalidInput, RuleTypeError
from crm_plugin.ids import new_ids
from crm_plugin.rules import Rule, compile_rule
from crm_plugin.rules.fields import at
from crm_plugin.rules.nodes import Field, fields_of
from crm_plugin.rules.operands import Operand
from crm_plugin.rules.parse import field_text
from crm_plugin.rules.segments import check_key
from crm_plugin.rules.sql import ACTIVE, PROGRAM_KEY, JoinedScope, operand, truth
from crm_plugin.store import bulk, member_tiers, members, shops, tier_changes, tier_levels
from crm_plugin.store.base import to_json as json_text
from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop

# Changes are read and written in pages, so that the first run over a large shop takes no more memory than the next.
_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Level:
    """One level: its key, the text of its rule, its name in the languages there are. In a list the lowest comes first."""

    key: str
    rule: str
    title: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As a programme file holds it."""
        return {"key": self.key, "title": dict(self.title), "rule": self.rule}


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
        raise InvalidInput(f"A level has no {unknown[0]!r}.", field=unknown[0], hint="It has key, title and rule.")
    title = document.get("title") or {}
    titles = title if isinstance(title, Mapping) else {"en": title}
    return Level(
        str(document.get("key", "")),
        str(document.get("rule", "")),
        {str(lang): str(name) for lang, name in titles.items()},
    )


def levels(connection: Connection, shop_id: int) -> list[Level]:
    """The saved levels, lowest first."""
    columns = tier_levels.c
    query = select(tier_levels).where(columns.shop_id == shop_id, columns.program_key == PROGRAM_KEY)
    rows = connection.execute(query.order_by(columns.rank))
    return [Level(row.level_key, row.rule_text, row.title) for row in rows]


def save_levels(connection: Connection, shop: Shop, wanted: Sequence[Level], now: datetime) -> None:
    """Save these levels, lowest first, in place of those there are; nobody moves before `apply`.

    Raises: InvalidInput, RuleError; nothing is written then.
    """
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
        for rank, (level, rule) in enumerate(_compiled(wanted))
    ]
    columns = tier_levels.c
    connection.execute(delete(tier_levels).where(columns.shop_id == shop.shop_id, columns.program_key == PROGRAM_KEY))
    if rows:
        connection.execute(insert(tier_levels), rows)


def held(connection: Connection, shop_id: int) -> dict[str, int]:
    """How many members hold each level now; levels nobody holds are left out."""
    columns = member_tiers.c
    query = select(columns.level_key, func.count()).where(
        columns.shop_id == shop_id, columns.program_key == PROGRAM_KEY
    )
    return {key: number for key, number in connection.execute(query.group_by(columns.level_key))}  # noqa: C416


def preview(connection: Connection, shop: Shop, wanted: Sequence[Level], as_of: date) -> Preview:
    """What these levels would come to if they were saved and applied; writes nothing. Raises: InvalidInput, RuleError."""
    plan = _plan(shop, _compiled(wanted), as_of)
    pairs = plan.select.where(members.c.state == ACTIVE).with_only_columns(plan.held, plan.earned).subquery()
    query = select(pairs.c.held, pairs.c.earned, func.count()).group_by(pairs.c.held, pairs.c.earned)
    counted = {"": 0} | {level.key: 0 for level in wanted}
    moved: Counter[tuple[str, str]] = Counter()
    for before, after, number in connection.execute(query):
        counted[after] += number
        if before != after:
            moved[before, after] += number
    return Preview(as_of, counted, _moves(moved))


def apply(db: Database, shop: Shop, *, as_of: date, now: datetime) -> TierReport:
    """Bring every member to the level earned on that local day, in one transaction; a second run writes nothing."""
    moved: Counter[tuple[str, str]] = Counter()
    with db.write() as writer:
        # One run at a time for a shop: the second waits here and then finds nothing left. SQLite has one writer anyway.
        writer.execute(select(shops.c.shop_id).where(shops.c.shop_id == shop.shop_id).with_for_update(key_share=True))
        ranks = _compiled(levels(writer, shop.shop_id))
        plan = _plan(shop, ranks, as_of)
        # Read through a connection of its own: what is written here cannot disturb what is still being read.
        with db.read() as reader:
            for page in _changes(reader, plan):
                _write(writer, shop, page, as_of, now)
                moved.update((change.before, change.after) for change in page)
    return TierReport(as_of, _moves(moved))


class _Plan(NamedTuple):
    """One row: a member with the level held, the level earned, the state and what the rules' fields are."""

    select: Select[Any]
    held: ColumnElement[str]
    earned: ColumnElement[str]
    operands: Mapping[Field, Operand]
    rules: Mapping[str, Rule]
    # Of each level: its rule's fields, with their text.
    deciding: Mapping[str, Mapping[str, Field]]


class _Change(NamedTuple):
    member_id: int
    before: str
    after: str
    reason: dict[str, Any]


def _compiled(wanted: Sequence[Level]) -> list[tuple[Level, Rule]]:
    """The levels with their rules, checked. Raises: InvalidInput, RuleError."""
    found: list[tuple[Level, Rule]] = []
    for level in wanted:
        check_key(level.key, "level")
        if any(level.key == other.key for other, _ in found):
            raise InvalidInput(f"There are two levels {level.key!r}.", field="key", hint="Give each a key of its own.")
        rule = compile_rule(level.rule)
        for asked in fields_of(rule.node):
            if asked.key == "tier":
                raise RuleTypeError(
                    "A level cannot depend on the level held.", hint="Ask for what earns it.", **at(asked.at)
                )
        found.append((level, rule))
    return found


def _plan(shop: Shop, ranks: Sequence[tuple[Level, Rule]], as_of: date) -> _Plan:
    scope = JoinedScope(shop, as_of)
    # The highest level that holds wins. Whoever was deleted earns none.
    whens: list[tuple[ColumnElement[bool], ColumnElement[str]]] = [(members.c.state != ACTIVE, literal(""))]
    whens += [(truth(scope, rule.node), literal(level.key)) for level, rule in reversed(ranks)]
    earned: ColumnElement[str] = case(*whens, else_=literal("")).label("earned")
    held = scope.tier().label("held")
    asked = dict.fromkeys(asked for _, rule in ranks for asked in fields_of(rule.node))
    operands = {one: operand(scope, one) for one in asked}
    columns = [column for one in operands.values() for column in one.columns]
    query = (
        select(
            members.c.member_id,
            held,
            earned,
            members.c.state,
            *(column.label(f"value_{number}") for number, column in enumerate(columns)),
        )
        .select_from(scope.source)
        .where(members.c.shop_id == shop.shop_id)
    )
    rules = {level.key: rule for level, rule in ranks}
    deciding = {key: {field_text(one): one for one in fields_of(rule.node)} for key, rule in rules.items()}
    return _Plan(query, held, earned, operands, rules, deciding)


def _changes(reader: Connection, plan: _Plan) -> Iterator[list[_Change]]:
    if reader.dialect.name == "postgresql":
        # All rows are wanted, not the first few, for which PostgreSQL would otherwise plan a cursor.
        reader.execute(text("SET LOCAL cursor_tuple_fraction = 1"))
    query = plan.select.where(plan.held.element != plan.earned.element)
    found = reader.execute(query, execution_options={"stream_results": True, "yield_per": _PAGE})
    for rows in found.partitions():
        yield [_Change(row[0], row[1], row[2], _reason(plan, row)) for row in rows]


def _reason(plan: _Plan, row: Sequence[Any]) -> dict[str, Any]:
    """Why: the rule that holds now, the rule of the level lost, and what the fields of both came to."""
    before, after, state = row[1], row[2], row[3]
    reason: dict[str, Any] = {"cause": "rule" if state == ACTIVE else str(state)}
    values: dict[Field, Any] = {}
    place = 4
    for asked, one in plan.operands.items():
        raw = tuple(row[place : place + len(one.columns)])
        place += len(one.columns)
        values[asked] = one.shown(raw)
    deciding: dict[str, Any] = {}
    for name, key in (("rule", after), ("lost_rule", before)):
        rule = plan.rules.get(key)
        if rule is not None:
            reason[name] = rule.text
            deciding |= {name: _plain(values[asked]) for name, asked in plan.deciding[key].items()}
    if before and before not in plan.rules:
        reason["cause"] = "level_removed"
    reason["values"] = deciding
    return reason


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value


_HELD = ("shop_id", "program_key", "member_id", "level_key", "since_at", "since_on")
_KEPT = ("shop_id", "change_id", "program_key", "member_id", "from_level", "to_level", "changed_at", "as_of", "reason")
_SETS = "level_key = excluded.level_key, since_at = excluded.since_at, since_on = excluded.since_on"


def _write(connection: Connection, shop: Shop, page: Sequence[_Change], as_of: date, now: datetime) -> None:
    at_micros, day = to_micros(now), day_number(as_of)
    gone = [change.member_id for change in page if not change.after]
    forget = "DELETE FROM member_tiers WHERE shop_id = ? AND program_key = ? AND member_id IN ({marks})"
    bulk.execute_in(connection, forget, (shop.shop_id, PROGRAM_KEY), gone)
    rows = sorted(
        (shop.shop_id, PROGRAM_KEY, change.member_id, change.after, at_micros, day) for change in page if change.after
    )
    bulk.upsert_rows(connection, member_tiers, _HELD, _HELD[:3], _SETS, rows)
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
