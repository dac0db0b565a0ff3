"""Members are found by the beginning of their name.

Revision: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    ops = " text_pattern_ops" if op.get_bind().dialect.name == "postgresql" else ""
    for name in ("first_name", "last_name"):
        named = sa.text(f"{name} <> ''")
        op.create_index(
            f"ix_members_{name}",
            "members",
            ["shop_id", sa.text(f"lower({name}){ops}")],
            sqlite_where=named,
            postgresql_where=named,
        )


def downgrade() -> None:
    for name in ("first_name", "last_name"):
        op.drop_index(f"ix_members_{name}", table_name="members")
