"""Journeys of several steps: their published versions, who is inside and what happened to each, tasks for people, coupons to hand out."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, UniqueConstraint, text

from crm_plugin.store.base import Instant, Json, LocalDay, belongs_to, id_key, metadata, shop_key
from crm_plugin.store.indexes import partial_index

_INSIDE = text("state = 'active'")
_ENDED = text("state = 'ended'")
_FREE = text("handed_at IS NULL")
_HANDED = text("handed_at IS NOT NULL")
_OWN, _NOBODYS = (text(f"handed_at IS NULL AND member_id IS {whose}") for whose in ("NOT NULL", "NULL"))
_OPEN = text("done_at IS NULL")

# One row: one published version of a journey, never changed. `numbers` gives each step key that the journey ever had its number, which is
# `touchpoints.step`: a step that is edited keeps its number, so nothing is sent again. `kinds` are the words of what its steps do
# (`document.kinds`); NULL was written by a program that did not know of them, and may do anything.
journey_versions = Table(
    "journey_versions",
    metadata,
    shop_key(),
    Column("journey_key", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("document", Json, nullable=False),
    Column("numbers", Json, nullable=False, default=dict),
    Column("actor", Text, nullable=False, default=""),
    Column("published_at", Instant, nullable=False),
    Column("kinds", Json),
    belongs_to("journeys", "journey_key"),
    Index("ix_journey_versions_kinds", "shop_id", "journey_key", "kinds"),
)

# One row: one member inside a journey on one occasion, or who was. The occasion follows the journey's re-entry ("once", the occasion of the
# trigger, "p<number of the period>"), `cause` is always the trigger's. `step_key` is where they stand: `phase` is "due" when the step is to
# be taken at `due_at`, "waits" while a wait lasts until then, "sent" while its touchpoint is not settled; `due_at` is then long after it
# should have been, and what settles it brings that forward. `base_at` is the instant from which a wait counts. `seq` is the number of the
# last event; an event is written before it moves anybody, so no step is taken twice.
enrolments = Table(
    "enrolments",
    metadata,
    shop_key(),
    id_key("enrolment_id"),
    Column("journey_key", Text, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("occasion", Text, nullable=False),
    Column("cause", Text, nullable=False, default=""),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("end_reason", Text, nullable=False, default=""),
    Column("step_key", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("seq", Integer, nullable=False, default=0),
    Column("base_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("occasion_on", LocalDay, nullable=False),
    Column("subject_order_id", BigInteger),
    Column("enrolled_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("shop_id", "journey_key", "member_id", "occasion", name="uq_enrolments_key"),
    belongs_to("members", "member_id"),
    partial_index("ix_enrolments_due", "shop_id", "journey_key", "due_at", where=_INSIDE),
    partial_index(
        "ix_enrolments_step",
        "shop_id",
        "journey_key",
        "version",
        "step_key",
        "phase",
        "due_at",
        where=_INSIDE,
    ),
    Index("ix_enrolments_member", "shop_id", "member_id", "journey_key"),
    partial_index("ix_enrolments_ended", "shop_id", "journey_key", "ended_at", where=_ENDED),
)

# One row: what happened to an enrolment, kept for good. `what` is enrolled, begun (a wait or a send), done, ended or moved; `step_key` the
# step it is about, `to_step` where it led, with the phase and instants there. `reason` is a word, `detail` what belongs to it (the arm of a
# split, the code of a coupon, what became of a touchpoint).
enrolment_events = Table(
    "enrolment_events",
    metadata,
    shop_key(),
    Column("enrolment_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("what", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("step_key", Text, nullable=False, default=""),
    Column("to_step", Text, nullable=False, default=""),
    Column("phase", Text, nullable=False, default=""),
    Column("base_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("detail", Text, nullable=False, default=""),
    belongs_to("enrolments", "enrolment_id"),
)

# One row: a pool of coupon codes of one kind.
coupon_pools = Table(
    "coupon_pools",
    metadata,
    shop_key(),
    Column("pool_key", Text, primary_key=True),
    Column("title", Text, nullable=False, default=""),
    Column("created_at", Instant, nullable=False),
    belongs_to("shops"),
)

# One row: one code. It is free while `handed_at` is NULL; once handed out it never is again, whatever becomes of the enrolment.
coupon_codes = Table(
    "coupon_codes",
    metadata,
    shop_key(),
    Column("pool_key", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("place", BigInteger, nullable=False),
    Column("enrolment_id", BigInteger),
    Column("step_key", Text),
    Column("member_id", BigInteger),
    Column("handed_at", Instant),
    belongs_to("coupon_pools", "pool_key"),
    UniqueConstraint("shop_id", "enrolment_id", "step_key", name="uq_coupon_codes_enrolment"),
    partial_index("ix_coupon_codes_free", "shop_id", "pool_key", "place", where=_FREE),
    partial_index("ix_coupon_codes_own", "shop_id", "pool_key", "member_id", "place", where=_OWN),
    partial_index("ix_coupon_codes_nobodys", "shop_id", "pool_key", "place", where=_NOBODYS),
    partial_index("ix_coupon_codes_member", "shop_id", "member_id", where=_HANDED),
)

# One row: something for a person to do about a member, such as a call. It is open while `done_at` is NULL.
tasks = Table(
    "tasks",
    metadata,
    shop_key(),
    id_key("task_id"),
    Column("journey_key", Text, nullable=False),
    Column("step_key", Text, nullable=False),
    Column("enrolment_id", BigInteger, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("title", Json, nullable=False, default=dict),
    Column("owner", Text, nullable=False, default=""),
    Column("due_on", LocalDay, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("done_at", Instant),
    Column("done_by", Text, nullable=False, default=""),
    Column("outcome", Text, nullable=False, default=""),
    UniqueConstraint("shop_id", "enrolment_id", "step_key", name="uq_tasks_enrolment"),
    belongs_to("members", "member_id"),
    partial_index("ix_tasks_open", "shop_id", "due_on", where=_OPEN),
    Index("ix_tasks_member", "shop_id", "member_id"),
)
