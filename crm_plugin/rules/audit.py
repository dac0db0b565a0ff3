"""What is wrong with a shop's saved rules: names that are gone, rules that never or always hold, levels nobody can reach, circles.

Nothing here is a guess: what is called impossible is proven so (`provable`), what is called empty was asked of the database today.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import Connection, select

from crm_plugin.errors import RuleError
from crm_plugin.phrases import joined, phrase
from crm_plugin.rules.book import LIST, read_book, resolve, segments_named
from crm_plugin.rules.called import Called, called
from crm_plugin.rules.check import check
from crm_plugin.rules.document import from_json
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nodes import And, Everyone, Node, Not, Or, fields_of
from crm_plugin.rules.parse import parse
from crm_plugin.rules.policies import Kept, every_version, from_day, of_day
from crm_plugin.rules.provable import always, implies, never
from crm_plugin.rules.sql import is_history, select_members
from crm_plugin.rules.text import to_text
from crm_plugin.rules.windows import PROGRAM, TIER
from crm_plugin.store import journeys, segment_members, segments, tier_levels
from crm_plugin.store.tenants import Shop

SEGMENT, LEVEL, JOURNEY = "segment", "tier", "journey"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one saved rule. `problem` is a stable code; `part` is the condition it is about, empty for the whole rule.

    `program` is a level's programme; `name` what the shop calls it, with the programme in front where that is not the main one.
    """

    kind: str
    key: str
    problem: str
    message: str
    part: str = ""
    program: str = ""
    name: str = ""

    def as_dict(self) -> dict[str, Any]:
        told = {"kind": self.kind, "program": self.program, "key": self.key, "name": self.name}
        return {**told, "problem": self.problem, "message": self.message, "part": self.part}


@dataclass(frozen=True, slots=True)
class _Saved:
    """A rule as it is saved; None is a list of members, a level without a rule, or one that is `broken`. `program` is a level's.

    `besides` are rules that a level has for what comes after it was reached, or will have.
    """

    kind: str
    key: str
    node: Node | None
    program: str = ""
    broken: str = ""
    besides: tuple[Node, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.besides if self.node is None else (self.node, *self.besides)


def audit(
    connection: Connection,
    shop: Shop,
    as_of: date,
    kinds: Collection[str] = (SEGMENT, LEVEL, JOURNEY),
    only: str | None = None,
    lang: str = "en",
) -> list[Finding]:
    """Everything that is wrong with these kinds of saved rules, by kind and key. Who is in a segment is asked of that day.

    `only` is a key: what is wrong with others of that name alone is neither told nor asked for. `lang` is that of the names.
    """
    by, chinese = called(connection, shop), lang.lower().startswith("zh")
    book = read_book(connection, shop.shop_id)
    kept = every_version(connection, shop.shop_id)
    saved = list(_saved_rules(connection, shop, as_of, kept))
    asked: dict[_Saved, Node] = {}
    found: list[Finding] = []
    for one in saved:
        broken = one.broken
        try:
            if one.node is not None:
                asked[one] = resolve(one.node, book)
        except RuleError as error:
            broken = joined(error.message, error.hint)
        if broken:
            found.append(_found(one, "broken", broken))
    for one, node in asked.items():
        if only in (None, one.key):
            found += _of_one(one, node)
    found += _levels(
        {
            one: node
            for one, node in asked.items()
            # Only of a plain ladder is the highest level that fits the one held: others are kept, come back to, or by invitation.
            if one.kind == LEVEL and of_day(kept[one.program], as_of).policy.plain
        },
        lambda one: by.level(one.program, one.key, chinese),
    )
    found += _circles(saved)
    if SEGMENT in kinds:
        found += _dead(saved)
        settled = {(one.kind, one.key) for one in found if one.problem in ("broken", "never")}
        open_ = [one for one in saved if (one.kind, one.key) not in settled and only in (None, one.key)]
        found += _empty(connection, shop, as_of, open_, asked)
    order = [SEGMENT, LEVEL, JOURNEY]
    told = [one for one in found if one.kind in kinds and only in (None, one.key)]
    named = [replace(one, name=_name(one, by, chinese)) for one in told]
    return sorted(named, key=lambda one: (order.index(one.kind), one.program != PROGRAM, one.program, one.key))


def _name(one: Finding, by: Called, chinese: bool) -> str:
    if one.kind == LEVEL:
        return by.whole(one.program, one.key, chinese)
    return by.segment(one.key) if one.kind == SEGMENT else by.journey(one.key, chinese)


def _found(one: _Saved, problem: str, message: str, part: str = "") -> Finding:
    return Finding(one.kind, one.key, problem, message, part, one.program)


def _saved_rules(
    connection: Connection, shop: Shop, as_of: date, kept: Mapping[str, Sequence[Kept]]
) -> Iterator[_Saved]:
    s, t, j = segments.c, tier_levels.c, journeys.c
    for key, kind, rule in connection.execute(select(s.segment_key, s.kind, s.rule).where(s.shop_id == shop.shop_id)):
        yield _Saved(SEGMENT, key, None if kind == LIST else from_json(rule))
    ranked = select(t.program_key, t.level_key, t.rule).where(t.shop_id == shop.shop_id)
    besides = {program: _besides(all_of_it, as_of) for program, all_of_it in kept.items()}
    for program, key, rule in connection.execute(ranked.order_by(t.program_key, t.rank)):
        # Nothing earns a level by invitation.
        yield _Saved(LEVEL, key, from_json(rule) if rule else None, program, besides=besides[program].get(key, ()))
    for key, text in connection.execute(select(j.journey_key, j.audience_text).where(j.shop_id == shop.shop_id)):
        try:
            if text:
                yield _Saved(JOURNEY, key, check(parse(text)))
        except RuleError as error:
            yield _Saved(JOURNEY, key, None, broken=joined(error.message, error.hint))


def _besides(versions: Sequence[Kept], as_of: date) -> dict[str, tuple[Node, ...]]:
    """What levels ask beside their own rule: to keep them, to come back to them, and in versions still to come."""
    found: dict[str, tuple[Node, ...]] = {}
    for one in from_day(versions, as_of):
        if one.version:
            for level in one.policy.levels:
                texts = [text for text in (level.rule, level.keep_rule, level.reentry_rule) if text]
                found[level.key] = (*found.get(level.key, ()), *(check(parse(text)) for text in texts))
    return found


def _of_one(saved: _Saved, node: Node) -> Iterator[Finding]:
    """What one rule says by itself: the whole of it, else parts that decide nothing."""
    if isinstance(node, Everyone):
        return
    if never(node):
        yield _found(saved, "never", phrase("No member can ever match."))
    elif always(node):
        message = phrase("Every member matches. If that is meant, write everyone.")
        yield _found(saved, "always", message)
    else:
        for part, problem in dict.fromkeys(_idle(node)):
            text = to_text(part)
            message = (
                phrase("This part can never be true: %(part)s.", part=text)
                if problem == "part_never"
                else phrase("This part is always true: %(part)s.", part=text)
            )
            yield _found(saved, problem, message, text)


def _idle(node: Node) -> Iterator[tuple[Node, str]]:
    """Parts of groups that hold for nobody or for everybody; what lies within such a part is not looked at."""
    if isinstance(node, Not):
        yield from _idle(node.item)
    for item in node.items if isinstance(node, And | Or) else ():
        said = isinstance(item.item if isinstance(item, Not) else item, Everyone)
        if not said and never(item):
            yield item, "part_never"
        elif not said and always(item):
            yield item, "part_always"
        else:
            yield from _idle(item)


def _levels(asked: Mapping[_Saved, Node], named: Callable[[_Saved], str]) -> Iterator[Finding]:
    """Levels that another stands in front of: whoever fits holds a higher one. `named` is what a level is called."""
    ladders: dict[str, list[tuple[_Saved, Node]]] = {}
    for one, node in asked.items():
        ladders.setdefault(one.program, []).append((one, node))
    for ladder in ladders.values():
        for place, (one, node) in enumerate(ladder):
            higher = ladder[place + 1 :]
            # A rule that nobody fits says so itself.
            if not higher or never(node) or not implies(node, *(other for _, other in higher)):
                continue
            same = next((above for above, other in higher if implies(node, other) and implies(other, node)), None)
            if same is not None:
                message = phrase(
                    "It asks for the same as %(level)s, which is higher: nobody earns it.", level=named(same)
                )
                yield _found(one, "same", message)
            else:
                above = [named(other) for other, _ in higher]
                message = phrase("Whoever fits also fits a higher level (%(levels)s): nobody earns it.", levels=above)
                yield _found(one, "unreachable", message)


def _circles(saved: list[_Saved]) -> Iterator[Finding]:
    """Rules that come back to themselves: by what a segment's rule is, or by its list, or by the level held."""
    asks: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for one in saved:
        if one.kind != JOURNEY:
            asks.setdefault(_place(one), set()).update(asked for node in one.nodes for asked in _asked_for(node))
    seen: set[frozenset[tuple[str, str]]] = set()
    for start in sorted(asks):
        way = _way_back(start, lambda place: sorted(asks.get(place, ())))
        if way and frozenset(way) not in seen:
            seen.add(frozenset(way))
            round_ = " → ".join(_spelt(place) for place in (*way, start))
            message = phrase("The rules speak of one another in a circle: %(round)s.", round=round_)
            yield from (_found(one, "circle", message) for one in saved if _place(one) == start)


def _place(one: _Saved) -> tuple[str, str]:
    return (one.kind, one.program if one.kind == LEVEL else one.key)


def _spelt(place: tuple[str, str]) -> str:
    kind, key = place
    return f'segment("{key}")' if kind == SEGMENT else "tier" if key == PROGRAM else f'tier(program="{key}")'


def _asked_for(node: Node) -> Iterator[tuple[str, str]]:
    yield from ((SEGMENT, key) for key in segments_named(node))
    for asked in fields_of(node):
        if FIELDS[asked.key].parameter("program") is not None:
            yield LEVEL, str(asked.arg("program") or PROGRAM)
        elif asked.arg("since") == TIER:
            yield LEVEL, PROGRAM


def _way_back(
    start: tuple[str, str], asks: Callable[[tuple[str, str]], list[tuple[str, str]]]
) -> tuple[tuple[str, str], ...]:
    """The shortest way from a place back to it; empty when there is none."""
    ways: list[tuple[tuple[str, str], ...]] = [(start,)]
    seen: set[tuple[str, str]] = set()
    while ways:
        way = ways.pop(0)
        for place in asks(way[-1]):
            if place == start:
                return way
            if place not in seen:
                seen.add(place)
                ways.append((*way, place))
    return ()


def _dead(saved: list[_Saved]) -> Iterator[Finding]:
    """Segments that no other saved rule asks for."""
    named: set[str] = set()
    for one in saved:
        for node in one.nodes:
            named |= segments_named(node) - ({one.key} if one.kind == SEGMENT else set())
    for one in saved:
        if one.kind == SEGMENT and one.key not in named:
            yield _found(one, "dead", phrase("No tier, journey or other segment asks for it."))


def _empty(
    connection: Connection, shop: Shop, as_of: date, saved: list[_Saved], asked: Mapping[_Saved, Node]
) -> Iterator[Finding]:
    """Segments that hold nobody on that day."""
    history, m = is_history(connection, shop, as_of), segment_members.c
    for one in saved:
        if one.kind != SEGMENT:
            continue
        if one.node is None:
            listed = select(m.member_id).where(m.shop_id == shop.shop_id, m.segment_key == one.key)
        else:
            listed = select_members(shop, asked[one], as_of, history=history)
        if connection.execute(listed.limit(1)).first() is None:
            yield _found(one, "empty", phrase("Nobody is in it today."))
