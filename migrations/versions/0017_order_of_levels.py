"""What is due for the store is found in the order in which it is claimed; what was changed there is counted without a look at the rest.

Revision: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_HAS_DRIFTED = sa.text("drifts > 0")


def upgrade() -> None:
    _again("shop_id", "state", "next_try_at", "program_key", "member_id")
    op.create_index(
        "ix_tier_writebacks_drifted",
        "tier_writebacks",
        ["shop_id"],
        sqlite_where=_HAS_DRIFTED,
        postgresql_where=_HAS_DRIFTED,
    )


def downgrade() -> None:
    op.drop_index("ix_tier_writebacks_drifted", "tier_writebacks")
    _again("shop_id", "state", "next_try_at")


def _again(*columns: str) -> None:
    op.drop_index("ix_tier_writebacks_due", "tier_writebacks")
    op.create_index("ix_tier_writebacks_due", "tier_writebacks", list(columns))
