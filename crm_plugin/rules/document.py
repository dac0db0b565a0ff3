"""Nodes into JSON and back: how rules are stored, and what a form posts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from crm_plugin.errors import RuleSyntaxError, RuleTypeError
from crm_plugin.phrases import phrase
from crm_plugin.rules.fields import field_named, in_order, nearest
from crm_plugin.rules.nodes import (
    And,
    Calculation,
    Compare,
    Everyone,
    Field,
    Holds,
    Known,
    Matches,
    Membership,
    Node,
    Not,
    Number,
    Or,
    Place,
    Relation,
    Term,
    Value,
)
from crm_plugin.rules.operands import plain
from crm_plugin.rules.operators import CALCULATIONS, MATCHES, OPERATORS
from crm_plugin.rules.parse import MAX_CALCULATION
from crm_plugin.rules.spelling import MAX_DEPTH


def to_json(node: Node) -> dict[str, Any]:
    """The rule as a JSON document, as it is stored and as a form posts it."""
    if isinstance(node, And):
        return {"and": [to_json(item) for item in node.items]}
    if isinstance(node, Or):
        return {"or": [to_json(item) for item in node.items]}
    if isinstance(node, Not):
        return {"not": to_json(node.item)}
    if isinstance(node, Everyone):
        return {"everyone": True}
    if isinstance(node, Relation):
        return {"left": _term(node.left), "op": node.op, "right": _term(node.right)}
    document = _field(node.field)
    if isinstance(node, Compare):
        document |= {"op": node.op, "value": _plain(node.value)}
    elif isinstance(node, Membership):
        document |= {"op": "not in" if node.negated else "in", "value": [_plain(value) for value in node.values]}
    elif isinstance(node, Matches):
        document |= {"op": node.how, "value": node.text}
    elif isinstance(node, Known):
        document |= {"op": "known", "value": True}
    return document


def _field(field: Field) -> dict[str, Any]:
    args = {name: _plain(value) for name, value in field.args}
    return {"field": field.key, "args": args} if args else {"field": field.key}


def _term(term: Term) -> Any:
    if isinstance(term, Calculation):
        return {"calc": term.op, "left": _term(term.left), "right": _term(term.right)}
    return _plain(term.value) if isinstance(term, Number) else _field(term)


def _plain(value: Value) -> str | int | float:
    # `check` allows no number with more digits than a float keeps.
    return float(value) if isinstance(value, Decimal) else value


def from_json(document: Any) -> Node:
    """The tree of a JSON document. Raises: RuleSyntaxError, UnknownField or RuleTypeError, with the path in the document."""
    return _from_json(document, "rule", 0)


def _from_json(document: Any, path: str, depth: int) -> Node:
    place = Place(path=path)
    if depth > MAX_DEPTH:
        raise RuleSyntaxError(phrase("The rule is nested too deeply."), path=path)
    if not isinstance(document, Mapping):
        raise RuleSyntaxError(
            phrase("A condition is an object."), path=path, hint=phrase('An example: {"everyone": true}.')
        )
    keys = set(document)
    if keys in ({"and"}, {"or"}):
        (word,) = keys
        items = document[word]
        if not isinstance(items, Sequence) or isinstance(items, str):
            raise RuleSyntaxError(phrase("%(word)r holds a list of conditions.", word=word), path=f"{path}.{word}")
        nodes = tuple(_from_json(item, f"{path}.{word}[{number}]", depth + 1) for number, item in enumerate(items))
        if len(nodes) == 1:
            # A group of one means what it holds, and has no text of its own.
            return nodes[0]
        return And(nodes, place) if word == "and" else Or(nodes, place)
    if keys == {"not"}:
        return Not(_from_json(document["not"], f"{path}.not", depth + 1), place)
    if keys == {"everyone"} and document["everyone"] is True:
        return Everyone(place)
    if "field" in keys and keys <= {"field", "args", "op", "value"}:
        return _leaf_from_json(document, place)
    if keys == {"left", "op", "right"}:
        return _relation_from_json(document, place)
    known = ("and", "or", "not", "everyone", "field", "args", "op", "value", "left", "right")
    unknown = sorted(str(key) for key in keys - set(known))
    hint = nearest(unknown[0], known) if unknown else phrase('An example: {"field": "orders", "op": ">=", "value": 2}.')
    raise RuleSyntaxError(phrase("This is not a condition."), path=path, hint=hint)


def _leaf_from_json(document: Mapping[str, Any], place: Place) -> Node:
    path = place.path
    field = _field_from_json(document, path)
    if ("op" in document) != ("value" in document):
        raise RuleSyntaxError(phrase("`op` and `value` go together."), path=path)
    if "op" not in document:
        return Holds(field, place)
    op, value = document["op"], document["value"]
    if op in ("in", "not in"):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise RuleSyntaxError(phrase("%(op)r wants a list.", op=op), path=f"{path}.value")
        values = tuple(_from_plain(one, f"{path}.value[{number}]") for number, one in enumerate(value))
        return Membership(field, values, op == "not in", place)
    if op == "known":
        if value is not True:
            raise RuleSyntaxError(
                phrase("known is asked with true."), path=f"{path}.value", hint=phrase("Put not around it.")
            )
        return Known(field, place)
    if isinstance(op, str) and op in MATCHES:
        if not isinstance(value, str):
            raise RuleTypeError(phrase("A text is wanted here."), path=f"{path}.value")
        return Matches(field, op, value, place)
    return Compare(field, _operator(op, path), _from_plain(value, f"{path}.value"), place)


def _field_from_json(document: Mapping[str, Any], path: str) -> Field:
    spec = field_named(str(document["field"]), Place(path=f"{path}.field"))
    given = document.get("args", {})
    if not isinstance(given, Mapping):
        raise RuleSyntaxError(phrase("Arguments are an object of names and values."), path=f"{path}.args")
    args = {str(name): _from_plain(value, f"{path}.args.{name}") for name, value in given.items()}
    return Field(spec.key, in_order(spec, args, Place(path=f"{path}.args")), Place(path=path))


def _operator(op: Any, path: str) -> str:
    if not isinstance(op, str) or op not in OPERATORS:
        hint = phrase("There are: %(names)s.", names=", ".join([*OPERATORS, "in", "not in", *MATCHES, "known"]))
        raise RuleSyntaxError(phrase("There is no operator %(op)r.", op=op), path=f"{path}.op", hint=hint)
    return op


def _relation_from_json(document: Mapping[str, Any], place: Place) -> Node:
    path = place.path
    left = _term_from_json(document["left"], f"{path}.left", 0)
    right = _term_from_json(document["right"], f"{path}.right", 0)
    op = _operator(document["op"], path)
    # As the text has it: a field against a number is the simple form, whichever side it stands on.
    if isinstance(left, Field) and isinstance(right, Number):
        return Compare(left, op, right.value, place)
    if isinstance(left, Number) and isinstance(right, Field):
        return Compare(right, OPERATORS[op].mirrored, left.value, place)
    return Relation(left, op, right, place)


def _term_from_json(document: Any, path: str, depth: int) -> Term:
    if depth > MAX_CALCULATION:
        raise RuleSyntaxError(phrase("The calculation is nested too deeply."), path=path)
    if not isinstance(document, Mapping):
        value = _from_plain(document, path)
        if isinstance(value, str):
            raise RuleTypeError(phrase("A text is no number to calculate or compare with."), path=path)
        return Number(value, Place(path=path))
    if set(document) == {"calc", "left", "right"}:
        op = document["calc"]
        if not isinstance(op, str) or op not in CALCULATIONS:
            hint = phrase("There are: %(names)s.", names=", ".join(CALCULATIONS))
            raise RuleSyntaxError(phrase("%(op)r cannot be calculated.", op=op), path=f"{path}.calc", hint=hint)
        left = _term_from_json(document["left"], f"{path}.left", depth + 1)
        right = _term_from_json(document["right"], f"{path}.right", depth + 1)
        return Calculation(op, left, right, Place(path=path))
    if "field" in document and set(document) <= {"field", "args"}:
        return _field_from_json(document, path)
    raise RuleSyntaxError(phrase("This is not a number, a field or a calculation."), path=path)


_FINITE = re.compile(r"-?\d")


def _from_plain(value: Any, path: str) -> Value:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and _FINITE.match(repr(value)):
        return plain(Decimal(repr(value)))
    raise RuleTypeError(phrase("A value is a number or a text."), path=path)
