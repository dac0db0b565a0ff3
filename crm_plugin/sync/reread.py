"""Records that were named, as the store tells them now: one that cannot be read keeps no other from being."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import MalformedResponse, PermanentError
from crm_plugin.records import OrderRecord, ProductRecord, Record, RecordProblem, Stream


@dataclass(slots=True)
class Reread:
    """Records, ids of what is no longer there, and those that could not be read."""

    records: list[Record] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problems: list[RecordProblem] = field(default_factory=list)


def reread(storefront: StorefrontAdapter, stream: Stream, ids: Iterable[str]) -> Reread:
    """Ask for each of these. Raises: as the storefront does for what concerns all of them."""
    wanted, found = sorted(set(ids)), Reread()
    read: dict[str, Record | None] = {}
    try:
        read.update(storefront.reread_many(stream, wanted))
    except (MalformedResponse, PermanentError):
        # One of them is none, or is refused: each is asked for alone.
        for name in wanted:
            if name not in read:
                _alone(storefront, stream, name, read, found)
    found.records = [record for record in read.values() if record is not None]
    found.missing = [name for name, record in read.items() if record is None]
    return found


def _alone(
    storefront: StorefrontAdapter, stream: Stream, name: str, read: dict[str, Record | None], found: Reread
) -> None:
    try:
        read[name] = storefront.reread(stream, name)
    except (MalformedResponse, PermanentError) as error:
        path = getattr(error, "path", "") or "$"
        found.problems.append(RecordProblem(stream, name, error.message, error.excerpt, path))


def shown(record: Record) -> str:
    """What people know a record by: the number on an order's papers, a product's code, else the store's own id."""
    if isinstance(record, OrderRecord):
        return record.number or record.external_id
    return (record.sku or record.external_id) if isinstance(record, ProductRecord) else record.external_id
