"""What plugins keep in WooCommerce's meta data: birthday, consent and language, an order's campaign and its parcel, and our own marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from crm_plugin.adapters.raw import any_json
from crm_plugin.adapters.storefronts.birthday_texts import Birthday
from crm_plugin.adapters.storefronts.metadata import Found, KnownKeys, settings, text_of
from crm_plugin.adapters.storefronts.woocommerce.payloads import Meta
from crm_plugin.adapters.storefronts.woocommerce.tracking import SHIPMENTS, shipment_of
from crm_plugin.records import ConsentState

BIRTHDAY_KEYS = (
    "birthday, birth_date, birthdate, billing_birth_date, billing_birthday, billing_birthdate, date_of_birth, dob"
)
CONSENT_KEYS = (
    "marketing_opt_in, email_marketing_consent, email_opt_in, accepts_marketing, newsletter, newsletter_opt_in, "
    "billing_newsletter, mailchimp_woocommerce_is_subscribed"
)
SETTINGS = settings(
    birthday=BIRTHDAY_KEYS,
    lunar="lunar_birthday, birthday_lunar, billing_lunar_birthday",
    consent=CONSENT_KEYS,
    locale="locale, language, wpml_language, pll_language",
    cost="",
)
# Under this and the programme's key the level of an account is kept. What begins with an underscore the REST API does not show.
MARK_PREFIX = "crm_tier_"
UTM_SOURCE = "_wc_order_attribution_utm_source"


class Told(NamedTuple):
    """What one record's meta data told us; `unread` is a birthday that could not be placed, as it was written."""

    birthday: Birthday | None = None
    unread: str = ""
    consent: ConsentState | None = None
    consent_key: str = ""
    sms: ConsentState | None = None
    sms_key: str = ""
    locale: str = ""
    source: str = ""
    shipment: Mapping[str, str] = {}


_NOTHING = Told()
_USUAL = {setting.key: setting.default for setting in SETTINGS}


class MetaKeys(KnownKeys):
    """Under which keys this store keeps what."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__({**_USUAL, **(values or {})})

    def read_meta(self, entries: Iterable[Meta] | None) -> Told:
        """What these entries tell; unreadable values are passed over, so they never stop the record they hang on."""
        found: list[Found] = []
        source, shipment = "", {}
        for entry in entries or ():
            one = self.find(entry.key, partial(any_json, entry.value))
            if one is not None:
                found.append(one)
            elif entry.key == UTM_SOURCE:
                source = text_of(any_json(entry.value))
            elif entry.key == SHIPMENTS:
                shipment = shipment_of(entry.value)
        if not found:
            return Told(source=source, shipment=shipment) if source or shipment else _NOTHING
        return Told(*self.say(found), source, shipment)


def marks_of(entries: Iterable[Meta] | None) -> dict[str, str] | None:
    """Our marks among an account's meta data, by programme; None where the key shows none of it. Of two under one key the first counts."""
    if entries is None:
        return None
    found: dict[str, str] = {}
    for entry in entries:
        key = entry.key
        if isinstance(key, str) and key.startswith(MARK_PREFIX):
            level = any_json(entry.value)
            if level not in (None, "", False):
                found.setdefault(key.removeprefix(MARK_PREFIX), str(level))
    return found
