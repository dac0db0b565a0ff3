"""Codes that wait for a member are found by the member, and those that are nobody's among themselves.

Revision: 0030
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_OWN = sa.text("handed_at IS NULL AND member_id IS NOT NULL")
_NOBODYS = sa.text("handed_at IS NULL AND member_id IS NULL")


def upgrade() -> None:
    whose = ["shop_id", "pool_key", "member_id", "place"]
    op.create_index("ix_coupon_codes_own", "coupon_codes", whose, sqlite_where=_OWN, postgresql_where=_OWN)
    whose.remove("member_id")
    op.create_index("ix_coupon_codes_nobodys", "coupon_codes", whose, sqlite_where=_NOBODYS, postgresql_where=_NOBODYS)


def downgrade() -> None:
    op.drop_index("ix_coupon_codes_nobodys", "coupon_codes")
    op.drop_index("ix_coupon_codes_own", "coupon_codes")
