"""What rules say of those in hand: all that a round may come to are asked in one statement, before anybody moves.

What the round itself brings is stored at its end. A rule that asks for a tag of those is asked as it would be with the tag and without it,
and the answer is taken that fits what was said of the tag by then. Levels are stored before a rule asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import product

from sqlalchemy import ColumnElement, exists, literal, literal_column, select, text

from crm_plugin.errors import RuleError
from crm_plugin.rules import sql as rules_sql
from crm_plugin.rules.book import names_something, read_book, resolve
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nodes import Node, deep_fields
from crm_plugin.rules.spec import Source
from crm_plugin.rules.supposed import Case, Rule, with_tags
from crm_plugin.rules.windows import TIER
from crm_plugin.store import member_tags
from crm_plugin.store.base import to_json
from crm_plugin.touchpoints.audience import compiled, goal_of, rule_of
from crm_plugin.touchpoints.holdout import held_out
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import acts, ending, flow
from crm_plugin.touchpoints.steps.moves import Group, Stand, Stay, given
from crm_plugin.touchpoints.versions import Version

# Steps after which nobody goes on at once.
_RESTS = frozenset({"send", "webhook", "wait"})
# A rule that more cases may come of is asked when somebody comes to it.
_MOST_CASES = 9


def ask_all(group: Group, version: Version, stays: Sequence[Stay]) -> None:
    """Ask all rules that these may come to; one that cannot be asked is told when somebody comes to it."""
    journey = version.journey
    members = [stay.member_id for stay in stays if not _why_not(group, journey, stay)]
    _fetch(group, list(dict.fromkeys(_cases_ahead(group, journey, stays))), members)


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
        # What is unknown keeps nobody out.
        held = meant.get(stay.member_id)
        if reached.get(stay.member_id):
            group.leave(stay, ending.GOAL)
        elif held is not None and not held:
            group.leave(stay, ending.AUDIENCE)
        else:
            going.append(stay)
    return going


def branch(stand: Stand, stays: Sequence[Stay]) -> None:
    """Each goes on by what the rule says; what is unknown is no. Raises: RuleError."""
    [answers] = _answers(stand.group, [compiled(stand.told["rule"])], stays)
    for stay in stays:
        arm = "then" if answers[stay.member_id] else "else"
        stand.group.done(stay, stand.to(arm), detail=arm)


def store_for(group: Group, node: Node | None) -> None:
    """Store of what the round brought so far what a rule asks for. Raises: RuleError."""
    if node is None or not (group.unwritten or group.levels):
        return
    rule = _rule(group, node)
    if not rule.tags.isdisjoint({tag for _member_id, tag in group.unwritten}):
        acts.write_tags(group)
    if rule.by_level and group.levels:
        acts.write_levels(group)
        for case in [case for case in group.answers if not isinstance(case, str) and _asks_for_levels(case)]:
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
        tags = frozenset(str(one.arg("tag")) for one in deep_fields(whole) if one.key == "tag")
        group.rules[node] = Rule(whole, tags, _asks_for_levels(whole))
    return group.rules[node]


def _asks_for_levels(whole: Node) -> bool:
    """Whether levels may change what a rule says. What a saved segment asks for is among the rule's fields by itself."""
    for one in deep_fields(whole):
        spec = FIELDS[one.key]
        if Source.TIERS in spec.sources and one.key != "segment" and (not spec.windowed or one.arg("since") == TIER):
            return True
    return False


def _cases_ahead(group: Group, journey: Journey, stays: Iterable[Stay]) -> Iterator[Case]:
    """All that may have to be known of these in this round: goal, audience, and the branches that they may come to without resting."""
    steps = [place.step for place in journey.flow.path.values()]
    says = [(what, set(step.told.get(what, ()))) for step in steps if step.kind == "tag" for what in ("add", "remove")]
    gives, takes = (set[str]().union(*(names for one, names in says if one == what)) for what in ("add", "remove"))
    moves = any(step.kind == "tier" for step in steps)
    ahead: list[Callable[[], Node | None]] = [lambda: _goal(journey), lambda: _audience(journey)]
    ahead += [lambda written=written: compiled(written) for written in _branches(journey, stays)]  # type: ignore[misc]
    for place, find in enumerate(ahead):
        try:
            node = find()
            rule = None if node is None else _rule(group, node)
        except RuleError:
            continue
        # Whoever comes to a branch may hold another level by then; the others are asked at once.
        if rule is None or (place > 1 and moves and rule.by_level):
            continue
        changed = sorted(rule.tags & (gives | takes))
        may_be = [
            (None, *((True,) if tag in gives | takes else ()), *((False,) if tag in takes else ())) for tag in changed
        ]
        cases = list(product(*may_be))
        if len(cases) > _MOST_CASES:
            cases = [tuple(None for _ in changed)]
        else:
            yield from (tag for tag in changed if tag in takes)
        for case in cases:
            yield with_tags(rule.whole, {tag: has for tag, has in zip(changed, case, strict=True) if has is not None})


def _branches(journey: Journey, stays: Iterable[Stay]) -> list[str]:
    """The rules of the branches that these may come to in this round without resting before."""
    path, found = journey.flow.path, dict[str, None]()
    standing = {(stay.step_key, stay.phase == ending.DUE) for stay in stays if stay.step_key in path}
    ahead = {to for key, due in standing for to in ((key,) if due else path[key].goes.values()) if to}
    seen = set(ahead)
    while ahead:
        place = path[ahead.pop()]
        if place.step.kind == "branch":
            found[place.step.told["rule"]] = None
        if place.step.kind not in _RESTS:
            nexts = {to for to in place.goes.values() if to} - seen
            seen |= nexts
            ahead |= nexts
    return list(found)


def _answers(group: Group, nodes: Sequence[Node | None], stays: Sequence[Stay]) -> list[dict[int, bool | None]]:
    """What each rule says of each of these by member, as things stand now; nothing where there is no rule. Raises: RuleError."""
    rules = [None if node is None else _rule(group, node) for node in nodes]
    for node in nodes:
        if node is not None and _rule(group, node).by_level:
            store_for(group, node)
    members = list(dict.fromkeys(stay.member_id for stay in stays))
    asked = set[str]().union(*(rule.tags for rule in rules if rule is not None))
    # Of a tag that was taken there may be one that the store gave.
    _fetch(group, sorted({tag for tag in asked for one in members if group.tags.get((one, tag)) is False}), members)
    cases = [{} if rule is None else _cases(group, rule, members) for rule in rules]
    _fetch(group, [case for of_rule in cases for case in of_rule], members)
    return [{one: group.answers[case][one] for case, whom in of_rule.items() for one in whom} for of_rule in cases]


def _cases(group: Group, rule: Rule, members: Sequence[int]) -> dict[Node, list[int]]:
    """The rule as it is to be asked of each of these, by what was said of its tags."""
    by_said: dict[tuple[tuple[str, bool], ...], list[int]] = {}
    tags = sorted(rule.tags)
    for one in members:
        said = []
        for tag in tags:
            given_ = group.tags.get((one, tag))
            if given_ is not None:
                said.append((tag, given_ or bool(group.answers[tag][one])))
        by_said.setdefault(tuple(said), []).append(one)
    return {with_tags(rule.whole, dict(said)): whom for said, whom in by_said.items()}


def _fetch(group: Group, cases: Sequence[Case], members: Collection[int]) -> None:
    """Ask in one statement what is not known yet. A word is a tag: whether the store gave it."""
    known = [group.answers.get(case, {}) for case in cases]
    whom = list(dict.fromkeys(one for one in members if any(one not in answers for answers in known)))
    if not whom:
        return
    member_id: ColumnElement[int] = literal_column("w.member_id")
    columns = [
        _is_the_stores(group, case, member_id)
        if isinstance(case, str)
        else _by_key(rules_sql.condition(group.shop, case, group.today, member_id))
        for case in cases
    ]
    query = select(member_id, *(column.label(f"rule{place}") for place, column in enumerate(columns)))
    query = query.select_from(text(given(group.is_sqlite, {"member_id": "BIGINT"})))
    for member, *said in group.connection.execute(query, {"rows": to_json([[one] for one in whom])}):
        for case, answer in zip(cases, said, strict=True):
            group.answers.setdefault(case, {})[member] = answer


def _by_key(holds: ColumnElement[bool]) -> ColumnElement[bool]:
    """The same, answered for each by the key: of what merely exists PostgreSQL may work out first for which members of the shop it does."""
    return select(literal(1)).where(holds).limit(1).scalar_subquery().is_not(None)


def _is_the_stores(group: Group, tag: str, member_id: ColumnElement[int]) -> ColumnElement[bool]:
    c = member_tags.c
    own = (c.shop_id == group.shop.shop_id, c.member_id == member_id, c.tag == tag, c.own.is_(False))
    return exists(select(literal(1)).where(*own))
