"""Members whom somebody keeps out of a tier programme by hand.

Revision: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tier_bars",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text, nullable=False),
        sa.Column("member_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("until", sa.Integer),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"], ["members.shop_id", "members.member_id"], ondelete="CASCADE",
            name=op.f("fk_tier_bars_shop_id_member_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "program_key", "member_id", name=op.f("pk_tier_bars")),
    )
    op.create_index("ix_tier_bars_member", "tier_bars", ["shop_id", "member_id"])


def downgrade() -> None:
    op.drop_table("tier_bars")
