"""Tier programmes get policies by version, runs that can be undone, terms, levels passed and invitations.

Revision: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_BOUND = sa.text("grace_until IS NOT NULL OR fixed")
# What was calculated before is no first calculation.
_PASSED = """
INSERT INTO tier_passes (shop_id, program_key, first_at, last_at, last_on, policy_version)
SELECT shop_id, program_key, MIN(changed_at), MAX(changed_at), MAX(as_of), 0 FROM tier_changes GROUP BY shop_id, program_key
"""


def upgrade() -> None:
    for name, kind in (("valid_until", sa.Integer), ("grace_until", sa.Integer), ("fixed_until", sa.Integer)):
        op.add_column("member_tiers", sa.Column(name, kind))
    for name in ("in_grace", "fixed"):
        op.add_column("member_tiers", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
    for name in ("fixed_reason", "fixed_by"):
        op.add_column("member_tiers", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.create_index(
        "ix_member_tiers_bound", "member_tiers", ["shop_id", "program_key", "grace_until"],
        sqlite_where=_BOUND, postgresql_where=_BOUND,
    )
    op.add_column("tier_levels", sa.Column("plan", sa.Text, nullable=False, server_default="{}"))
    op.add_column("tier_changes", sa.Column("run_id", sa.BigInteger))
    op.add_column("tier_changes", sa.Column("policy_version", sa.Integer, nullable=False, server_default="0"))
    op.add_column("tier_changes", sa.Column("before", sa.Text))
    op.add_column("tier_changes", sa.Column("after", sa.Text))
    op.create_table(
        "tier_policies",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("effective_on", sa.Integer, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["shops.shop_id"], ondelete="CASCADE",
            name=op.f("fk_tier_policies_shop_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "program_key", "version", name=op.f("pk_tier_policies")),
    )
    op.create_table(
        "tier_passes",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text, nullable=False),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("last_on", sa.Integer, nullable=False),
        sa.Column("policy_version", sa.Integer, nullable=False, server_default="0"),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["shops.shop_id"], ondelete="CASCADE",
            name=op.f("fk_tier_passes_shop_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "program_key", name=op.f("pk_tier_passes")),
    )
    op.create_table(
        "tier_runs",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("run_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("as_of", sa.Integer, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("policies", sa.Text, nullable=False),
        sa.Column("undone_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["shop_id"], ["shops.shop_id"], ondelete="CASCADE",
            name=op.f("fk_tier_runs_shop_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "run_id", name=op.f("pk_tier_runs")),
    )
    op.create_table(
        "tier_terms",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text, nullable=False),
        sa.Column("member_id", sa.BigInteger, nullable=False),
        sa.Column("level_key", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("as_of", sa.Integer, nullable=False),
        sa.Column("run_id", sa.BigInteger),
        sa.Column("policy_version", sa.Integer, nullable=False, server_default="0"),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"], ["members.shop_id", "members.member_id"], ondelete="CASCADE",
            name=op.f("fk_tier_terms_shop_id_member_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "event_id", name=op.f("pk_tier_terms")),
    )
    op.create_index("ix_tier_terms_member", "tier_terms", ["shop_id", "member_id", "at"])
    op.create_index("ix_tier_terms_at", "tier_terms", ["shop_id", "at"])
    op.create_table(
        "tier_entries",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text, nullable=False),
        sa.Column("member_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("level_key", sa.Text, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("state", sa.Text, nullable=False, server_default="passed"),
        sa.Column("reward", sa.Text, nullable=False, server_default=""),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("as_of", sa.Integer, nullable=False),
        sa.Column("run_id", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"], ["members.shop_id", "members.member_id"], ondelete="CASCADE",
            name=op.f("fk_tier_entries_shop_id_member_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "program_key", "member_id", "level_key", name=op.f("pk_tier_entries")),
    )
    op.create_index("ix_tier_entries_state", "tier_entries", ["shop_id", "state", "at"])
    op.create_index("ix_tier_entries_member", "tier_entries", ["shop_id", "member_id"])
    op.create_table(
        "tier_invitations",
        sa.Column("shop_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("program_key", sa.Text, nullable=False),
        sa.Column("member_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("level_key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("taken", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("invited_at", sa.BigInteger, nullable=False),
        sa.Column("expires_on", sa.Integer),
        sa.Column("answered_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["shop_id", "member_id"], ["members.shop_id", "members.member_id"], ondelete="CASCADE",
            name=op.f("fk_tier_invitations_shop_id_member_id"),
        ),
        sa.PrimaryKeyConstraint("shop_id", "program_key", "member_id", "level_key", name=op.f("pk_tier_invitations")),
    )
    op.create_index("ix_tier_invitations_member", "tier_invitations", ["shop_id", "member_id"])
    op.create_index("ix_tier_invitations_open", "tier_invitations", ["shop_id", "state", "expires_on"])
    op.execute(_PASSED)


def downgrade() -> None:
    op.drop_table("tier_invitations")
    op.drop_table("tier_entries")
    op.drop_table("tier_terms")
    op.drop_table("tier_runs")
    op.drop_table("tier_passes")
    op.drop_table("tier_policies")
    for name in ("after", "before", "policy_version", "run_id"):
        op.drop_column("tier_changes", name)
    op.drop_column("tier_levels", "plan")
    op.drop_index("ix_member_tiers_bound", table_name="member_tiers")
    for name in ("fixed_by", "fixed_reason", "fixed", "in_grace", "fixed_until", "grace_until", "valid_until"):
        op.drop_column("member_tiers", name)
