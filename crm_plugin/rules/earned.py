"""Which level each member earns: the levels compiled into one pass over all of a shop, and who changes by it.

Where every level takes an order, the facts alone are read: the level held stands there too. Else members, facts and held levels are joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, case, func, literal, select, text

from crm_plugin.errors import InvalidInput, RuleTypeError
from crm_plugin.phrases import phrase
from crm_plugin.rules import Book, Rule, compile_rule
from crm_plugin.rules.book import check_key
from crm_plugin.rules.fields import at
from crm_plugin.rules.nodes import Field, deep_fields, fields_of
from crm_plugin.rules.operands import Operand
from crm_plugin.rules.ordered import takes_an_order
from crm_plugin.rules.sql import (
    ACTIVE,
    PROGRAM_KEY,
    FactsScope,
    JoinedScope,
    SingleScope,
    is_active,
    is_gone,
    operand,
    truth,
)
from crm_plugin.rules.text import field_text
from crm_plugin.store import members
from crm_plugin.store.tenants import Shop

# Changes are read and written in pages, so that the first run over a large shop takes no more memory than the next.
_PAGE = 10_000
# What depends on the level held.
OF_A_TIER = ("tier", "days_in_tier", "tier_next", "to_next_tier", "tier_ends_in", "tier_in_grace", "tier_at_risk")


@dataclass(frozen=True, slots=True)
class Level:
    """One level: its key, the text of its rule, its name in the languages there are. In a list the lowest comes first."""

    key: str
    rule: str
    title: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As a programme file holds it."""
        return {"key": self.key, "title": dict(self.title), "rule": self.rule}


class Rows(NamedTuple):
    """One row: a member with the level held, the level earned, the state and what the rules' fields are."""

    select: Select[Any]
    held: ColumnElement[str]
    earned: ColumnElement[str]
    operands: Mapping[Field, Operand]


class Plan(NamedTuple):
    """What to ask of the database: for everybody, and, in one or two parts, for all who may change level."""

    everybody: Rows
    changing: Sequence[Rows]
    rules: Mapping[str, Rule]
    # Of each level: its rule's fields, with their text.
    deciding: Mapping[str, Mapping[str, Field]]


class Change(NamedTuple):
    """One member's step from one level to another; an empty key is no level."""

    member_id: int
    before: str
    after: str
    reason: dict[str, Any]


def compiled(wanted: Sequence[Level], book: Book | None = None) -> list[tuple[Level, Rule]]:
    """The levels with their rules, checked; the names in them too where they are given. Raises: InvalidInput, RuleError."""
    check_keys([level.key for level in wanted])
    found: list[tuple[Level, Rule]] = []
    for level in wanted:
        rule = compile_rule(level.rule, book)
        refuse_own_level(rule)
        found.append((level, rule))
    return found


def check_keys(keys: Sequence[str]) -> None:
    """Refuse keys that cannot be, and two that are the same. Raises: InvalidInput."""
    for place, key in enumerate(keys):
        check_key(key, phrase("level"))
        if key in keys[:place]:
            raise InvalidInput(
                phrase("There are two levels %(key)r.", key=key),
                field="key",
                hint=phrase("Give each a key of its own."),
            )


def refuse_own_level(rule: Rule) -> None:
    """A level that depended on the level held would never come to rest. Raises: RuleTypeError."""
    for asked in deep_fields(rule.asked):
        if asked.key in OF_A_TIER or asked.arg("since") == "tier":
            raise RuleTypeError(
                phrase("A level cannot depend on the level held."),
                hint=phrase("Ask for what earns it."),
                **at(asked.at),
            )


def plan_for(
    shop: Shop,
    ranks: Sequence[tuple[Level, Rule]],
    as_of: date,
    program: str = PROGRAM_KEY,
    only: int | None = None,
    *,
    history: bool = False,
) -> Plan:
    """What to ask of the database for these levels, lowest first, on that local day; `only` asks for one member.

    The level held stands beside the facts for the main programme alone. With `history` what came after that day is left out (`is_history`).
    """
    everybody = _rows(JoinedScope(shop, as_of, history=history), ranks, members.c.state, program)
    changing = [everybody]
    if only is not None:
        changing = [everybody._replace(select=everybody.select.where(members.c.member_id == only))]
    elif program == PROGRAM_KEY and not history and takes_an_order(shop, [rule.asked for _, rule in ranks], as_of):
        changing = _ordered_and_gone(shop, ranks, as_of)
    rules = {level.key: rule for level, rule in ranks}
    deciding = {key: {field_text(one): one for one in fields_of(rule.node)} for key, rule in rules.items()}
    return Plan(everybody, changing, rules, deciding)


def _ordered_and_gone(shop: Shop, ranks: Sequence[tuple[Level, Rule]], as_of: date) -> list[Rows]:
    """All who may earn or hold a level: active members from their facts, then the few who are gone, by their key."""
    scope, single = FactsScope(shop, as_of), SingleScope(shop, as_of)
    ordered, gone = _rows(scope, ranks, literal(ACTIVE)), _rows(single, ranks, single.member("state"))
    return [
        ordered._replace(select=ordered.select.where(is_active(scope))),
        gone._replace(select=gone.select.where(is_gone(single.member("state")))),
    ]


def _rows(
    scope: JoinedScope | SingleScope,
    ranks: Sequence[tuple[Level, Rule]],
    state: ColumnElement[str],
    program: str = PROGRAM_KEY,
) -> Rows:
    # The highest level that holds wins. Whoever was deleted earns none.
    whens: list[tuple[ColumnElement[bool], ColumnElement[str]]] = [(state != ACTIVE, literal(""))]
    whens += [(truth(scope, rule.asked), literal(level.key)) for level, rule in reversed(ranks)]
    earned: ColumnElement[str] = case(*whens, else_=literal("")).label("earned")
    # The level of today, which is the one that changes, whatever the day that is asked for.
    now = func.coalesce(scope.held(program, "level_key"), "") if scope.history else scope.tier(program)
    held = now.label("held")
    asked = dict.fromkeys(asked for _, rule in ranks for asked in fields_of(rule.node))
    operands = {one: operand(scope, one) for one in asked}
    columns = [column for one in operands.values() for column in one.columns]
    query = (
        select(
            scope.member("member_id"),
            held,
            earned,
            state.label("state"),
            *(column.label(f"value_{number}") for number, column in enumerate(columns)),
        )
        .select_from(scope.source)
        .where(scope.member("shop_id") == scope.shop.shop_id)
    )
    return Rows(query, held, earned, operands)


def changes(reader: Connection, plan: Plan) -> Iterator[list[Change]]:
    """Everybody whose level is not the one earned, in pages."""
    for rows in plan.changing:
        query = rows.select.where(rows.held.element != rows.earned.element)
        for page in all_rows(reader, query, rows.select.selected_columns.member_id):
            yield [Change(row[0], row[1], row[2], _reason(plan, rows, row)) for row in page]


def all_rows(reader: Connection, query: Select[Any], member_id: ColumnElement[int]) -> Iterator[Sequence[Any]]:
    """Every row of a query over all members, in pages."""
    if reader.dialect.name == "postgresql":
        # All rows are wanted, not the first few, for which PostgreSQL would otherwise plan a cursor.
        reader.execute(text("SET LOCAL cursor_tuple_fraction = 1"))
    if reader.dialect.name == "sqlite":
        # SQLite would take any index that begins with the shop, and read the tables in the order of names or days.
        query = query.order_by(member_id)
    found = reader.execute(query, execution_options={"stream_results": True, "yield_per": _PAGE})
    yield from found.partitions()


def _reason(plan: Plan, rows: Rows, row: Sequence[Any]) -> dict[str, Any]:
    """Why: the rule that holds now, the rule of the level lost, and what the fields of both came to."""
    before, after, state = row[1], row[2], row[3]
    reason: dict[str, Any] = {"cause": "rule" if state == ACTIVE else str(state)}
    values: dict[Field, Any] = {}
    place = 4
    for asked, one in rows.operands.items():
        raw = tuple(row[place : place + len(one.columns)])
        place += len(one.columns)
        values[asked] = one.shown(raw)
    deciding: dict[str, Any] = {}
    for name, key in (("rule", after), ("lost_rule", before)):
        rule = plan.rules.get(key)
        if rule is not None:
            reason[name] = rule.text
            deciding |= {name: plain_value(values[asked]) for name, asked in plan.deciding[key].items()}
    if before and before not in plan.rules:
        reason["cause"] = "level_removed"
    reason["values"] = deciding
    return reason


def plain_value(value: Any) -> Any:
    """A value as JSON keeps it: amounts as text."""
    return str(value) if isinstance(value, Decimal) else value
