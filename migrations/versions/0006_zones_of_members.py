"""The zones of a shop's members are found without reading all of them.

Revision: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_members_zone", "members", ["shop_id", "zone"])


def downgrade() -> None:
    op.drop_index("ix_members_zone", table_name="members")
