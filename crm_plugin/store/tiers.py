"""What tier programmes keep beside the levels held: policies by version, runs, terms, levels passed, invitations."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text, false

from crm_plugin.store.base import Instant, Json, LocalDay, belongs_to, id_key, metadata, shop_key

# One row: one version of a programme's policy (`rules/policy.py` reads the document). In force on a day is the one with the newest
# `effective_on` up to then, of several the newest version. Rows are never changed: what is undone is a new version like the old one.
tier_policies = Table(
    "tier_policies",
    metadata,
    shop_key(),
    Column("program_key", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("effective_on", LocalDay, nullable=False),
    Column("document", Json, nullable=False),
    Column("actor", Text, nullable=False, default=""),
    Column("created_at", Instant, nullable=False),
    belongs_to("shops"),
)

# One row: a programme that was calculated; its first pass gives no rewards, and who came since the last one may bring a history.
tier_passes = Table(
    "tier_passes",
    metadata,
    shop_key(),
    Column("program_key", Text, primary_key=True),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("last_on", LocalDay, nullable=False),
    Column("policy_version", Integer, nullable=False, default=0, server_default="0"),
    belongs_to("shops"),
)

# One row: an application that changed something. `policies` holds by programme the versions before and after, `passes` what
# `tier_passes` held before, null for a first pass.
tier_runs = Table(
    "tier_runs",
    metadata,
    shop_key(),
    id_key("run_id"),
    Column("at", Instant, nullable=False),
    Column("as_of", LocalDay, nullable=False),
    Column("actor", Text, nullable=False, default=""),
    Column("policies", Json, nullable=False, default=dict),
    Column("passes", Json, nullable=False, default=dict, server_default="{}"),
    Column("undone_at", Instant),
    belongs_to("shops"),
)

# One row: a programme in which no daily pass moves anybody, since a run was undone; `ended_at` is NULL while that lasts. It ends by hand,
# or once another version of the policy than `policy_version` is in force.
tier_holds = Table(
    "tier_holds",
    metadata,
    shop_key(),
    Column("program_key", Text, primary_key=True),
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False, default=""),
    Column("reason", Text, nullable=False, default=""),
    Column("policy_version", Integer, nullable=False),
    Column("ended_at", Instant),
    Column("ended_by", Text, nullable=False, default=""),
    belongs_to("shops"),
)

# One row: something happened to a member that left the level as it was: renewed, in grace, fixed or freed by hand, invited, accepted,
# declined, expired, undone. `before` and `after` are what `member_tiers` held; NULL where it did not change.
tier_terms = Table(
    "tier_terms",
    metadata,
    shop_key(),
    id_key("event_id"),
    Column("program_key", Text, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("level_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("as_of", LocalDay, nullable=False),
    Column("run_id", BigInteger),
    Column("policy_version", Integer, nullable=False, server_default="0"),
    Column("before", Json),
    Column("after", Json),
    Column("detail", Json, nullable=False, default=dict),
    belongs_to("members", "member_id"),
    Index("ix_tier_terms_member", "shop_id", "member_id", "at"),
    Index("ix_tier_terms_at", "shop_id", "at"),
)

# One row: a level that a member passed on the way up, once for good. `held` says that the level itself was held, for the first
# time in the run `held_run_id`. `state` is "passed"
# (nothing to give), "open" (`reward` is to be given) or "used".
tier_entries = Table(
    "tier_entries",
    metadata,
    shop_key(),
    Column("program_key", Text, primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("level_key", Text, primary_key=True),
    Column("held", Boolean, nullable=False, server_default=false()),
    Column("held_run_id", BigInteger),
    Column("state", Text, nullable=False, server_default="passed"),
    Column("reward", Text, nullable=False, server_default=""),
    Column("at", Instant, nullable=False),
    Column("as_of", LocalDay, nullable=False),
    Column("run_id", BigInteger),
    belongs_to("members", "member_id"),
    Index("ix_tier_entries_state", "shop_id", "state", "at"),
    Index("ix_tier_entries_member", "shop_id", "member_id"),
)

# One row: a member who by hand holds no level of a programme through `until`, NULL for good, whatever the rules say.
tier_bars = Table(
    "tier_bars",
    metadata,
    shop_key(),
    Column("program_key", Text, primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("until", LocalDay),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", Instant, nullable=False),
    belongs_to("members", "member_id"),
    Index("ix_tier_bars_member", "shop_id", "member_id"),
)

# One row: a member's invitation to a level, invited, accepted, declined or expired. `taken` once an accepted one has lifted the member.
tier_invitations = Table(
    "tier_invitations",
    metadata,
    shop_key(),
    Column("program_key", Text, primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("level_key", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("taken", Boolean, nullable=False, server_default=false()),
    Column("invited_at", Instant, nullable=False),
    Column("expires_on", LocalDay),
    Column("answered_at", Instant),
    belongs_to("members", "member_id"),
    Index("ix_tier_invitations_member", "shop_id", "member_id"),
    Index("ix_tier_invitations_open", "shop_id", "state", "expires_on"),
)
