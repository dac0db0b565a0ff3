"""The rule language: read, checked, and asked of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, select

from crm_plugin.rules.book import Book, read_book, resolve
from crm_plugin.rules.check import check
from crm_plugin.rules.document import to_json
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.parse import parse
from crm_plugin.rules.sql import PROGRAM_KEY, is_history, select_members
from crm_plugin.rules.sql import counts as count_all
from crm_plugin.store import member_facts, member_tiers, members
from crm_plugin.store.tenants import Shop

__all__ = [
    "Book",
    "Rule",
    "compile_for",
    "compile_rule",
    "count",
    "counts",
    "matching",
    "read_book",
    "sample",
    "told_of",
]


@dataclass(frozen=True, slots=True)
class Rule:
    """A checked rule: the text as it was written, its tree, and the tree as stored.

    `asked` is the tree with every segment's rule in its place, which can be run; the same tree when no names were looked up.
    """

    text: str
    node: Node
    json: dict[str, Any]
    asked: Node


def compile_rule(text: str, book: Book | None = None) -> Rule:
    """Read and check a rule, its names too where they are given. Raises: RuleError with line and column."""
    node = check(parse(text))
    return Rule(text.strip(), node, to_json(node), node if book is None else resolve(node, book))


def compile_for(connection: Connection, shop: Shop, text: str) -> Rule:
    """Read and check a rule against what this shop has. Raises: RuleError."""
    return compile_rule(text, read_book(connection, shop.shop_id))


def matching(connection: Connection, shop: Shop, text: str, as_of: date) -> Select[int]:
    """The active members who match, one column `member_id`. Raises: RuleError."""
    rule = compile_for(connection, shop, text)
    return select_members(shop, rule.asked, as_of, history=is_history(connection, shop, as_of))


def count(connection: Connection, shop: Shop, text: str, as_of: date) -> int:
    """How many active members match. Raises: RuleError."""
    found = matching(connection, shop, text, as_of).subquery()
    return connection.execute(select(func.count()).select_from(found)).scalar_one()


def counts(connection: Connection, shop: Shop, texts: Sequence[str], as_of: date) -> list[int]:
    """How many active members match each, all asked in one pass. Raises: RuleError."""
    book = read_book(connection, shop.shop_id)
    nodes = [compile_rule(text, book).asked for text in texts]
    return count_all(connection, shop, nodes, as_of, history=is_history(connection, shop, as_of))


def sample(connection: Connection, shop: Shop, text: str, as_of: date, limit: int) -> list[Row[Any]]:
    """The first matching members by id: member_id, names, email, country, locale, tier, orders_count, spent_minor, last_order_on.

    Members without orders have 0, 0 and None, those without a level an empty tier. Raises: RuleError.
    """
    return told_of(connection, shop, matching(connection, shop, text, as_of), limit)


def told_of(connection: Connection, shop: Shop, found: Select[int], limit: int) -> list[Row[Any]]:
    """The same of whoever a select of one column `member_id` finds."""
    chosen = found.order_by(found.selected_columns.member_id).limit(limit).subquery("chosen")
    m, f, t = members.c, member_facts.c, member_tiers.c
    query = (
        select(
            m.member_id,
            m.external_id,
            m.first_name,
            m.last_name,
            m.email,
            m.country,
            m.locale,
            func.coalesce(t.level_key, "").label("tier"),
            func.coalesce(f.orders_count, 0).label("orders_count"),
            func.coalesce(f.spent_minor, 0).label("spent_minor"),
            f.last_order_on,
        )
        .select_from(members)
        .join(chosen, m.member_id == chosen.c.member_id)
        .outerjoin(member_facts, and_(f.shop_id == m.shop_id, f.member_id == m.member_id))
        .outerjoin(member_tiers, and_(t.shop_id == m.shop_id, t.program_key == PROGRAM_KEY, t.member_id == m.member_id))
        .where(m.shop_id == shop.shop_id)
        .order_by(m.member_id)
    )
    return list(connection.execute(query))
