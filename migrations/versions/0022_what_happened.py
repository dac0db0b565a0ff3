"""What happened that a journey may speak of: steps of orders, events and days of members, checkouts; how long products last.

Revision: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cadences",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("milli_days", sa.BigInteger, nullable=False),
        sa.Column("pairs", sa.Integer, nullable=False),
        sa.Column("counted_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_cadences_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "kind", "name", name=op.f("pk_cadences")),
    )
    op.create_table(
        "checkouts",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("checkout_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("external_id", sa.Text, nullable=False),
        sa.Column("member_id", sa.BigInteger, nullable=True),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("lines", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("touched_at", sa.BigInteger, nullable=False),
        sa.Column("touched_on", sa.Integer, nullable=False),
        sa.Column("completed_at", sa.BigInteger, nullable=True),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_checkouts_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_checkouts_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "checkout_id", name=op.f("pk_checkouts")),
        sa.UniqueConstraint("shop_id", "external_id", name=op.f("uq_checkouts_shop_id_external_id")),
    )
    op.create_index(
        "ix_checkouts_day",
        "checkouts",
        ["shop_id", "touched_on"],
        unique=False,
        sqlite_where=sa.text("completed_at IS NULL"),
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.create_index("ix_checkouts_member", "checkouts", ["shop_id", "member_id"], unique=False)
    op.create_index(
        "ix_checkouts_seen",
        "checkouts",
        ["shop_id", "seen_at"],
        unique=False,
        sqlite_where=sa.text("completed_at IS NULL"),
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.create_table(
        "member_dates",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("date_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("month_day", sa.Integer, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_member_dates_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "date_id", name=op.f("pk_member_dates")),
        sa.UniqueConstraint("shop_id", "member_id", "person", "month_day", name="uq_member_dates_person"),
    )
    op.create_index("ix_member_dates_day", "member_dates", ["shop_id", "month_day"], unique=False)
    op.create_index("ix_member_dates_recorded", "member_dates", ["shop_id", "recorded_at"], unique=False)
    op.create_table(
        "member_events",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("member_id", sa.BigInteger, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("on_day", sa.Integer, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=True),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger, nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_member_events_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "event_id", name=op.f("pk_member_events")),
        sa.UniqueConstraint("shop_id", "kind", "member_id", "subject", name="uq_member_events_subject"),
    )
    op.create_index("ix_member_events_day", "member_events", ["shop_id", "kind", "on_day"], unique=False)
    op.create_index("ix_member_events_member", "member_events", ["shop_id", "member_id", "at"], unique=False)
    op.create_index("ix_member_events_recorded", "member_events", ["shop_id", "kind", "recorded_at"], unique=False)
    op.create_table(
        "refills",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("order_id", sa.BigInteger, nullable=False),
        sa.Column("bought_on", sa.Integer, nullable=False),
        sa.Column("quantity", sa.Float, nullable=False),
        sa.Column("expected_on", sa.Integer, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_refills_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "member_id", "sku", name=op.f("pk_refills")),
    )
    op.create_index("ix_refills_changed", "refills", ["shop_id", "changed_at"], unique=False)
    op.create_index("ix_refills_expected", "refills", ["shop_id", "expected_on"], unique=False)
    op.create_index("ix_refills_sku", "refills", ["shop_id", "sku"], unique=False)
    op.create_table(
        "order_events",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("order_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("happened_on", sa.Integer, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "order_id"],
            ["orders.shop_id", "orders.order_id"],
            name=op.f("fk_order_events_shop_id_order_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "order_id", "kind", name=op.f("pk_order_events")),
    )
    op.create_index("ix_order_events_day", "order_events", ["shop_id", "kind", "happened_on"], unique=False)
    op.create_index("ix_order_events_seen", "order_events", ["shop_id", "kind", "seen_at"], unique=False)
    op.create_index("ix_member_facts_first_order", "member_facts", ["shop_id", "first_order_on"], unique=False)
    op.create_index("ix_refunds_seen", "refunds", ["shop_id", "first_seen_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_refunds_seen", table_name="refunds")
    op.drop_index("ix_member_facts_first_order", table_name="member_facts")
    op.drop_index("ix_order_events_seen", table_name="order_events")
    op.drop_index("ix_order_events_day", table_name="order_events")
    op.drop_table("order_events")
    op.drop_index("ix_refills_sku", table_name="refills")
    op.drop_index("ix_refills_expected", table_name="refills")
    op.drop_index("ix_refills_changed", table_name="refills")
    op.drop_table("refills")
    op.drop_index("ix_member_events_recorded", table_name="member_events")
    op.drop_index("ix_member_events_member", table_name="member_events")
    op.drop_index("ix_member_events_day", table_name="member_events")
    op.drop_table("member_events")
    op.drop_index("ix_member_dates_recorded", table_name="member_dates")
    op.drop_index("ix_member_dates_day", table_name="member_dates")
    op.drop_table("member_dates")
    op.drop_index(
        "ix_checkouts_seen",
        table_name="checkouts",
        sqlite_where=sa.text("completed_at IS NULL"),
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.drop_index("ix_checkouts_member", table_name="checkouts")
    op.drop_index(
        "ix_checkouts_day",
        table_name="checkouts",
        sqlite_where=sa.text("completed_at IS NULL"),
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.drop_table("checkouts")
    op.drop_table("cadences")
