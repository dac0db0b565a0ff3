"""Whether a tree makes sense: fields, arguments and types. What passes can be run; what is empty or ill-typed never gets that far."""

from __future__ import annotations

import re
from collections.abc import Collection
from decimal import Decimal
from typing import NoReturn

from crm_plugin.errors import RuleTypeError
from crm_plugin.phrases import phrase
from crm_plugin.rules.fields import FieldSpec, Kind, Parameter, at, field_named, in_order, nearest
from crm_plugin.rules.nodes import And, Compare, Everyone, Field, Holds, Membership, Node, Not, Or, Place, Value, leaves
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


def check(node: Node) -> Node:
    """The same tree, sound. Raises: UnknownField, RuleTypeError, with line and column or the path."""
    count = sum(1 for _ in leaves(node))
    if count > MAX_CONDITIONS:
        raise RuleTypeError(
            phrase(
                "The rule has %(count)s conditions; %(most)s are the most.",
                count=count,
                most=MAX_CONDITIONS,
            ),
            **at(node.at),
        )
    _check(node)
    return node


def check_tiers(node: Node, levels: Collection[str]) -> Node:
    """Hold the tiers a rule names against those there are: a mistyped one in `tier != "glod"` would widen the audience."""
    for leaf in leaves(node):
        if isinstance(leaf, Compare | Membership) and leaf.field.key == "tier":
            for value in leaf.values if isinstance(leaf, Membership) else (leaf.value,):
                if value != "" and value not in levels:
                    _refuse(
                        leaf.at,
                        phrase("There is no tier %(value)r.", value=value),
                        nearest(str(value), levels) or phrase("Save the tiers first."),
                    )
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
        spec = _check_field(node.field)
        if spec.kind is not Kind.FLAG:
            example = f"{spec.key}{'()' if spec.parameters else ''} {'>= 1' if spec.kind is Kind.NUMBER else '== …'}"
            _refuse(
                node.at,
                phrase("%(key)s is a %(kind)s and no condition by itself.", key=spec.key, kind=_KINDS[spec.kind]),
                phrase("Compare it: %(written)s.", written=example),
            )
    elif isinstance(node, Compare):
        spec = _check_compared(node.field)
        if OPERATORS[node.op].ordered and spec.kind is not Kind.NUMBER:
            _refuse(
                node.at,
                phrase("%(op)s compares numbers, and %(key)s is a text.", op=node.op, key=spec.key),
                phrase("Write ==, != or in."),
            )
        _check_value(spec, node.value, node.at)
    elif isinstance(node, Membership):
        spec = _check_compared(node.field)
        if not node.values:
            _refuse(node.at, phrase("The list is empty."), phrase("Name at least one value."))
        if len(node.values) > MAX_VALUES:
            _refuse(
                node.at,
                phrase(
                    "The list has %(count)s values; %(most)s are the most.",
                    count=len(node.values),
                    most=MAX_VALUES,
                ),
                phrase("Use a tag for such lists."),
            )
        for value in node.values:
            _check_value(spec, value, node.at)
    else:
        assert isinstance(node, Everyone)


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
    return spec


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


def _check_value(spec: FieldSpec, value: Value, place: Place) -> None:
    if spec.kind is Kind.TEXT:
        if not isinstance(value, str):
            _refuse(
                place,
                phrase("%(key)s is a text, and %(value)s a number.", key=spec.key, value=value),
                phrase('Put it in quotes: "%(value)s".', value=value),
            )
        _check_text(value, spec.key, place)
        if not value and spec.key != "tier":
            _refuse(place, phrase("An empty %(key)s is unknown and equals nothing.", key=spec.key), "")
        if spec.form is not None and not re.fullmatch(spec.form[0], value):
            _refuse(place, phrase("No member has the %(key)s %(value)r.", key=spec.key, value=value), spec.form[1])
        return
    if isinstance(value, str):
        _refuse(
            place,
            phrase("%(key)s is a number, and %(value)r a text.", key=spec.key, value=value),
            phrase("Write the number without quotes."),
        )
    exact = Decimal(value)
    digits, power = len(exact.as_tuple().digits), exact.as_tuple().exponent
    if abs(exact) > MAX_NUMBER or digits > MAX_DIGITS or (isinstance(power, int) and power < -MAX_DECIMALS):
        _refuse(
            place,
            phrase("%(number)s has too many digits.", number=f"{exact:f}"),
            phrase(
                "Numbers go up to %(most)s, with at most %(places)s places and %(digits)s digits.",
                most=MAX_NUMBER,
                places=MAX_DECIMALS,
                digits=MAX_DIGITS,
            ),
        )
    if spec.between is not None and not spec.between[0] <= exact <= spec.between[1]:
        low, high = spec.between
        _refuse(
            place,
            phrase(
                "%(key)s goes from %(low)s to %(high)s, so %(number)s says nothing.",
                key=spec.key,
                low=low,
                high=high,
                number=f"{exact:f}",
            ),
            "",
        )


def _check_text(value: str, name: str, place: Place) -> None:
    if len(value) > MAX_TEXT:
        _refuse(place, phrase("%(name)s is longer than %(most)s characters.", name=name, most=MAX_TEXT), "")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        _refuse(place, phrase("%(name)s holds a character that no database keeps.", name=name), "")


def _refuse(place: Place, message: str, hint: str) -> NoReturn:
    raise RuleTypeError(message, line=place.line, column=place.column, path=place.path, hint=hint)
