"""Planned contacts and what became of them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text, UniqueConstraint, false, text

from crm_plugin.store.base import Instant, Json, LocalDay, PhraseText, belongs_to, id_key, metadata, shop_key
from crm_plugin.store.indexes import partial_index

_WAITING = text("state IN ('planned', 'retry_wait')")
_IN_FLIGHT = text("state = 'in_flight'")
_HAS_REASON = text("reason <> ''")
_OF_AN_ORDER = text("subject_order_id IS NOT NULL")
_SENT = text("accepted_at IS NOT NULL")
_DOUBTFUL = text("state = 'unconfirmed'")
_CAPPED = text("capped_at IS NOT NULL")
_OF_NONE_YET = text("touchpoint_id IS NULL")
# Of a step, settled, and whoever waited for that has not gone on.
_TO_TAKE_UP = text("step > 0 AND NOT taken_up AND state NOT IN ('planned', 'in_flight', 'retry_wait')")

# One row: one planned contact of one member in one journey step on one occasion: the birthday's year, "order:<id>", "lapse:<day of the
# last order>". The unique key is what makes "never twice" true. `subject_order_id` is the order it speaks of. `fence` grows with every
# claim, so a worker whose lease ran out cannot settle a row that another has taken. `reason` says why it was skipped, missed, failed or
# deferred. `capped_at` is when it was last taken for sending as one that counts towards the member's limits; NULL is exempt. `taken_up` is
# true once the round of a journey of several steps has looked at what became of it.
touchpoints = Table(
    "touchpoints",
    metadata,
    shop_key(),
    id_key("touchpoint_id"),
    Column("journey_key", Text, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("step", Integer, nullable=False, default=0),
    Column("occasion", Text, nullable=False),
    Column("journey_version", Integer, nullable=False, default=1),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("reason_detail", PhraseText, nullable=False, default=""),
    Column("channel", Text, nullable=False, default=""),
    Column("adapter", Text, nullable=False, default=""),
    Column("address", Text, nullable=False, default=""),
    Column("subject_order_id", BigInteger),
    Column("occasion_on", LocalDay, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("next_try_at", Instant, nullable=False),
    Column("valid_until", Instant, nullable=False),
    Column("planned_at", Instant, nullable=False),
    Column("claimed_until", Instant),
    Column("capped_at", Instant),
    Column("taken_up", Boolean, nullable=False, default=False, server_default=false()),
    Column("fence", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("provider_message_id", Text),
    Column("accepted_at", Instant),
    Column("settled_at", Instant),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("shop_id", "journey_key", "member_id", "step", "occasion", name="uq_touchpoints_key"),
    belongs_to("members", "member_id"),
    partial_index(
        "ix_touchpoints_due",
        "shop_id",
        "next_try_at",
        "touchpoint_id",
        where=_WAITING,
    ),
    partial_index("ix_touchpoints_taken_up", "shop_id", "journey_key", where=_TO_TAKE_UP),
    partial_index("ix_touchpoints_lease", "shop_id", "claimed_until", where=_IN_FLIGHT),
    Index("ix_touchpoints_member", "shop_id", "member_id", "due_at"),
    Index("ix_touchpoints_state", "shop_id", "state", "touchpoint_id"),
    Index("ix_touchpoints_due_at", "shop_id", "due_at"),
    partial_index(
        "ix_touchpoints_reason",
        "shop_id",
        "reason",
        "touchpoint_id",
        where=_HAS_REASON,
    ),
    partial_index(
        "ix_touchpoints_order",
        "shop_id",
        "subject_order_id",
        where=_OF_AN_ORDER,
    ),
    partial_index("ix_touchpoints_accepted", "shop_id", "accepted_at", where=_SENT),
    partial_index("ix_touchpoints_settled", "shop_id", "settled_at", where=_SENT),
    partial_index("ix_touchpoints_doubtful", "shop_id", "settled_at", where=_DOUBTFUL),
    partial_index("ix_touchpoints_capped", "shop_id", "member_id", "capped_at", where=_CAPPED),
    Index("ix_touchpoints_provider", "shop_id", "adapter", "provider_message_id"),
)

# One row: what was rendered for a touchpoint, kept so that the Outbox shows the very message.
touchpoint_contents = Table(
    "touchpoint_contents",
    metadata,
    shop_key(),
    id_key("touchpoint_id"),
    Column("locale", Text, nullable=False, default=""),
    Column("subject", Text, nullable=False, default=""),
    Column("body_text", Text, nullable=False, default=""),
    Column("body_html", Text, nullable=False, default=""),
    Column("url", Text, nullable=False, default=""),
    Column("rendered_at", Instant, nullable=False),
    belongs_to("touchpoints", "touchpoint_id"),
)

# One row: one call to a provider for a touchpoint. `outcome` is empty while the call is under way.
attempts = Table(
    "attempts",
    metadata,
    shop_key(),
    Column("touchpoint_id", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt_no", Integer, primary_key=True, autoincrement=False),
    Column("adapter", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("outcome", Text, nullable=False, default=""),
    Column("error_code", Text, nullable=False, default=""),
    Column("error", PhraseText, nullable=False, default=""),
    Column("parts", Integer),
    belongs_to("touchpoints", "touchpoint_id"),
)

# One row: one event a provider told us. `touchpoint_id` is NULL while its touchpoint is not known: an event may overtake the answer of the
# call it speaks of, and some speak of an address alone. `machine` is true where a mail system opened or followed by itself.
delivery_events = Table(
    "delivery_events",
    metadata,
    shop_key(),
    id_key("event_id"),
    Column("adapter", Text, nullable=False),
    Column("provider_event_id", Text, nullable=False),
    Column("provider_message_id", Text),
    Column("touchpoint_id", BigInteger),
    Column("kind", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("machine", Boolean, nullable=False, default=False, server_default=false()),
    Column("raw", Json, nullable=False, default=dict),
    Column("received_at", Instant, nullable=False),
    UniqueConstraint("shop_id", "adapter", "provider_event_id"),
    belongs_to("touchpoints", "touchpoint_id"),
    Index("ix_delivery_events_touchpoint", "shop_id", "touchpoint_id"),
    Index("ix_delivery_events_at", "shop_id", "at"),
    Index("ix_delivery_events_received", "shop_id", "received_at"),
    partial_index(
        "ix_delivery_events_unmatched",
        "shop_id",
        "received_at",
        where=_OF_NONE_YET,
    ),
)

# One row: a message in a member's in-app inbox, served to the storefront.
inapp_messages = Table(
    "inapp_messages",
    metadata,
    shop_key(),
    id_key("message_id"),
    Column("touchpoint_key", Text, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("title", Text, nullable=False, default=""),
    Column("body", Text, nullable=False, default=""),
    Column("url", Text, nullable=False, default=""),
    Column("image_url", Text, nullable=False, default=""),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("read_at", Instant),
    Column("clicked_at", Instant),
    UniqueConstraint("shop_id", "touchpoint_key"),
    belongs_to("members", "member_id"),
    Index("ix_inapp_member", "shop_id", "member_id", "created_at"),
)
