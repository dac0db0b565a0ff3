"""One spelling for one address: e-mails lower-cased, phones in E.164, and the zone in which a member's days are computed."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from crm_plugin.clock import is_zone
from crm_plugin.places import lies_in, zone_at

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

# What is written at once asks for the same address several times over; there are never as many in it.
_RECENT = 16_384


@lru_cache(maxsize=_RECENT)
def email_key(text: str) -> str:
    """The e-mail as it is compared and kept; empty when it is no address at all."""
    key = unicodedata.normalize("NFC", text.strip()).lower()
    name, at, domain = key.rpartition("@")
    if not at or not name or "." not in domain.strip(".") or len(key.split()) > 1:
        # A name without a dot is a host of one's own network; nothing can be sent there from here.
        return key if at and name and domain == "localhost" else ""
    return key


@lru_cache(maxsize=_RECENT)
def phone_key(text: str, country: str) -> str:
    """The number in E.164, read with the country's habits when it bears no country code; empty when it is no number."""
    number = _parse(text, country)
    if number is None:
        return ""
    import phonenumbers

    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def letters_of(country: str, region: str) -> str:
    """A state as ISO 3166-2 has it behind the country, in capitals: sources write it with the country or without."""
    return region.strip().upper().removeprefix(f"{country.upper()}-")


@lru_cache(maxsize=_RECENT)
def member_zone(timezone: str, phone: str, country: str, region: str, shop_zone: str) -> str:
    """The zone of a member's days: own, else that of the state or country, else the phone's, else the shop's.

    A country is where parcels go; a phone may have been taken along from another, so it only tells which of the country's zones it is.
    Where that stays open, the place stands for all its zones (`places.py`).

    Args: phone: in E.164 or empty. region: the state's letters.
    """
    if timezone and is_zone(timezone):
        return timezone
    place = zone_at(country, region) if country else ""
    if is_zone(place):
        return place
    called = _phone_zone(phone) if phone else ""
    if place and not (called and lies_in(called, place)):
        return place
    return called or shop_zone


@lru_cache(maxsize=_RECENT)
def _phone_zone(phone: str) -> str:
    import phonenumbers
    from phonenumbers import timezone

    number = _parse(phone, "")
    if number is None:
        return ""
    zones = timezone.time_zones_for_number(number)
    if len(zones) == 1 and is_zone(zones[0]):
        return str(zones[0])
    return zone_at(phonenumbers.region_code_for_number(number) or "")


def _parse(text: str, country: str) -> PhoneNumber | None:
    if not text.strip():
        return None
    import phonenumbers

    try:
        number = phonenumbers.parse(text, country.upper() if len(country) == 2 else None)
    except phonenumbers.NumberParseException:
        return None
    # "Possible", not "valid": tables of valid ranges are always older than the newest range.
    return number if phonenumbers.is_possible_number(number) else None
