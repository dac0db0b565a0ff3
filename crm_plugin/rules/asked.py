"""Who asks for a level or a segment: saved rules that would change their meaning if it went."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import Connection, select

from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.phrases import phrase
from crm_plugin.rules import Book, compile_rule, read_book
from crm_plugin.rules.book import RULE
from crm_plugin.rules.earned import refuse_own_level
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.policies import every_version, from_day
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.store import journeys, segments, tier_levels
from crm_plugin.store.tenants import Shop


@dataclass(frozen=True, slots=True)
class Asking:
    """A saved rule that would not hold without a name; `kind` is segment, journey or tier."""

    kind: str
    key: str
    rule: str
    problem: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What gets other rules in the same transaction, and is checked there. `segments` are all that will be, None for no change."""

    segments: Mapping[str, Node | None] | None = None
    journeys: Collection[str] = ()
    tiers: bool = False


NOTHING = Rewritten()
_KINDS = {"segment": phrase("segment"), "tier": phrase("tier"), "journey": phrase("journey")}


def book_then(
    connection: Connection,
    shop: Shop,
    levels: Collection[str] | None = None,
    segments: Mapping[str, Node | None] | None = None,
) -> Book:
    """The names there will be with these levels of the main programme and these segments; None leaves what is saved."""
    book = read_book(connection, shop.shop_id)
    if levels is not None:
        book = replace(book, levels={**book.levels, PROGRAM: levels})
    return book if segments is None else replace(book, segments=segments)


def asking(connection: Connection, shop: Shop, then: Book, today: date, besides: Rewritten = NOTHING) -> list[Asking]:
    """The saved rules that would not hold with these names alone, by kind and key; of levels also what keeps them, and what is planned."""
    s, j, t = segments.c, journeys.c, tier_levels.c
    kept: list[tuple[str, str, str]] = []
    if besides.segments is None:
        saved = select(s.segment_key, s.rule_text).where(s.shop_id == shop.shop_id, s.kind == RULE)
        kept += [("segment", key, rule) for key, rule in connection.execute(saved) if key in then.segments]
    if not besides.tiers:
        ranked = select(t.level_key, t.rule_text).where(t.shop_id == shop.shop_id)
        kept += [("tier", key, rule) for key, rule in connection.execute(ranked)]
        kept += [("tier", key, rule) for key, rule in _in_policies(connection, shop, today)]
    spoken = select(j.journey_key, j.audience_text, j.goal_text, j.steps).where(j.shop_id == shop.shop_id)
    for key, audience, goal, steps in connection.execute(spoken):
        if key not in besides.journeys:
            kept += [("journey", key, rule) for rule in (audience, goal, *_branches(steps))]
    found: list[Asking] = []
    # Sorted here: the databases do not agree on the order of letters.
    order = {"segment": 0, "tier": 1, "journey": 2}
    for kind, key, rule in sorted(dict.fromkeys(kept), key=lambda one: (order[one[0]], one[1])):
        try:
            if rule:
                compiled = compile_rule(rule, then)
                if kind == "tier":
                    refuse_own_level(compiled)
        except RuleError as error:
            found.append(Asking(kind, key, rule, error.message))
    return found


def _branches(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The rules by which the stored steps of a journey branch, wherever they are nested."""
    for step in steps:
        branch = step.get("branch")
        if branch:
            yield str(branch["rule"])
        for inner in (step.get("then", ()), step.get("else", ()), *step.get("arms", {}).values()):
            yield from _branches(inner)


def _in_policies(connection: Connection, shop: Shop, today: date) -> Iterator[tuple[str, str]]:
    """What levels ask by the policies in force and those that wait for their day, beside what `tier_levels` has."""
    for kept in every_version(connection, shop.shop_id).values():
        for level in (level for one in from_day(kept, today) for level in one.policy.levels):
            yield from ((level.key, text) for text in (level.rule, level.keep_rule, level.reentry_rule) if text)


def refuse_asked(connection: Connection, shop: Shop, then: Book, today: date, besides: Rewritten = NOTHING) -> None:
    """Refuse to leave a saved rule without a name it asks for. Raises: InvalidInput."""
    for one in asking(connection, shop, then, today, besides):
        raise InvalidInput(
            phrase(
                "The %(kind)s %(key)s keeps its rule: %(rule)s. %(problem)s",
                kind=_KINDS[one.kind],
                key=one.key,
                rule=one.rule,
                problem=one.problem,
            ),
            hint=phrase("Keep what it asks for, or give the %(kind)s another rule first.", kind=_KINDS[one.kind]),
        )
