"""How a store tells us of changes: signed webhooks, or messages that are fetched. Each says no more than: look at this again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, Self

from crm_plugin.adapters.base import Adapter, Problem, Setting
from crm_plugin.errors import UnsupportedFeature
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, RawRequest, Record, StoreEvent, Stream


class Hears(Adapter):
    """The part of a storefront that hears. One that declares `Capability.WEBHOOKS` fills `verify_webhook` and `parse_webhook`."""

    # Settings of the app as a whole, such as its secret in the marketplace: one value for all stores, read from the environment as
    # CRM_<PLATFORM>_<KEY>. They are part of `values`, beside those of the store.
    app_settings: ClassVar[tuple[Setting, ...]] = ()
    # What the merchant does with the store's address here, where we cannot give it to the store ourselves; a phrase.
    by_hand: ClassVar[str] = ""
    # What changes without the platform's time of change moving, for readers of the docs; `second_pass` finds it.
    unseen: ClassVar[tuple[str, ...]] = ()

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.values |= {setting.key: setting.read(values.get(setting.key)) for setting in self.app_settings}

    @classmethod
    def listening(cls, values: Mapping[str, Any]) -> Self:
        """An adapter that only hears: made without a connection of what is known, for `verify_webhook` and `parse_webhook` alone.

        A store that was taken away has no keys left, and one that was erased is not here at all; what they tell must still be told from a
        forgery. So those two use nothing but `values`, where a setting that is not known is as it is by default.
        """
        adapter = cls.__new__(cls)
        known = (*cls.settings, *cls.app_settings)
        adapter.values = {setting.key: values.get(setting.key, setting.default) for setting in known}
        adapter.values |= {key: value for key, value in values.items() if key not in adapter.values}
        return adapter

    @classmethod
    def hears_by_polling(cls) -> bool:
        """Whether it has messages to be fetched."""
        return cls.poll is not Hears.poll

    @classmethod
    def addressed(cls, request: RawRequest) -> str:
        """Which store a request to the app's common address speaks of, by the store's `reference`; not to be believed before it is
        verified. Empty where stores have addresses of their own, or none is named.
        """
        del request
        return ""

    def verify_webhook(self, request: RawRequest) -> None:
        """Check that the store sent it, and to us; needs no call and no token.

        Raises: WebhookRejected with the status that the platform wants.
        """
        raise self._no_webhooks()

    def parse_webhook(self, request: RawRequest) -> list[StoreEvent]:
        """The events of a verified request; a word that is not known is an event of the kind UNKNOWN.

        Raises: WebhookRejected with the status 400 for a body that cannot be read.
        """
        raise self._no_webhooks()

    def origins(self) -> frozenset[str]:
        """Origins whose pages may ask `shopper` from a customer's browser; uses `values` alone. Default: only the store's server asks."""
        return frozenset()

    def shopper(self, request: RawRequest) -> str:
        """The account whose messages the store's own pages are to show, asked at the store's address here; uses `values` alone.

        Either the store's server asks, or a browser on a page of `origins` with what the store gave its customer to show.

        Raises: WebhookRejected for what is forged or too old, UnsupportedFeature where stores do not ask.
        """
        del request
        raise self._no_webhooks()

    def subscribe(self, address: str) -> list[Problem]:
        """See to it that the store tells changes to `address`: make what is missing, revive what the store has switched off.

        Done twice it is as once. What had to be mended is told as a Problem that is only a notice. Default: the manifest subscribes.
        """
        del address
        return []

    def unsubscribe(self, address: str) -> None:
        """Take our subscriptions away, as far as the store still lets us; nothing else of the store is touched."""
        del address

    def poll(self, most: int) -> list[StoreEvent]:
        """Messages that wait to be fetched, at most so many; the same come again until they are confirmed. Default: none."""
        del most
        return []

    def confirm(self, events: Iterable[StoreEvent]) -> None:
        """Say that fetched messages are kept."""
        del events

    def reread_many(self, stream: Stream, external_ids: Iterable[str]) -> Iterator[tuple[str, Record | None]]:
        """Each of these as it is now, None for what is gone there; in any order. Raises: MalformedResponse for one that cannot be read.

        Default: one call for each.
        """
        for external_id in external_ids:
            yield external_id, self.reread(stream, external_id)

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        """Ask the platform for one record again; None when it is gone there. Default: cannot be asked."""
        del stream, external_id
        return None

    def second_pass(self, since: datetime) -> Iterator[Page]:
        """Records that may have changed after `since` without their time of change having moved (`unseen`). Default: there are none."""
        del since
        return iter(())

    def count(self, stream: Stream) -> int | None:
        """How many records the store holds, for the nightly comparison; None where it cannot be asked cheaply."""
        del stream
        return None

    def external_ids(self, stream: Stream) -> Iterator[str] | None:
        """The ids of all records there, cheaply, to find what was deleted in silence; None where there is no cheap way."""
        del stream
        return None

    def _no_webhooks(self) -> UnsupportedFeature:
        return UnsupportedFeature(
            phrase("%(platform)s tells no changes here.", platform=self.label), adapter=self.name, operation="webhook"
        )
