"""What a Medusa says of itself."""

from __future__ import annotations

import msgspec

from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.medusa.client import ADAPTER, MedusaClient
from crm_plugin.clock import is_zone
from crm_plugin.errors import MalformedResponse
from crm_plugin.phrases import phrase
from crm_plugin.records import ShopInfo


class _Currency(msgspec.Struct):
    currency_code: str = ""
    is_default: bool = False


class _Store(msgspec.Struct):
    name: str | None = ""
    supported_currencies: list[_Currency] | None = None


def ask(client: MedusaClient, zone: str) -> ShopInfo:
    """Name and default currency; `zone` is the merchant's word. Raises: MalformedResponse without a currency."""
    rows = client.list("stores", "stores", {"limit": "1", "fields": "name,*supported_currencies"}).rows
    try:
        store = msgspec.json.decode(rows[0], type=_Store)
    except (IndexError, *UNREADABLE) as error:
        raise _no_currency() from error
    currencies = store.supported_currencies or []
    chosen = next((one for one in currencies if one.is_default), currencies[0] if currencies else _Currency())
    if len(chosen.currency_code) != 3:
        raise _no_currency()
    notes = () if is_zone(zone) and zone != "UTC" else ("Medusa tells no time zone: enter the shop's own.",)
    return ShopInfo(store.name or "", chosen.currency_code.upper(), zone if is_zone(zone) else "UTC", "2", notes)


def _no_currency() -> MalformedResponse:
    return MalformedResponse(
        phrase("The store does not tell its currency."), adapter=ADAPTER, operation="stores", path="$.stores"
    )
