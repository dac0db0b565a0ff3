"""What a shop's rules may name: its tiers, segments and journeys; and putting a segment's rule in its place.

A name that is not there is refused, for `tier != "glod"` and `not segment("gone")` would widen an audience.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import BigInteger, CompoundSelect, Connection, Text, bindparam, cast, literal, null, select, union_all

from crm_plugin.errors import InvalidInput, RuleTypeError, UnknownSegment
from crm_plugin.phrases import phrase
from crm_plugin.rules.document import from_json
from crm_plugin.rules.fields import FIELDS, at, nearest
from crm_plugin.rules.nodes import (
    And,
    Calculation,
    Compare,
    Field,
    Holds,
    Known,
    Matches,
    Membership,
    Node,
    Not,
    Or,
    Place,
    Relation,
    Step,
    Term,
    Within,
    fields_of,
    leaf_fields,
    leaves,
    term_fields,
)
from crm_plugin.rules.parse import parse
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.store import journeys, segments, tier_levels

RULE, LIST = "rule", "list"
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# Segments within segments; more than this is nobody's intention.
MAX_NESTED = 20
# Fields that a programme's policy decides.
BY_POLICY = ("tier_next", "to_next_tier", "tier_at_risk")
# As many segments may be put in their place in one rule.
MAX_PLACES = 500


@dataclass(frozen=True, slots=True)
class Book:
    """The names there are. `levels` are those of each tier programme, lowest first; a segment without a rule is a list.

    `journeys` None means that they are not looked at.
    """

    levels: Mapping[str, Collection[str]] = field(default_factory=dict)
    segments: Mapping[str, Node | None] = field(default_factory=dict)
    journeys: Collection[str] | None = None
    # Of each programme what its policy asks from step to step, lowest first.
    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)


def read_book(connection: Connection, shop_id: int) -> Book:
    """The names as they are saved."""
    return book_of(connection.execute(NAMES, {"shop_id": shop_id}))


def book_of(found: Iterable[Any]) -> Book:
    """The same out of the rows of `NAMES`."""
    levels: dict[str, list[Any]] = {}
    rules: dict[str, Node | None] = {}
    named: set[str] = set()
    for row in found:
        if row.what == "level":
            levels.setdefault(str(row.program_key), []).append(row)
        elif row.what == "segment":
            rules[row.level_key] = from_json(row.rule) if row.rule_text == RULE else None
        else:
            named.add(row.level_key)
    names = {program: [row.level_key for row in rows] for program, rows in levels.items()}
    return Book(names, rules, named, {program: _steps(rows) for program, rows in levels.items()})


def _names() -> CompoundSelect[Any]:
    """Levels, lowest first, segments with their kind, and journeys: (what, programme, rank, key, text or kind, rule, plan)."""
    t, s, j = tier_levels.c, segments.c, journeys.c
    shop_id = bindparam("shop_id", type_=BigInteger)
    none, no_json = literal("", Text), cast(null(), t.rule.type)
    columns = (t.program_key, t.rank, t.level_key, t.rule_text, t.rule, t.plan)
    return union_all(
        select(literal("level", Text).label("what"), *columns).where(t.shop_id == shop_id),
        select(literal("segment", Text), none, literal(0), s.segment_key, s.kind, s.rule, no_json).where(
            s.shop_id == shop_id
        ),
        select(literal("journey", Text), none, literal(0), j.journey_key, none, no_json, no_json).where(
            j.shop_id == shop_id
        ),
    ).order_by("program_key", "rank")


# For the bound `shop_id`.
NAMES = _names()


def _steps(rows: Sequence[Any]) -> tuple[Step, ...]:
    """What is asked of whoever holds each level, and of whoever holds none."""
    found = []
    for place in range(-1, len(rows)):
        following = next((row for row in rows[place + 1 :] if row.rule_text), None)
        above, missing = (following.level_key, _missing(following.plan)) if following is not None else ("", None)
        if place < 0:
            found.append(Step("", above, missing))
            continue
        row = rows[place]
        kept = None if row.plan.get("kept") else from_json(row.plan.get("keep") or row.rule)
        found.append(Step(row.level_key, above, missing, kept))
    return tuple(found)


def _missing(plan: Mapping[str, Any]) -> Term | None:
    """The entry less what is measured; None where a level is earned by a rule, or by a number that is not exact."""
    if "measure" not in plan:
        return None
    node = parse(f"{plan['entry']} - {plan['measure']} >= 0")
    assert isinstance(node, Relation)
    return node.left if all(FIELDS[one.key].exact for one in term_fields(node.left)) else None


def names_something(node: Node) -> bool:
    """Whether the rule speaks of anything that has to be looked up."""
    return any(one.names for asked in fields_of(node) for one in FIELDS[asked.key].parameters) or any(
        asked.key == "tier" for asked in fields_of(node)
    )


def resolved(connection: Connection, shop_id: int, node: Node) -> Node:
    """A saved rule with its segments put in their place. Raises: UnknownSegment, RuleTypeError."""
    return resolve(node, read_book(connection, shop_id)) if names_something(node) else node


def resolve(node: Node, book: Book) -> Node:
    """The tree with every segment's rule in its place, all names held against the book. Raises: UnknownSegment, RuleTypeError."""
    return _Resolver(book).resolve(node, ())


class _Resolver:
    """Puts segments in their place. One that is named many times over is written out as often, so there is an end to it."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._left = MAX_PLACES

    def resolve(self, node: Node, inside: tuple[str, ...]) -> Node:
        """The same within these segments, the outermost first."""
        if isinstance(node, And | Or):
            return replace(node, items=tuple(self.resolve(item, inside) for item in node.items))
        if isinstance(node, Not):
            return replace(node, item=self.resolve(node.item, inside))
        if isinstance(node, Holds) and node.field.key == "segment":
            return Within(node.field, self._rule_of(node.field, inside, node.at), node.at)
        for asked in fields_of(node):
            _check_names(asked, self._book)
            if asked.arg("segment") is not None:
                # Its list is asked, which its rule keeps: what leads back here would never come to rest.
                self._rule_of(asked, inside, asked.at)
        if isinstance(node, Compare | Membership) and node.field.key in ("tier", "tier_next"):
            _check_levels(node, self._book)
        return self._with_steps(node, inside)

    def _with_steps(self, node: Node, inside: tuple[str, ...]) -> Node:
        """The same with what a policy asks beside each field that speaks of it."""
        if isinstance(node, Relation):
            return replace(node, left=self._term(node.left, inside), right=self._term(node.right, inside))
        if isinstance(node, Compare | Membership | Matches | Known | Holds) and node.field.key in BY_POLICY:
            return replace(node, field=self._stepped(node.field, inside))
        return node

    def _term(self, term: Term, inside: tuple[str, ...]) -> Term:
        if isinstance(term, Calculation):
            return replace(term, left=self._term(term.left, inside), right=self._term(term.right, inside))
        return self._stepped(term, inside) if isinstance(term, Field) and term.key in BY_POLICY else term

    def _stepped(self, asked: Field, inside: tuple[str, ...]) -> Field:
        program = str(asked.arg("program") or PROGRAM)
        mark = f"tier {program}"
        if mark in inside:
            raise RuleTypeError(
                phrase("A level cannot depend on the level held."),
                hint=phrase("Ask for what earns it."),
                **at(asked.at),
            )
        # What keeps a level decides one of these fields alone, and may speak of segments.
        keeps = asked.key == "tier_at_risk"
        steps = tuple(
            replace(one, keep=None if one.keep is None or not keeps else self.resolve(one.keep, (*inside, mark)))
            for one in self._book.steps.get(program, ())
        )
        return replace(asked, steps=steps)

    def _rule_of(self, asked: Field, inside: tuple[str, ...], place: Place) -> Node | None:
        key = str(asked.arg("segment"))
        if key in inside:
            round_ = " → ".join((*inside[inside.index(key) :], key))
            raise RuleTypeError(
                phrase("The segments speak of one another in a circle: %(round)s.", round=round_),
                hint=phrase("Break it."),
                **at(place),
            )
        self._left -= 1
        if len(inside) == MAX_NESTED or self._left < 0:
            raise RuleTypeError(
                phrase("Segments are nested too deeply."), hint=phrase("Write the rule out."), **at(place)
            )
        _check_segment(key, self._book, place)
        rule = self._book.segments[key]
        return None if rule is None else self.resolve(rule, (*inside, key))


def _check_levels(node: Compare | Membership, book: Book) -> None:
    levels = book.levels.get(str(node.field.arg("program") or PROGRAM), ())
    for value in node.values if isinstance(node, Membership) else (node.value,):
        if value != "" and value not in levels:
            hint = nearest(str(value), levels) or phrase("Save the tiers first.")
            raise RuleTypeError(phrase("There is no tier %(tier)r.", tier=value), hint=hint, **at(node.at))


def _check_names(asked: Field, book: Book) -> None:
    for parameter in FIELDS[asked.key].parameters:
        name = asked.arg(parameter.key)
        if name is None or not parameter.names:
            continue
        if parameter.names == "segment":
            _check_segment(str(name), book, asked.at)
        known = {"program": {*book.levels, PROGRAM}, "journey": book.journeys}.get(parameter.names)
        if known is not None and name not in known:
            what = phrase("tier programme") if parameter.names == "program" else phrase("journey")
            raise RuleTypeError(
                phrase("There is no %(key)s %(value)r.", key=what, value=name),
                hint=nearest(str(name), sorted(known)),
                **at(asked.at),
            )


def _check_segment(key: str, book: Book, place: Place) -> None:
    if key not in book.segments:
        hint = nearest(key, sorted(book.segments)) or phrase("Save the segment first.")
        raise UnknownSegment(phrase("There is no segment %(key)r.", key=key), hint=hint, **at(place))


def segments_named(node: Node) -> set[str]:
    """The segments a rule speaks of itself."""
    found = (asked for leaf in leaves(node) for asked in leaf_fields(leaf))
    return {str(asked.arg("segment")) for asked in found if asked.arg("segment") is not None}


def check_key(key: str, what: str) -> str:
    """The key, when it can be one. Raises: InvalidInput."""
    if not _KEY.fullmatch(key):
        hint = phrase("Use small letters, digits, - and _, at most 64, beginning with a letter or digit.")
        raise InvalidInput(
            phrase("%(key)r cannot be the key of a %(what)s.", key=key, what=what), field="key", hint=hint
        )
    return key
