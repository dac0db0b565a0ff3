"""Orders, their lines, refunds, and products."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, Table, Text, UniqueConstraint, text

from crm_plugin.store.base import Instant, Json, LocalDay, belongs_to, id_key, metadata, shop_key
from crm_plugin.store.indexes import partial_index

_HAS_NUMBER = text("number <> external_id")
_WITHOUT_RATE = text("base_minor IS NULL")
_ON_HOLD = text("status = 'on_hold'")
_OF_A_PRODUCT = text("parent_external_id <> ''")

# One row: an order. `base_minor` is the total in the shop's currency, NULL when there is no exchange rate for `currency`.
# `placed_on` is the day in the shop's zone. `counts` follows the status. `first_seen_at` finds what arrives
# late: it is when the order was first seen as one that counts, for this member and on this day.
orders = Table(
    "orders",
    metadata,
    shop_key(),
    id_key("order_id"),
    Column("external_id", Text, nullable=False),
    Column("number", Text, nullable=False, default=""),
    Column("member_id", BigInteger),
    Column("status", Text, nullable=False),
    Column("platform_status", Text, nullable=False, default=""),
    Column("counts", Boolean, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("base_minor", BigInteger),
    Column("tax_minor", BigInteger, nullable=False, default=0),
    Column("shipping_minor", BigInteger, nullable=False, default=0),
    Column("discount_minor", BigInteger, nullable=False, default=0),
    Column("cost_minor", BigInteger),
    Column("items_milli", BigInteger, nullable=False, default=0),
    Column("placed_at", Instant, nullable=False),
    Column("placed_on", LocalDay, nullable=False),
    Column("paid_at", Instant),
    Column("shipped_at", Instant),
    Column("delivered_at", Instant),
    Column("updated_at", Instant),
    Column("coupon_codes", Json, nullable=False, default=list),
    Column("attributes", Json, nullable=False, default=dict),
    Column("first_seen_at", Instant, nullable=False),
    Column("fingerprint", Text, nullable=False, default=""),
    UniqueConstraint("shop_id", "external_id"),
    belongs_to("shops"),
    belongs_to("members", "member_id", ondelete="NO ACTION"),
    Index("ix_orders_member", "shop_id", "member_id", "placed_on"),
    Index("ix_orders_placed", "shop_id", "placed_on"),
    Index("ix_orders_seen", "shop_id", "first_seen_at"),
    # Most stores number their orders by id, and then it holds nothing.
    partial_index("ix_orders_number", "shop_id", "number", where=_HAS_NUMBER),
    # Few at any time: whether a member has one is asked of everybody who is to be written to.
    partial_index(
        "ix_orders_on_hold",
        "shop_id",
        "member_id",
        "placed_on",
        where=_ON_HOLD,
    ),
    partial_index("ix_orders_without_rate", "shop_id", "currency", where=_WITHOUT_RATE),
)

# One row: one line of an order, replaced as a whole when the order changes.
order_lines = Table(
    "order_lines",
    metadata,
    shop_key(),
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column("line_no", Integer, primary_key=True, autoincrement=False),
    Column("sku", Text, nullable=False, default=""),
    Column("product_external_id", Text, nullable=False, default=""),
    Column("title", Text, nullable=False, default=""),
    Column("quantity", Float, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("cost_minor", BigInteger),
    belongs_to("orders", "order_id"),
    Index("ix_order_lines_sku", "shop_id", "sku", "order_id"),
)

# One row: money given back. `dated` is False while the platform has told the sum but not yet the day. `counts` follows its order;
# a refund without a known order (`order_id` NULL) counts.
refunds = Table(
    "refunds",
    metadata,
    shop_key(),
    id_key("refund_id"),
    Column("external_id", Text, nullable=False),
    Column("order_id", BigInteger),
    Column("order_external_id", Text, nullable=False, default=""),
    Column("member_id", BigInteger),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("base_minor", BigInteger),
    Column("counts", Boolean, nullable=False),
    Column("dated", Boolean, nullable=False, default=True),
    Column("refunded_at", Instant, nullable=False),
    Column("refunded_on", LocalDay, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("first_seen_at", Instant, nullable=False),
    Column("fingerprint", Text, nullable=False, default=""),
    UniqueConstraint("shop_id", "external_id"),
    belongs_to("shops"),
    belongs_to("orders", "order_id"),
    belongs_to("members", "member_id", ondelete="NO ACTION"),
    Index("ix_refunds_member", "shop_id", "member_id", "refunded_on"),
    Index("ix_refunds_day", "shop_id", "refunded_on"),
    Index("ix_refunds_seen", "shop_id", "first_seen_at"),
    Index("ix_refunds_order", "shop_id", "order_id"),
    Index("ix_refunds_waiting", "shop_id", "order_external_id"),
)

# One row: a product or variant; a variant says of which product it is, where the platform tells.
products = Table(
    "products",
    metadata,
    shop_key(),
    id_key("product_id"),
    Column("external_id", Text, nullable=False),
    Column("sku", Text, nullable=False, default=""),
    Column("title", Text, nullable=False, default=""),
    Column("category", Text, nullable=False, default=""),
    Column("url", Text, nullable=False, default=""),
    Column("image_url", Text, nullable=False, default=""),
    Column("currency", Text, nullable=False, default=""),
    Column("price_minor", BigInteger),
    Column("cost_minor", BigInteger),
    Column("updated_at", Instant),
    Column("fingerprint", Text, nullable=False, default=""),
    Column("parent_external_id", Text, nullable=False, default="", server_default=""),
    UniqueConstraint("shop_id", "external_id"),
    belongs_to("shops"),
    Index("ix_products_sku", "shop_id", "sku"),
    partial_index(
        "ix_products_parent",
        "shop_id",
        "parent_external_id",
        where=_OF_A_PRODUCT,
    ),
)
