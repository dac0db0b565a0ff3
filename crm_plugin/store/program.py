"""What the merchant decided: segments, tiers, journeys, templates; and each member's tier with its history."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    false,
    select,
    text,
)

from crm_plugin.store import bulk
from crm_plugin.store.base import Instant, Json, LocalDay, belongs_to, id_key, metadata, shop_key
from crm_plugin.store.indexes import partial_index
from crm_plugin.store.members import member_facts

# The tier programme that is meant where none is named; the level held in it stands beside the facts too.
PROGRAM = "main"

# One row: a segment. Of the kind "rule" it has a rule: `rule_text` as the merchant wrote it, `rule` the stored tree; of the kind "list"
# its members were named one by one. `kept_through` is up to when `segment_members` follows the rule, `kept_on` the local day it was asked
# for last, `kept_rule` a digest of the rule that was asked then; NULL before the first time.
segments = Table(
    "segments",
    metadata,
    shop_key(),
    Column("segment_key", Text, primary_key=True),
    Column("title", Text, nullable=False, default=""),
    Column("kind", Text, nullable=False, default="rule", server_default="rule"),
    Column("rule_text", Text, nullable=False),
    Column("rule", Json, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("kept_through", Instant),
    Column("kept_on", LocalDay),
    Column("kept_rule", Text),
    belongs_to("shops"),
)

# One row: a member whom a segment holds, since when.
segment_members = Table(
    "segment_members",
    metadata,
    shop_key(),
    Column("segment_key", Text, primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("since_at", Instant, nullable=False),
    Column("since_on", LocalDay, nullable=False),
    belongs_to("segments", "segment_key"),
    belongs_to("members", "member_id"),
    Index("ix_segment_members_member", "shop_id", "member_id", "segment_key"),
    Index("ix_segment_members_since", "shop_id", "segment_key", "since_on"),
)

# One row: a member entered a segment or left it; kept for good, also when the segment goes. `cause` is "moved" when something happened to
# the member or a day went by, "rule" when the segment's rule was changed, "list" when a list was written.
segment_events = Table(
    "segment_events",
    metadata,
    shop_key(),
    id_key("event_id"),
    Column("segment_key", Text, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("entered", Boolean, nullable=False),
    Column("cause", Text, nullable=False, default="moved", server_default="moved"),
    Column("at", Instant, nullable=False),
    Column("as_of", LocalDay, nullable=False),
    belongs_to("members", "member_id"),
    Index("ix_segment_events_segment", "shop_id", "segment_key", "at"),
    Index("ix_segment_events_day", "shop_id", "segment_key", "as_of"),
    Index("ix_segment_events_member", "shop_id", "member_id", "segment_key", "as_of"),
)

# One row: one level of a tier programme as its policy in force has it. `rank` 0 is the lowest; the rule is what earns the level, empty for
# one by invitation only. `plan` holds what else fields ask of it: the rule that keeps it, and the measure with the entry that is missing.
tier_levels = Table(
    "tier_levels",
    metadata,
    shop_key(),
    Column("program_key", Text, primary_key=True),
    Column("level_key", Text, primary_key=True),
    Column("rank", Integer, nullable=False),
    Column("title", Json, nullable=False, default=dict),
    Column("rule_text", Text, nullable=False),
    Column("rule", Json, nullable=False),
    Column("plan", Json, nullable=False, default=dict, server_default="{}"),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("shop_id", "program_key", "rank"),
    belongs_to("shops"),
)

# Who has a term or was fixed by hand: few or none where a programme has no such thing, so that a pass soon knows.
BOUND = "grace_until IS NOT NULL OR fixed"

# One row: the level a member holds now in a programme; no row is no level. `valid_until` is the last local day of its term, `grace_until`
# that of the days of grace after it, both NULL without a term; `in_grace` once these have begun. `fixed` by hand it stays through
# `fixed_until`, NULL for good, whatever the rules say.
member_tiers = Table(
    "member_tiers",
    metadata,
    shop_key(),
    Column("program_key", Text, primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("level_key", Text, nullable=False),
    Column("since_at", Instant, nullable=False),
    Column("since_on", LocalDay, nullable=False),
    Column("valid_until", LocalDay),
    Column("grace_until", LocalDay),
    Column("in_grace", Boolean, nullable=False, default=False, server_default=false()),
    Column("fixed", Boolean, nullable=False, default=False, server_default=false()),
    Column("fixed_until", LocalDay),
    Column("fixed_reason", Text, nullable=False, default="", server_default=""),
    Column("fixed_by", Text, nullable=False, default="", server_default=""),
    belongs_to("members", "member_id"),
    partial_index(
        "ix_member_tiers_bound",
        "shop_id",
        "program_key",
        "grace_until",
        where=text(BOUND),
    ),
    Index("ix_member_tiers_level", "shop_id", "program_key", "level_key"),
    Index("ix_member_tiers_since", "shop_id", "program_key", "since_on"),
)

_SUMS = [column.name for column in member_facts.columns if column.default is not None]
_WITH_LEVEL = ("shop_id", "member_id", *_SUMS, "changed_at", "level_key")


def put_beside_facts(connection: Connection, shop_id: int, levels: Iterable[tuple[int, str]], at: int) -> None:
    """Note beside the facts the level that each member holds now, empty for none.

    Whoever holds one has a row of facts from then on, be it one of zeros made at `at` (microseconds): a pass over facts finds them all.
    """
    zeros = (0,) * len(_SUMS)
    rows = [(shop_id, member_id, *zeros, at, level) for member_id, level in levels]
    bulk.upsert_rows(connection, member_facts, _WITH_LEVEL, _WITH_LEVEL[:2], "level_key = excluded.level_key", rows)


def copy_beside_facts(connection: Connection, shop_id: int, at: int, member_id: int | None = None) -> None:
    """The same for all who hold a level, or for one of them, from `member_tiers`: after their facts were made anew or moved."""
    columns = member_tiers.c
    query = select(columns.member_id, columns.level_key).where(
        columns.shop_id == shop_id, columns.program_key == PROGRAM
    )
    if member_id is not None:
        query = query.where(columns.member_id == member_id)
    put_beside_facts(connection, shop_id, ((row.member_id, row.level_key) for row in connection.execute(query)), at)


# One row: one change of level, kept for good. An empty level key is "no level". `reason` holds the rule and the facts that decided.
# `before` and `after` are what `member_tiers` held, NULL where there was no term.
tier_changes = Table(
    "tier_changes",
    metadata,
    shop_key(),
    id_key("change_id"),
    Column("program_key", Text, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("from_level", Text, nullable=False, default=""),
    Column("to_level", Text, nullable=False, default=""),
    Column("changed_at", Instant, nullable=False),
    Column("as_of", LocalDay, nullable=False),
    Column("reason", Json, nullable=False, default=dict),
    Column("run_id", BigInteger),
    Column("policy_version", Integer, nullable=False, default=0, server_default="0"),
    Column("before", Json),
    Column("after", Json),
    belongs_to("members", "member_id"),
    Index("ix_tier_changes_member", "shop_id", "member_id", "changed_at"),
    Index("ix_tier_changes_day", "shop_id", "as_of"),
    Index("ix_tier_changes_at", "shop_id", "changed_at"),
)

# One row: a journey. `planned_through` is the planner's watermark: everything due up to it has been planned. Where a member's messages are
# limited the higher `priority` goes first, then what is expected to bring more (`value_minor`, a message; NULL is not known).
journeys = Table(
    "journeys",
    metadata,
    shop_key(),
    Column("journey_key", Text, primary_key=True),
    Column("title", Json, nullable=False, default=dict),
    Column("trigger", Text, nullable=False),
    Column("trigger_params", Json, nullable=False, default=dict),
    Column("audience_text", Text, nullable=False, default=""),
    Column("audience", Json),
    Column("channels", Json, nullable=False, default=list),
    Column("template_key", Text, nullable=False),
    Column("topic", Text, nullable=False, default="marketing"),
    Column("kind", Text, nullable=False, default="marketing"),
    Column("send_at", Text, nullable=False, default="10:00"),
    Column("validity_days", Integer, nullable=False, default=3),
    # What a journey of several steps adds: its document's steps, the rule that ends it, whether the audience does, who comes in again.
    Column("steps", Json, nullable=False, default=list, server_default="[]"),
    Column("goal_text", Text, nullable=False, default="", server_default=""),
    Column("exit", Text, nullable=False, default="audience", server_default="audience"),
    Column("reentry", Json, nullable=False, default="each", server_default='"each"'),
    # A document that is not published yet, NULL for none.
    Column("draft", Json),
    Column("priority", Integer, nullable=False, default=5, server_default="5"),
    Column("value_minor", BigInteger),
    Column("holdout_pct", Integer, nullable=False, default=0, server_default="0"),
    Column("enabled", Boolean, nullable=False, default=False),
    Column("enabled_at", Instant),
    Column("paused_at", Instant),
    Column("archived_at", Instant),
    Column("planned_through", Instant),
    Column("version", Integer, nullable=False, default=1),
    Column("updated_at", Instant, nullable=False),
    belongs_to("shops"),
)

# One row: the text of one message in one channel and locale. `version` moves with every edit, so that compiled forms can be cached.
templates = Table(
    "templates",
    metadata,
    shop_key(),
    Column("template_key", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("locale", Text, primary_key=True),
    Column("subject", Text, nullable=False, default=""),
    Column("body_text", Text, nullable=False, default=""),
    Column("body_html", Text, nullable=False, default=""),
    Column("url", Text, nullable=False, default=""),
    Column("version", Integer, nullable=False, default=1),
    Column("updated_at", Instant, nullable=False),
    belongs_to("shops"),
)
