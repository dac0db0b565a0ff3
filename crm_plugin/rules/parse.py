"""Text and JSON into nodes, and back.

The text is a strict subset of Python's expressions, read by `ast` with an allow-list: what is not listed is refused. Reading names the
arguments and sorts them, so that equal rules have equal trees; whether a tree makes sense is `check`'s business.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from crm_plugin.errors import RuleSyntaxError, RuleTypeError
from crm_plugin.phrases import joined, phrase
from crm_plugin.rules.fields import FIELDS, FieldSpec, at, field_named, in_order, nearest
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
    Place,
    Value,
)
from crm_plugin.rules.operators import OPERATORS
from crm_plugin.rules.spelling import MAX_DEPTH, look_over

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.GtE: ">=",
    ast.Gt: ">",
    ast.LtE: "<=",
    ast.Lt: "<",
}
_EXAMPLE = phrase("An example: %(rule)s.", rule='spent(days=365) >= 1000 and not bought(sku="GIFT")')


def parse(text: str) -> Node:
    """The tree of a rule's text. Raises: RuleSyntaxError, UnknownField or RuleTypeError, with line and column."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    look_over(text)
    if not text.strip():
        raise RuleSyntaxError(
            phrase("The rule is empty."),
            line=1,
            column=1,
            hint=joined(phrase("Write everyone if all are meant."), _EXAMPLE),
        )
    # Brackets around the whole let a rule run over several lines; `look_over` has seen that its own are balanced.
    source = f"({text}\n)"
    try:
        tree = ast.parse(source, mode="eval")
    except SyntaxError as error:
        raise _unreadable(text, error) from error
    except (RecursionError, MemoryError, ValueError) as error:
        raise RuleSyntaxError(phrase("The rule is nested too deeply."), line=1, column=1) from error
    return _Reader(source).node(tree.body, 0)


def _unreadable(text: str, error: SyntaxError) -> RuleSyntaxError:
    lines = text.split("\n")
    line, column = error.lineno or 1, error.offset or 1
    if line == 1:
        column -= 1
    if line > len(lines):
        # The mistake shows only at the end: say the place after the last thing written.
        stripped = text.rstrip()
        line, column = stripped.count("\n") + 1, len(stripped) - (stripped.rfind("\n") + 1) + 1
        return RuleSyntaxError(phrase("The rule ends too early."), line=line, column=column, hint=_EXAMPLE)
    return RuleSyntaxError(phrase("This cannot be read."), line=line, column=max(column, 1), hint=_EXAMPLE)


class _Reader:
    """Python's tree into ours."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines = source.split("\n")

    def node(self, tree: ast.expr, depth: int) -> Node:
        place = self._place(tree)
        if depth > MAX_DEPTH:
            raise RuleSyntaxError(phrase("The rule is nested too deeply."), **at(place))
        if isinstance(tree, ast.BoolOp):
            items = tuple(self.node(value, depth + 1) for value in tree.values)
            return And(items, place) if isinstance(tree.op, ast.And) else Or(items, place)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
            return Not(self.node(tree.operand, depth + 1), place)
        if isinstance(tree, ast.Compare):
            return self._comparison(tree)
        if isinstance(tree, ast.Name) and tree.id == "everyone":
            return Everyone(place)
        if isinstance(tree, ast.Name | ast.Call):
            return Holds(self._field(tree), place)
        if isinstance(tree, ast.Tuple):
            # A bare tuple begins at our own bracket; what follows the comma is the place to look at.
            after = tree.elts[-1] if tree.elts else tree
            self._refuse(
                after,
                phrase("A comma cannot stand here."),
                phrase("Write 1000, not 1,000, and join conditions by and / or."),
            )
        if isinstance(tree, ast.Constant):
            self._refuse(
                tree,
                phrase("A value alone says nothing."),
                joined(phrase("Compare a field with it."), _EXAMPLE),
            )
        return self._refuse(tree, phrase("This is not part of the rule language."), _EXAMPLE)

    def _comparison(self, tree: ast.Compare) -> Node:
        operands = [tree.left, *tree.comparators]
        found = [self._one(left, op, right) for left, op, right in zip(operands, tree.ops, operands[1:], strict=False)]
        # 100 <= spent() < 500 is two conditions that must both hold.
        return found[0] if len(found) == 1 else And(tuple(found), self._place(tree))

    def _one(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Compare | Membership:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(left, ast.Name | ast.Call):
                self._refuse(
                    left,
                    phrase("Only a field can be asked for a list."),
                    phrase("An example: %(rule)s.", rule='country in ("GB", "IE")'),
                )
            if not isinstance(right, ast.Tuple | ast.List):
                self._refuse(
                    right,
                    phrase("A list stands after in."),
                    phrase("An example: %(rule)s.", rule='country in ("GB", "IE")'),
                )
            values = tuple(self._value(one) for one in right.elts)
            return Membership(self._field(left), values, isinstance(op, ast.NotIn), self._place(left))
        key = _COMPARISONS.get(type(op))
        if key is None:
            self._refuse(left, phrase("is cannot compare here."), phrase("Write == or !=."))
        if not isinstance(left, ast.Name | ast.Call):
            left, right, key = right, left, OPERATORS[key].mirrored
        if not isinstance(left, ast.Name | ast.Call):
            self._refuse(right, phrase("Two values are compared, and no field."), _EXAMPLE)
        if isinstance(right, ast.Name | ast.Call):
            self._refuse(
                right,
                phrase("A field is compared with a value, not with another field."),
                phrase("Put texts in quotes."),
            )
        return Compare(self._field(left), key, self._value(right), self._place(left))

    def _field(self, tree: ast.Name | ast.Call) -> Field:
        place = self._place(tree)
        if isinstance(tree, ast.Name):
            return Field(field_named(tree.id, place).key, (), place)
        if not isinstance(tree.func, ast.Name):
            self._refuse(tree, phrase("This is not part of the rule language."), _EXAMPLE)
        spec = field_named(tree.func.id, place)
        args: dict[str, Value] = {}
        for number, value in enumerate(tree.args):
            args[self._positional(spec, number, value)] = self._value(value)
        for keyword in tree.keywords:
            if keyword.arg is None:
                self._refuse(
                    keyword.value,
                    phrase("This is not part of the rule language."),
                    _EXAMPLE,
                )
            if keyword.arg in args:
                self._refuse(keyword.value, phrase("%(arg)s is given twice.", arg=keyword.arg), "")
            args[keyword.arg] = self._value(keyword.value)
        return Field(spec.key, in_order(spec, args, place), place)

    def _positional(self, spec: FieldSpec, number: int, value: ast.expr) -> str:
        if number < len(spec.positional):
            return spec.positional[number].key
        names = [f"{one.key}=" for one in spec.parameters if not one.positional]
        hint = (
            phrase("Give it by name: %(names)s.", names=names)
            if names
            else phrase("Write %(written)s.", written=spec.key)
            if spec.parameters
            else phrase("Write %(written)s alone.", written=spec.key)
        )
        raise RuleTypeError(phrase("%(key)s takes no such value.", key=spec.key), hint=hint, **at(self._place(value)))

    def _value(self, tree: ast.expr) -> Value:
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub) and isinstance(tree.operand, ast.Constant):
            value = self._value(tree.operand)
            if not isinstance(value, str):
                return -value
        if isinstance(tree, ast.Constant):
            if isinstance(tree.value, str):
                return tree.value
            if isinstance(tree.value, int | float) and not isinstance(tree.value, bool):
                # The digits as written, for a float would have lost some.
                return whole(Decimal((ast.get_source_segment(self._source, tree) or "0").replace("_", "")))
            self._refuse(
                tree,
                phrase("%(value)r is not a value here.", value=tree.value),
                phrase("Values are numbers and texts in quotes."),
            )
        if isinstance(tree, ast.Name):
            self._refuse(tree, phrase("%(id)s is not a value.", id=tree.id), phrase("Put texts in quotes."))
        return self._refuse(tree, phrase("A value is wanted here."), phrase("Values are numbers and texts in quotes."))

    def _place(self, tree: ast.expr) -> Place:
        # Python counts columns in UTF-8 bytes, people in characters; the first line has our bracket before it.
        line = self._lines[tree.lineno - 1]
        column = len(line.encode()[: tree.col_offset].decode(errors="ignore"))
        return Place(tree.lineno, max(column, 1) if tree.lineno == 1 else column + 1)

    def _refuse(self, tree: ast.expr, message: str, hint: str) -> NoReturn:
        place = self._place(tree)
        raise RuleSyntaxError(message, line=place.line, column=place.column, hint=hint)


def whole(value: Decimal) -> int | Decimal:
    """A number without a fraction as int, so that equal values are equal nodes."""
    return int(value) if value == value.to_integral_value() else value.normalize()


def to_text(node: Node) -> str:
    """The rule as a line of text; `parse` gives the same tree back."""
    if isinstance(node, And | Or):
        word = " and " if isinstance(node, And) else " or "
        return word.join(_inside(item, of=node) for item in node.items)
    if isinstance(node, Not):
        inner = to_text(node.item)
        return f"not ({inner})" if isinstance(node.item, And | Or) else f"not {inner}"
    if isinstance(node, Compare):
        return f"{field_text(node.field)} {node.op} {value_text(node.value)}"
    if isinstance(node, Membership):
        values = ", ".join(value_text(value) for value in node.values)
        return f"{field_text(node.field)} {'not in' if node.negated else 'in'} [{values}]"
    if isinstance(node, Holds):
        return field_text(node.field)
    assert isinstance(node, Everyone)
    return "everyone"


def _inside(item: Node, of: And | Or) -> str:
    # A group inside a group keeps its brackets, also where they change nothing: the form shows them as a group.
    return f"({to_text(item)})" if isinstance(item, And | Or) else to_text(item)


def field_text(field: Field) -> str:
    """A field as it is written: `spent(days=365)`, `country`, `tag("vip")`."""
    spec = FIELDS[field.key]
    if not spec.parameters:
        return field.key
    positional = {one.key for one in spec.positional}
    args = [value_text(value) if name in positional else f"{name}={value_text(value)}" for name, value in field.args]
    return f"{field.key}({', '.join(args)})"


def value_text(value: Value) -> str:
    """A value as it is written."""
    return (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, str)
        else format(value, "f" if isinstance(value, Decimal) else "d")
    )


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
    document: dict[str, Any] = {"field": node.field.key}
    if node.field.args:
        document["args"] = {name: _plain(value) for name, value in node.field.args}
    if isinstance(node, Compare):
        document |= {"op": node.op, "value": _plain(node.value)}
    elif isinstance(node, Membership):
        document |= {"op": "not in" if node.negated else "in", "value": [_plain(value) for value in node.values]}
    return document


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
            phrase("A condition is an object."),
            path=path,
            hint=phrase("An example: %(rule)s.", rule='{"everyone": true}'),
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
    known = ("and", "or", "not", "everyone", "field", "args", "op", "value")
    unknown = sorted(str(key) for key in keys - set(known))
    hint = (
        nearest(unknown[0], known)
        if unknown
        else phrase("An example: %(rule)s.", rule='{"field": "orders", "op": ">=", "value": 2}')
    )
    raise RuleSyntaxError(phrase("This is not a condition."), path=path, hint=hint)


def _leaf_from_json(document: Mapping[str, Any], place: Place) -> Node:
    path = place.path
    spec = field_named(str(document["field"]), Place(path=f"{path}.field"))
    given = document.get("args", {})
    if not isinstance(given, Mapping):
        raise RuleSyntaxError(phrase("Arguments are an object of names and values."), path=f"{path}.args")
    args = {str(name): _from_plain(value, f"{path}.args.{name}") for name, value in given.items()}
    field = Field(spec.key, in_order(spec, args, Place(path=f"{path}.args")), place)
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
    if not isinstance(op, str) or op not in OPERATORS:
        hint = phrase("There are: %(names)s.", names=[*OPERATORS, "in", "not in"])
        raise RuleSyntaxError(phrase("There is no operator %(op)r.", op=op), path=f"{path}.op", hint=hint)
    return Compare(field, op, _from_plain(value, f"{path}.value"), place)


_FINITE = re.compile(r"-?\d")


def _from_plain(value: Any, path: str) -> Value:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and _FINITE.match(repr(value)):
        return whole(Decimal(repr(value)))
    raise RuleTypeError(phrase("A value is a number or a text."), path=path)
