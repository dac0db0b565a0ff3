"""Outbox pages by state and reason, events that overtake their message, and how jobs went.

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_HAS_REASON = sa.text("reason <> ''")
_OF_NONE_YET = sa.text("touchpoint_id IS NULL")


def upgrade() -> None:
    op.create_table(
        "job_runs",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("through", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.shop_id"], name=op.f("fk_job_runs_shop_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("shop_id", "job", name=op.f("pk_job_runs")),
    )
    op.drop_index("ix_touchpoints_state", table_name="touchpoints")
    op.create_index("ix_touchpoints_state", "touchpoints", ["shop_id", "state", "touchpoint_id"])
    op.create_index(
        "ix_touchpoints_reason",
        "touchpoints",
        ["shop_id", "reason", "touchpoint_id"],
        sqlite_where=_HAS_REASON,
        postgresql_where=_HAS_REASON,
    )
    op.add_column("delivery_events", sa.Column("provider_message_id", sa.Text(), nullable=True))
    op.create_index(
        "ix_delivery_events_unmatched",
        "delivery_events",
        ["shop_id", "received_at"],
        sqlite_where=_OF_NONE_YET,
        postgresql_where=_OF_NONE_YET,
    )


def downgrade() -> None:
    op.drop_index("ix_delivery_events_unmatched", table_name="delivery_events")
    op.drop_column("delivery_events", "provider_message_id")
    op.drop_index("ix_touchpoints_reason", table_name="touchpoints")
    op.drop_index("ix_touchpoints_state", table_name="touchpoints")
    op.create_index("ix_touchpoints_state", "touchpoints", ["shop_id", "state", "due_at"])
    op.drop_table("job_runs")
