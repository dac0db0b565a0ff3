"""No two shops hold one store; how long a connection is as it is, and why; variants know their product.

Of shops that hold one store already the one that was installed last keeps it (the first one made, where none was or both were at once);
the others are switched off, with all that is known of them.

Revision: 0029
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_NAMED = sa.text("reference <> ''")
_OF_A_PRODUCT = sa.text("parent_external_id <> ''")
_SWITCH_OFF = sa.text(
    """
    UPDATE shops SET reference = '', status = 'suspended', status_reason = 'held_elsewhere', status_detail = '', status_at = :now
    WHERE reference <> '' AND EXISTS (
        SELECT 1 FROM shops AS other
        WHERE other.platform = shops.platform AND other.reference = shops.reference AND other.shop_id <> shops.shop_id
        AND (COALESCE(other.installed_at, 0) > COALESCE(shops.installed_at, 0)
             OR (COALESCE(other.installed_at, 0) = COALESCE(shops.installed_at, 0) AND other.shop_id < shops.shop_id)))
    """
)


def upgrade() -> None:
    op.add_column("shops", sa.Column("status_reason", sa.Text(), nullable=False, server_default=""))
    op.add_column("shops", sa.Column("status_at", sa.BigInteger(), nullable=True))
    op.get_bind().execute(_SWITCH_OFF, {"now": time.time_ns() // 1000})
    op.create_index(
        "ix_shops_store", "shops", ["platform", "reference"], unique=True, sqlite_where=_NAMED, postgresql_where=_NAMED
    )
    op.add_column("products", sa.Column("parent_external_id", sa.Text(), nullable=False, server_default=""))
    op.create_index(
        "ix_products_parent",
        "products",
        ["shop_id", "parent_external_id"],
        sqlite_where=_OF_A_PRODUCT,
        postgresql_where=_OF_A_PRODUCT,
    )


def downgrade() -> None:
    op.drop_index("ix_products_parent", "products")
    op.drop_column("products", "parent_external_id")
    op.drop_index("ix_shops_store", "shops")
    op.drop_column("shops", "status_at")
    op.drop_column("shops", "status_reason")
