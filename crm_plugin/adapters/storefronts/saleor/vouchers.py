"""Coupons as one voucher with many codes, each good once. Saleor cannot bind a voucher to an account: whoever has a code may use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.saleor.client import ADAPTER, SaleorClient
from crm_plugin.adapters.storefronts.saleor.operations import document
from crm_plugin.adapters.storefronts.saleor.writing import Refusal, read, refused
from crm_plugin.errors import PermanentError
from crm_plugin.money import to_major
from crm_plugin.phrases import phrase
from crm_plugin.records import CouponMade, CouponOrder

AT_ONCE = 100
_TAKEN = frozenset({"ALREADY_EXISTS", "UNIQUE", "DUPLICATED_INPUT_ITEM"})
_LONGEST_NAME = 255


class Channel(msgspec.Struct, rename="camel"):
    """A channel that something is sold in."""

    id: str
    slug: str = ""
    is_active: bool = True
    currency_code: str = ""


class _Node(msgspec.Struct):
    id: str


class _Made(msgspec.Struct):
    voucher: _Node | None = None
    errors: list[Refusal] = []


class _Code(msgspec.Struct):
    code: str = ""


class _CodeEdge(msgspec.Struct):
    node: _Code


class _Codes(msgspec.Struct):
    edges: list[_CodeEdge] = []


class _Voucher(msgspec.Struct):
    id: str
    name: str | None = ""
    codes: _Codes | None = None


class Vouchers:
    """Makes vouchers in one Saleor, in all its channels in which they mean something."""

    def __init__(self, client: SaleorClient) -> None:
        self._client = client

    def make(self, order: CouponOrder, channels: Sequence[Channel]) -> list[CouponMade]:
        """See the contract. Asked for twice it is made once: the voucher's name holds the order's reference."""
        listings = [_listing(order, one) for one in channels if one.is_active and _fits(order, one)]
        if not listings:
            raise PermanentError(
                phrase("No channel of the store sells in %(currency)s.", currency=order.currency),
                adapter=ADAPTER,
                operation="voucher_make",
            )
        found = read(self._change("voucher_make", {"input": _input(order)}), "made", _Made, "voucher_make")
        made = found.voucher.id if found.voucher else ""
        if found.errors:
            if not any(one.code in _TAKEN for one in found.errors):
                raise refused(found.errors[0], "voucher_make")
            made = self._made_before(order)
            if not made:
                error = PermanentError(
                    phrase("The store has another coupon with one of these codes."),
                    code="code_taken",
                    adapter=ADAPTER,
                    operation="voucher_make",
                )
                return [CouponMade(code, error=error) for code in order.codes]
        listed = read(
            self._change("voucher_channels", {"id": made, "listings": listings}), "made", _Made, "voucher_channels"
        )
        if listed.errors:
            raise refused(listed.errors[0], "voucher_channels")
        return [CouponMade(code, external_id=made) for code in order.codes]

    def _change(self, name: str, variables: dict[str, Any]) -> dict[str, msgspec.Raw]:
        return self._client.change(name, document(name), variables)

    def _made_before(self, order: CouponOrder) -> str:
        for raw in self._client.list("voucher_find", {"code": order.codes[0]}).rows:
            try:
                found = msgspec.json.decode(raw, type=_Voucher)
            except UNREADABLE:
                continue
            held = {edge.node.code for edge in found.codes.edges} if found.codes else set()
            if found.name == _name(order) and held >= set(order.codes):
                return found.id
        return ""


def _name(order: CouponOrder) -> str:
    told = f" [{order.reference}]"
    return f"{order.title[: _LONGEST_NAME - len(told)]}{told}"


def _input(order: CouponOrder) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": _name(order),
        "addCodes": list(order.codes),
        "type": "ENTIRE_ORDER",
        "discountValueType": "PERCENTAGE" if order.percent is not None else "FIXED",
        "singleUse": True,
    }
    if order.starts_at is not None:
        told["startDate"] = order.starts_at.isoformat()
    if order.ends_at is not None:
        told["endDate"] = order.ends_at.isoformat()
    return told


def _fits(order: CouponOrder, channel: Channel) -> bool:
    """A share of a price means something in any currency, an amount only in its own."""
    any_currency = order.percent is not None and not order.least_minor
    return any_currency or channel.currency_code.upper() == order.currency.upper()


def _listing(order: CouponOrder, channel: Channel) -> dict[str, Any]:
    value = order.percent if order.percent is not None else to_major(order.amount_minor or 0, order.currency)
    told: dict[str, Any] = {"channelId": channel.id, "discountValue": f"{value:f}"}
    if order.least_minor:
        told["minAmountSpent"] = f"{to_major(order.least_minor, order.currency):f}"
    return told
