"""Journeys of several steps: published versions, enrolments and what happened to them, tasks, coupons; tags of our own.

Revision: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "coupon_pools",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("pool_key", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["shops.shop_id"], name=op.f("fk_coupon_pools_shop_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("shop_id", "pool_key", name=op.f("pk_coupon_pools")),
    )
    op.create_table(
        "coupon_codes",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("pool_key", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("enrolment_id", sa.BigInteger),
        sa.Column("step_key", sa.Text),
        sa.Column("member_id", sa.BigInteger),
        sa.Column("handed_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["shop_id", "pool_key"],
            ["coupon_pools.shop_id", "coupon_pools.pool_key"],
            name=op.f("fk_coupon_codes_shop_id_pool_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "pool_key", "code", name=op.f("pk_coupon_codes")),
        sa.UniqueConstraint("shop_id", "enrolment_id", "step_key", name="uq_coupon_codes_enrolment"),
    )
    op.create_index(
        "ix_coupon_codes_free",
        "coupon_codes",
        ["shop_id", "pool_key", "place"],
        sqlite_where=sa.text("handed_at IS NULL"),
        postgresql_where=sa.text("handed_at IS NULL"),
    )
    op.create_index(
        "ix_coupon_codes_member",
        "coupon_codes",
        ["shop_id", "member_id"],
        sqlite_where=sa.text("handed_at IS NOT NULL"),
        postgresql_where=sa.text("handed_at IS NOT NULL"),
    )
    op.create_table(
        "enrolments",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("enrolment_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("journey_key", sa.Text, nullable=False),
        sa.Column("member_id", sa.BigInteger, nullable=False),
        sa.Column("occasion", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("end_reason", sa.Text, nullable=False),
        sa.Column("step_key", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("base_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("occasion_on", sa.Integer, nullable=False),
        sa.Column("subject_order_id", sa.BigInteger),
        sa.Column("enrolled_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_enrolments_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "enrolment_id", name=op.f("pk_enrolments")),
        sa.UniqueConstraint("shop_id", "journey_key", "member_id", "occasion", name="uq_enrolments_key"),
    )
    op.create_index(
        "ix_enrolments_due",
        "enrolments",
        ["shop_id", "journey_key", "due_at"],
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_index(
        "ix_enrolments_ended",
        "enrolments",
        ["shop_id", "journey_key", "ended_at"],
        sqlite_where=sa.text("state = 'ended'"),
        postgresql_where=sa.text("state = 'ended'"),
    )
    op.create_index("ix_enrolments_member", "enrolments", ["shop_id", "member_id", "journey_key"])
    op.create_index(
        "ix_enrolments_step",
        "enrolments",
        ["shop_id", "journey_key", "version", "step_key", "phase", "due_at"],
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "journey_versions",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("journey_key", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("numbers", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("published_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "journey_key"],
            ["journeys.shop_id", "journeys.journey_key"],
            name=op.f("fk_journey_versions_shop_id_journey_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "journey_key", "version", name=op.f("pk_journey_versions")),
    )
    op.create_table(
        "tasks",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("task_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("journey_key", sa.Text, nullable=False),
        sa.Column("step_key", sa.Text, nullable=False),
        sa.Column("enrolment_id", sa.BigInteger, nullable=False),
        sa.Column("member_id", sa.BigInteger, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("due_on", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("done_at", sa.BigInteger),
        sa.Column("done_by", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"],
            ["members.shop_id", "members.member_id"],
            name=op.f("fk_tasks_shop_id_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "task_id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("shop_id", "enrolment_id", "step_key", name="uq_tasks_enrolment"),
    )
    op.create_index("ix_tasks_member", "tasks", ["shop_id", "member_id"])
    op.create_index(
        "ix_tasks_open",
        "tasks",
        ["shop_id", "due_on"],
        sqlite_where=sa.text("done_at IS NULL"),
        postgresql_where=sa.text("done_at IS NULL"),
    )
    op.create_table(
        "enrolment_events",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("enrolment_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("step_key", sa.Text, nullable=False),
        sa.Column("to_step", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("base_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "enrolment_id"],
            ["enrolments.shop_id", "enrolments.enrolment_id"],
            name=op.f("fk_enrolment_events_shop_id_enrolment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("shop_id", "enrolment_id", "seq", name=op.f("pk_enrolment_events")),
    )
    with op.batch_alter_table("journeys") as table:
        table.add_column(sa.Column("steps", sa.Text, server_default="[]", nullable=False))
        table.add_column(sa.Column("goal_text", sa.Text, server_default="", nullable=False))
        table.add_column(sa.Column("exit", sa.Text, server_default="audience", nullable=False))
        table.add_column(sa.Column("reentry", sa.Text, server_default='"each"', nullable=False))
        table.add_column(sa.Column("draft", sa.Text))
        table.add_column(sa.Column("paused_at", sa.BigInteger))
        table.add_column(sa.Column("archived_at", sa.BigInteger))
    op.add_column("member_tags", sa.Column("own", sa.Boolean, server_default=sa.false(), nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("member_tags") as table:
        table.drop_column("own")
    with op.batch_alter_table("journeys") as table:
        for name in ("archived_at", "paused_at", "draft", "reentry", "exit", "goal_text", "steps"):
            table.drop_column(name)
    for name in ("enrolment_events", "tasks", "journey_versions", "enrolments", "coupon_codes", "coupon_pools"):
        op.drop_table(name)
