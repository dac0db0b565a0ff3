"""Touchpoints are found by the order they speak of.

Revision: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    of_an_order = sa.text("subject_order_id IS NOT NULL")
    op.create_index(
        "ix_touchpoints_order",
        "touchpoints",
        ["shop_id", "subject_order_id"],
        sqlite_where=of_an_order,
        postgresql_where=of_an_order,
    )


def downgrade() -> None:
    op.drop_index("ix_touchpoints_order", table_name="touchpoints")
