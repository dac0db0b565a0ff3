"""Single rows as they are now, how many there are, and the ids of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from crm_plugin.adapters.storefronts.shopify import errors
from crm_plugin.adapters.storefronts.shopify.client import Rows, ShopifyClient
from crm_plugin.adapters.storefronts.shopify.mapping import number_of
from crm_plugin.adapters.storefronts.shopify.rows import head_of, made_whole
from crm_plugin.adapters.storefronts.shopify.walk import LONGEST_LIST
from crm_plugin.adapters.storefronts.shopify.webhooks import ITEM
from crm_plugin.records import Stream

_KINDS = {
    Stream.MEMBERS: "Customer",
    Stream.ORDERS: "Order",
    Stream.CHECKOUTS: "AbandonedCheckout",
    Stream.PRODUCTS: "ProductVariant",
}
# Each costs what its row costs, so fewer of those that cost more.
_AT_ONCE = {Stream.MEMBERS: 25, Stream.ORDERS: 10, Stream.CHECKOUTS: 10, Stream.PRODUCTS: 50}


class _ById(msgspec.Struct):
    rows: list[msgspec.Raw]


class _Variants(msgspec.Struct):
    rows: Rows


class _OfItem(msgspec.Struct):
    row: _Variants | None = None


class _Count(msgspec.Struct):
    count: int


class _CountData(msgspec.Struct):
    row: _Count | None = None


def many(
    client: ShopifyClient, stream: Stream, external_ids: Iterable[str]
) -> Iterator[tuple[str, msgspec.Raw | None]]:
    """Each row by its id, None for what is gone. An id of a product's inventory item finds the variant that it is of."""
    left = iter(dict.fromkeys(external_ids))
    while chunk := list(islice(left, _AT_ONCE[stream])):
        numbers = [one for one in chunk if one.isascii() and one.isdigit()]
        for one in chunk:
            if one not in numbers:
                yield one, _of_item(client, one) if one.startswith(ITEM) else None
        if numbers:
            ids = [f"gid://shopify/{_KINDS[stream]}/{one}" for one in numbers]
            operation = f"{stream.value}_by_id"
            found = client.query(operation, _ById, {"ids": ids}).rows
            if len(found) != len(numbers):
                raise errors.for_body(b"", operation, "$.rows")
            for one, raw in zip(numbers, found, strict=True):
                # What is of another kind than asked for answers with an empty object.
                yield one, _whole(client, stream, raw) if bytes(raw) not in (b"null", b"{}") else None


def count(client: ShopifyClient, stream: Stream) -> int | None:
    """How many rows there are."""
    row = client.query(f"{stream.value}_count", _CountData).row
    return None if row is None else row.count


def all_ids(client: ShopifyClient, stream: Stream) -> Iterator[str]:
    """The ids of all rows, by number; a list is begun anew before it would end by itself."""
    last, seen, more = "0", 0, True
    after: str | None = None
    while more:
        rows = client.page(f"{stream.value}_ids", {"after": after, "query": f"id:>{last}"})
        ids = [number_of(head_of(raw).id) for raw in rows.nodes]
        yield from ids
        more, seen = rows.page_info.has_next_page, seen + len(ids)
        after = rows.page_info.end_cursor
        if more and ids and seen >= LONGEST_LIST:
            last, after, seen = ids[-1], None, 0


def _of_item(client: ShopifyClient, external_id: str) -> msgspec.Raw | None:
    gid = f"gid://shopify/{external_id}"
    row = client.query("product_of_item", _OfItem, {"id": gid}).row
    return row.rows.nodes[0] if row is not None and row.rows.nodes else None


def _whole(client: ShopifyClient, stream: Stream, raw: msgspec.Raw) -> msgspec.Raw:
    if stream is Stream.PRODUCTS:
        return raw
    (row,) = made_whole(client, stream, [raw])
    return row
