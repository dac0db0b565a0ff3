"""The tree of a rule: frozen nodes, the same for text, form and stored JSON.

Two nodes are equal when they mean the same; where they were written (`at`) does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as attribute
from decimal import Decimal

# A whole number is always an int, so that 1000.0 and 1000 are one value.
Value = str | int | Decimal


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written: line and column from 1 in a text, or the path in a JSON document."""

    line: int = 0
    column: int = 0
    path: str = ""


NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Field:
    """What is asked about a member, with its arguments by name in the catalogue's order."""

    key: str
    args: tuple[tuple[str, Value], ...] = ()
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)

    def arg(self, name: str) -> Value | None:
        """The argument of that name; None when it was not given."""
        return dict(self.args).get(name)


@dataclass(frozen=True, slots=True)
class And:
    """All hold. An empty group matches nobody."""

    items: tuple[Node, ...]
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one holds. An empty group matches nobody."""

    items: tuple[Node, ...]
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; what is unknown stays unknown."""

    item: Node
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """A field against one value; `op` is a key of `operators.OPERATORS`."""

    field: Field
    op: str
    value: Value
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Membership:
    """A field against a list of values: `in`, or `not in` when `negated`."""

    field: Field
    values: tuple[Value, ...]
    negated: bool = False
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Holds:
    """A field that is true or false by itself, such as `tag("vip")`."""

    field: Field
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Everyone:
    """Every member: said in so many words, never the meaning of something left empty."""

    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


Leaf = Compare | Membership | Holds | Everyone
Node = And | Or | Not | Leaf


def leaves(node: Node) -> Iterator[Leaf]:
    """Every condition of the tree, from left to right."""
    if isinstance(node, And | Or):
        for item in node.items:
            yield from leaves(item)
    elif isinstance(node, Not):
        yield from leaves(node.item)
    else:
        yield node


def fields_of(node: Node) -> list[Field]:
    """Every field the tree asks for, once each, from left to right."""
    return list(dict.fromkeys(leaf.field for leaf in leaves(node) if not isinstance(leaf, Everyone)))
