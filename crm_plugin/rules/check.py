"""Whether a tree makes sense: fields, arguments and types. What passes can be run; what is empty or ill-typed never gets that far."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import NoReturn

from crm_plugin.errors import RuleTypeError
from crm_plugin.phrases import phrase
from crm_plugin.rules.fields import FieldSpec, Kind, Parameter, Unit, at, field_named, in_order, nearest
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
    Within,
    leaves,
)
from crm_plugin.rules.operators import OPERATORS

# Ten thousand times the turnover of a large shop, and room below 63 bits for minor units.
MAX_NUMBER = 10**12
MAX_DECIMALS = 4
# As many digits as a float keeps, for JSON has no other number.
MAX_DIGITS = 15
MAX_DAYS = 36_500
MAX_TEXT = 1_000
MAX_VALUES = 500
# SQLite takes no expression deeper than 1,000, and each condition of a flat group is one level.
MAX_CONDITIONS = 200
_KINDS = {Kind.NUMBER: phrase("number"), Kind.TEXT: phrase("text"), Kind.FLAG: phrase("flag")}
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2199, 12, 31)


def check(node: Node) -> Node:
    """The same tree, sound. Raises: UnknownField, RuleTypeError, with line and column or the path."""
    count = sum(1 for _ in leaves(node))
    if count > MAX_CONDITIONS:
        raise RuleTypeError(
            phrase("The rule has %(count)s conditions; %(most)s are the most.", count=count, most=MAX_CONDITIONS),
            **at(node.at),
        )
    _check(node)
    return node


def _check(node: Node) -> None:
    if isinstance(node, And | Or):
        if not node.items:
            _refuse(node.at, phrase("The group is empty."), phrase("Write everyone if all are meant."))
        for item in node.items:
            _check(item)
    elif isinstance(node, Not):
        _check(node.item)
    elif isinstance(node, Holds):
        _check_held(node)
    elif isinstance(node, Compare):
        spec = _check_compared(node.field)
        if OPERATORS[node.op].ordered and spec.kind is not Kind.NUMBER:
            _refuse(
                node.at,
                phrase("%(op)s compares numbers, and %(key)s is a text.", op=node.op, key=spec.key),
                phrase("Write ==, != or in."),
            )
        _check_value(spec, node.value, node.at)
    elif isinstance(node, Relation):
        _check_relation(node)
    elif isinstance(node, Membership):
        _check_list(node)
    elif isinstance(node, Matches):
        spec = _check_compared(node.field)
        if spec.kind is not Kind.TEXT:
            _refuse(
                node.at,
                phrase("%(key)s is a number, and %(how)s looks into texts.", key=spec.key, how=node.how),
                phrase("Write == or >=."),
            )
        _check_text(node.text, phrase("The text"), node.at)
        if not node.text:
            _refuse(
                node.at,
                phrase("Every text holds the empty one."),
                phrase("Write known(%(key)s) for whoever has one.", key=spec.key),
            )
    elif isinstance(node, Known):
        if _check_field(node.field).kind is Kind.FLAG:
            _refuse(node.at, phrase("%(key)s is always known.", key=node.field.key), phrase("Write it alone."))
    elif isinstance(node, Within):
        _check_field(node.field)
    elif not isinstance(node, Everyone):
        raise TypeError(f"{type(node).__name__} is no node of a rule")


def _check_held(node: Holds) -> None:
    spec = _check_field(node.field)
    if spec.kind is not Kind.FLAG:
        example = f"{spec.key}{'()' if spec.called else ''} {'>= 1' if spec.kind is Kind.NUMBER else '== …'}"
        _refuse(
            node.at,
            phrase("%(key)s is a %(kind)s and no condition by itself.", key=spec.key, kind=_KINDS[spec.kind]),
            phrase("Compare it: %(written)s.", written=example),
        )


def _check_list(node: Membership) -> None:
    spec = _check_compared(node.field)
    if not node.values:
        _refuse(node.at, phrase("The list is empty."), phrase("Name at least one value."))
    if len(node.values) > MAX_VALUES:
        hint = phrase("Use a tag or a list segment for so many.")
        _refuse(
            node.at,
            phrase("The list has %(count)s values; %(most)s are the most.", count=len(node.values), most=MAX_VALUES),
            hint,
        )
    for value in node.values:
        _check_value(spec, value, node.at)


def _check_relation(node: Relation) -> None:
    if not [one for side in (node.left, node.right) for one in _fields(side)]:
        _refuse(
            node.at,
            phrase("Two values are compared, and no field."),
            phrase("Compare a field: spent() / orders() >= 50."),
        )
    left, right = _unit(node.left), _unit(node.right)
    if None not in (left, right) and left is not right:
        _refuse(
            node.at,
            phrase("%(left)s is compared with %(right)s.", left=_a(left), right=_a(right)),
            phrase("Compare like with like."),
        )


def _fields(term: Term) -> list[Field]:
    if isinstance(term, Calculation):
        return [*_fields(term.left), *_fields(term.right)]
    return [term] if isinstance(term, Field) else []


# What may be added or compared with one another; None is a bare number, which goes with everything.
_PLAIN = (Unit.COUNT, Unit.NONE, Unit.SHARE, Unit.MONTH, Unit.YEAR)


def _unit(term: Term) -> Unit | None:
    """What a calculation counts. Raises: RuleTypeError for one of unlike things."""
    if isinstance(term, Number):
        _check_number(term.value, term.at)
        return None
    if isinstance(term, Field):
        spec = _check_compared(term)
        if spec.kind is not Kind.NUMBER:
            _refuse(
                term.at,
                phrase("%(key)s is a text, and numbers are compared here.", key=spec.key),
                phrase('Compare it with a text: == "…".'),
            )
        if not spec.exact:
            _refuse(
                term.at, phrase("%(key)s cannot be calculated with.", key=spec.key), phrase("Compare it with a number.")
            )
        return None if spec.unit in _PLAIN else spec.unit
    left, right = _unit(term.left), _unit(term.right)
    if term.op in "+-":
        if None not in (left, right) and left is not right:
            _refuse(
                term.at,
                phrase("%(left)s and %(right)s do not add up.", left=_a(left), right=_a(right)),
                phrase("Calculate with like things."),
            )
        return left or right
    if term.op == "*":
        if left is not None and right is not None:
            _refuse(
                term.at,
                phrase("%(left)s times %(right)s is nothing known.", left=_a(left), right=_a(right)),
                phrase("Multiply by a number or a count."),
            )
        return left or right
    if isinstance(term.right, Number) and term.right.value == 0:
        _refuse(term.at, phrase("Nothing can be divided by zero."), "")
    if left is right:
        return None
    if right is not None:
        _refuse(
            term.at,
            phrase("%(left)s divided by %(right)s is nothing known.", left=_a(left), right=_a(right)),
            phrase("Divide by a number or a count."),
        )
    return left


def _a(unit: Unit | None) -> str:
    return {Unit.MONEY: phrase("an amount"), Unit.DAYS: phrase("a number of days")}.get(
        unit or Unit.NONE, phrase("a number")
    )


def _check_compared(field: Field) -> FieldSpec:
    spec = _check_field(field)
    if spec.kind is Kind.FLAG:
        _refuse(
            field.at,
            phrase("%(key)s is true or false and is not compared.", key=spec.key),
            phrase("Write %(key)s(…) or not %(key)s(…).", key=spec.key),
        )
    return spec


def _check_field(field: Field) -> FieldSpec:
    spec = field_named(field.key, field.at)
    args = dict(field.args)
    in_order(spec, args, field.at)
    for parameter in spec.parameters:
        if parameter.key in args:
            _check_argument(spec, parameter, args[parameter.key], field.at)
        elif parameter.positional:
            example = f'"{parameter.choices[0]}"' if parameter.choices else '"…"'
            _refuse(
                field.at,
                phrase("%(key)s wants a %(parameter)s.", key=spec.key, parameter=parameter.key),
                phrase("Write %(written)s.", written=f"{spec.key}({example})"),
            )
    if spec.needs_one_of and not any(name in args for name in spec.needs_one_of):
        names = " or ".join(f"{name}=" for name in spec.needs_one_of)
        _refuse(
            field.at,
            phrase("%(key)s wants %(names)s.", key=spec.key, names=names),
            phrase("An example: %(rule)s.", rule=f'{spec.key}({spec.needs_one_of[0]}="…")'),
        )
    _check_span(args, field.at)
    return spec


def _check_span(args: dict[str, Value], place: Place) -> None:
    fixed = [name for name in ("from_date", "to_date") if name in args]
    moving = [name for name in ("days", "since") if name in args]
    if fixed and moving:
        _refuse(
            place,
            phrase("%(one)s and %(other)s do not go together.", one=fixed[0], other=moving[0]),
            phrase("Give days=, since=, or fixed dates."),
        )
    if len(fixed) == 2 and str(args["from_date"]) > str(args["to_date"]):
        _refuse(place, phrase("The span ends before it begins."), phrase("Exchange from_date and to_date."))


def _check_argument(spec: FieldSpec, parameter: Parameter, value: Value, place: Place) -> None:
    name = phrase("%(parameter)s of %(key)s", parameter=parameter.key, key=spec.key)
    if parameter.type is int:
        if not isinstance(value, int) or not 1 <= value <= MAX_DAYS:
            _refuse(
                place,
                phrase("%(name)s is a whole number from 1 to %(most)s.", name=name, most=MAX_DAYS),
                phrase("Write %(written)s, for instance.", written=f"{parameter.key}=365"),
            )
        return
    if not isinstance(value, str):
        _refuse(place, phrase("%(name)s is a text.", name=name), phrase('Put it in quotes: "%(value)s".', value=value))
    _check_text(value, name, place)
    if not value:
        _refuse(place, phrase("%(name)s is empty.", name=name), "")
    if parameter.choices and value not in parameter.choices:
        _refuse(
            place,
            phrase("There is no %(key)s %(value)r.", key=parameter.key, value=value),
            nearest(value, parameter.choices),
        )
    if parameter.is_day:
        _check_day(name, value, place)
    if spec.key.startswith("attribute") and re.search(r'["\\]', value):
        _refuse(
            place,
            phrase("%(name)s holds a quotation mark or backslash.", name=name),
            phrase("Rename the attribute where it comes from."),
        )


def _check_day(name: str, value: str, place: Place) -> None:
    hint = phrase('Write year, month and day: "2026-01-31".')
    try:
        day = date.fromisoformat(value) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) else None
    except ValueError:
        day = None
    if day is None:
        _refuse(place, phrase("%(name)s is no day: %(value)r.", name=name, value=value), hint)
    if not FIRST_DAY <= day <= LAST_DAY:
        _refuse(
            place,
            phrase(
                "%(name)s lies outside %(first)s to %(last)s.",
                name=name,
                first=FIRST_DAY,
                last=LAST_DAY,
            ),
            hint,
        )


def _check_value(spec: FieldSpec, value: Value, place: Place) -> None:
    if spec.kind is Kind.TEXT:
        if not isinstance(value, str):
            _refuse(
                place,
                phrase("%(key)s is a text, and %(value)s a number.", key=spec.key, value=value),
                phrase('Put it in quotes: "%(value)s".', value=value),
            )
        _check_text(value, spec.key, place)
        if not value and not spec.empty_is_known:
            _refuse(
                place,
                phrase("An empty %(key)s is unknown and equals nothing.", key=spec.key),
                phrase("Write not known(%(key)s).", key=spec.key),
            )
        if spec.form is not None and not re.fullmatch(spec.form[0], value):
            _refuse(place, phrase("No member has the %(key)s %(value)r.", key=spec.key, value=value), spec.form[1])
        return
    if isinstance(value, str):
        _refuse(
            place,
            phrase("%(key)s is a number, and %(value)r a text.", key=spec.key, value=value),
            phrase("Write the number without quotes."),
        )
    _check_number(value, place)
    if spec.between is not None and not spec.between[0] <= Decimal(value) <= spec.between[1]:
        low, high = spec.between
        _refuse(
            place,
            phrase(
                "%(key)s goes from %(low)s to %(high)s, so %(number)s says nothing.",
                key=spec.key,
                low=low,
                high=high,
                number=format(Decimal(value), "f"),
            ),
            "",
        )


def _check_number(value: int | Decimal, place: Place) -> None:
    exact = Decimal(value)
    digits, power = len(exact.as_tuple().digits), exact.as_tuple().exponent
    if abs(exact) > MAX_NUMBER or digits > MAX_DIGITS or (isinstance(power, int) and power < -MAX_DECIMALS):
        _refuse(
            place,
            phrase("%(number)s has too many digits.", number=format(exact, "f")),
            phrase(
                "Numbers go up to %(most)s, with at most %(places)s places and %(digits)s digits.",
                most=MAX_NUMBER,
                places=MAX_DECIMALS,
                digits=MAX_DIGITS,
            ),
        )


def _check_text(value: str, name: str, place: Place) -> None:
    if len(value) > MAX_TEXT:
        _refuse(place, phrase("%(name)s is longer than %(most)s characters.", name=name, most=MAX_TEXT), "")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        _refuse(place, phrase("%(name)s holds a character that no database keeps.", name=name), "")


def _refuse(place: Place, message: str, hint: str) -> NoReturn:
    raise RuleTypeError(message, line=place.line, column=place.column, path=place.path, hint=hint)
