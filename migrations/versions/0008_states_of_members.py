"""The state or province of a member, which tells their zone in a country of several.

Revision: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The default is for an older version that goes on writing meanwhile.
    op.add_column("members", sa.Column("region", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("members", "region")
