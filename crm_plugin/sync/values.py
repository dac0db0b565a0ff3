"""From records to what is stored: instants in microseconds, local days as numbers, fingerprints, money in the shop's currency."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec

from crm_plugin.clock import zone
from crm_plugin.money import convert_minor
from crm_plugin.records import MemberRecord, Record
from crm_plugin.store.base import to_json
from crm_plugin.store.tenants import Shop

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_ZERO = _EPOCH.toordinal()
_MICROSECOND = timedelta(microseconds=1)
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def micros(at: datetime | None) -> int | None:
    """The instant as stored. Raises: TypeError for a naive one."""
    return None if at is None else (at - _EPOCH) // _MICROSECOND


def fingerprint(record: Record) -> str:
    """The same for the same record, another for any change in it."""
    return blake2b(_encode(record), digest_size=10).hexdigest()


def member_fingerprint(record: MemberRecord) -> str:
    """The same for a member whose own data are the same.

    Marks are ours, and writing one moves the store's time of change: neither is news about the member.
    """
    return fingerprint(msgspec.structs.replace(record, marks=None, updated_at=None))


class Money:
    """Amounts in the shop's currency, by the rates the merchant set."""

    def __init__(self, shop: Shop) -> None:
        self.currency = shop.currency
        self._rates: dict[str, Decimal | None] = {**shop.rates, shop.currency: Decimal(1)}

    def base(self, minor: int, currency: str) -> int | None:
        """The amount in the shop's currency; None without a rate."""
        if currency == self.currency:
            return minor
        rate = self._rates.get(currency)
        return None if rate is None else convert_minor(minor, currency, rate, self.currency)

    def between(self, minor: int, currency: str, into: str) -> int | None:
        """The amount in another currency, over the shop's own; None without both rates."""
        currency = currency or self.currency
        if currency == into:
            return minor
        one, other = self._rates.get(currency), self._rates.get(into)
        if one is None or not other:
            return None
        return convert_minor(minor, currency, one / other, into)


class Days:
    """Local days in the shop's zone, as stored."""

    def __init__(self, shop: Shop) -> None:
        self._zone = zone(shop.timezone)

    def of(self, at: datetime) -> int:
        """Days since 1970-01-01 of the local day at that instant."""
        return at.astimezone(self._zone).toordinal() - _DAY_ZERO


def attributes_json(told: Mapping[str, Any]) -> str:
    """A record's attributes as stored, without the NUL character: PostgreSQL cannot take a document apart that holds one."""
    text = to_json(told)
    return to_json(_without_nul(told)) if "\\u0000" in text else text


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(held) for key, held in value.items()}
    return [_without_nul(held) for held in value] if isinstance(value, list | tuple) else value
