"""A note to the customer on one of their orders: WooCommerce mails it in the store's own design."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from crm_plugin.adapters.base import Capability, Problem, Setting
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.adapters.storefronts.woocommerce.adapter import WooCommerceStorefront
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.errors import OutcomeUnknown, PermanentError
from crm_plugin.phrases import phrase
from crm_plugin.records import Message, SendResult


class WooCommerceNoteChannel(ChannelAdapter):
    """Uses the keys of the connected store, which must be Read/Write. A note is posted once: no answer is OutcomeUnknown."""

    name = "woocommerce_note"
    label = "WooCommerce customer note"
    channel = "note"
    uses_storefront = "woocommerce"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.SEND_MESSAGE, Capability.NEEDS_ORDER})
    settings: ClassVar[tuple[Setting, ...]] = tuple(
        setting for setting in WooCommerceStorefront.settings if setting.key in ("url", "key", "secret")
    )

    def __init__(self, values: Mapping[str, Any], *, client: WooCommerceClient | None = None) -> None:
        super().__init__(values)
        told = self.values
        self._client = client or WooCommerceClient(told["url"], told["key"], told["secret"])

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        """Post one note. WooCommerce knows no idempotency key; it is left unused."""
        if not message.order_external_id.isdecimal():
            raise PermanentError(
                phrase("A note needs an order to hang on."),
                adapter=self.name,
                operation="send",
                hint=phrase("Use this channel in journeys after a purchase."),
            )
        if not message.text.strip():
            raise PermanentError(phrase("The note is empty."), adapter=self.name, operation="send")
        path = f"orders/{int(message.order_external_id)}/notes"
        made = self._client.post(path, {"note": message.text, "customer_note": True})
        note_id = made.get("id") if isinstance(made, dict) else None
        if not note_id:
            raise OutcomeUnknown(
                phrase("The store took the note, and its answer does not name it."),
                hint=phrase("Look at the order in the store before sending again."),
                adapter=self.name,
                operation="send",
            )
        return SendResult(str(note_id))

    def check(self) -> list[Problem]:
        """Whether the store answers to its keys; whether they may write shows only when a note is sent."""
        probe = WooCommerceStorefront(self.values, client=self._client)
        return probe.check()

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()
