"""What a rule asks for leaves a mark when it changes: on the member, on what was said, on addresses; and the days by which answers move.

Revision: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_HAS_YEAR = sa.text("birth_year IS NOT NULL")
_SENT = sa.text("accepted_at IS NOT NULL")
_PACE = sa.text("((last_order_on - first_order_on) / (orders_count - 1))")
_HAS_PACE = sa.text("orders_count > 1 AND last_order_on > first_order_on")
_MARKS = (("members", "touched_at"), ("member_consents", "changed_at"), ("suppressions", "recorded_at"))
_INDEXES = (
    ("ix_members_touched", "members", ["shop_id", "touched_at"], None),
    ("ix_members_birth_year", "members", ["shop_id", "birth_year"], _HAS_YEAR),
    ("ix_member_facts_pace", "member_facts", ["shop_id", _PACE, "last_order_on"], _HAS_PACE),
    ("ix_member_consents_changed", "member_consents", ["shop_id", "changed_at"], None),
    ("ix_suppressions_recorded", "suppressions", ["shop_id", "recorded_at"], None),
    ("ix_member_tiers_since", "member_tiers", ["shop_id", "program_key", "since_on"], None),
    ("ix_tier_changes_at", "tier_changes", ["shop_id", "changed_at"], None),
    ("ix_touchpoints_accepted", "touchpoints", ["shop_id", "accepted_at"], _SENT),
    ("ix_touchpoints_settled", "touchpoints", ["shop_id", "settled_at"], _SENT),
    ("ix_delivery_events_at", "delivery_events", ["shop_id", "at"], None),
    ("ix_delivery_events_received", "delivery_events", ["shop_id", "received_at"], None),
)


def upgrade() -> None:
    for table, column in _MARKS:
        op.add_column(table, sa.Column(column, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("segment_events", sa.Column("cause", sa.Text, nullable=False, server_default="moved"))
    for name, table, columns, where in _INDEXES:
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for name, table, _, _ in reversed(_INDEXES):
        op.drop_index(name, table_name=table)
    op.drop_column("segment_events", "cause")
    for table, column in _MARKS:
        op.drop_column(table, column)
