"""Limits of how often a member is written to, their own dial, and journeys that stand still.

What went out in the last month counts towards the limits: nobody is to get more because of an upgrade.

Revision: 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_CAPPED = sa.text("capped_at IS NOT NULL")
_HELD = sa.text("state = 'held'")
_MONTH = 30 * 86_400_000_000


def upgrade() -> None:
    op.add_column("journeys", sa.Column("priority", sa.Integer, nullable=False, server_default="5"))
    op.add_column("journeys", sa.Column("value_minor", sa.BigInteger))
    op.add_column("journeys", sa.Column("holdout_pct", sa.Integer, nullable=False, server_default="0"))
    op.add_column("touchpoints", sa.Column("capped_at", sa.BigInteger))
    op.execute(
        "UPDATE touchpoints SET capped_at = accepted_at WHERE accepted_at > "
        f"(SELECT COALESCE(MAX(t.accepted_at), 0) - {_MONTH} FROM touchpoints AS t WHERE t.shop_id = touchpoints.shop_id) "
        "AND EXISTS (SELECT 1 FROM journeys AS j WHERE j.shop_id = touchpoints.shop_id "
        "AND j.journey_key = touchpoints.journey_key AND j.kind = 'marketing')"
    )
    op.execute("UPDATE touchpoints SET capped_at = updated_at WHERE state IN ('in_flight', 'unconfirmed')")
    op.create_index(
        "ix_touchpoints_capped", "touchpoints", ["shop_id", "member_id", "capped_at"],
        sqlite_where=_CAPPED, postgresql_where=_CAPPED,
    )
    op.create_table(
        "member_dials",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("frequency", sa.Text, nullable=False),
        sa.Column("per_month", sa.Integer),
        sa.Column("snooze_until", sa.BigInteger),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"], ["members.shop_id", "members.member_id"], ondelete="CASCADE",
            name=op.f("fk_member_dials_shop_id_member_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "member_id", name=op.f("pk_member_dials")),
    )
    op.create_table(
        "journey_waves",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("journey_key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "journey_key"], ["journeys.shop_id", "journeys.journey_key"], ondelete="CASCADE",
            name=op.f("fk_journey_waves_shop_id_journey_key"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "journey_key", name=op.f("pk_journey_waves")),
    )
    op.create_index(
        "ix_journey_waves_held", "journey_waves", ["shop_id", "journey_key"],
        sqlite_where=_HELD, postgresql_where=_HELD,
    )
    op.create_table(
        "journey_forecasts",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("journey_key", sa.Text, nullable=False),
        sa.Column("day", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("planned", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "journey_key"], ["journeys.shop_id", "journeys.journey_key"], ondelete="CASCADE",
            name=op.f("fk_journey_forecasts_shop_id_journey_key"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "journey_key", "day", name=op.f("pk_journey_forecasts")),
    )


def downgrade() -> None:
    op.drop_table("journey_forecasts")
    op.drop_table("journey_waves")
    op.drop_table("member_dials")
    op.drop_index("ix_touchpoints_capped", "touchpoints")
    op.drop_column("touchpoints", "capped_at")
    for name in ("holdout_pct", "value_minor", "priority"):
        op.drop_column("journeys", name)
