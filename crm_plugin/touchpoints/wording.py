"""What a text asks of its member, and whether it has other words for one of whom that is not known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from jinja2 import nodes

from crm_plugin.touchpoints.render import Text, tree_of

_NOTHING: frozenset[str] = frozenset()


def asked_of_member(text: Text) -> dict[str, bool]:
    """Parts of the member that a text shows (`first_name` …) → whether it has words in their place wherever it does."""
    found: dict[str, bool] = {}
    for source in text.parts().values():
        for name, kept in _shown(source).items():
            found[name] = found.get(name, True) and kept
    return found


@lru_cache(maxsize=4096)
def _shown(source: str) -> dict[str, bool]:
    tree = tree_of(source)
    found: dict[str, bool] = {}
    for name, kept in _uses(tree, _NOTHING) if tree is not None else ():
        found[name] = found.get(name, True) and kept
    return found


def _uses(node: nodes.Node, known: frozenset[str]) -> Iterator[tuple[str, bool]]:
    """Each part of the member under a node, and whether what stands around it asks for it first. `known` are those that were asked for."""
    name = _part(node)
    if name:
        yield name, name in known
        return
    if isinstance(node, nodes.If | nodes.CondExpr):
        asked = frozenset(_parts(node.test))
        yield from ((one, True) for one in asked)
        for inner in node.iter_child_nodes(exclude=("test",)):
            yield from _uses(inner, known | asked)
        return
    if isinstance(node, nodes.Or):
        yield from _uses(node.left, known | frozenset(_parts(node.left)))
        yield from _uses(node.right, known)
        return
    if isinstance(node, nodes.Assign) or (
        isinstance(node, nodes.Filter) and node.name in ("default", "d") and len(node.args) > 1
    ):
        # What is given a name of its own is asked for by that.
        known |= frozenset(_parts(node))
    for inner in node.iter_child_nodes():
        yield from _uses(inner, known)


def _parts(node: nodes.Node) -> Iterable[str]:
    """Every part of the member that is named there."""
    return filter(None, map(_part, (node, *node.find_all((nodes.Getattr, nodes.Getitem)))))


def _part(node: nodes.Node) -> str:
    if not isinstance(node, nodes.Getattr | nodes.Getitem) or not isinstance(node.node, nodes.Name):
        return ""
    if node.node.name != "member":
        return ""
    if isinstance(node, nodes.Getattr):
        return node.attr
    return str(node.arg.value) if isinstance(node.arg, nodes.Const) else ""
