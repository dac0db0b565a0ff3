"""The message service, fetched by polling: each message says which record to look at again, or what became of a text that was sent.

The queue belongs to the app: messages of all its shops come mixed, each with its seller. What is not confirmed comes again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from crm_plugin.adapters.raw import FieldError, any_json, read_or_none
from crm_plugin.adapters.storefronts.taobao.client import TopClient
from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER
from crm_plugin.adapters.storefronts.taobao.payloads import TOLD, Told
from crm_plugin.adapters.storefronts.taobao.values import instant
from crm_plugin.errors import TransientError
from crm_plugin.phrases import phrase
from crm_plugin.records import StoreEvent, StoreEventKind, Stream

PERMIT = "taobao.tmc.user.permit"
CANCEL = "taobao.tmc.user.cancel"
CONSUME = "taobao.tmc.messages.consume"
CONFIRM = "taobao.tmc.messages.confirm"
LEAST, MOST = 10, 200
_PREFIX = "tmc:"
_TRADE = (
    "TradeCreate",
    "TradeBuyerPay",
    "TradeSellerShip",
    "TradePartlySellerShip",
    "TradeSuccess",
    "TradeClose",
    "TradeCloseAndModifyDetailOrder",
    "TradePartlyRefund",
    "TradeModifyFee",
    "TradeMemoModified",
    "TradeRated",
    "TradeChanged",
    "TradeBuyerStepPay",
    "TradeTimeoutRemind",
    "TradeLogisticsAddressChanged",
)
_REFUND = (
    "RefundCreated",
    "RefundSuccess",
    "RefundClosed",
    "RefundSellerAgreeAgreement",
    "RefundSellerRefuseAgreement",
    "RefundBuyerModifyAgreement",
    "RefundBuyerReturnGoods",
)
TEXT_SENT = "taobao_opencrm_ShortMessageSent"
TEXT_BILL = "taobao_opencrm_ShortMessageBill"
# What a topic speaks of: the list, and the field that holds the id.
LOOK_AT = {
    **{f"taobao_trade_{name}": (Stream.ORDERS, "tid") for name in _TRADE},
    **{f"taobao_refund_{name}": (Stream.REFUNDS, "refund_id") for name in _REFUND},
    "taobao_opencrm_MemberJoin": (Stream.MEMBERS, "user"),
    "taobao_opencrm_MemberJoinPrivate": (Stream.MEMBERS, "user"),
    "taobao_opencrm_MemberGradeChange": (Stream.MEMBERS, "ouid"),
}
REPORTS = (TEXT_SENT, TEXT_BILL)
TOPICS = (*LOOK_AT, *REPORTS)
# Of a report nothing else is kept.
_REPORTED = ("biz_id", "bill_count", "node_inst_id", "success_count", "fail_count", "unknown_status_count", "send_time")


class Messages:
    """The messages of one app. `own_user` is the shop's seller; empty where the app serves one shop alone."""

    def __init__(self, client: TopClient, group: str, own_user: str) -> None:
        self._client = client
        self._group = group
        self._own_user = own_user

    def permit(self) -> None:
        """Ask for all topics that we read; what was asked for before is replaced."""
        self._client.call(PERMIT, {"topics": ",".join(TOPICS)})

    def cancel(self, nick: str) -> None:
        """Ask for none any more."""
        self._client.call(CANCEL, {"nick": nick})

    def fetch(self, most: int) -> list[StoreEvent]:
        """What waits, at most so many, and not fewer than TOP gives at once."""
        asked = {"group_name": self._group, "quantity": min(max(most, LEAST), MOST)}
        rows = self._client.call(CONSUME, asked, authorised=False).rows("messages", "tmc_message")
        told = (read_or_none(TOLD, bytes(raw)) for raw in rows)
        return [event_of(one, str(one.user_id or "") if self._own_user else "") for one in told if one is not None][
            :most
        ]

    def confirm(self, events: Iterable[StoreEvent]) -> None:
        """Say that these are kept."""
        ids = [event.key.removeprefix(_PREFIX) for event in events]
        for start in range(0, len(ids), MOST):
            asked = {"group_name": self._group, "s_message_ids": ",".join(ids[start : start + MOST])}
            if not self._client.call(CONFIRM, asked, authorised=False).flag("is_success"):
                # Else the same would be fetched again at once, without end.
                raise TransientError(
                    phrase("Taobao did not take that its messages are kept."), adapter=ADAPTER, operation=CONFIRM
                )


def event_of(told: Told, reference: str) -> StoreEvent:
    """One message as an event; a topic that is not known, and one whose record cannot be told, is of the kind UNKNOWN."""
    topic = str(told.topic or "")
    content = any_json(told.content.encode()) if isinstance(told.content, str) else told.content
    fields: Mapping[str, Any] = content if isinstance(content, dict) else {}
    common: dict[str, Any] = {
        "key": f"{_PREFIX}{told.id}",
        "topic": topic,
        "at": _at(told.pub_time),
        "reference": reference,
    }
    if topic in REPORTS:
        return StoreEvent(kind=StoreEventKind.REPORT, detail=dict(_reported(fields)), **common)
    stream, name = LOOK_AT.get(topic, (None, ""))
    number = str(fields.get(name) or "")
    if stream is None or not number:
        return StoreEvent(kind=StoreEventKind.UNKNOWN, **common)
    return StoreEvent(kind=StoreEventKind.CHANGED, stream=stream, external_id=number, **common)


def _reported(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((name, str(fields[name])) for name in _REPORTED if fields.get(name) not in (None, ""))


def _at(told: Any) -> datetime | None:
    try:
        return instant(str(told or ""), "$.pub_time")
    except FieldError:
        return None
