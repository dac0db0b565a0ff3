"""Levels asked for on another day than today: what came after that day does not count; and a look is what applying comes to."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.rules import count, tiers
from crm_plugin.rules.lab import look_at
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tiers import Level, Move
from crm_plugin.store import member_tiers
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.rules.shops import AS_OF, MadeMember, MadeOrder, keep

_RULE = "spent() >= 250"
# One bought ten days ago, one three days ago, one will tomorrow.
_PEOPLE = [MadeMember(orders=(MadeOrder(days, 30_000),)) for days in (10, 3, -1)]
_PLAIN: dict[str, Any] = {"levels": [{"key": "silver", "rule": _RULE}]}


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def _shop(db: Database, policy: dict[str, Any], people: list[MadeMember]) -> Shop:
    with db.write() as connection:
        shop = keep(connection, 1, people)
        tiers.save_policy(connection, shop, read_policy(policy), _noon(AS_OF), actor="test")
    return shop


def _holders(db: Database) -> list[int]:
    c = member_tiers.c
    with db.read() as connection:
        return sorted(connection.execute(select(c.member_id)).scalars())


@pytest.mark.parametrize("promised", [{}, {"term": {"days": 30}}], ids=["plain", "with terms"])
@pytest.mark.parametrize(("days_ago", "who"), [(0, [1, 2]), (5, [1]), (20, []), (-1, [1, 2, 3])])
def test_what_comes_later_does_not_count(db: Database, promised: dict[str, Any], days_ago: int, who: list[int]) -> None:
    shop = _shop(db, {**_PLAIN, **promised}, _PEOPLE)
    day = AS_OF - timedelta(days=days_ago)
    with db.read() as connection:
        assert count(connection, shop, _RULE, day) == len(who)
        for other in ({}, {"term": {"days": 10}}):
            seen = look_at(connection, shop, read_policy({**_PLAIN, **other}), day)
            assert (seen.after["silver"], seen.today, seen.caused) == (len(who), len(who), 0)
        assert tiers.preview(connection, shop, [Level("silver", _RULE)], day).levels["silver"] == len(who)
    tiers.apply(db, shop, as_of=day, now=_noon(AS_OF))
    assert _holders(db) == who
    assert tiers.apply(db, shop, as_of=day, now=_noon(AS_OF)).run_id is None


def test_look_knows_who_held_a_level_before(db: Database) -> None:
    """A plain ladder keeps no track of levels passed; a policy that asks less of whoever comes back is looked at as it will be applied."""
    shop = _shop(db, {"levels": [{"key": "silver", "rule": "spent(days=30) >= 250"}]}, [_PEOPLE[0], _PEOPLE[0]])
    tiers.apply(db, shop, as_of=AS_OF, now=_noon(AS_OF))
    later = AS_OF + timedelta(days=40)
    assert tiers.apply(db, shop, as_of=later, now=_noon(later)).moves == (Move("silver", "", 2),)
    back = {"key": "silver", "entry": 400, "keep": 100, "reentry": 250}
    policy = read_policy({"measure": "spent", "levels": [back]})
    with db.read() as connection:
        seen = look_at(connection, shop, policy, later)
    assert (seen.total("in"), seen.after) == (2, {"": 0, "silver": 2})
    report = tiers.save_policy_and_apply(db, shop, policy, as_of=later, now=_noon(later), actor="test")
    assert report.moves == (Move("", "silver", 2),)
