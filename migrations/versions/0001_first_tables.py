"""The first tables: shops, members, orders, facts, consents, programme, touchpoints.

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shops",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_detail", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("credentials", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shop_id", name=op.f("pk_shops")),
        sa.UniqueConstraint("name", name="uq_shops_name"),
    )
    op.create_table(
        "audit_log",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("audit_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_audit_log_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "audit_id", name=op.f("pk_audit_log")),
    )
    op.create_table(
        "connections",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("adapter", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("settings", sa.LargeBinary(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_detail", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["shops.shop_id"], name=op.f("fk_connections_shop_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("shop_id", "adapter", name=op.f("pk_connections")),
    )
    op.create_table(
        "inbox",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("inbox_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("handled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_inbox_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "inbox_id", name=op.f("pk_inbox")),
        sa.UniqueConstraint("shop_id", "source", "dedupe_key", name=op.f("uq_inbox_shop_id_source_dedupe_key")),
    )
    op.create_table(
        "journeys",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("journey_key", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("trigger_params", sa.Text(), nullable=False),
        sa.Column("audience_text", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=True),
        sa.Column("channels", sa.Text(), nullable=False),
        sa.Column("template_key", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("send_at", sa.Text(), nullable=False),
        sa.Column("validity_days", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("enabled_at", sa.BigInteger(), nullable=True),
        sa.Column("planned_through", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_journeys_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "journey_key", name=op.f("pk_journeys")),
    )
    op.create_table(
        "members",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=False),
        sa.Column("last_name", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("birth_year", sa.Integer(), nullable=True),
        sa.Column("birth_md", sa.Integer(), nullable=True),
        sa.Column("joined_at", sa.BigInteger(), nullable=True),
        sa.Column("joined_on", sa.Integer(), nullable=True),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_members_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "member_id", name=op.f("pk_members")),
        sa.UniqueConstraint("shop_id", "external_id", name=op.f("uq_members_shop_id_external_id")),
    )
    op.create_index(
        "ix_members_birthday",
        "members",
        ["shop_id", "birth_md", "zone"],
        unique=False,
        sqlite_where=sa.text("birth_md IS NOT NULL"),
        postgresql_where=sa.text("birth_md IS NOT NULL"),
    )
    op.create_index("ix_members_changed", "members", ["shop_id", "changed_at"], unique=False)
    op.create_index("ix_members_joined", "members", ["shop_id", "joined_on"], unique=False)
    op.create_table(
        "problems",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("problem_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_problems_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "problem_id", name=op.f("pk_problems")),
        sa.UniqueConstraint("shop_id", "stream", "external_id", name=op.f("uq_problems_shop_id_stream_external_id")),
    )
    op.create_table(
        "products",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("product_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("image_url", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=True),
        sa.Column("cost_minor", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_products_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "product_id", name=op.f("pk_products")),
        sa.UniqueConstraint("shop_id", "external_id", name=op.f("uq_products_shop_id_external_id")),
    )
    op.create_index("ix_products_sku", "products", ["shop_id", "sku"], unique=False)
    op.create_table(
        "segments",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("segment_key", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("rule_text", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_segments_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "segment_key", name=op.f("pk_segments")),
    )
    op.create_table(
        "suppressions",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["shops.shop_id"], name=op.f("fk_suppressions_shop_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("shop_id", "channel", "address", name=op.f("pk_suppressions")),
    )
    op.create_table(
        "sync_state",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_sync_state_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "stream", name=op.f("pk_sync_state")),
    )
    op.create_table(
        "templates",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("template_key", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body_text", sa.Text(), nullable=False),
        sa.Column("body_html", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_templates_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "template_key", "channel", "locale", name=op.f("pk_templates")),
    )
    op.create_table(
        "tier_levels",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text(), nullable=False),
        sa.Column("level_key", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("rule_text", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["shops.shop_id"], name=op.f("fk_tier_levels_shop_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("shop_id", "program_key", "level_key", name=op.f("pk_tier_levels")),
        sa.UniqueConstraint("shop_id", "program_key", "rank", name=op.f("uq_tier_levels_shop_id_program_key_rank")),
    )
    op.create_table(
        "consents",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("consent_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("wording", sa.Text(), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_consents_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "consent_id", name=op.f("pk_consents")),
    )
    op.create_index("ix_consents_member", "consents", ["shop_id", "member_id"], unique=False)
    op.create_table(
        "identities",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_identities_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "kind", "value", "member_id", name=op.f("pk_identities")),
    )
    op.create_index("ix_identities_member", "identities", ["shop_id", "member_id"], unique=False)
    op.create_table(
        "inapp_messages",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("touchpoint_key", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("image_url", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("read_at", sa.BigInteger(), nullable=True),
        sa.Column("clicked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_inapp_messages_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "message_id", name=op.f("pk_inapp_messages")),
        sa.UniqueConstraint("shop_id", "touchpoint_key", name=op.f("uq_inapp_messages_shop_id_touchpoint_key")),
    )
    op.create_index("ix_inapp_member", "inapp_messages", ["shop_id", "member_id", "created_at"], unique=False)
    op.create_table(
        "member_consents",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_member_consents_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "member_id", "channel", "topic", name=op.f("pk_member_consents")),
    )
    op.create_table(
        "member_facts",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("orders_count", sa.Integer(), nullable=False),
        sa.Column("refunds_count", sa.Integer(), nullable=False),
        sa.Column("items_milli", sa.BigInteger(), nullable=False),
        sa.Column("gross_minor", sa.BigInteger(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("spent_minor", sa.BigInteger(), nullable=False),
        sa.Column("discount_minor", sa.BigInteger(), nullable=False),
        sa.Column("cost_minor", sa.BigInteger(), nullable=False),
        sa.Column("unconverted_orders", sa.Integer(), nullable=False),
        sa.Column("first_order_at", sa.BigInteger(), nullable=True),
        sa.Column("last_order_at", sa.BigInteger(), nullable=True),
        sa.Column("first_order_on", sa.Integer(), nullable=True),
        sa.Column("last_order_on", sa.Integer(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_member_facts_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "member_id", name=op.f("pk_member_facts")),
    )
    op.create_index("ix_member_facts_changed", "member_facts", ["shop_id", "changed_at"], unique=False)
    op.create_index("ix_member_facts_last_order", "member_facts", ["shop_id", "last_order_on"], unique=False)
    op.create_table(
        "member_tags",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_member_tags_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "member_id", "tag", name=op.f("pk_member_tags")),
    )
    op.create_index("ix_member_tags_tag", "member_tags", ["shop_id", "tag", "member_id"], unique=False)
    op.create_table(
        "member_tiers",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("level_key", sa.Text(), nullable=False),
        sa.Column("since_at", sa.BigInteger(), nullable=False),
        sa.Column("since_on", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_member_tiers_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "program_key", "member_id", name=op.f("pk_member_tiers")),
    )
    op.create_index("ix_member_tiers_level", "member_tiers", ["shop_id", "program_key", "level_key"], unique=False)
    op.create_table(
        "orders",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("platform_status", sa.Text(), nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("base_minor", sa.BigInteger(), nullable=True),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("shipping_minor", sa.BigInteger(), nullable=False),
        sa.Column("discount_minor", sa.BigInteger(), nullable=False),
        sa.Column("cost_minor", sa.BigInteger(), nullable=True),
        sa.Column("items_milli", sa.BigInteger(), nullable=False),
        sa.Column("placed_at", sa.BigInteger(), nullable=False),
        sa.Column("placed_on", sa.Integer(), nullable=False),
        sa.Column("paid_at", sa.BigInteger(), nullable=True),
        sa.Column("shipped_at", sa.BigInteger(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.Column("coupon_codes", sa.Text(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_orders_shop_id_member_id"),
            ondelete="NO ACTION",
        ),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_orders_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "order_id", name=op.f("pk_orders")),
        sa.UniqueConstraint("shop_id", "external_id", name=op.f("uq_orders_shop_id_external_id")),
    )
    op.create_index("ix_orders_member", "orders", ["shop_id", "member_id", "placed_on"], unique=False)
    op.create_index("ix_orders_placed", "orders", ["shop_id", "placed_on"], unique=False)
    op.create_index("ix_orders_seen", "orders", ["shop_id", "first_seen_at"], unique=False)
    op.create_table(
        "tier_changes",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("change_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("from_level", sa.Text(), nullable=False),
        sa.Column("to_level", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_tier_changes_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "change_id", name=op.f("pk_tier_changes")),
    )
    op.create_index("ix_tier_changes_member", "tier_changes", ["shop_id", "member_id", "changed_at"], unique=False)
    op.create_table(
        "touchpoints",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("touchpoint_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("journey_key", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("journey_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reason_detail", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("adapter", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("subject_order_id", sa.BigInteger(), nullable=True),
        sa.Column("occasion_on", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("next_try_at", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), nullable=False),
        sa.Column("planned_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("accepted_at", sa.BigInteger(), nullable=True),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_touchpoints_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "touchpoint_id", name=op.f("pk_touchpoints")),
        sa.UniqueConstraint("shop_id", "journey_key", "member_id", "step", "occasion", name="uq_touchpoints_key"),
    )
    op.create_index(
        "ix_touchpoints_due",
        "touchpoints",
        ["shop_id", "next_try_at"],
        unique=False,
        sqlite_where=sa.text("state IN ('planned', 'retry_wait')"),
        postgresql_where=sa.text("state IN ('planned', 'retry_wait')"),
    )
    op.create_index(
        "ix_touchpoints_lease",
        "touchpoints",
        ["shop_id", "claimed_until"],
        unique=False,
        sqlite_where=sa.text("state = 'in_flight'"),
        postgresql_where=sa.text("state = 'in_flight'"),
    )
    op.create_index("ix_touchpoints_member", "touchpoints", ["shop_id", "member_id", "due_at"], unique=False)
    op.create_index(
        "ix_touchpoints_provider", "touchpoints", ["shop_id", "adapter", "provider_message_id"], unique=False
    )
    op.create_index("ix_touchpoints_state", "touchpoints", ["shop_id", "state", "due_at"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("touchpoint_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("adapter", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "touchpoint_id"],
            ["touchpoints.shop_id", "touchpoints.touchpoint_id"],
            name=op.f("fk_attempts_shop_id_touchpoint_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "touchpoint_id", "attempt_no", name=op.f("pk_attempts")),
    )
    op.create_table(
        "delivery_events",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("adapter", sa.Text(), nullable=False),
        sa.Column("provider_event_id", sa.Text(), nullable=False),
        sa.Column("touchpoint_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "touchpoint_id"],
            ["touchpoints.shop_id", "touchpoints.touchpoint_id"],
            name=op.f("fk_delivery_events_shop_id_touchpoint_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "event_id", name=op.f("pk_delivery_events")),
        sa.UniqueConstraint(
            "shop_id", "adapter", "provider_event_id", name=op.f("uq_delivery_events_shop_id_adapter_provider_event_id")
        ),
    )
    op.create_index("ix_delivery_events_touchpoint", "delivery_events", ["shop_id", "touchpoint_id"], unique=False)
    op.create_table(
        "order_lines",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("line_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("product_external_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Float(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("cost_minor", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "order_id"],
            ["orders.shop_id", "orders.order_id"],
            name=op.f("fk_order_lines_shop_id_order_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "order_id", "line_no", name=op.f("pk_order_lines")),
    )
    op.create_index("ix_order_lines_sku", "order_lines", ["shop_id", "sku", "order_id"], unique=False)
    op.create_table(
        "refunds",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("refund_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column("order_external_id", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("base_minor", sa.BigInteger(), nullable=True),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("dated", sa.Boolean(), nullable=False),
        sa.Column("refunded_at", sa.BigInteger(), nullable=False),
        sa.Column("refunded_on", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_refunds_shop_id_member_id"),
            ondelete="NO ACTION",
        ),
        sa.ForeignKeyConstraint(
            ["shop_id", "order_id"],
            ["orders.shop_id", "orders.order_id"],
            name=op.f("fk_refunds_shop_id_order_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_refunds_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "refund_id", name=op.f("pk_refunds")),
        sa.UniqueConstraint("shop_id", "external_id", name=op.f("uq_refunds_shop_id_external_id")),
    )
    op.create_index("ix_refunds_member", "refunds", ["shop_id", "member_id", "refunded_on"], unique=False)
    op.create_index("ix_refunds_order", "refunds", ["shop_id", "order_id"], unique=False)
    op.create_index("ix_refunds_waiting", "refunds", ["shop_id", "order_external_id"], unique=False)
    op.create_table(
        "touchpoint_contents",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("touchpoint_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body_text", sa.Text(), nullable=False),
        sa.Column("body_html", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("rendered_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "touchpoint_id"],
            ["touchpoints.shop_id", "touchpoints.touchpoint_id"],
            name=op.f("fk_touchpoint_contents_shop_id_touchpoint_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "touchpoint_id", name=op.f("pk_touchpoint_contents")),
    )


def downgrade() -> None:
    op.drop_table("touchpoint_contents")
    op.drop_index("ix_refunds_waiting", table_name="refunds")
    op.drop_index("ix_refunds_order", table_name="refunds")
    op.drop_index("ix_refunds_member", table_name="refunds")
    op.drop_table("refunds")
    op.drop_index("ix_order_lines_sku", table_name="order_lines")
    op.drop_table("order_lines")
    op.drop_index("ix_delivery_events_touchpoint", table_name="delivery_events")
    op.drop_table("delivery_events")
    op.drop_table("attempts")
    op.drop_index("ix_touchpoints_state", table_name="touchpoints")
    op.drop_index("ix_touchpoints_provider", table_name="touchpoints")
    op.drop_index("ix_touchpoints_member", table_name="touchpoints")
    op.drop_index(
        "ix_touchpoints_lease",
        table_name="touchpoints",
        sqlite_where=sa.text("state = 'in_flight'"),
        postgresql_where=sa.text("state = 'in_flight'"),
    )
    op.drop_index(
        "ix_touchpoints_due",
        table_name="touchpoints",
        sqlite_where=sa.text("state IN ('planned', 'retry_wait')"),
        postgresql_where=sa.text("state IN ('planned', 'retry_wait')"),
    )
    op.drop_table("touchpoints")
    op.drop_index("ix_tier_changes_member", table_name="tier_changes")
    op.drop_table("tier_changes")
    op.drop_index("ix_orders_seen", table_name="orders")
    op.drop_index("ix_orders_placed", table_name="orders")
    op.drop_index("ix_orders_member", table_name="orders")
    op.drop_table("orders")
    op.drop_index("ix_member_tiers_level", table_name="member_tiers")
    op.drop_table("member_tiers")
    op.drop_index("ix_member_tags_tag", table_name="member_tags")
    op.drop_table("member_tags")
    op.drop_index("ix_member_facts_last_order", table_name="member_facts")
    op.drop_index("ix_member_facts_changed", table_name="member_facts")
    op.drop_table("member_facts")
    op.drop_table("member_consents")
    op.drop_index("ix_inapp_member", table_name="inapp_messages")
    op.drop_table("inapp_messages")
    op.drop_index("ix_identities_member", table_name="identities")
    op.drop_table("identities")
    op.drop_index("ix_consents_member", table_name="consents")
    op.drop_table("consents")
    op.drop_table("tier_levels")
    op.drop_table("templates")
    op.drop_table("sync_state")
    op.drop_table("suppressions")
    op.drop_table("segments")
    op.drop_index("ix_products_sku", table_name="products")
    op.drop_table("products")
    op.drop_table("problems")
    op.drop_index("ix_members_joined", table_name="members")
    op.drop_index("ix_members_changed", table_name="members")
    op.drop_index(
        "ix_members_birthday",
        table_name="members",
        sqlite_where=sa.text("birth_md IS NOT NULL"),
        postgresql_where=sa.text("birth_md IS NOT NULL"),
    )
    op.drop_table("members")
    op.drop_table("journeys")
    op.drop_table("inbox")
    op.drop_table("connections")
    op.drop_table("audit_log")
    op.drop_table("shops")
