"""Orders in a currency without an exchange rate are counted without a walk over all orders.

Revision: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    without_rate = sa.text("base_minor IS NULL")
    op.create_index(
        "ix_orders_without_rate",
        "orders",
        ["shop_id", "currency"],
        sqlite_where=without_rate,
        postgresql_where=without_rate,
    )


def downgrade() -> None:
    op.drop_index("ix_orders_without_rate", table_name="orders")
