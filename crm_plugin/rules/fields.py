"""The catalogue of fields, put together. Checker, SQL, sentences, pages and docs are made from it."""

from __future__ import annotations

from dataclasses import replace

from crm_plugin.errors import RuleTypeError, UnknownField
from crm_plugin.phrases import phrase
from crm_plugin.rules.catalogue import engagement, products, profile, purchases, standing
from crm_plugin.rules.nodes import Place, Value
from crm_plugin.rules.spec import FieldSpec, Kind, Moves, Parameter, Scope, Source, Text, Unit, at, nearest

__all__ = [
    "FIELDS",
    "GROUPS",
    "FieldSpec",
    "Kind",
    "Moves",
    "Parameter",
    "Scope",
    "Source",
    "Text",
    "Unit",
    "at",
    "field_named",
    "in_order",
    "nearest",
]

GROUPS = {
    "purchases": (Text("Purchases", "购买"), purchases.ROWS),
    "products": (Text("Products", "商品"), products.ROWS),
    "profile": (Text("Profile", "资料"), profile.ROWS),
    "standing": (Text("Consent, tier and segments", "授权、等级与分群"), standing.ROWS),
    "engagement": (Text("Messages", "消息"), engagement.ROWS),
}
FIELDS: dict[str, FieldSpec] = {
    row.key: replace(row, group=group) for group, (_, rows) in GROUPS.items() for row in rows
}


def field_named(key: str, place: Place) -> FieldSpec:
    """The catalogue's row. Raises: UnknownField with the nearest name."""
    spec = FIELDS.get(key)
    if spec is None:
        raise UnknownField(phrase("There is no field %(key)r.", key=key), hint=nearest(key, FIELDS), **at(place))
    return spec


def in_order(spec: FieldSpec, args: dict[str, Value], place: Place) -> tuple[tuple[str, Value], ...]:
    """The arguments in the catalogue's order. Raises: RuleTypeError for a name the field does not take."""
    for name in args:
        if spec.parameter(name) is None:
            known = [one.key for one in spec.parameters]
            hint = nearest(name, known) if known else phrase("Write %(written)s.", written=spec.key)
            raise RuleTypeError(
                phrase("%(key)s takes no argument %(name)r.", key=spec.key, name=name), hint=hint, **at(place)
            )
    return tuple((one.key, args[one.key]) for one in spec.parameters if one.key in args)
