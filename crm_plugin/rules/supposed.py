"""A rule as it is once something that it asks for is settled: what is known of a member beforehand is not asked of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from crm_plugin.rules.nodes import And, Everyone, Holds, Known, Node, Not, Or, Relation, Within


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with all that it names in its place, the tags that it asks for, and whether levels may change what it says."""

    whole: Node
    tags: frozenset[str]
    by_level: bool


# A rule as it is asked, or a tag: whether the store gave it.
Case = Node | str
# An empty group matches nobody.
_NOBODY = Or(())


def with_tags(node: Node, has: Mapping[str, bool]) -> Node:
    """A resolved rule of whoever has, or has not, these tags, whatever is stored of them; other tags are asked for."""
    if isinstance(node, And | Or):
        return replace(node, items=tuple(with_tags(item, has) for item in node.items))
    if isinstance(node, Not):
        return replace(node, item=with_tags(node.item, has))
    if isinstance(node, Within):
        return node if node.rule is None else replace(node, rule=with_tags(node.rule, has))
    if isinstance(node, Everyone | Relation):
        return node
    if isinstance(node, Holds | Known) and node.field.key == "tag" and (tag := str(node.field.arg("tag"))) in has:
        # Whether there is one is never unknown.
        return Everyone() if isinstance(node, Known) or has[tag] else _NOBODY
    if node.field.steps is None:
        return node
    # What keeps a level may ask for tags too.
    steps = tuple(one if one.keep is None else replace(one, keep=with_tags(one.keep, has)) for one in node.field.steps)
    return replace(node, field=replace(node.field, steps=steps))
