"""The fields of being near the next level and at risk: SQL, plain Python, incremental keeping and words agree."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, select

from crm_plugin.errors import RuleError
from crm_plugin.rules import compile_for, kept, read_book, segments, tiers
from crm_plugin.rules.by_hand import Desk, fix
from crm_plugin.rules.evaluate import evaluate
from crm_plugin.rules.explain import explain
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.snapshot import snapshot_of
from crm_plugin.rules.sql import condition, is_history, select_members
from crm_plugin.rules.words import words
from crm_plugin.store import members, orders, segment_members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import facts
from tests.rules.shops import AS_OF, MadeMember, MadeOrder, keep, made_members
from tests.rules.test_tier_pass import documents

CLUB: dict[str, Any] = {
    "measure": "spent",
    "window": {"days": 365},
    "term": {"days": 100},
    "grace_days": 10,
    "levels": [
        {"key": "silver", "entry": 100, "keep": 80},
        {"key": "gold", "entry": 500, "keep": 400},
        {"key": "circle", "invitation": True},
    ],
}
PEOPLE = [
    MadeMember(orders=(MadeOrder(1, 4_050),)),
    MadeMember(orders=(MadeOrder(300, 10_000),)),
    MadeMember(orders=(MadeOrder(300, 20_000), MadeOrder(1, 8_000))),
    MadeMember(orders=(MadeOrder(300, 60_000),)),
    MadeMember(),
]


def _noon(number: int) -> datetime:
    day = AS_OF + timedelta(days=number)
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def _shop(db: Database, document: dict[str, Any] = CLUB, people: list[MadeMember] = PEOPLE, shop_id: int = 1) -> Shop:
    with db.write() as connection:
        shop = keep(connection, shop_id, people)
        tiers.save_policy(connection, shop, read_policy(document), _noon(0), actor="test")
    tiers.apply(db, shop, as_of=AS_OF, now=_noon(0))
    return shop


def _matching(connection: Connection, shop: Shop, text: str, as_of: date) -> set[int]:
    """By SQL for all, by SQL for each and by plain Python: the same."""
    node = compile_for(connection, shop, text).asked
    history = is_history(connection, shop, as_of)
    everybody = connection.execute(select(members.c.member_id).where(members.c.shop_id == shop.shop_id)).scalars().all()
    told = {one for one in everybody if evaluate(node, snapshot_of(connection, shop, one, as_of), as_of) is True}
    joined = set(connection.execute(select_members(shop, node, as_of, live=False, history=history)).scalars())
    own = condition(shop, node, as_of, members.c.member_id, history=history)
    by_key = set(
        connection.execute(select(members.c.member_id).where(members.c.shop_id == shop.shop_id, own)).scalars()
    )
    assert (joined, by_key) == (told, told), text
    return told


@pytest.mark.parametrize(
    ("rule", "day", "matching"),
    [
        ('tier_next == "silver"', 0, {1, 5}),
        ('tier_next == "gold"', 0, {2, 3}),
        ('tier_next == ""', 0, {4}),
        ('tier_next != "gold"', 0, {1, 4, 5}),
        ("to_next_tier <= 59.5", 0, {1}),
        ("to_next_tier < 59.5", 0, set()),
        ("not to_next_tier <= 59.5", 0, {2, 3, 5}),
        ("to_next_tier == 220", 0, {3}),
        ("known(to_next_tier)", 0, {1, 2, 3, 5}),
        ("to_next_tier * 2 <= spent()", 0, set()),
        ("to_next_tier <= spent()", 0, {3}),
        ("tier_ends_in == 109", 0, {2, 3, 4}),
        ("not known(tier_ends_in)", 0, {1, 5}),
        # On day 70 the orders of 300 days ago are out of the window; the third keeps silver by what is left.
        ("tier_at_risk", 70, set()),
        ("tier_at_risk(within=40)", 70, {2, 4}),
        ("tier_at_risk(within=39)", 70, set()),
        ("tier_at_risk(within=3650) and not tier_in_grace", 105, {2, 4}),
    ],
)
def test_rules_match_exactly(db: Database, rule: str, day: int, matching: set[int]) -> None:
    shop = _shop(db)
    with db.read() as connection:
        assert _matching(connection, shop, rule, AS_OF + timedelta(days=day)) == matching


@pytest.mark.slow
def test_grace_and_by_hand(db: Database) -> None:
    shop = _shop(db)
    tiers.apply(db, shop, as_of=AS_OF + timedelta(days=100), now=_noon(100))
    with db.write() as connection:
        day = AS_OF + timedelta(days=100)
        assert _matching(connection, shop, "tier_in_grace", day) == {2, 4}
        assert _matching(connection, shop, "tier_at_risk(within=1)", day) == {2, 4}
        assert _matching(connection, shop, "tier_ends_in == 9", day) == {2, 4}
        fix(Desk(connection, shop, _noon(100), "test"), 4, "gold", "A friend")
        fix(Desk(connection, shop, _noon(100), "test"), 2, "silver", "A friend", day + timedelta(days=3))
        assert _matching(connection, shop, "tier_at_risk", day) == {2}
        assert _matching(connection, shop, "tier_ends_in == 3", day) == {2}


def test_fields_are_explained_and_said(db: Database) -> None:
    shop = _shop(db)
    with db.read() as connection:
        rule = compile_for(connection, shop, 'to_next_tier <= 60 and tier_next == "silver" and not tier_at_risk')
        told = explain(connection, shop, rule.asked, 1, AS_OF)
        assert [(one.text, str(one.value), one.truth) for one in told.leaves] == [
            ("to_next_tier <= 60", "59.5", True),
            ('tier_next == "silver"', "silver", True),
            ("tier_at_risk", "False", False),
        ]
    assert words(rule.node, "en") == (
        "members whose amount missing to the next tier is at most 60 and whose next tier is “silver” and who are not about to lose the tier"
    )
    assert "即将失去等级" in words(rule.node, "zh")


@pytest.mark.parametrize(
    "rule", ['tier_next == "glod"', "tier_at_risk(within=0)", "tier_at_risk(days=3)", 'to_next_tier(program="x") > 1']
)
def test_mistakes_are_refused(db: Database, rule: str) -> None:
    shop = _shop(db)
    with db.read() as connection, pytest.raises(RuleError):
        compile_for(connection, shop, rule)


def test_level_cannot_depend_on_them(db: Database) -> None:
    shop = _shop(db)
    with db.write() as connection:
        segments.save(connection, shop, "near", "to_next_tier <= 50", _noon(0))
        for rule in ("tier_at_risk", "to_next_tier > 5", 'segment("near")'):
            with pytest.raises(RuleError):
                tiers.save_policy(
                    connection, shop, read_policy({"levels": [{"key": "one", "rule": rule}]}), _noon(0), actor="t"
                )


@pytest.mark.slow
def test_segment_of_them_is_kept_in_step(db: Database) -> None:
    shop = _shop(db)
    rules = {
        "near": "to_next_tier <= 60",
        "soon": "tier_ends_in < 50",
        "risk": "tier_at_risk(within=40)",
        "grace": "tier_in_grace",
    }
    with db.write() as connection:
        for key, rule in rules.items():
            segments.save(connection, shop, key, rule, _noon(0))
        kept.keep(connection, shop, _noon(0))
    for number in (59, 60, 61, 69, 70, 71, 99, 100, 105, 110, 111):
        _step(db, shop, number)
        with db.write() as connection:
            kept.keep(connection, shop, _noon(number))
            c = segment_members.c
            for key, rule in rules.items():
                listed = select(c.member_id).where(c.shop_id == shop.shop_id, c.segment_key == key)
                expected = _matching(connection, shop, rule, AS_OF + timedelta(days=number))
                assert set(connection.execute(listed).scalars()) == expected, (key, number)


def _step(db: Database, shop: Shop, number: int) -> None:
    """A day with a pass, and an order on one of them."""
    if number == 105:
        with db.write() as connection:
            day = AS_OF + timedelta(days=number)
            row = {"order_id": 77, "external_id": "77", "member_id": 2, "status": "completed", "counts": True}
            row |= {"currency": "EUR", "total_minor": 30_000, "base_minor": 30_000, "first_seen_at": _noon(number)}
            connection.execute(
                insert(orders).values(shop_id=shop.shop_id, **row, placed_at=_noon(number), placed_on=day)
            )
            facts.rebuild(connection, shop, _noon(number))
    tiers.apply(db, shop, as_of=AS_OF + timedelta(days=number), now=_noon(number))


_SHOPS = itertools.count(100)
_RULES = st.sampled_from(
    [
        *(f"to_next_tier {op} {value}" for op in ("<=", ">", "==") for value in (0, 1, 50, 99.99)),
        *(f"tier_ends_in {op} {value}" for op in ("<", ">=") for value in (0, 1, 29, 400)),
        *(f'tier_next {op} "{value}"' for op in ("==", "!=") for value in ("level0", "level1", "")),
        *(f"{no}tier_at_risk(within={days})" for no in ("", "not ") for days in (1, 30, 500)),
        "tier_in_grace",
        "to_next_tier / 2 < days_in_tier * 3",
        "known(to_next_tier) and not tier_at_risk",
    ]
)


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    document=documents(),
    made=st.lists(made_members, min_size=1, max_size=4),
    rules=st.lists(_RULES, min_size=1, max_size=4),
    later=st.sampled_from([0, 1, 30, 400]),
)
def test_sql_and_evaluate_agree(
    db: Database, document: dict[str, Any], made: list[MadeMember], rules: list[str], later: int
) -> None:
    shop = _shop(db, document, made, next(_SHOPS))
    day = AS_OF + timedelta(days=later)
    tiers.apply(db, shop, as_of=day, now=_noon(later))
    with db.read() as connection:
        known = read_book(connection, shop.shop_id).levels.get("main", [])
        for rule in rules:
            if '"level1"' in rule and "level1" not in known:
                continue
            for as_of in (day, AS_OF - timedelta(days=30)):
                _matching(connection, shop, rule, as_of)
