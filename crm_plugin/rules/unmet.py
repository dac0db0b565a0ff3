"""Values that a rule asks for and that no member has, such as `locale == "EN"` where languages are written en: told, not refused.

A member who has one may come any day, so it stays a rule; but it is more often a slip of the pen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import SequenceMatcher

from sqlalchemy import Connection, Table, select

from crm_plugin.phrases import phrase
from crm_plugin.rules.nodes import And, Compare, Holds, Membership, Node, Not, Or, leaves
from crm_plugin.rules.sql import ACTIVE
from crm_plugin.store import member_tags, members
from crm_plugin.store.tenants import Shop

# Texts of which a shop's members have few: what the rule calls them, the table and its column.
_FEW: dict[str, tuple[Table, str]] = {
    "locale": (members, "locale"),
    "country": (members, "country"),
    "timezone": (members, "zone"),
    "tag": (member_tags, "tag"),
}
# So many are named; with more the nearest by letters.
_NAMED = 12


def unmet(connection: Connection, shop: Shop, node: Node, coming: Collection[str] = ()) -> list[str]:
    """A sentence for each value that a rule asks for and no member has, with those that there are: one statement a field.

    `coming` are tags that are not missed, for members will come by them.
    """
    there: dict[str, list[str]] = {}
    told = []
    for field, value in dict.fromkeys(_asked(node)):
        if field == "tag" and value in coming:
            continue
        if field not in there:
            there[field] = _values(connection, shop, field)
        if value not in there[field]:
            told.append(_sentence(field, value, there[field]))
    return told


def _asked(node: Node) -> Iterator[tuple[str, str]]:
    """Field and value, wherever a member must have it; what they must not have may be whatever it is."""
    if isinstance(node, And | Or):
        for item in node.items:
            yield from _asked(item)
        return
    for leaf in () if isinstance(node, Not) else leaves(node):
        if isinstance(leaf, Compare) and leaf.op == "==" and leaf.field.key in _FEW:
            yield leaf.field.key, str(leaf.value)
        elif isinstance(leaf, Membership) and not leaf.negated and leaf.field.key in _FEW:
            yield from ((leaf.field.key, str(value)) for value in leaf.values)
        elif isinstance(leaf, Holds) and leaf.field.key in _FEW:
            yield from ((leaf.field.key, str(value)) for _name, value in leaf.field.args[:1])


def _values(connection: Connection, shop: Shop, field: str) -> list[str]:
    table, name = _FEW[field]
    column = table.c[name]
    query = select(column).distinct().where(table.c.shop_id == shop.shop_id, column != "")
    if table is members:
        query = query.where(members.c.state == ACTIVE)
    return sorted(connection.execute(query).scalars())


def _sentence(field: str, value: str, there: list[str]) -> str:
    if not there:
        return phrase("No member has a %(field)s, so nobody has %(value)r.", field=field, value=value)
    named = there
    if len(there) > _NAMED:
        named = [*sorted(there, key=lambda one: -_alike(one, value))[:_NAMED], "…"]
    return phrase(
        "No member has the %(field)s %(value)r. There are: %(values)s.", field=field, value=value, values=named
    )


def _alike(one: str, other: str) -> float:
    return SequenceMatcher(None, one.lower(), other.lower()).ratio()
