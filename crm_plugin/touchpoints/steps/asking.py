"""What rules say of those in hand: several rules for many members in one statement, and one again only when its answer may be another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, literal_column, select, text

from crm_plugin.errors import RuleError
from crm_plugin.rules import sql as rules_sql
from crm_plugin.rules.book import resolved
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nodes import Node, deep_fields
from crm_plugin.rules.spec import Source
from crm_plugin.rules.windows import TIER
from crm_plugin.store.base import to_json
from crm_plugin.touchpoints.audience import compiled, goal_of, rule_of
from crm_plugin.touchpoints.holdout import held_out
from crm_plugin.touchpoints.steps import acts, ending, flow
from crm_plugin.touchpoints.steps.document import Place
from crm_plugin.touchpoints.steps.moves import Group, Stand, Stay, given

# Steps after which nobody goes on at once.
_RESTS = frozenset({"send", "webhook", "wait"})


def who_stays(stand: Stand, stays: Sequence[Stay]) -> list[Stay]:
    """Of those to whom the step falls due all but those who go no further, which is noted.

    Raises: RuleError when a rule cannot be asked.
    """
    group, journey = stand.group, stand.version.journey
    goal, audience = goal_of(journey), rule_of(journey) if journey.flow.exit == flow.AUDIENCE else None
    asked = [node for node in (goal, audience) if node is not None]
    present = [stay for stay in stays if not _left(stand, stay)]
    _ask(group, asked, _ahead(stand), present)
    reached = group.answers[goal] if goal is not None else {}
    meant = group.answers[audience] if audience is not None else {}
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


def _left(stand: Stand, stay: Stay) -> bool:
    """Whether somebody is gone, or gets nothing at all: neither messages nor what else the steps bring. They are counted."""
    if stay.member_state != rules_sql.ACTIVE:
        stand.group.leave(stay, ending.GONE)
    elif held_out(stand.group.shop.shop_id, stand.version.journey, stay.member_id):
        stand.group.leave(stay, ending.HOLDOUT)
    else:
        return False
    return True


def branch(stand: Stand, stays: Sequence[Stay]) -> None:
    """Each goes on by what the rule says; what is unknown is no. Raises: RuleError."""
    node = compiled(stand.told["rule"])
    _ask(stand.group, [node], _ahead(stand), stays)
    answers = stand.group.answers[node]
    for stay in stays:
        arm = "then" if answers[stay.member_id] else "else"
        stand.group.done(stay, stand.to(arm), detail=arm)


def forget_tiers(group: Group) -> None:
    """Levels have changed: rules that ask for them are asked again."""
    for node in [node for node in group.answers if _asks_for_tiers(group, node)]:
        del group.answers[node]


def _forget_tags(group: Group, changed: frozenset[str]) -> None:
    for node in [node for node in group.answers if not changed.isdisjoint(_tags(group, node))]:
        del group.answers[node]


def _asks_for_tiers(group: Group, node: Node) -> bool:
    """Whether levels may change what a rule says. What a saved segment asks for is among the rule's fields by itself."""
    for one in deep_fields(_resolved(group, node)):
        spec = FIELDS[one.key]
        if Source.TIERS in spec.sources and one.key != "segment" and (not spec.windowed or one.arg("since") == TIER):
            return True
    return False


def _tags(group: Group, node: Node) -> frozenset[str]:
    """The tags that a rule asks for."""
    return frozenset(str(one.arg("tag")) for one in deep_fields(_resolved(group, node)) if one.key == "tag")


def _resolved(group: Group, node: Node) -> Node:
    if node not in group.nodes:
        group.nodes[node] = resolved(group.connection, group.shop.shop_id, node)
    return group.nodes[node]


def _ahead(stand: Stand) -> list[Node]:
    """The rules of the branches that somebody may come to in this round without resting before."""
    path, found = stand.version.journey.flow.path, dict[Node, None]()
    places: list[Place] = [stand.place]
    seen = set[str]()
    while places:
        place = places.pop()
        if place.step.kind == "branch":
            found[compiled(place.step.told["rule"])] = None
        if place.step.kind not in _RESTS:
            nexts = {to for to in place.goes.values() if to} - seen
            seen |= nexts
            places += [path[to] for to in nexts]
    return [node for node in found if _lasts(stand, node)]


def _lasts(stand: Stand, node: Node) -> bool:
    """Whether no step of the journey changes what a rule says. One that cannot be asked at all is told when somebody comes to it."""
    told = [place.step for place in stand.version.journey.flow.path.values()]
    tags = {name for step in told if step.kind == "tag" for names in step.told.values() for name in names}
    try:
        asked, by_level = _tags(stand.group, node), _asks_for_tiers(stand.group, node)
    except RuleError:
        return False
    return tags.isdisjoint(asked) and not (by_level and any(step.kind == "tier" for step in told))


def _ask(group: Group, needed: Sequence[Node], ahead: Iterable[Node], stays: Sequence[Stay]) -> None:
    """Have the answers of the rules in `needed` for all of these, and with them those that will be asked next. Raises: RuleError."""
    changed = frozenset(name for _member_id, name in group.tags)
    if not changed.isdisjoint(frozenset[str]().union(*(_tags(group, node) for node in needed))):
        acts.write_tags(group)
        _forget_tags(group, changed)
    for node in needed:
        group.answers.setdefault(node, {})
    known = [group.answers[node] for node in needed]
    members = list(dict.fromkeys(stay.member_id for stay in stays if any(stay.member_id not in one for one in known)))
    if not members:
        return
    nodes = list(dict.fromkeys([*needed, *ahead]))
    member_id: ColumnElement[int] = literal_column("w.member_id")
    rules = [rules_sql.condition(group.shop, _resolved(group, node), group.today, member_id) for node in nodes]
    query = select(member_id, *(rule.label(f"rule{place}") for place, rule in enumerate(rules)))
    query = query.select_from(text(given(group.is_sqlite, {"member_id": "BIGINT"})))
    rows = to_json([[one] for one in members])
    for member, *said in group.connection.execute(query, {"rows": rows}):
        for node, answer in zip(nodes, said, strict=True):
            group.answers.setdefault(node, {})[member] = answer
