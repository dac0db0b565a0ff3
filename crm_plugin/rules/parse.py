"""Text into nodes.

The text is a strict subset of Python's expressions, read by `ast` with an allow-list: what is not listed is refused. Reading names the
arguments and sorts them, so that equal rules have equal trees; whether a tree makes sense is `check`'s business.
"""

from __future__ import annotations

import ast
from decimal import Decimal
from functools import lru_cache
from typing import NoReturn

from crm_plugin.errors import RuleSyntaxError, RuleTypeError
from crm_plugin.phrases import joined, phrase
from crm_plugin.rules.fields import FIELDS, FieldSpec, Kind, at, field_named, in_order
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
from crm_plugin.rules.operators import MATCHES, OPERATORS
from crm_plugin.rules.spelling import MAX_DEPTH, look_over

MAX_CALCULATION = 4

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.GtE: ">=",
    ast.Gt: ">",
    ast.LtE: "<=",
    ast.Lt: "<",
}
_CALCULATIONS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_EXAMPLE = phrase("An example: %(rule)s.", rule='spent(days=365) >= 1000 and not bought(sku="GIFT")')


# A run or a page reads the rules of a shop many times; a tree is never changed.
@lru_cache(maxsize=512)
def parse(text: str) -> Node:
    """The tree of a rule's text. Raises: RuleSyntaxError, UnknownField or RuleTypeError, with line and column."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    look_over(text)
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.split("\n")):
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
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in _ASKED:
            return self._asked(tree, tree.func.id)
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
        if isinstance(tree, ast.BinOp):
            self._refuse(tree, phrase("A number alone says nothing."), phrase("Compare it: spent() / orders() >= 50."))
        return self._refuse(tree, phrase("This is not part of the rule language."), _EXAMPLE)

    def _asked(self, tree: ast.Call, how: str) -> Node:
        """`known(field)`, and the looks into a text: `starts_with(field, "text")`."""
        place = self._place(tree)
        example = "known(country)" if how == "known" else f'{how}(email, "…")'
        if tree.keywords or len(tree.args) != (1 if how == "known" else 2):
            self._refuse(
                tree, phrase("%(how)s does not take this.", how=how), phrase("Write %(written)s.", written=example)
            )
        if not isinstance(tree.args[0], ast.Name | ast.Call):
            self._refuse(
                tree.args[0],
                phrase("%(how)s asks about a field.", how=how),
                phrase("Write %(written)s.", written=example),
            )
        field = self._field(tree.args[0])
        if how == "known":
            return Known(field, place)
        return Matches(field, how, self._text(tree.args[1]), place)

    def _text(self, tree: ast.expr) -> str:
        value = self._value(tree)
        if not isinstance(value, str):
            self._refuse(tree, phrase("A text is wanted here."), phrase("Put it in quotes."))
        return value

    def _comparison(self, tree: ast.Compare) -> Node:
        operands = [tree.left, *tree.comparators]
        found = [self._one(left, op, right) for left, op, right in zip(operands, tree.ops, operands[1:], strict=False)]
        # 100 <= spent() < 500 is two conditions that must both hold.
        return found[0] if len(found) == 1 else And(tuple(found), self._place(tree))

    def _one(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Node:
        if isinstance(op, ast.Is | ast.IsNot):
            return self._none(left, right, isinstance(op, ast.Is))
        if isinstance(op, ast.In | ast.NotIn):
            return self._in(left, right, isinstance(op, ast.NotIn))
        key = _COMPARISONS[type(op)]
        if isinstance(left, ast.Name | ast.Call) and _is_value(right):
            return Compare(self._field(left), key, self._value(right), self._place(left))
        if isinstance(right, ast.Name | ast.Call) and _is_value(left):
            return Compare(self._field(right), OPERATORS[key].mirrored, self._value(left), self._place(right))
        self._refuse_bare_word(left, right)
        if _is_value(left) and _is_value(right):
            self._refuse(right, phrase("Two values are compared, and no field."), _EXAMPLE)
        return Relation(self._term(left, 0), key, self._term(right, 0), self._place(left))

    def _refuse_bare_word(self, left: ast.expr, right: ast.expr) -> None:
        """`country == GB`: a text that lost its quotes is no field that is misspelt."""
        for one, other in ((left, right), (right, left)):
            if isinstance(one, ast.Name) and isinstance(other, ast.Name | ast.Call) and one.id not in FIELDS:
                spec = FIELDS.get(other.id if isinstance(other, ast.Name) else getattr(other.func, "id", ""))
                if spec is not None and spec.kind is Kind.TEXT:
                    self._refuse(one, phrase("%(id)s is not a value.", id=one.id), phrase("Put texts in quotes."))

    def _none(self, left: ast.expr, right: ast.expr, same: bool) -> Node:
        if not (isinstance(right, ast.Constant) and right.value is None and isinstance(left, ast.Name | ast.Call)):
            self._refuse(
                left,
                phrase("is cannot compare here."),
                phrase("Write == or !=, or country is None for what is not known."),
            )
        known = Known(self._field(left), self._place(left))
        return Not(known, known.at) if same else known

    def _in(self, left: ast.expr, right: ast.expr, negated: bool) -> Node:
        place = self._place(left)
        if isinstance(left, ast.Constant) and isinstance(right, ast.Name | ast.Call):
            # As Python has it: "@example.com" in email.
            piece = Matches(self._field(right), "contains", self._text(left), place)
            return Not(piece, place) if negated else piece
        if not isinstance(left, ast.Name | ast.Call):
            self._refuse(
                left, phrase("Only a field can be asked for a list."), phrase('An example: country in ("GB", "IE").')
            )
        if not isinstance(right, ast.Tuple | ast.List):
            self._refuse(right, phrase("A list stands after in."), phrase('An example: country in ("GB", "IE").'))
        values = tuple(self._value(one) for one in right.elts)
        return Membership(self._field(left), values, negated, place)

    def _term(self, tree: ast.expr, depth: int) -> Term:
        """A number: a field, a written one, or a calculation."""
        place = self._place(tree)
        if depth > MAX_CALCULATION:
            raise RuleSyntaxError(phrase("The calculation is nested too deeply."), **at(place))
        if isinstance(tree, ast.BinOp):
            op = _CALCULATIONS.get(type(tree.op))
            if op is None:
                self._refuse(tree, phrase("This cannot be calculated here."), phrase("There are + - * and /."))
            return Calculation(op, self._term(tree.left, depth + 1), self._term(tree.right, depth + 1), place)
        if isinstance(tree, ast.Name | ast.Call):
            return self._field(tree)
        value = self._value(tree)
        if isinstance(value, str):
            self._refuse(
                tree,
                phrase("A text is no number to calculate or compare with."),
                phrase("Compare a text with a field."),
            )
        return Number(value, place)

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
        names = ", ".join(f"{one.key}=" for one in spec.parameters if not one.positional)
        hint = (
            phrase("Give it by name: %(names)s.", names=names)
            if names
            else phrase("Write %(key)s%(value)s.", key=spec.key, value="" if spec.parameters else " alone")
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
                return plain(Decimal((ast.get_source_segment(self._source, tree) or "0").replace("_", "")))
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


_ASKED = ("known", *MATCHES)


def _is_value(tree: ast.expr) -> bool:
    """A number or text as written."""
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        tree = tree.operand
    return isinstance(tree, ast.Constant)
