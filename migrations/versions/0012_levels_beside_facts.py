"""The level held stands beside the facts that earn it, and SQLite keeps facts in the order of their key: a pass reads one stretch of a file.

Revision: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# As `copy_beside_facts` does.
_COPY = """
INSERT INTO member_facts (shop_id, member_id, orders_count, refunds_count, items_milli, gross_minor, refunded_minor, spent_minor,
    discount_minor, cost_minor, unconverted_orders, changed_at, level_key)
SELECT shop_id, member_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, since_at, level_key FROM member_tiers WHERE program_key = 'main'
ON CONFLICT (shop_id, member_id) DO UPDATE SET level_key = excluded.level_key
"""


def upgrade() -> None:
    with op.batch_alter_table("member_facts", **_how(in_key_order=True)) as facts:
        facts.add_column(sa.Column("level_key", sa.Text(), server_default="", nullable=False))
    op.execute(_COPY)


def downgrade() -> None:
    with op.batch_alter_table("member_facts", **_how(in_key_order=False)) as facts:
        facts.drop_column("level_key")


def _how(*, in_key_order: bool) -> dict[str, object]:
    """SQLite makes the table anew; the members it refers to are not read for it."""
    if op.get_bind().dialect.name != "sqlite":
        return {"recreate": "never"}
    return {
        "recreate": "always",
        "table_kwargs": {"sqlite_with_rowid": not in_key_order},
        "reflect_kwargs": {"resolve_fks": False},
    }
