"""The storefront contract: pages of typed records, resumable by an opaque cursor; beside it what it hears and what it writes.

`installing.py` has the other half of a platform that is installed from a marketplace: how a merchant comes in.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import ClassVar

from crm_plugin.adapters.base import Problem
from crm_plugin.adapters.storefronts.credentials import Keeper
from crm_plugin.adapters.storefronts.fields import ShowsFields
from crm_plugin.adapters.storefronts.hearing import Hears
from crm_plugin.adapters.storefronts.installing import Installer
from crm_plugin.adapters.storefronts.writing import TIER_FORMS, Allowance, StoreGrade, Writes
from crm_plugin.records import Page, Record, ShopInfo, Stream

__all__ = ["TIER_FORMS", "Allowance", "FileStorefront", "StoreGrade", "StorefrontAdapter"]


class StorefrontAdapter(Hears, ShowsFields, Writes):
    """Where members and orders come from.

    `pages(stream, "")` gives the whole history. Each page's `next_cursor`, given back later (also by another process), continues
    after that page; when the stream was in step (`last`), it gives what has changed since. Loading a page twice changes nothing,
    for records carry the platform's ids. A page may repeat records of the one before; it never leaves one out.

    Errors: `TransientError` after the adapter's own short retries, `ActionRequired` when the merchant must act, `MalformedResponse`
    when the answer is no answer. A record that cannot be read is a `RecordProblem` on its page, never an exception.
    """

    streams: ClassVar[tuple[Stream, ...]]
    # What we ask leave for, in the platform's own words: True for what we cannot do without. Empty where a key reads, or writes too.
    scopes: ClassVar[Mapping[str, bool]] = {}
    # How a merchant comes in, for an adapter of another distribution; our own are named in the registry.
    installer: ClassVar[type[Installer] | None] = None
    # Whether what lines cost is what a piece costs now, for the platform keeps no cost of the sale (`sync/costs.py`).
    costs_are_of_now: ClassVar[bool] = False
    # Whether lines may lack the cost of the sale, though their product tells what a piece costs now.
    costs_may_lack: ClassVar[bool] = False
    # How long after the app was taken away the platform demands that all is erased; None where it demands nothing.
    erased_within: ClassVar[timedelta | None] = None
    # Set by whoever opens the adapter for a store that is kept; see `credentials.py`.
    keeper: Keeper | None = None

    @property
    def address(self) -> str:
        """Where the store is, as it was told; uses `values` alone."""
        return str(self.values.get("url") or "")

    def soon(self, now: datetime) -> list[Problem]:
        """What the merchant has to do before long, such as agreeing again; uses `values` alone, and asks the store nothing."""
        del now
        return []

    @abstractmethod
    def shop_info(self) -> ShopInfo:
        """Name, currency and zone of the connected store."""

    @abstractmethod
    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        """Pages from the cursor on, ending with one whose `last` is True."""

    @abstractmethod
    def parse(self, stream: Stream, raw: str) -> Record:
        """Read one raw record again, as kept by a problem. Raises: MalformedResponse with the path."""

    def granted(self) -> frozenset[str] | None:
        """What the store lets us do, in its own words (scopes); None where it tells only by refusing."""
        return None


class FileStorefront(StorefrontAdapter):
    """A storefront that is a file: looked through once before anything is written, then read page by page.

    `rows` is known after `look_through`; the `next_cursor` of a page is the number of rows read up to its end. Pages of several
    streams come mixed, as the file has them. `refund_lines` counts, while pages are read, the rows that became refunds. `statuses` tells,
    after they are read, what each of the file's words for an order's state was read as; empty where its orders were set aside.
    """

    kind: str
    rows: int
    refund_lines: int
    statuses: dict[str, str]

    @abstractmethod
    def look_at_columns(self) -> None:
        """Read the first line only. Raises: InvalidInput as `look_through` would for what that line shows."""

    @abstractmethod
    def look_through(self) -> None:
        """Read the whole file without keeping it. Raises: InvalidInput for a missing column, a broken encoding, no file at all."""

    @abstractmethod
    def file_pages(self) -> Iterator[Page]:
        """All pages of the file, in its order."""
