"""When the last reading of a store that came to its end began: what is under way says nothing of what is known.

Revision: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sync_state", sa.Column("whole_since", sa.BigInteger(), nullable=True))
    op.execute("UPDATE sync_state SET whole_since = started_at WHERE phase = 'idle'")


def downgrade() -> None:
    op.drop_column("sync_state", "whole_since")
