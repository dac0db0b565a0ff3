"""Which segments hold a member is read from the index alone; nobody asks for all events of a shop by time.

Revision: 0015
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_MEMBER = "ix_segment_members_member"


def upgrade() -> None:
    op.drop_index(_MEMBER, table_name="segment_members")
    op.create_index(_MEMBER, "segment_members", ["shop_id", "member_id", "segment_key"])
    op.drop_index("ix_segment_events_at", table_name="segment_events")


def downgrade() -> None:
    op.create_index("ix_segment_events_at", "segment_events", ["shop_id", "at"])
    op.drop_index(_MEMBER, table_name="segment_members")
    op.create_index(_MEMBER, "segment_members", ["shop_id", "member_id"])
