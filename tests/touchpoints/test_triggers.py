"""Every type of trigger: read with its bounds, planned by an index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_plugin.errors import InvalidInput
from crm_plugin.rules import segments, tiers
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.trigger_kinds import BY_DAY, is_at_once
from crm_plugin.rules.triggers import KINDS, kind_of, params_of, read_trigger
from crm_plugin.store import journeys, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.relevance import STANDS
from tests.factories import make_shop
from tests.touchpoints.plans import counted, plans, scanned, stock

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
BEGUN = NOW - timedelta(days=30)
# A trigger of each type, with what it needs.
EACH: dict[str, dict[str, Any]] = {
    "birthday": {},
    "lapse": {},
    "post_purchase": {},
    "order_placed": {},
    "order_paid": {},
    "order_shipped": {},
    "order_delivered": {"days": 0},
    "first_order": {},
    "bought": {"sku": "SKU", "category": "Tea", "title": "Thing"},
    "refund": {},
    "joined": {},
    "anniversary": {"of": "first_order"},
    "fixed_date": {"festival": "childrens_day"},
    "campaign": {"at": "2026-06-01 10:00"},
    "segment_entered": {"segment": "vips"},
    "segment_left": {"segment": "vips"},
    "tier_up": {"level": "gold"},
    "tier_down": {},
    "tier_near": {"within": 20},
    "tier_at_risk": {},
    "complaint": {},
    "points_expiring": {},
    "coupon_expiring": {},
    "event": {"event": "party"},
    "late_by": {"times": 2},
    "replenishment": {"sku": "S1", "category": "Tea"},
    "gift_reminder": {},
    "abandoned_checkout": {},
}
POLICY = {
    "program": "main",
    "measure": "spent",
    "window": {"days": 365},
    "term": {"days": 365},
    "levels": [{"key": "silver", "entry": 30, "keep": 20}, {"key": "gold", "entry": 60, "keep": 50}],
}
MOST_STATEMENTS = 20


@pytest.fixture
def shop(db: Database) -> Shop:
    """Five thousand members with two orders each over a year, so that the databases see what an index is worth."""
    with db.write() as connection:
        made = make_shop(connection)
        stock(connection, 5000, NOW)
        segments.save(connection, made, "vips", "orders() >= 2", BEGUN)
        tiers.save_policy(connection, made, read_policy(POLICY), BEGUN, actor="test")
    if not db.is_sqlite:
        with db.write() as connection:
            connection.exec_driver_sql("ANALYZE")
    return made


def _journey(db: Database, shop: Shop, kind: str, params: dict[str, Any]) -> None:
    told = {"key": "it", "trigger": {"type": kind, **params}, "channels": ["email"], "validity_days": 3}
    with db.write() as connection:
        connection.execute(touchpoints.delete())
        connection.execute(journeys.delete())
        journey_store.save(connection, shop, read_draft(told), BEGUN)
        values = {"enabled": True, "enabled_at": BEGUN, "planned_through": NOW - timedelta(days=1)}
        connection.execute(journeys.update().values(**values))


def test_each_type_is_tried_here() -> None:
    assert sorted(EACH) == sorted(KINDS)
    assert {kind.type for kind in KINDS.values() if not kind.rechecked} == set(STANDS)
    for kind, params in EACH.items():
        trigger = read_trigger(kind, params)
        source = KINDS[kind].source(trigger)
        # What one row makes the occasion of has it in all ways; what speaks at once can be found by when it was written.
        assert (source.seen is None) or (source.occasion != BY_DAY)
        assert ("minutes" in KINDS[kind].names) <= (source.seen is not None)


_ALL = [
    *EACH.items(),
    ("anniversary", {}),
    ("fixed_date", {"date": "06-01"}),
    *(
        (kind, {**params, "days": 2})
        for kind, params in EACH.items()
        if "days" in KINDS[kind].names and is_at_once(KINDS[kind], read_trigger(kind, params))
    ),
]


@pytest.mark.slow
def test_day_is_planned_by_index_in_few_statements(db: Database, shop: Shop) -> None:
    """SQLite knows nothing of the tables here, PostgreSQL all."""
    for kind, params in _ALL:
        _journey(db, shop, kind, params)
        with db.read() as connection:
            found = plans(connection, shop, "it", BEGUN, NOW - timedelta(days=1), NOW)
        trigger = read_trigger(kind, params)
        source = kind_of(trigger).source(trigger)
        at_once = is_at_once(kind_of(trigger), trigger)
        if source.day or db.is_sqlite:
            # Where everybody is due any way will do.
            assert (source.seen.index if at_once and source.seen else source.index) in found[0], (kind, found[0])
        # On a day of their own nothing is late.
        assert len(found) in ({1} if at_once else {1, 1 + len(source.late)})
        assert {kind: [scanned(plan) for plan in found]} == {kind: [[]] * len(found)}
        with counted(db) as told:
            assert plan_shop(db, shop, NOW).problems == {}
        assert len(told) <= MOST_STATEMENTS


@pytest.mark.parametrize("kind", EACH)
def test_parameters_are_kept_as_they_are_told(kind: str) -> None:
    read = read_trigger(kind, EACH[kind])
    assert read_trigger(kind, params_of(read)) == read
    for param in KINDS[kind].params:
        if param.low is None or param.high is None:
            continue
        for value in (param.low, param.high):
            alone = {"days": 0} if param.name == "minutes" and "days" in KINDS[kind].names else {}
            told = read_trigger(kind, {**EACH[kind], **alone, param.name: value})
            assert (told.days if param.name == "days" else told.more.get(param.name, param.usual)) == value
        for wrong in (param.low - 1, param.high + 1, True, "3", 1.5, None):
            with pytest.raises(InvalidInput) as refused:
                read_trigger(kind, {**EACH[kind], param.name: wrong})
            assert refused.value.field == param.name


def test_what_a_trigger_does_not_know_is_refused() -> None:
    with pytest.raises(InvalidInput, match="birthday does not know hour") as refused:
        read_trigger("birthday", {"hour": 3})
    assert (refused.value.field, refused.value.hint) == ("trigger", "It takes: days, leap_day.")
    with pytest.raises(InvalidInput, match="There is no trigger 'moon'"):
        read_trigger("moon", {})
