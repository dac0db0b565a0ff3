"""Orders on hold, by member.

Revision: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_HELD = sa.text("status = 'on_hold'")


def upgrade() -> None:
    op.create_index(
        "ix_orders_on_hold",
        "orders",
        ["shop_id", "member_id", "placed_on"],
        sqlite_where=_HELD,
        postgresql_where=_HELD,
    )


def downgrade() -> None:
    op.drop_index("ix_orders_on_hold", table_name="orders")
