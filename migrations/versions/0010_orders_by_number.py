"""Orders are found by the number on their papers, where it is not the store's own id.

Revision: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    has_number = sa.text("number <> external_id")
    op.create_index(
        "ix_orders_number",
        "orders",
        ["shop_id", "number"],
        sqlite_where=has_number,
        postgresql_where=has_number,
    )


def downgrade() -> None:
    op.drop_index("ix_orders_number", table_name="orders")
