"""A rule as it is once something that it asks for is settled: what is known of a member beforehand is not asked of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nodes import (
    And,
    Compare,
    Everyone,
    Field,
    Holds,
    Membership,
    Node,
    Not,
    Or,
    Relation,
    Within,
    deep_fields,
)
from crm_plugin.rules.operators import OPERATORS
from crm_plugin.rules.spec import Source
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.rules.windows import TIER as SINCE_TIER

TAG, TIER = "tag", "tier"
# What a rule may ask for: a tag, which somebody has or has not, or a tier programme, in which they hold a level, empty for none.
Fact = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with all that it names in its place, the tags and levels that it asks for, and whether levels change what it says besides."""

    whole: Node
    asks: frozenset[Fact]
    by_level: bool


# A rule as it is asked, or a tag: whether the store gave it.
Case = Node | str
# What holds of all, and of nobody, as an empty group does: nothing is left to ask.
ALWAYS: Node = Everyone()
NEVER: Node = Or(())


def rule_of(whole: Node) -> Rule:
    """A resolved rule with what it asks for."""
    asks = frozenset(_fact(one) for one in deep_fields(whole) if one.key in (TAG, TIER))
    return Rule(whole, asks, goes_by_level(whole))


def goes_by_level(whole: Node) -> bool:
    """Whether levels change what a rule says, but for the very level held. What a saved segment asks for is among its fields by itself."""
    held = {_fact(one): "" for one in deep_fields(whole) if one.key == TIER}
    for one in deep_fields(supposing(whole, held)):
        spec = FIELDS[one.key]
        if (
            Source.TIERS in spec.sources
            and one.key != "segment"
            and (not spec.windowed or one.arg("since") == SINCE_TIER)
        ):
            return True
    return False


def supposing(node: Node, said: Mapping[Fact, bool | str]) -> Node:
    """A resolved rule of whoever has, or has not, these tags and holds these levels, whatever is stored; all else is asked for.

    What is settled by that is left out, so that many cases come down to few.
    """
    if isinstance(node, And | Or):
        return _group(node, [supposing(item, said) for item in node.items])
    if isinstance(node, Not):
        item = supposing(node.item, said)
        return NEVER if item == ALWAYS else ALWAYS if item == NEVER else replace(node, item=item)
    if isinstance(node, Within):
        if node.rule is None:
            return node
        rule = supposing(node.rule, said)
        return rule if rule in (ALWAYS, NEVER) else replace(node, rule=rule)
    if isinstance(node, Everyone | Relation):
        return node
    if (known := _known(node, said)) is not None:
        return ALWAYS if known else NEVER
    if node.field.steps is None:
        return node
    # What keeps a level may ask for tags too.
    steps = tuple(one if one.keep is None else replace(one, keep=supposing(one.keep, said)) for one in node.field.steps)
    return replace(node, field=replace(node.field, steps=steps))


def _group(node: And | Or, items: Sequence[Node]) -> Node:
    """All or one of these. What is unknown beside what settles the group does not count."""
    settles, idle = (NEVER, ALWAYS) if isinstance(node, And) else (ALWAYS, NEVER)
    if not items:
        return NEVER
    if settles in items:
        return settles
    left = tuple(dict.fromkeys(item for item in items if item != idle))
    return replace(node, items=left) if len(left) > 1 else left[0] if left else idle


def _known(node: Node, said: Mapping[Fact, bool | str]) -> bool | None:
    """What one condition comes to where that is known."""
    if isinstance(node, Holds) and node.field.key == TAG and _fact(node.field) in said:
        return bool(said[_fact(node.field)])
    if isinstance(node, Compare | Membership) and node.field.key == TIER and _fact(node.field) in said:
        level = said[_fact(node.field)]
        if isinstance(node, Membership):
            return (level in node.values) is not node.negated
        return bool(OPERATORS[node.op].call(level, node.value))
    return None


def _fact(asked: Field) -> Fact:
    return asked.key, str(asked.arg(TAG) if asked.key == TAG else asked.arg("program") or PROGRAM)
