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
class Step:
    """What a tier programme asks of whoever holds a level, empty for none.

    `above` is the next level that can be earned, empty at the top; `missing` what is missing to it, None where that is no number; `keep`
    the rule that keeps the level held, None where nothing is asked.
    """

    level: str
    above: str = ""
    missing: Term | None = None
    keep: Node | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """What is asked about a member, with its arguments by name in the catalogue's order.

    A field of a tier programme's policy carries its steps once `book.resolve` has looked them up.
    """

    key: str
    args: tuple[tuple[str, Value], ...] = ()
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)
    steps: tuple[Step, ...] | None = None

    def arg(self, name: str) -> Value | None:
        """The argument of that name; None when it was not given."""
        return dict(self.args).get(name)


@dataclass(frozen=True, slots=True)
class Number:
    """A number written inside a calculation."""

    value: int | Decimal
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Calculation:
    """Two numbers joined by `+`, `-`, `*` or `/`; unknown when either is, and when divided by zero."""

    op: str
    left: Term
    right: Term
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


Term = Field | Number | Calculation


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
class Relation:
    """Two numbers compared of which at least one is calculated, or both are fields."""

    left: Term
    op: str
    right: Term
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Membership:
    """A field against a list of values: `in`, or `not in` when `negated`."""

    field: Field
    values: tuple[Value, ...]
    negated: bool = False
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Matches:
    """A text field that holds a piece of text; `how` is a key of `operators.MATCHES`. The case of A to Z does not count."""

    field: Field
    how: str
    text: str
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Known:
    """Whether a field has a value at all; never unknown itself."""

    field: Field
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Holds:
    """A field that is true or false by itself, such as `tag("vip")`."""

    field: Field
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Within:
    """A saved segment looked up: its rule, or None for a list kept member by member. Never written, see `book.resolve`.

    What is unknown there is not in it, so this is never unknown.
    """

    field: Field
    rule: Node | None
    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Everyone:
    """Every member: said in so many words, never the meaning of something left empty."""

    at: Place = attribute(default=NOWHERE, compare=False, repr=False)


Leaf = Compare | Relation | Membership | Matches | Known | Holds | Within | Everyone
Node = And | Or | Not | Leaf


def leaves(node: Node) -> Iterator[Leaf]:
    """Every condition of the tree, from left to right; a segment is one condition."""
    if isinstance(node, And | Or):
        for item in node.items:
            yield from leaves(item)
    elif isinstance(node, Not):
        yield from leaves(node.item)
    else:
        yield node


def leaf_fields(leaf: Leaf) -> Iterator[Field]:
    """The fields one condition asks for."""
    if isinstance(leaf, Relation):
        yield from term_fields(leaf.left)
        yield from term_fields(leaf.right)
    elif not isinstance(leaf, Everyone):
        yield leaf.field


def term_fields(term: Term) -> Iterator[Field]:
    """The fields of a calculation, from left to right."""
    if isinstance(term, Calculation):
        yield from term_fields(term.left)
        yield from term_fields(term.right)
    elif isinstance(term, Field):
        yield term


def fields_of(node: Node) -> list[Field]:
    """Every field the tree asks for, once each, from left to right; a segment's own are its own."""
    return list(dict.fromkeys(field for leaf in leaves(node) for field in leaf_fields(leaf)))


def deep_fields(node: Node) -> list[Field]:
    """Every field that decides, those of segments in their place too."""
    found: dict[Field, None] = {}
    for leaf in leaves(node):
        asked = list(leaf_fields(leaf))
        found |= dict.fromkeys(asked)
        for step in (one for field in asked for one in field.steps or ()):
            found |= dict.fromkeys(() if step.missing is None else term_fields(step.missing))
            found |= dict.fromkeys(() if step.keep is None else deep_fields(step.keep))
        if isinstance(leaf, Within) and leaf.rule is not None:
            found |= dict.fromkeys(deep_fields(leaf.rule))
    return list(found)
