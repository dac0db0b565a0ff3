"""Why a store's connection is as it is: the one list of states that pages, commands and logs tell apart."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.errors import AdapterError
from crm_plugin.store.tenants import UNINSTALLED, Shop


class Standing(StrEnum):
    """`status_reason` of a shop. Its `status` says what follows: `action_required` waits for the merchant, nothing is done while
    `suspended` or `uninstalled`.
    """

    WELL = ""
    # action_required: the store was asked, and refused or could not be understood.
    KEYS = "keys"
    PERMISSION = "permission"
    REFUSED = "refused"
    CLOSED = "closed"
    ADDRESS = "address"
    CLOCK = "clock"
    CURRENCY = "currency"
    OTHER = "other"
    # suspended
    SWITCHED_OFF = "switched_off"
    HELD_ELSEWHERE = "held_elsewhere"
    # uninstalled: in the store, or here by its merchant, who may want all of it gone.
    TAKEN_AWAY = "taken_away"
    DISCONNECTED = "disconnected"
    ERASING = "erasing"


# What adapters call their refusals.
_CODES = {
    **dict.fromkeys(("unauthorised", "reopen", "reauth_needed", "wrong_keys"), Standing.KEYS),
    **dict.fromkeys(("scope", "scope_missing", "permission_missing"), Standing.PERMISSION),
    **dict.fromkeys(("frozen", "locked", "no_shop"), Standing.CLOSED),
    **dict.fromkeys(("redirected", "not_json", "certificate", "no_https"), Standing.ADDRESS),
    "wrong_clock": Standing.CLOCK,
}
# What keeps us from reading as well. A write that is refused for another reason says nothing of that.
OF_ALL = frozenset({Standing.KEYS, Standing.CLOSED, Standing.ADDRESS, Standing.CLOCK})
_STATUSES = {401: Standing.KEYS, 403: Standing.REFUSED}


def of_code(code: str) -> Standing:
    """What an adapter's word for a refusal means."""
    return _CODES.get(code, Standing.OTHER)


def of_error(error: AdapterError) -> Standing:
    """What a refusal means: by its code, else by the HTTP status; a page for people under 403 is a wall before the store."""
    told = of_code(error.code)
    if told is Standing.OTHER or (told is Standing.ADDRESS and error.status in _STATUSES):
        return _STATUSES.get(error.status or 0, told)
    return told


def of(shop: Shop) -> Standing:
    """How a shop's connection is; a word that a later version wrote is one that needs the merchant."""
    try:
        return Standing(shop.status_reason)
    except ValueError:
        return Standing.OTHER


def erased_on(shop: Shop) -> datetime | None:
    """When all that is kept of a store whose app was taken away has to be gone; None where its platform demands nothing."""
    within = storefront_class(shop.platform).erased_within
    if shop.status != UNINSTALLED or of(shop) is not Standing.TAKEN_AWAY or shop.status_at is None or within is None:
        return None
    return shop.status_at + within
