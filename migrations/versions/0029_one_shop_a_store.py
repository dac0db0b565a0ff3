"""No two shops hold one store; why a connection is as it is, and since when; what was given up is found; variants know their product.

Of shops that hold one store already one keeps it: before those that are switched off or were taken away one that is not, of these the one
that was installed last (the first one made, where none was or both were at once). The others are switched off, with all that is known of
them; one that was taken away stays so, and its term goes on. Going back does not give them their store again.

Revision: 0029
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_GIVEN_UP = sa.text("state = 'failed'")
_NAMED = sa.text("reference <> ''")
_OF_A_PRODUCT = sa.text("parent_external_id <> ''")
# When that was nobody knows any more: the term within which all has to be erased begins now.
_ENDED = sa.text(
    """
    UPDATE shops SET status_reason = CASE status WHEN 'uninstalled' THEN 'taken_away' ELSE 'switched_off' END, status_at = :now
    WHERE status IN ('uninstalled', 'suspended')
    """
)
_IS_AWAKE = "CASE WHEN {}.status IN ('uninstalled', 'suspended') THEN 0 ELSE 1 END"
_SWITCH_OFF = sa.text(
    """
    UPDATE shops SET
        reference = '', status_detail = '', status_at = :now,
        status = CASE status WHEN 'uninstalled' THEN status ELSE 'suspended' END,
        status_reason = CASE status WHEN 'uninstalled' THEN status_reason ELSE 'held_elsewhere' END
    WHERE reference <> '' AND EXISTS (
        SELECT 1 FROM shops AS other
        WHERE other.platform = shops.platform AND other.reference = shops.reference AND other.shop_id <> shops.shop_id
        AND ({is_awake_of_other} > {is_awake}
             OR ({is_awake_of_other} = {is_awake} AND COALESCE(other.installed_at, 0) > COALESCE(shops.installed_at, 0))
             OR ({is_awake_of_other} = {is_awake} AND COALESCE(other.installed_at, 0) = COALESCE(shops.installed_at, 0)
                 AND other.shop_id < shops.shop_id)))
    """.format(is_awake=_IS_AWAKE.format("shops"), is_awake_of_other=_IS_AWAKE.format("other"))
)


def upgrade() -> None:
    op.add_column("shops", sa.Column("status_reason", sa.Text(), nullable=False, server_default=""))
    op.add_column("shops", sa.Column("status_at", sa.BigInteger(), nullable=True))
    now = {"now": time.time_ns() // 1000}
    op.get_bind().execute(_ENDED, now)
    op.get_bind().execute(_SWITCH_OFF, now)
    op.create_index(
        "ix_shops_store", "shops", ["platform", "reference"], unique=True, sqlite_where=_NAMED, postgresql_where=_NAMED
    )
    op.create_index(
        "ix_inbox_failed", "inbox", ["shop_id", "inbox_id"], sqlite_where=_GIVEN_UP, postgresql_where=_GIVEN_UP
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
    op.drop_index("ix_inbox_failed", "inbox")
    op.drop_index("ix_shops_store", "shops")
    op.drop_column("shops", "status_at")
    op.drop_column("shops", "status_reason")
