"""Messages by when they were due, and members who are gone, so that figures of the last days and counts need no scan.

Revision: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_GONE = sa.text("state <> 'active'")


def upgrade() -> None:
    op.create_index("ix_touchpoints_due_at", "touchpoints", ["shop_id", "due_at"])
    op.create_index("ix_members_gone", "members", ["shop_id", "member_id"], sqlite_where=_GONE, postgresql_where=_GONE)


def downgrade() -> None:
    op.drop_index("ix_members_gone", table_name="members")
    op.drop_index("ix_touchpoints_due_at", table_name="touchpoints")
