"""Taobao's rows to our records. Pure: no network, no clock, no state but the shop's grade mapping and the names of its groups.

Choices that could be made otherwise, made here once:
- Who is known is the `ouid`: the same person in the same shop under every app. The masked nick is a label among the attributes, no name.
- A grade that our levels are mapped to stands in `marks` alone; without a mapping it is an attribute that rules can ask for.
- A line's money is `divide_order_fee`, its share of what was paid; else its payment, without the freight where it is the only line.
- A refund counts once it has succeeded; before that no money has been given back, and after a refusal none will be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from crm_plugin.adapters.raw import FieldError, malformed, read_record
from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.taobao import payloads
from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER
from crm_plugin.adapters.storefronts.taobao.values import CURRENCY, instant, whole, yuan
from crm_plugin.phrases import phrase
from crm_plugin.records import (
    ConsentRecord,
    ConsentState,
    MemberRecord,
    OrderLineRecord,
    OrderRecord,
    OrderStatus,
    RefundRecord,
)

STATUSES = {
    **dict.fromkeys(
        ("TRADE_NO_CREATE_PAY", "WAIT_BUYER_PAY", "PAY_PENDING", "WAIT_PRE_AUTH_CONFIRM"), OrderStatus.PENDING
    ),
    **dict.fromkeys(("PAID_FORBID_CONSIGN", "WAIT_SELLER_SEND_GOODS", "SELLER_CONSIGNED_PART"), OrderStatus.PAID),
    "WAIT_BUYER_CONFIRM_GOODS": OrderStatus.SHIPPED,
    **dict.fromkeys(("TRADE_BUYER_SIGNED", "TRADE_FINISHED"), OrderStatus.COMPLETED),
    # Closed after payment: all of it was given back.
    "TRADE_CLOSED": OrderStatus.REFUNDED,
    "TRADE_CLOSED_BY_TAOBAO": OrderStatus.CANCELLED,
}
GIVEN_BACK = "SUCCESS"
BLACKLIST = "blacklist"
# The old code of "overseas"; every other place that a shop's member lives in is in China.
_OVERSEAS = "35"
_IDS = re.compile(r"\d+")
_COUNTS = ("trade_count", "close_trade_count", "item_num", "relation_source")
_AMOUNTS = ("trade_amount", "close_trade_amount", "avg_price")
Raw = bytes | msgspec.Raw


class Mapper:
    """Turns one raw row at a time into ours. Raises: MalformedResponse with the path of what cannot be read.

    `levels` gives our level for a grade, empty where the shop's grades are not ours; `group_name` the name of a group by its id.
    """

    def __init__(
        self,
        program: str = "",
        levels: Mapping[int, str] | None = None,
        group_name: Callable[[str], str] = str,
        members_agreed: bool = False,
    ) -> None:
        self._program = program
        self._levels = levels or {}
        self._group_name = group_name
        self._members_agreed = members_agreed

    def member(self, raw: Raw) -> MemberRecord:
        """A member of the shop."""
        row = read_record(payloads.MEMBER, raw, adapter=ADAPTER)
        try:
            return self._member(row)
        except FieldError as error:
            raise malformed(error, ADAPTER) from error

    def order(self, raw: Raw) -> OrderRecord:
        """A trade with its lines."""
        row = read_record(payloads.TRADE, raw, adapter=ADAPTER)
        try:
            return _order(row)
        except FieldError as error:
            raise malformed(error, ADAPTER) from error

    def refund(self, raw: Raw) -> RefundRecord | None:
        """Money given back; None for what is only asked for, or was refused."""
        row = read_record(payloads.REFUND, raw, adapter=ADAPTER)
        if row.status != GIVEN_BACK:
            return None
        try:
            return _refund(row)
        except FieldError as error:
            raise malformed(error, ADAPTER) from error

    def _member(self, row: payloads.Member) -> MemberRecord:
        if not row.ouid.strip():
            raise FieldError(phrase("the member has no ouid"), "$.ouid")
        grade = whole(row.grade)
        attributes = {name: told for name in _COUNTS if (told := whole(getattr(row, name))) is not None}
        for name in _AMOUNTS:
            if (amount := yuan(getattr(row, name), f"$.{name}")) is not None:
                attributes[f"{name}_minor"] = amount
        named: dict[str, Any] = {
            "nick": _text(row.buyer_nick),
            "status": _text(row.status),
            "province": _text(row.province),
            "city": _text(row.city),
        }
        if not self._levels:
            named |= {"grade": grade, "grade_name": _text(row.grade_name)}
        if (last := instant(row.last_trade_time, "$.last_trade_time")) is not None:
            named["last_trade_at"] = last.isoformat()
        return MemberRecord(
            external_id=row.ouid,
            country="" if _text(row.province) == _OVERSEAS else "CN",
            tags=tuple(self._group_name(number) for number in _IDS.findall(_text(row.group_ids))),
            consents=self._consents(grade, row.status),
            attributes={**attributes, **{name: told for name, told in named.items() if told not in (None, "")}},
            marks=None if not self._levels else self._marks(grade),
        )

    def _marks(self, grade: int | None) -> dict[str, str]:
        level = self._levels.get(grade or 0, "")
        return {self._program: level} if level else {}

    def _consents(self, grade: int | None, status: str | None) -> tuple[ConsentRecord, ...]:
        """Whoever joined the shop's membership has agreed to its terms; what these say only the merchant knows."""
        if not self._members_agreed or not grade or status == BLACKLIST:
            return ()
        return (ConsentRecord(channel="sms", state=ConsentState.GRANTED, source="taobao membership"),)


def _order(row: payloads.Trade) -> OrderRecord:
    tid = row.tid_str.strip() or str(row.tid).strip()
    if not tid:
        raise FieldError(phrase("the order has no id"), "$.tid")
    placed = instant(row.created, "$.created")
    total = yuan(row.payment, "$.payment")
    if placed is None:
        raise FieldError(phrase("the order has no time"), "$.created")
    if total is None:
        raise FieldError(phrase("the order has no amount"), "$.payment")
    status = STATUSES.get(row.status, OrderStatus.UNKNOWN)
    shipping = yuan(row.post_fee, "$.post_fee") or 0
    named = ("buyer_open_uid", "receiver_state", "receiver_city", "step_trade_status", "trade_from")
    attributes: dict[str, Any] = {name: told for name in named if (told := _text(getattr(row, name)))}
    if flag := whole(row.seller_flag):
        attributes["seller_flag"] = flag
    return OrderRecord(
        external_id=tid,
        number=tid,
        status=status,
        platform_status=row.status,
        currency=CURRENCY,
        total_minor=total,
        shipping_minor=shipping,
        discount_minor=yuan(row.discount_fee, "$.discount_fee") or 0,
        member_external_id=row.ouid or "",
        placed_at=placed,
        paid_at=instant(row.pay_time, "$.pay_time"),
        shipped_at=instant(row.consign_time, "$.consign_time"),
        delivered_at=instant(row.end_time, "$.end_time") if status is OrderStatus.COMPLETED else None,
        updated_at=instant(row.modified, "$.modified"),
        lines=_lines(row.orders.order if row.orders else [], shipping),
        attributes=attributes,
    )


def _lines(rows: list[payloads.Line], shipping: int) -> tuple[OrderLineRecord, ...]:
    lines: list[OrderLineRecord] = []
    for number, row in enumerate(rows):
        path = f"$.orders.order[{number}]"
        total = yuan(row.divide_order_fee, f"{path}.divide_order_fee")
        if total is None:
            total = (yuan(row.payment, f"{path}.payment") or 0) - (shipping if len(rows) == 1 else 0)
        lines.append(
            OrderLineRecord(
                sku=_text(row.outer_sku_id) or _text(row.outer_iid),
                product_external_id=_text(row.num_iid),
                title=_text(row.title),
                quantity=limits.quantity(float(whole(row.num) or 0), f"{path}.num"),
                total_minor=total,
            )
        )
    return tuple(lines)


def _refund(row: payloads.Refund) -> RefundRecord:
    amount = yuan(row.refund_fee, "$.refund_fee")
    if not row.refund_id:
        raise FieldError(phrase("the refund has no id"), "$.refund_id")
    if amount is None:
        raise FieldError(phrase("the refund has no amount"), "$.refund_fee")
    modified = instant(row.modified, "$.modified")
    return RefundRecord(
        external_id=str(row.refund_id),
        amount_minor=abs(amount),
        currency=CURRENCY,
        order_external_id=str(row.tid or ""),
        member_external_id=row.ouid or "",
        refunded_at=modified or instant(row.created, "$.created"),
        updated_at=modified,
        reason=_text(row.refund_phase),
    )


def _text(told: str | int | None) -> str:
    return "" if told is None else str(told).strip()
