"""The few heads that paging itself has to know of a row."""

from __future__ import annotations

import msgspec

from crm_plugin.adapters.raw import read_or_none
from crm_plugin.adapters.storefronts.woocommerce import payloads


def head(raw: msgspec.Raw) -> payloads.Head:
    """What paging needs of a row; nothing of one that cannot be read."""
    return read_or_none(payloads.HEAD, raw) or payloads.Head()


def ids(rows: list[msgspec.Raw]) -> list[int]:
    """The rows' own ids."""
    return [found.id for found in map(head, rows) if found.id is not None]
