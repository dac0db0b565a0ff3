"""Every type of trigger: read with its bounds, planned by an index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_plugin.errors import InvalidInput
from crm_plugin.rules.triggers import KINDS, kind_of, params_of, read_trigger
from crm_plugin.store import journeys
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.relevance import STANDS
from tests.factories import make_shop, member, order, write
from tests.touchpoints.plans import counted, plans, scanned

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
BEGUN = NOW - timedelta(days=30)
# A trigger of each type, with what it needs.
EACH: dict[str, dict[str, Any]] = {"birthday": {}, "lapse": {}, "post_purchase": {}}
MOST_STATEMENTS = 20


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        made = make_shop(connection)
    write(db, made, [member(str(n), email=f"m{n}@x.test", birth_month=6, birth_day=1) for n in range(20)], BEGUN)
    write(db, made, [order(f"o{n}", member_external_id=str(n % 20)) for n in range(40)], BEGUN)
    return made


def _journey(db: Database, shop: Shop, kind: str, params: dict[str, Any]) -> None:
    told = {"key": "it", "trigger": {"type": kind, **params}, "channels": ["email"], "validity_days": 3}
    with db.write() as connection:
        journey_store.save(connection, shop, journey_store.read_draft(told), BEGUN)
        values = {"enabled": True, "enabled_at": BEGUN, "planned_through": NOW - timedelta(days=1)}
        connection.execute(journeys.update().values(**values))


def test_each_type_is_tried_here() -> None:
    assert list(EACH) == list(KINDS)
    assert set(STANDS) == set(KINDS)


@pytest.mark.parametrize("kind", EACH)
def test_day_is_planned_by_index_in_few_statements(db: Database, shop: Shop, kind: str) -> None:
    _journey(db, shop, kind, EACH[kind])
    with db.read() as connection:
        found = plans(connection, shop, "it", BEGUN, NOW - timedelta(days=1), NOW)
    source = kind_of(read_trigger(kind, EACH[kind])).source(read_trigger(kind, EACH[kind]))
    assert source.index in found[0]
    assert [scanned(plan) for plan in found] == [[] for _ in found]
    with counted(db) as told:
        plan_shop(db, shop, NOW)
    assert len(told) <= MOST_STATEMENTS


@pytest.mark.parametrize("kind", EACH)
def test_parameters_are_kept_as_they_are_told(kind: str) -> None:
    read = read_trigger(kind, EACH[kind])
    assert read_trigger(kind, params_of(read)) == read
    for param in KINDS[kind].params:
        if param.low is None or param.high is None:
            continue
        for value in (param.low, param.high):
            told = read_trigger(kind, {**EACH[kind], **_alone(param.name, value)})
            assert (told.days if param.name == "days" else told.more.get(param.name, param.usual)) == value
        for wrong in (param.low - 1, param.high + 1, True, "3", 1.5, None):
            with pytest.raises(InvalidInput) as refused:
                read_trigger(kind, {**EACH[kind], param.name: wrong})
            assert refused.value.field == param.name


def _alone(name: str, value: int) -> dict[str, int]:
    """Minutes count where no days do."""
    return {name: value, "days": 0} if name == "minutes" else {name: value}


def test_what_a_trigger_does_not_know_is_refused() -> None:
    with pytest.raises(InvalidInput, match="birthday does not know hour") as refused:
        read_trigger("birthday", {"hour": 3})
    assert (refused.value.field, refused.value.hint) == ("trigger", "It takes: days, leap_day.")
    with pytest.raises(InvalidInput, match="There is no trigger 'moon'"):
        read_trigger("moon", {})
