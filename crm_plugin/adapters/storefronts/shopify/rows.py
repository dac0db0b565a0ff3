"""Pages of raw rows as pages of records, and rows made whole: what stood on further pages of a list below a row is put into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from crm_plugin.adapters.raw import read_or_none
from crm_plugin.adapters.storefronts import rows
from crm_plugin.adapters.storefronts.rows import Cursor, Reader, read_rows
from crm_plugin.adapters.storefronts.shopify.client import PageInfo, Rows, ShopifyClient
from crm_plugin.adapters.storefronts.shopify.mapping import number_of
from crm_plugin.records import Page, Stream

Json = dict[str, Any]


class Head(msgspec.Struct, rename="camel"):
    """What walking has to know of a row."""

    id: str = ""
    updated_at: datetime | None = None


class _Below(msgspec.Struct, rename="camel"):
    page_info: PageInfo = msgspec.field(default_factory=PageInfo)


class _Lists(msgspec.Struct, rename="camel"):
    id: str = ""
    line_items: _Below | None = None
    variants: _Below | None = None


class _Rest(msgspec.Struct):
    rows: Rows


class _RestData(msgspec.Struct):
    row: _Rest | None = None


HEAD = msgspec.json.Decoder(Head)
_LISTS = msgspec.json.Decoder(_Lists)


def page_of(
    stream: Stream, raws: list[msgspec.Raw], read: Reader, state: Cursor, *, total: int | None, last: bool
) -> Page:
    """The page that these rows make, with the cursor as it stands now; one that cannot be read is a problem under its own id."""
    found = read_rows(stream, raws, read)
    found.problems[:] = [replace(one, external_id=number_of(one.external_id)) for one in found.problems]
    return rows.page_of(stream, found, state, total=total, last=last)


def head_of(raw: msgspec.Raw) -> Head:
    """What walking has to know of a row; nothing of one that cannot be read."""
    return read_or_none(HEAD, raw) or Head()


def made_whole(client: ShopifyClient, stream: Stream, raws: Iterable[msgspec.Raw]) -> Iterator[msgspec.Raw]:
    """The rows with all of their lists, one for each variant of a product."""
    for raw in raws:
        row = _with_the_rest(client, stream, raw)
        if stream is Stream.PRODUCTS:
            yield from variants_of(row)
        else:
            yield row


def variants_of(raw: msgspec.Raw) -> Iterator[msgspec.Raw]:
    """A product's variants, each with the product in it."""
    product: Json = msgspec.json.decode(raw)
    below = product.pop("variants", None) or {}
    for variant in below.get("nodes", ()):
        yield msgspec.Raw(msgspec.json.encode({**variant, "product": product}))


def _with_the_rest(client: ShopifyClient, stream: Stream, raw: msgspec.Raw) -> msgspec.Raw:
    operation, name = {
        Stream.ORDERS: ("order_lines", "lineItems"),
        Stream.PRODUCTS: ("product_variants", "variants"),
    }.get(stream, ("", ""))
    if not operation:
        return raw
    lists = _LISTS.decode(raw)
    info = (lists.line_items if name == "lineItems" else lists.variants) or _Below()
    if not info.page_info.has_next_page:
        return raw
    row: Json = msgspec.json.decode(raw)
    after = info.page_info.end_cursor
    while after:
        found = client.query(operation, _RestData, {"id": lists.id, "after": after}).row
        if found is None:
            break
        row[name]["nodes"] += [msgspec.json.decode(one) for one in found.rows.nodes]
        after = found.rows.page_info.end_cursor if found.rows.page_info.has_next_page else None
    row[name]["pageInfo"] = {"hasNextPage": False, "endCursor": None}
    return msgspec.Raw(msgspec.json.encode(row))
