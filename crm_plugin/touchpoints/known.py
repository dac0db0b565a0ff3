"""What is known of the members and the orders that messages are about, read by statements that are made once.

What a statement is built of costs as much as reading fifty members.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, Table, bindparam, select

from crm_plugin.store import (
    member_consents,
    member_facts,
    members,
    order_lines,
    orders,
    products,
    suppressions,
)
from crm_plugin.store.bulk import named
from crm_plugin.store.lists import among

# No guard and no text asks for these: instants and the store's own values cost most of what a row costs to read.
_UNSPOKEN = frozenset(
    (
        "attributes",
        "joined_at",
        "updated_at",
        "first_seen_at",
        "changed_at",
        "touched_at",
        "first_order_at",
        "fingerprint",
    )
)


def _among(key: Column[Any], columns: Iterable[Column[Any]]) -> Select[Any]:
    """Those columns of the rows of the shop `b_shop` in which the key is one of `b_keys`."""
    return select(*columns).where(key.table.c.shop_id == bindparam("b_shop"), among(key, "b_keys"))


def _of_members(table: Table, *names: str) -> Select[Any]:
    wanted = names or tuple(column.name for column in table.c if column.name not in _UNSPOKEN)
    return _among(table.c.member_id, (table.c[name] for name in wanted))


_MEMBERS, _FACTS = _of_members(members), _of_members(member_facts)
_SAID = _of_members(member_consents, "member_id", "channel", "topic", "state")
_b, _p = suppressions.c, products.c
_BLOCKED = _among(_b.address, (_b.channel, _b.address, _b.reason))
_ORDERS = _among(orders.c.order_id, orders.c)
_LINES = _among(order_lines.c.order_id, order_lines.c).order_by(order_lines.c.order_id, order_lines.c.line_no)
_PAGES = _among(_p.external_id, (_p.external_id, _p.url)).where(_p.url != "")

_Consents = dict[int, dict[tuple[str, str], str]]


def people(
    connection: Connection, shop_id: int, ids: Collection[int]
) -> tuple[dict[int, Row[Any]], dict[int, Row[Any]], _Consents]:
    """By member: who it is, the facts of their orders, and what they said, by channel and topic."""
    asked = {"b_shop": shop_id, "b_keys": ids}
    there, facts = ({row.member_id: row for row in named(connection.execute(one, asked))} for one in (_MEMBERS, _FACTS))
    said: _Consents = defaultdict(dict)
    for member_id, channel, topic, state in connection.execute(_SAID, asked).all():
        said[member_id][channel, topic] = state
    return there, facts, said


def suppressed(connection: Connection, shop_id: int, addresses: Collection[str]) -> dict[tuple[str, str], str]:
    """(channel, address) → why, of these addresses that are written to no more."""
    found = connection.execute(_BLOCKED, {"b_shop": shop_id, "b_keys": addresses})
    return {(channel, address): reason for channel, address, reason in found}


def orders_of(
    connection: Connection, shop_id: int, ids: Collection[int]
) -> tuple[dict[int, Row[Any]], dict[int, list[Row[Any]]]]:
    """By order: the order, and its lines in their order."""
    asked = {"b_shop": shop_id, "b_keys": ids}
    there = {row.order_id: row for row in named(connection.execute(_ORDERS, asked))}
    lines: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in named(connection.execute(_LINES, asked)):
        lines[row.order_id].append(row)
    return there, lines


def pages(connection: Connection, shop_id: int, lines: Iterable[Any]) -> dict[str, str]:
    """Where the store shows the products of these lines, by their ids there."""
    ids = {line.product_external_id for line in lines} - {""}
    found = connection.execute(_PAGES, {"b_shop": shop_id, "b_keys": ids}) if ids else ()
    return {row.external_id: row.url for row in found}
