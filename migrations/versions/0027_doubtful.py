"""What nobody knows the end of is found by when that began.

Revision: 0027
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_DOUBTFUL = sa.text("state = 'unconfirmed'")


def upgrade() -> None:
    op.create_index(
        "ix_touchpoints_doubtful",
        "touchpoints",
        ["shop_id", "settled_at"],
        sqlite_where=_DOUBTFUL,
        postgresql_where=_DOUBTFUL,
    )


def downgrade() -> None:
    op.drop_index("ix_touchpoints_doubtful", "touchpoints")
