"""What a Saleor says of itself, its channels, and of us as one of its apps."""

from __future__ import annotations

import msgspec

from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.saleor.client import ADAPTER, SaleorClient, unauthorised
from crm_plugin.adapters.storefronts.saleor.vouchers import Channel
from crm_plugin.clock import is_zone
from crm_plugin.errors import MalformedResponse
from crm_plugin.phrases import phrase
from crm_plugin.records import ShopInfo


class _Named(msgspec.Struct):
    code: str


class App(msgspec.Struct):
    """We ourselves, as Saleor knows us."""

    id: str
    permissions: list[_Named] | None = None


class _Domain(msgspec.Struct):
    url: str | None = ""


class _Shop(msgspec.Struct):
    name: str | None = ""
    version: str | None = ""
    domain: _Domain | None = None


class Known(msgspec.Struct):
    """What the store says of itself."""

    shop: _Shop
    channels: list[Channel] | None = None
    app: App | None = None

    def info(self, channel: str, zone: str) -> ShopInfo:
        """Name and version, the currency of this channel (of the first that is in use when empty); Saleor tells no zone.

        Raises: MalformedResponse without a currency.
        """
        channels = [one for one in self.channels or () if one.slug == channel or (not channel and one.is_active)]
        if not channels or len(channels[0].currency_code) != 3:
            raise MalformedResponse(
                phrase("The store does not tell its currency."), adapter=ADAPTER, operation="shop", path="$.channels"
            )
        notes = () if is_zone(zone) and zone != "UTC" else ("Saleor tells no time zone: enter the shop's own.",)
        currency, place = channels[0].currency_code.upper(), zone if is_zone(zone) else "UTC"
        return ShopInfo(self.shop.name or "", currency, place, self.shop.version or "", notes)

    def granted(self) -> frozenset[str]:
        """The app's permissions."""
        return frozenset(one.code for one in self.app.permissions or ()) if self.app else frozenset()


def ask(client: SaleorClient) -> Known:
    """Ask the store. Raises: ActionRequired when Saleor no longer knows the app, MalformedResponse."""
    told = client.ask("shop")
    try:
        known = msgspec.convert({name: msgspec.json.decode(raw) for name, raw in told.items()}, Known)
    except (msgspec.ValidationError, *UNREADABLE) as error:
        raise MalformedResponse(
            phrase("The store's answer has another form than asked for."),
            adapter=ADAPTER,
            operation="shop",
            path="$.data",
        ) from error
    if known.app is None:
        raise unauthorised(adapter=ADAPTER, operation="shop")
    return known
