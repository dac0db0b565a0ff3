"""What stops a message beside consent: the member's own dial, and journeys that stand still because too much went out at once."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, Text, text

from crm_plugin.store.base import Instant, Json, LocalDay, belongs_to, metadata, shop_key
from crm_plugin.store.indexes import partial_index

_STANDS = text("state = 'held'")

# One row: how much marketing a member wants: `frequency` is all, monthly (at most `per_month` in 30 days) or birthday (only that);
# nothing before `snooze_until`. Who has no row wants all.
member_dials = Table(
    "member_dials",
    metadata,
    shop_key(),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("frequency", Text, nullable=False, default="all"),
    Column("per_month", Integer),
    Column("snooze_until", Instant),
    Column("source", Text, nullable=False, default=""),
    Column("updated_at", Instant, nullable=False),
    belongs_to("members", "member_id"),
)

# One row: the wave of a journey that was looked at last: `canary` while a first share is out and the rest waits until `until`, `clear`
# after that, `held` until somebody lets it go. `waiting` is how many it was about, `detail` the figures that decided.
journey_waves = Table(
    "journey_waves",
    metadata,
    shop_key(),
    Column("journey_key", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("cause", Text, nullable=False, default=""),
    Column("version", Integer, nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("waiting", Integer, nullable=False, default=0),
    Column("detail", Json, nullable=False, default=dict),
    Column("updated_at", Instant, nullable=False),
    belongs_to("journeys", "journey_key"),
    partial_index("ix_journey_waves_held", "shop_id", "journey_key", where=_STANDS),
)

# One row: how many a journey was expected to plan on a day of the shop's zone, as it was looked up before that day began.
journey_forecasts = Table(
    "journey_forecasts",
    metadata,
    shop_key(),
    Column("journey_key", Text, primary_key=True),
    Column("day", LocalDay, primary_key=True),
    Column("planned", Integer, nullable=False),
    belongs_to("journeys", "journey_key"),
)
