"""Coupons: one a code, good once, for the e-mail addresses that it is made for. The order's reference stands in its meta data.

A code is there once in a store, so one that is there already is looked at: it is made if it bears the same reference.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from crm_plugin.adapters.storefronts.woocommerce.batches import Refusal, odd, read_answer
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.adapters.storefronts.woocommerce.errors import ADAPTER
from crm_plugin.errors import AdapterError, PermanentError, UnsupportedFeature
from crm_plugin.money import to_major
from crm_plugin.phrases import phrase
from crm_plugin.records import CouponMade, CouponOrder

# What the store takes in one request.
AT_ONCE = 100
_PATH = "coupons/batch"
_MARK = "crm_coupon_order"
_EXISTS = "woocommerce_rest_coupon_code_already_exists"


class _Meta(msgspec.Struct):
    key: str = ""
    value: Any = None


class _Coupon(msgspec.Struct):
    id: int = 0
    code: str | None = ""
    meta_data: list[_Meta] = []
    error: Refusal | None = None


class _Batch(msgspec.Struct):
    create: list[_Coupon] = []


class Coupons:
    """Makes codes in one store, of whose currency amounts have to be."""

    def __init__(self, client: WooCommerceClient, currency: str) -> None:
        self._client = client
        self._currency = currency

    def create(self, order: CouponOrder, now: datetime) -> list[CouponMade]:
        """See the contract."""
        common = self._common(order, now)
        wanted = [{**common, "code": code} for code in order.codes]
        answer = self._client.bring(_PATH, {"create": wanted}) if wanted else {}
        made: list[_Coupon] = read_answer(answer, _Batch, _PATH).create
        if len(made) != len(wanted):
            raise odd(_PATH, "$.create")
        return [self._outcome(order, code, one) for code, one in zip(order.codes, made, strict=True)]

    def _common(self, order: CouponOrder, now: datetime) -> dict[str, Any]:
        """What all codes of the order have in common."""
        if (order.amount_minor is not None or order.least_minor) and order.currency not in ("", self._currency):
            said = phrase(
                "The store's coupons are in %(own)s, not in %(other)s.", own=self._currency, other=order.currency
            )
            raise UnsupportedFeature(said, adapter=ADAPTER, operation="create_coupons")
        if len(order.codes) > AT_ONCE or (order.starts_at is not None and order.starts_at > now):
            said = phrase("WooCommerce takes %(most)s codes at a time, which are good at once.", most=AT_ONCE)
            raise UnsupportedFeature(said, adapter=ADAPTER, operation="create_coupons")
        is_amount = order.amount_minor is not None
        told: dict[str, Any] = {
            "discount_type": "fixed_cart" if is_amount else "percent",
            "amount": self._major(order.amount_minor or 0) if is_amount else f"{order.percent:f}",
            "description": order.title,
            "usage_limit": 1,
            "email_restrictions": list(order.emails),
            "meta_data": [{"key": _MARK, "value": order.reference}],
        }
        if order.least_minor:
            told["minimum_amount"] = self._major(order.least_minor)
        if order.ends_at is not None:
            told["date_expires_gmt"] = f"{order.ends_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
        return told

    def _major(self, minor: int) -> str:
        return f"{to_major(minor, self._currency):f}"

    def _outcome(self, order: CouponOrder, code: str, made: _Coupon) -> CouponMade:
        # A code for accounts of whom no address is known is for everybody.
        is_restricted = bool(order.emails)
        if made.error is None:
            return CouponMade(code, str(made.id), is_restricted)
        if made.error.code == _EXISTS:
            try:
                found = self._ours(order, code)
            except AdapterError as error:
                return CouponMade(code, error=error)
            if found is not None:
                return CouponMade(code, str(found.id), is_restricted)
        return CouponMade(code, error=PermanentError(made.error.said, adapter=ADAPTER, operation=_PATH))

    def _ours(self, order: CouponOrder, code: str) -> _Coupon | None:
        found: list[_Coupon] = read_answer(self._client.get("coupons", {"code": code}), list[_Coupon], _PATH)
        for one in found:
            marks = [meta.value for meta in one.meta_data if meta.key == _MARK]
            if (one.code or "").lower() == code.lower() and marks == [order.reference]:
                return one
        return None
