"""Tables, sessions and the tenant scope. Importing the package registers every table on `metadata`."""

from crm_plugin.store.base import metadata
from crm_plugin.store.events import cadences, checkouts, member_dates, member_events, order_events, refills
from crm_plugin.store.guards import journey_forecasts, journey_waves, member_dials
from crm_plugin.store.journeys import coupon_codes, coupon_pools, enrolment_events, enrolments, journey_versions, tasks
from crm_plugin.store.members import (
    consents,
    identities,
    member_consents,
    member_facts,
    member_tags,
    members,
    suppressions,
)
from crm_plugin.store.orders import order_lines, orders, products, refunds
from crm_plugin.store.program import (
    journeys,
    member_tiers,
    segment_events,
    segment_members,
    segments,
    templates,
    tier_changes,
    tier_levels,
)
from crm_plugin.store.shops import audit_log, connections, inbox, job_runs, problems, shops, sync_state
from crm_plugin.store.tiers import (
    tier_bars,
    tier_entries,
    tier_holds,
    tier_invitations,
    tier_passes,
    tier_policies,
    tier_runs,
    tier_terms,
)
from crm_plugin.store.touchpoints import attempts, delivery_events, inapp_messages, touchpoint_contents, touchpoints
from crm_plugin.store.writebacks import tier_writebacks, writeback_switches

__all__ = [
    "attempts",
    "audit_log",
    "cadences",
    "checkouts",
    "connections",
    "consents",
    "coupon_codes",
    "coupon_pools",
    "delivery_events",
    "enrolment_events",
    "enrolments",
    "identities",
    "inapp_messages",
    "inbox",
    "job_runs",
    "journey_forecasts",
    "journey_versions",
    "journey_waves",
    "journeys",
    "member_consents",
    "member_dates",
    "member_dials",
    "member_events",
    "member_facts",
    "member_tags",
    "member_tiers",
    "members",
    "metadata",
    "order_events",
    "order_lines",
    "orders",
    "problems",
    "products",
    "refills",
    "refunds",
    "segment_events",
    "segment_members",
    "segments",
    "shops",
    "suppressions",
    "sync_state",
    "tasks",
    "templates",
    "tier_bars",
    "tier_changes",
    "tier_entries",
    "tier_holds",
    "tier_invitations",
    "tier_levels",
    "tier_passes",
    "tier_policies",
    "tier_runs",
    "tier_terms",
    "tier_writebacks",
    "touchpoint_contents",
    "touchpoints",
    "writeback_switches",
]
