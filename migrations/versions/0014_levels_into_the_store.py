"""Levels on their way into the store, and whether a shop wants that.

Revision: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "writeback_switches",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("resting_until", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["shops.shop_id"], name="fk_writeback_switches_shop_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("shop_id", name="pk_writeback_switches"),
    )
    op.create_table(
        "tier_writebacks",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("wanted_level", sa.Text(), nullable=False),
        sa.Column("wanted_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_try_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("store_level", sa.Text(), nullable=True),
        sa.Column("store_changed_at", sa.BigInteger(), nullable=True),
        sa.Column("written_at", sa.BigInteger(), nullable=True),
        sa.Column("drifts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("drifted_at", sa.BigInteger(), nullable=True),
        sa.Column("drifted_to", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name="fk_tier_writebacks_shop_id_member_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "program_key", "member_id", name="pk_tier_writebacks"),
    )
    op.create_index("ix_tier_writebacks_due", "tier_writebacks", ["shop_id", "state", "next_try_at"])
    op.create_index("ix_tier_writebacks_member", "tier_writebacks", ["shop_id", "member_id"])


def downgrade() -> None:
    op.drop_table("tier_writebacks")
    op.drop_table("writeback_switches")
