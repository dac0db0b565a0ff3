"""The storefront contract: pages of typed records, resumable by an opaque cursor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import ClassVar

from crm_plugin.adapters.base import Adapter, Capability, Problem
from crm_plugin.errors import ActionRequired, AdapterError, TransientError, UnsupportedFeature
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, Record, ShopInfo, Stream, TierMark, TierWrite, TierWritten

# In what form a store holds a member's level. A storefront without any of these cannot, and says so by that.
TIER_FORMS = frozenset({Capability.TIER_TAG, Capability.TIER_GROUP, Capability.TIER_GRADE, Capability.TIER_METAFIELD})


class StorefrontAdapter(Adapter):
    """Where members and orders come from.

    `pages(stream, "")` gives the whole history. Each page's `next_cursor`, given back later (also by another process), continues
    after that page; when the stream was in step (`last`), it gives what has changed since. Loading a page twice changes nothing,
    for records carry the platform's ids. A page may repeat records of the one before; it never leaves one out.

    Errors: `TransientError` after the adapter's own short retries, `ActionRequired` when the merchant must act, `MalformedResponse`
    when the answer is no answer. A record that cannot be read is a `RecordProblem` on its page, never an exception.
    """

    streams: ClassVar[tuple[Stream, ...]]

    @abstractmethod
    def shop_info(self) -> ShopInfo:
        """Name, currency and zone of the connected store."""

    @abstractmethod
    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        """Pages from the cursor on, ending with one whose `last` is True."""

    @abstractmethod
    def parse(self, stream: Stream, raw: str) -> Record:
        """Read one raw record again, as kept by a problem. Raises: MalformedResponse with the path."""

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        """Ask the platform for one record again; None when it is gone there. Default: cannot be asked."""
        return None

    # Levels written back. A storefront that declares one of `TIER_FORMS` fills `write_tier`, or `write_tiers` where the store takes many
    # at once, and tells each account's marks in `MemberRecord.marks`, apart from its tags and attributes.

    # How many marks one call takes.
    tiers_at_once: ClassVar[int] = 1

    @classmethod
    def holds_tiers(cls) -> bool:
        """Whether the store can hold a member's level."""
        return bool(cls.capabilities & TIER_FORMS)

    def check_tiers(self) -> list[Problem]:
        """A cheap probe whether marks may be written, without writing any; an empty list means yes. Default: nothing to ask."""
        return []

    def write_tier(self, reference: str, mark: TierMark) -> datetime | None:
        """Bring one account's mark of that programme to this level; done twice it is as done once.

        Returns: the store's own time of the change, where it tells one.
        Raises: PermanentError (with the code "gone" for an account that is no longer there), TransientError, ActionRequired.
        """
        raise UnsupportedFeature(
            phrase("%(platform)s cannot hold a member's level.", platform=self.label),
            adapter=self.name,
            operation="write_tier",
        )

    def write_tiers(self, writes: Sequence[TierWrite]) -> list[TierWritten]:
        """The same for at most `tiers_at_once`, answered in their order. What stops the store altogether may be raised, or told of each.

        Default: one after the other; after a refusal that would meet the others too, they are not tried.
        """
        done: list[TierWritten] = []
        stopped: AdapterError | None = None
        for write in writes:
            if stopped is None:
                try:
                    done.append(TierWritten(write.reference, self.write_tier(write.reference, write.mark)))
                    continue
                except AdapterError as error:
                    stopped = error if isinstance(error, (TransientError, ActionRequired)) else None
                    done.append(TierWritten(write.reference, error=error))
            else:
                done.append(TierWritten(write.reference, error=stopped))
        return done


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
