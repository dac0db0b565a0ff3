"""Nodes into text: what `parse` reads back as the same tree."""

from __future__ import annotations

import json
from decimal import Decimal

from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nodes import (
    And,
    Calculation,
    Compare,
    Everyone,
    Field,
    Known,
    Matches,
    Membership,
    Node,
    Not,
    Number,
    Or,
    Relation,
    Term,
    Value,
)


def to_text(node: Node) -> str:
    """The rule as a line of text; `parse` gives the same tree back."""
    if isinstance(node, And | Or):
        word = " and " if isinstance(node, And) else " or "
        return word.join(_inside(item) for item in node.items)
    if isinstance(node, Not):
        inner = to_text(node.item)
        return f"not ({inner})" if isinstance(node.item, And | Or) else f"not {inner}"
    if isinstance(node, Compare):
        return f"{field_text(node.field)} {node.op} {value_text(node.value)}"
    if isinstance(node, Relation):
        return f"{term_text(node.left)} {node.op} {term_text(node.right)}"
    if isinstance(node, Membership):
        values = ", ".join(value_text(value) for value in node.values)
        return f"{field_text(node.field)} {'not in' if node.negated else 'in'} [{values}]"
    if isinstance(node, Matches):
        return f"{node.how}({field_text(node.field)}, {value_text(node.text)})"
    if isinstance(node, Known):
        return f"known({field_text(node.field)})"
    if isinstance(node, Everyone):
        return "everyone"
    # A flag, or a segment whose rule was put in its place: written by its name.
    return field_text(node.field)


def _inside(item: Node) -> str:
    # A group inside a group keeps its brackets, also where they change nothing: the form shows them as a group.
    return f"({to_text(item)})" if isinstance(item, And | Or) else to_text(item)


def term_text(term: Term) -> str:
    """A number as it is written; every calculation inside another keeps its brackets."""
    if isinstance(term, Calculation):
        left, right = (
            f"({term_text(one)})" if isinstance(one, Calculation) else term_text(one) for one in (term.left, term.right)
        )
        return f"{left} {term.op} {right}"
    return value_text(term.value) if isinstance(term, Number) else field_text(term)


def field_text(field: Field) -> str:
    """A field as it is written: `spent(days=365)`, `country`, `tag("vip")`."""
    spec = FIELDS[field.key]
    if not field.args and not spec.called:
        return field.key
    positional = {one.key for one in spec.positional}
    args = [value_text(value) if name in positional else f"{name}={value_text(value)}" for name, value in field.args]
    return f"{field.key}({', '.join(args)})"


def value_text(value: Value) -> str:
    """A value as it is written."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return format(value, "f" if isinstance(value, Decimal) else "d")
