"""Records asked for by id, how many there are, and all their ids: what is needed to follow webhooks and to compare at night."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from crm_plugin.adapters.storefronts.rows import Cursor, Reader
from crm_plugin.adapters.storefronts.woocommerce.changes import LONGEST_INCLUDE, Part
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.adapters.storefronts.woocommerce.members import next_by_id
from crm_plugin.adapters.storefronts.woocommerce.rows import head, ids
from crm_plugin.errors import AdapterError
from crm_plugin.records import Record

One = Callable[[str], Record | None]


class Lists:
    """The lists that make up one stream."""

    def __init__(self, client: WooCommerceClient, parts: tuple[Part, ...]) -> None:
        self._client = client
        self._parts = parts

    def reread(self, wanted: Iterable[str], read: Reader, one: One) -> Iterator[tuple[str, Record | None]]:
        """Each as it is now. A list leaves out what it cannot load: what none of them shows is asked for by itself (`one`)."""
        every = list(wanted)
        for start in range(0, len(every), LONGEST_INCLUDE):
            names = every[start : start + LONGEST_INCLUDE]
            left = {name for name in names if _is_id(name)}
            for part in self._parts:
                for name, record in self._included(part, left, read) if left else ():
                    left.discard(name)
                    yield name, record
            for name in names:
                if name in left or not _is_id(name):
                    yield name, one(name)

    def _included(self, part: Part, names: set[str], read: Reader) -> Iterator[tuple[str, Record]]:
        told: set[str] = set()
        params = {**part.params, "include": ",".join(sorted(names, key=int))}
        offset, more = 0, True
        while more:
            try:
                listing = self._client.list(part.path, params, offset)
            except AdapterError as error:
                if part.may_lack(error):
                    return
                raise
            for raw in listing.rows:
                name = str(head(raw).id)
                if name in names and name not in told:
                    told.add(name)
                    yield name, read(raw)
            offset, more = listing.next_offset, listing.more

    def count(self) -> int | None:
        """How many there are; None where a proxy drops the store's own count."""
        total = 0
        for part in self._parts:
            try:
                found = self._client.list(part.path, {**part.params, "_fields": "id", "orderby": "id"}, 0).total
            except AdapterError as error:
                if part.may_lack(error):
                    continue
                raise
            if found is None:
                return None
            total += found
        return total

    def ids(self) -> Iterator[str]:
        """The ids of all."""
        for part in self._parts:
            state: Cursor = {}
            more = True
            while more:
                try:
                    listing = next_by_id(self._client, part.path, {**part.params, "_fields": "id"}, state)
                except AdapterError as error:
                    if part.may_lack(error):
                        break
                    raise
                yield from map(str, ids(listing.rows))
                more = listing.more


def _is_id(name: str) -> bool:
    return name.isdigit() and name.isascii()
