"""What differs in records that a store changed without telling so: each as it was here, held against what was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from crm_plugin.records import Page, Record, Stream
from crm_plugin.store import bulk
from crm_plugin.sync.reread import shown

# What a difference is called (the pages have words for it), and the columns that hold it. Whatever else the store says of a record is in
# its fingerprint: lines of an order, fields of the merchant's own.
_HELD: dict[Stream, Mapping[str, Sequence[str]]] = {
    Stream.MEMBERS: {
        "email": ("email",),
        "phone": ("phone",),
        "name": ("first_name", "last_name"),
        "place": ("country", "region", "timezone"),
        "language": ("locale",),
        "birthday": ("birth_year", "birth_md"),
        "joined": ("joined_at",),
        "state": ("state",),
    },
    Stream.ORDERS: {
        "state": ("status", "platform_status"),
        "total": ("total_minor", "currency"),
        "parts": ("tax_minor", "shipping_minor", "discount_minor"),
        "cost": ("cost_minor",),
        "member": ("member_id",),
        "dates": ("placed_at", "paid_at", "shipped_at", "delivered_at"),
        "coupons": ("coupon_codes",),
    },
    Stream.PRODUCTS: {
        "code": ("sku",),
        "title": ("title",),
        "category": ("category",),
        "price": ("price_minor", "currency"),
        "cost": ("cost_minor",),
        "links": ("url", "image_url"),
    },
}
NEW, GONE, REST = "new", "gone", "rest"
_Rows = dict[str, tuple[Any, ...]]


def held(connection: Connection, shop_id: int, stream: Stream, pages: Iterable[Page]) -> _Rows:
    """What is here of the records of these pages, by their ids; nothing of a stream whose records are not compared."""
    if stream not in _HELD:
        return {}
    named = f"SELECT external_id, {', '.join(_columns(stream))}, fingerprint FROM {stream.value}"  # noqa: S608
    sql = f"{named} WHERE shop_id = ? AND external_id IN ({{marks}})"
    ids = {record.external_id for page in pages for record in page.records}
    return {row[0]: tuple(row[1:]) for row in bulk.select_in(connection, sql, (shop_id,), ids)}


def differing(stream: Stream, pages: Iterable[Page], before: _Rows, after: _Rows, most: int) -> dict[str, list[str]]:
    """The first `most` of these records that are not as they were, by what people know them by: what differs."""
    found: dict[str, list[str]] = {}
    for record in (record for page in pages for record in page.records):
        if len(found) >= most:
            break
        what = _what(stream, record, before, after)
        if what:
            found[shown(record)] = what
    return found


def _what(stream: Stream, record: Record, before: _Rows, after: _Rows) -> list[str]:
    was, became = before.get(record.external_id), after.get(record.external_id)
    if was == became:
        return []
    if was is None or became is None:
        return [NEW if was is None else GONE]
    at = {name: number for number, name in enumerate(_columns(stream))}
    named = [word for word, names in _HELD[stream].items() if any(was[at[name]] != became[at[name]] for name in names)]
    return named or [REST]


def _columns(stream: Stream) -> list[str]:
    return [name for names in _HELD[stream].values() for name in names]
