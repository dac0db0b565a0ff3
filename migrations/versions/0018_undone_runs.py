"""A run that was undone leaves no trace in what members passed and held, and its programmes stand still.

Revision: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tier_runs", sa.Column("passes", sa.Text, nullable=False, server_default="{}"))
    op.add_column("tier_entries", sa.Column("held_run_id", sa.BigInteger))
    op.execute("UPDATE tier_entries SET held_run_id = run_id WHERE held")
    op.create_table(
        "tier_holds",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text, nullable=False),
        sa.Column("run_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("policy_version", sa.Integer, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("ended_by", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["shops.shop_id"], ondelete="CASCADE",
            name=op.f("fk_tier_holds_shop_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "program_key", "run_id", name=op.f("pk_tier_holds")),
    )


def downgrade() -> None:
    op.drop_table("tier_holds")
    op.drop_column("tier_entries", "held_run_id")
    op.drop_column("tier_runs", "passes")
