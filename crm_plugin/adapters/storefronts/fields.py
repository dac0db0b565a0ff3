"""What plugins keep with a store's records under keys of their own, so that a merchant can say which key means what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from crm_plugin.adapters.base import Adapter
from crm_plugin.errors import UnsupportedFeature
from crm_plugin.phrases import phrase
from crm_plugin.records import Stream


class ShowsFields(Adapter):
    """The part of a storefront that shows such keys (`Capability.FIELDS`). What they mean is told by the settings of `metadata.py`."""

    # With which lists something can be kept.
    field_streams: ClassVar[tuple[Stream, ...]] = (Stream.MEMBERS, Stream.ORDERS, Stream.PRODUCTS)

    def recent_fields(self, stream: Stream) -> Sequence[Mapping[str, Any]]:
        """What is kept with each of the newest hundred or so records of that list, by key. Somebody waits for it: little is tried again.

        Raises: as `pages`; ActionRequired also where the key is not shown what others keep.
        """
        raise UnsupportedFeature(
            phrase("%(platform)s does not show what is kept with its records.", platform=self.label),
            adapter=self.name,
            operation="recent_fields",
        )
