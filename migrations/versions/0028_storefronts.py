"""What stores tell by themselves, who installed, what customers ask for by law, and what else is written into stores.

Revision: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_NEWS = sa.text("state = 'new'")
_WAITS = sa.text("state = 'waiting'")


def upgrade() -> None:
    op.add_column("shops", sa.Column("reference", sa.Text(), nullable=False, server_default=""))
    op.add_column("shops", sa.Column("installed_at", sa.BigInteger(), nullable=True))
    for name in ("kind", "stream", "external_id"):
        op.add_column("inbox", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.add_column("inbox", sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("inbox", sa.Column("next_try_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(
        "ix_inbox_new", "inbox", ["shop_id", "next_try_at", "inbox_id"], sqlite_where=_NEWS, postgresql_where=_NEWS
    )
    op.create_table(
        "privacy_requests",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("member_ids", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["shops.shop_id"], name=op.f("fk_privacy_requests_shop_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("shop_id", "request_id", name=op.f("pk_privacy_requests")),
    )
    op.create_index("ix_privacy_requests_asked", "privacy_requests", ["shop_id", "asked_at"])
    op.create_table(
        "installs",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("told", sa.LargeBinary(), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("shop_id", "token", name=op.f("pk_installs")),
    )
    op.create_table(
        "store_writes",
        sa.Column("shop_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_store_writes_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "kind", "member_id", "what", name=op.f("pk_store_writes")),
    )
    op.create_index(
        "ix_store_writes_due", "store_writes", ["shop_id", "next_try_at"], sqlite_where=_WAITS, postgresql_where=_WAITS
    )


def downgrade() -> None:
    for name in ("store_writes", "installs", "privacy_requests"):
        op.drop_table(name)
    op.drop_index("ix_inbox_new", "inbox")
    for name in ("next_try_at", "tries", "external_id", "stream", "kind"):
        op.drop_column("inbox", name)
    op.drop_column("shops", "installed_at")
    op.drop_column("shops", "reference")
