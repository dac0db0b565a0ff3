"""What rules say of those in hand: all that a round may come to are asked in one statement, before anybody moves.

What the round itself brings is stored at its end. A rule that asks for a tag of those, or for the level held, is asked as it would be with
each that there may be, and the answer is taken that fits what was brought about by then. Before a rule asks anything else about levels,
such as since when one is held, they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from sqlalchemy import ColumnElement, exists, literal, literal_column, select, text

from crm_plugin.errors import RuleError
from crm_plugin.rules import sql as rules_sql
from crm_plugin.rules.book import names_something, read_book, resolve
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.supposed import ALWAYS, NEVER, TAG, TIER, Case, Fact, Rule, goes_by_level, supposing
from crm_plugin.rules.supposed import rule_of as rule_of_whole
from crm_plugin.store import member_tags
from crm_plugin.store.rows import given
from crm_plugin.store.together import Part, ask
from crm_plugin.touchpoints.audience import compiled, goal_of, rule_of
from crm_plugin.touchpoints.holdout import held_out
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import acts, ending, flow, levels, waits
from crm_plugin.touchpoints.steps.document import Step
from crm_plugin.touchpoints.steps.moves import Group, Stand, Stay
from crm_plugin.touchpoints.versions import Version

# Steps after which nobody goes on at once.
_RESTS = frozenset({"send", "webhook", "wait"})
# A rule that more cases may come of is asked when somebody comes to it.
_MOST_CASES = 9


def ask_all(group: Group, version: Version, stays: Sequence[Stay]) -> None:
    """Ask all rules that these may come to, and what levels and codes steps may go by, in one statement.

    A rule that cannot be asked is told when somebody comes to it.
    """
    journey = version.journey
    members = [stay.member_id for stay in stays if not _why_not(group, journey, stay)]
    ahead = _steps_ahead(journey, stays)
    cases = list(dict.fromkeys(_cases_ahead(group, journey, ahead)))
    there = levels.parts(group, levels.programs_of(ahead), members) + acts.parts(group, ahead, members)
    _fetch(group, cases, members, there + waits.parts(group, version, ahead, stays))


def who_stays(stand: Stand, stays: Sequence[Stay]) -> list[Stay]:
    """Of those to whom the step falls due all but those who go no further, which is noted.

    Raises: RuleError when a rule cannot be asked.
    """
    group, journey = stand.group, stand.version.journey
    present = []
    for stay in stays:
        if why := _why_not(group, journey, stay):
            group.leave(stay, why)
        else:
            present.append(stay)
    reached, meant = _answers(group, [_goal(journey), _audience(journey)], present)
    going = []
    for stay in present:
        if reached.get(stay.member_id):
            group.leave(stay, ending.GOAL)
        elif not meant.get(stay.member_id, True):
            group.leave(stay, ending.AUDIENCE)
        else:
            going.append(stay)
    return going


def branch(stand: Stand, stays: Sequence[Stay]) -> None:
    """Each goes on by what the rule says. Raises: RuleError."""
    [answers] = _answers(stand.group, [compiled(stand.told["rule"])], stays)
    for stay in stays:
        arm = "then" if answers[stay.member_id] else "else"
        stand.group.done(stay, stand.to(arm), detail=arm)


def store_for(group: Group, node: Node | None) -> None:
    """Store of what the round brought so far what a rule asks for. Raises: RuleError."""
    if node is None or not (group.unwritten or group.decided):
        return
    rule = _rule(group, node)
    if not rule.asks.isdisjoint({(TAG, tag) for _member_id, tag in group.unwritten}):
        acts.write_tags(group)
        group.flush()
    if rule.by_level or not rule.asks.isdisjoint({(TIER, program) for program in group.decided}):
        _store_levels(group)


def _store_levels(group: Group) -> None:
    """Store them, and forget what was answered by those before."""
    if group.decided:
        levels.write(group)
        for case in [case for case in group.answers if not isinstance(case, str) and goes_by_level(case)]:
            del group.answers[case]


def _why_not(group: Group, journey: Journey, stay: Stay) -> str:
    """Why somebody gets nothing at all, neither messages nor what else the steps bring; empty for most. Who is held out is counted."""
    if stay.member_state != rules_sql.ACTIVE:
        return ending.GONE
    return ending.HOLDOUT if held_out(group.shop.shop_id, journey, stay.member_id) else ""


def _goal(journey: Journey) -> Node | None:
    return goal_of(journey)


def _audience(journey: Journey) -> Node | None:
    return rule_of(journey) if journey.flow.exit == flow.AUDIENCE else None


def _rule(group: Group, node: Node) -> Rule:
    """A rule with all that it names in its place. Raises: RuleError."""
    if node not in group.rules:
        whole = node
        if names_something(node):
            group.book = group.book or read_book(group.connection, group.shop.shop_id)
            whole = resolve(node, group.book)
        group.rules[node] = rule_of_whole(whole)
    return group.rules[node]


def _cases_ahead(group: Group, journey: Journey, ahead: Sequence[Step]) -> Iterator[Case]:
    """All that may have to be known in this round: goal, audience, and the branches that are ahead."""
    may_be = _brought_by(ahead)
    moves = bool(levels.programs_of(ahead))
    branches = [step.told["rule"] for step in ahead if step.kind == "branch"]
    finds: list[Callable[[], Node | None]] = [lambda: _goal(journey), lambda: _audience(journey)]
    finds += [lambda written=written: compiled(written) for written in dict.fromkeys(branches)]  # type: ignore[misc]
    for place, find in enumerate(finds):
        try:
            node = find()
            rule = None if node is None else _rule(group, node)
        except RuleError:
            continue
        # Whoever comes to a branch may hold another level by then; the others are asked at once.
        if rule is None or (place > 1 and moves and rule.by_level):
            continue
        changed = sorted(fact for fact in rule.asks if fact in may_be)
        cases = list(product(*((None, *may_be[fact]) for fact in changed)))
        if len(cases) > _MOST_CASES:
            cases = [tuple(None for _ in changed)]
        else:
            yield from (name for kind, name in changed if kind == TAG and False in may_be[kind, name])
        for case in cases:
            yield supposing(rule.whole, {fact: is_ for fact, is_ in zip(changed, case, strict=True) if is_ is not None})


def _brought_by(steps: Iterable[Step]) -> dict[Fact, list[bool | str]]:
    """What steps may bring about: each tag given or taken, and of each programme the levels."""
    found: dict[Fact, list[bool | str]] = {}
    for step in steps:
        if step.kind == TIER and not step.told.get("invite"):
            found.setdefault((TIER, step.told["program"]), []).append(step.told["level"])
        for what in ("add", "remove") if step.kind == TAG else ():
            for tag in step.told.get(what, ()):
                # What is taken of our own the store may have given.
                found.setdefault((TAG, tag), []).extend([True] if what == "add" else [False, True])
    return {fact: sorted(set(there), reverse=True) for fact, there in found.items()}


def _steps_ahead(journey: Journey, stays: Iterable[Stay]) -> list[Step]:
    """The steps that these may come to in this round without resting before."""
    path, found = journey.flow.path, dict[str, Step]()
    standing = {(stay.step_key, stay.phase == ending.DUE) for stay in stays if stay.step_key in path}
    ahead = {to for key, due in standing for to in ((key,) if due else path[key].goes.values()) if to}
    while ahead:
        key = ahead.pop()
        step = found[key] = path[key].step
        if step.kind not in _RESTS:
            ahead |= {to for to in path[key].goes.values() if to} - found.keys()
    return list(found.values())


def _answers(group: Group, nodes: Sequence[Node | None], stays: Sequence[Stay]) -> list[dict[int, bool]]:
    """What each rule says of each of these by member, as things stand now; of nobody where there is no rule. What is unknown is no.

    Raises: RuleError.
    """
    rules = [None if node is None else _rule(group, node) for node in nodes]
    if any(rule is not None and rule.by_level for rule in rules):
        _store_levels(group)
    members = list(dict.fromkeys(stay.member_id for stay in stays))
    tags = {fact for rule in rules if rule is not None for fact in rule.asks if fact[0] == TAG}
    # Of a tag that was taken there may be one that the store gave.
    _fetch(
        group, sorted({fact[1] for fact in tags for one in members if group.said.get((one, fact)) is False}), members
    )
    cases = [{} if rule is None else _cases(group, rule, members) for rule in rules]
    _fetch(group, [case for of_rule in cases for case in of_rule], members)
    return [{one: group.answers[case][one] for case, whom in of_rule.items() for one in whom} for of_rule in cases]


def _cases(group: Group, rule: Rule, members: Sequence[int]) -> dict[Node, list[int]]:
    """The rule as it is to be asked of each of these, by what was brought about of what it asks for."""
    by_said: dict[tuple[tuple[Fact, bool | str], ...], list[int]] = {}
    facts = sorted(rule.asks)
    for one in members:
        said = []
        for fact in facts:
            is_ = group.said.get((one, fact))
            if is_ is not None:
                said.append((fact, bool(group.answers[fact[1]][one]) if is_ is False else is_))
        by_said.setdefault(tuple(said), []).append(one)
    cases: dict[Node, list[int]] = {}
    for brought, whom in by_said.items():
        # What differs may come down to the same.
        cases.setdefault(supposing(rule.whole, dict(brought)), []).extend(whom)
    return cases


def _fetch(group: Group, cases: Sequence[Case], members: Sequence[int], parts: Sequence[Part] = ()) -> None:
    """Ask in one statement what is not known yet, and all that `parts` ask for. A word is a tag: whether the store gave it."""
    for settled in (ALWAYS, NEVER):
        if settled in cases:
            group.answers.setdefault(settled, {}).update(dict.fromkeys(members, settled == ALWAYS))
    known = [group.answers.get(case, {}) for case in cases]
    whom = list(dict.fromkeys(one for one in members if parts or any(one not in answers for answers in known)))
    asked = [case for case in cases if case not in (ALWAYS, NEVER)]
    if not whom:
        return
    member_id: ColumnElement[int] = literal_column("w.member_id")
    columns = [
        _is_the_stores(group, case, member_id)
        if isinstance(case, str)
        else _by_key(rules_sql.condition(group.shop, case, group.today, member_id))
        for case in asked
    ]
    query = select(
        member_id.label("member_id"), *(column.label(f"rule{place}") for place, column in enumerate(columns))
    )
    query = query.select_from(text(given(group.is_sqlite, {"member_id": "BIGINT"})))

    def keep(found: Iterable[Any]) -> None:
        for member, *said in found:
            for case, answer in zip(asked, said, strict=True):
                group.answers.setdefault(case, {})[member] = answer

    values = group.values([[one] for one in whom])
    if parts:
        ask(group.connection, [*([Part(query, keep)] if asked else []), *parts], values)
    else:
        keep(group.connection.execute(query, values))


def _by_key(holds: ColumnElement[bool]) -> ColumnElement[bool]:
    """The same, answered for each by the key: of what merely exists PostgreSQL may work out first for which members of the shop it does."""
    return select(literal(1)).where(holds).limit(1).scalar_subquery().is_not(None)


def _is_the_stores(group: Group, tag: str, member_id: ColumnElement[int]) -> ColumnElement[bool]:
    c = member_tags.c
    own = (c.shop_id == group.shop.shop_id, c.member_id == member_id, c.tag == tag, c.own.is_(False))
    return exists(select(literal(1)).where(*own))
