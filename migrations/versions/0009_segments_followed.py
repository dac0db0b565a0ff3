"""Segments know who they hold and since when; machines are told apart from people.

Revision: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("segments", sa.Column("kind", sa.Text, nullable=False, server_default="rule"))
    op.add_column("segments", sa.Column("kept_through", sa.BigInteger))
    op.add_column("segments", sa.Column("kept_on", sa.Integer))
    op.add_column("segments", sa.Column("kept_rule", sa.Text))
    op.add_column("delivery_events", sa.Column("machine", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "segment_members",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("segment_key", sa.Text, nullable=False),
        sa.Column("member_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("since_at", sa.BigInteger, nullable=False),
        sa.Column("since_on", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "segment_key"], ["segments.shop_id", "segments.segment_key"], ondelete="CASCADE",
            name=op.f("fk_segment_members_shop_id_segment_key")
        ),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"], ["members.shop_id", "members.member_id"], ondelete="CASCADE",
            name=op.f("fk_segment_members_shop_id_member_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "segment_key", "member_id", name=op.f("pk_segment_members")),
    )
    op.create_index("ix_segment_members_member", "segment_members", ["shop_id", "member_id"])
    op.create_index("ix_segment_members_since", "segment_members", ["shop_id", "segment_key", "since_on"])
    op.create_table(
        "segment_events",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("segment_key", sa.Text, nullable=False),
        sa.Column("member_id", sa.BigInteger, nullable=False),
        sa.Column("entered", sa.Boolean, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("as_of", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"], ["members.shop_id", "members.member_id"], ondelete="CASCADE",
            name=op.f("fk_segment_events_shop_id_member_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "event_id", name=op.f("pk_segment_events")),
    )
    op.create_index("ix_segment_events_segment", "segment_events", ["shop_id", "segment_key", "at"])
    op.create_index("ix_tier_changes_day", "tier_changes", ["shop_id", "as_of"])
    op.create_index("ix_refunds_day", "refunds", ["shop_id", "refunded_on"])
    op.create_index("ix_segment_events_at", "segment_events", ["shop_id", "at"])
    op.create_index("ix_segment_events_member", "segment_events", ["shop_id", "member_id", "segment_key", "as_of"])


def downgrade() -> None:
    op.drop_index("ix_refunds_day", table_name="refunds")
    op.drop_index("ix_tier_changes_day", table_name="tier_changes")
    op.drop_table("segment_events")
    op.drop_table("segment_members")
    op.drop_column("delivery_events", "machine")
    for column in ("kept_rule", "kept_on", "kept_through", "kind"):
        op.drop_column("segments", column)
