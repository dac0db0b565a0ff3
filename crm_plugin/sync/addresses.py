"""One spelling for one address: e-mails lower-cased, phones in E.164, and the zone in which a member's days are computed."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from crm_plugin.clock import is_zone

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber


@lru_cache(maxsize=65536)
def email_key(text: str) -> str:
    """The e-mail as it is compared and kept; empty when it is no address at all."""
    key = unicodedata.normalize("NFC", text.strip()).lower()
    name, at, domain = key.rpartition("@")
    if not at or not name or "." not in domain.strip(".") or len(key.split()) > 1:
        # A name without a dot is a host of one's own network; nothing can be sent there from here.
        return key if at and name and domain == "localhost" else ""
    return key


@lru_cache(maxsize=65536)
def phone_key(text: str, country: str) -> str:
    """The number in E.164, read with the country's habits when it bears no country code; empty when it is no number."""
    number = _parse(text, country)
    if number is None:
        return ""
    import phonenumbers

    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


@lru_cache(maxsize=65536)
def member_zone(timezone: str, phone: str, country: str, shop_zone: str) -> str:
    """The zone of a member's days: own, else the country's when it has but one, else the phone's likewise, else the shop's.

    A country is where parcels go; a phone may have been taken along from another.

    Args: phone: in E.164 or empty.
    """
    if timezone and is_zone(timezone):
        return timezone
    return (country and country_zone(country)) or (phone and _phone_zone(phone)) or shop_zone


def country_zone(country: str) -> str:
    """The zone of an ISO 3166 country that has exactly one; else empty."""
    return _single_zones().get(country.upper(), "")


@lru_cache(maxsize=65536)
def _phone_zone(phone: str) -> str:
    from phonenumbers import timezone

    number = _parse(phone, "")
    zones = timezone.time_zones_for_number(number) if number is not None else ()
    return zones[0] if len(zones) == 1 and is_zone(zones[0]) else ""


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


@cache
def _single_zones() -> dict[str, str]:
    zones: defaultdict[str, list[str]] = defaultdict(list)
    for line in (files("tzdata") / "zoneinfo" / "zone.tab").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            country, _place, name, *_ = line.split("\t")
            zones[country].append(name)
    return {country: names[0] for country, names in zones.items() if len(names) == 1}
