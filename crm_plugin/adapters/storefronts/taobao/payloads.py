"""What TOP tells, as far as we read it; fields we do not use are skipped. Nothing that names, numbers or houses a person is among them.

Ids and amounts come as numbers or as text. `tid` and `oid` are longer than a float holds, so their `_str` forms go before them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crm_plugin.adapters.storefronts.taobao.values import Number

Id = str | int


class Member(msgspec.Struct, gc=False):
    """A member of the shop: `crm_member` of a search, `basic_member` of an increment. `buyer_nick` is masked."""

    ouid: str = ""
    buyer_nick: str | None = ""
    grade: Number = None
    grade_name: str | None = ""
    status: str | None = ""
    trade_count: Number = None
    trade_amount: Number = None
    close_trade_count: Number = None
    close_trade_amount: Number = None
    item_num: Number = None
    avg_price: Number = None
    last_trade_time: str | None = None
    relation_source: Number = None
    group_ids: str | int | None = ""
    province: str | int | None = ""
    city: str | int | None = ""


class Line(msgspec.Struct, gc=False):
    """One line of a trade, which TOP calls an order."""

    oid: Id = ""
    oid_str: str = ""
    num_iid: Id | None = ""
    outer_iid: str | None = ""
    outer_sku_id: str | None = ""
    title: str | None = ""
    num: Number = None
    payment: Number = None
    divide_order_fee: Number = None


class Lines(msgspec.Struct, gc=False):
    """The lines of a trade, wrapped."""

    order: list[Line] = []


class Trade(msgspec.Struct, gc=False):
    """A trade, which is our order."""

    tid: Id = ""
    tid_str: str = ""
    status: str = ""
    created: str | None = None
    modified: str | None = None
    pay_time: str | None = None
    consign_time: str | None = None
    end_time: str | None = None
    payment: Number = None
    post_fee: Number = None
    discount_fee: Number = None
    ouid: str | None = ""
    buyer_open_uid: str | None = ""
    receiver_state: str | None = ""
    receiver_city: str | None = ""
    step_trade_status: str | None = ""
    trade_from: str | None = ""
    seller_flag: Number = None
    orders: Lines | None = None


class Refund(msgspec.Struct, gc=False):
    """Money that a buyer asks back, line by line."""

    refund_id: Id = ""
    tid: Id = ""
    refund_fee: Number = None
    status: str = ""
    created: str | None = None
    modified: str | None = None
    refund_phase: str | None = ""
    ouid: str | None = ""


class Group(msgspec.Struct, gc=False):
    """A group of members; `member_count` is -1 while Taobao counts it."""

    group_id: Id = ""
    group_name: str = ""
    member_count: Number = None


class Grade(msgspec.Struct, gc=False):
    """What the shop has set for one grade. Amounts are in fen. The two pairs of fields are told in either order, number or name."""

    cur_grade: Id | None = ""
    cur_grade_name: Id | None = ""
    next_grade: Id | None = ""
    next_grade_name: Id | None = ""
    next_upgrade_amount: Number = None
    next_upgrade_count: Number = None
    discount: Number = None


class Told(msgspec.Struct, gc=False):
    """A message of the message service; `content` is JSON, mostly as text. What cannot be read is never confirmed, so all is taken."""

    id: Id = ""
    topic: Any = ""
    user_id: Id | None = ""
    content: Any = None
    pub_time: Any = None


MEMBER = msgspec.json.Decoder(Member)
TRADE = msgspec.json.Decoder(Trade)
REFUND = msgspec.json.Decoder(Refund)
GROUP = msgspec.json.Decoder(Group)
GRADE = msgspec.json.Decoder(Grade)
TOLD = msgspec.json.Decoder(Told)

# A trade tells nothing that is not asked for by name. Receivers, nicks and memos never are.
TRADE_FIELDS = ",".join(
    (
        "tid",
        "tid_str",
        "status",
        "type",
        "created",
        "modified",
        "pay_time",
        "consign_time",
        "end_time",
        "payment",
        "total_fee",
        "post_fee",
        "discount_fee",
        "received_payment",
        "ouid",
        "buyer_open_uid",
        "receiver_state",
        "receiver_city",
        "step_trade_status",
        "trade_from",
        "seller_flag",
        "orders",
    )
)
REFUND_FIELDS = "refund_id,tid,oid,refund_fee,status,order_status,created,modified,refund_phase,ouid,buyer_open_uid"
