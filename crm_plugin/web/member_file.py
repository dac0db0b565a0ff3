"""The list of members as a CSV file, written page by page while it is sent."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any

from crm_plugin.analytics.members import MemberRow, search
from crm_plugin.money import to_major
from crm_plugin.rules.called import Called
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.web.titles import level_name

PAGE = 5000
COLUMNS = (
    "store_id",
    "name",
    "email",
    "phone",
    "country",
    "language",
    "tier",
    "tier_since",
    "orders",
    "spent",
    "currency",
    "last_order",
)
# A spreadsheet would run what begins so as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def rows(db: Database, shop: Shop, filters: Mapping[str, Any], by: Called) -> Iterator[str]:
    """The file's text, in parts. Each part is read by itself, so that a slow download holds no transaction open."""
    # Without this mark a spreadsheet takes the file for its own system's encoding.
    yield "\ufeff" + _lines([COLUMNS])
    after = 0
    while True:
        with db.read() as connection:
            found = search(connection, shop, **filters, after=after, limit=PAGE)
        if not found:
            return
        yield _lines([_row(shop, one, by) for one in found])
        after = found[-1].member_id


def safe(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(shop: Shop, one: MemberRow, by: Called) -> tuple[object, ...]:
    texts = (
        one.external_id,
        one.name,
        one.email,
        one.phone,
        one.country,
        one.locale,
        level_name(by, one.tier) if one.tier else "",
    )
    return (
        *(safe(text) for text in texts),
        one.tier_since or "",
        one.orders,
        # Our own figure, which may be below zero and is to stay a figure.
        to_major(one.spent_minor, shop.currency),
        shop.currency,
        one.last_order_on or "",
    )


def _lines(found: list[tuple[object, ...]]) -> str:
    text = StringIO()
    csv.writer(text).writerows(found)
    return text.getvalue()
