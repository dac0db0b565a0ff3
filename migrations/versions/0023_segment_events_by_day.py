"""Who came into a segment or left it, by day.

Revision: 0023
"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_segment_events_day", "segment_events", ["shop_id", "segment_key", "as_of"])


def downgrade() -> None:
    op.drop_index("ix_segment_events_day", table_name="segment_events")
