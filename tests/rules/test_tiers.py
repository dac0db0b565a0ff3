"""Tiers by rule: the highest that holds, written once, each change kept with its reason."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, select, update

from crm_plugin.errors import InvalidInput, RuleError, RuleTypeError
from crm_plugin.rules import earned, segments, tiers
from crm_plugin.rules.asked import Rewritten
from crm_plugin.rules.nodes import Node, fields_of
from crm_plugin.rules.text import to_text
from crm_plugin.rules.tiers import Level, Move
from crm_plugin.store import audit_log, member_facts, member_tiers, members, tier_changes, tier_levels
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import facts
from tests.rules.shops import AS_OF, NOW, MadeMember, MadeOrder, MadeRefund, keep, made_members, rules_of_orders

BRONZE = Level("bronze", "orders() >= 1", {"en": "Bronze", "zh-CN": "青铜"})
SILVER = Level("silver", "spent() >= 100 or orders(days=30) >= 2", {"en": "Silver"})
GOLD = Level("gold", "spent(days=365) >= 500", {"en": "Gold"})
LADDER = [BRONZE, SILVER, GOLD]
PEOPLE = [
    MadeMember(),
    MadeMember(orders=(MadeOrder(400, 9_999),)),
    MadeMember(orders=(MadeOrder(400, 10_000),)),
    MadeMember(orders=(MadeOrder(364, 50_000),)),
    MadeMember(orders=(MadeOrder(364, 50_000),), refunds=(MadeRefund(1, 1),)),
    MadeMember(orders=(MadeOrder(1, 60_000),), state="deleted"),
]


def _held(connection: Connection, shop: Shop) -> dict[int, str]:
    columns = member_tiers.c
    rows = connection.execute(select(columns.member_id, columns.level_key).where(columns.shop_id == shop.shop_id))
    return {row.member_id: row.level_key for row in rows}


def _changes(connection: Connection, shop: Shop) -> list[Any]:
    columns = tier_changes.c
    query = select(tier_changes).where(columns.shop_id == shop.shop_id).order_by(columns.change_id)
    return list(connection.execute(query))


def _audited(connection: Connection) -> list[tuple[Any, ...]]:
    columns = audit_log.c
    query = select(columns.actor, columns.action, columns.detail).order_by(columns.audit_id)
    return [tuple(row) for row in connection.execute(query)]


def _shop(
    db: Database, made: Sequence[MadeMember] = PEOPLE, ladder: Sequence[Level] = LADDER, shop_id: int = 1
) -> Shop:
    with db.write() as connection:
        shop = keep(connection, shop_id, list(made))
        tiers.save_levels(connection, shop, ladder, NOW)
    return shop


def test_everyone_gets_the_highest_that_holds(db: Database) -> None:
    shop = _shop(db)
    report = tiers.apply(db, shop, as_of=AS_OF, now=NOW)
    assert report.as_dict() == {
        "as_of": "2026-06-01",
        "changed": 4,
        "moves": [
            {"from_level": "", "to_level": "bronze", "members": 1},
            {"from_level": "", "to_level": "gold", "members": 1},
            {"from_level": "", "to_level": "silver", "members": 2},
        ],
    }
    with db.read() as connection:
        assert _held(connection, shop) == {2: "bronze", 3: "silver", 4: "gold", 5: "silver"}
        assert tiers.held(connection, shop.shop_id) == {"bronze": 1, "gold": 1, "silver": 2}
        reasons = {row.member_id: row.reason for row in _changes(connection, shop)}
    assert reasons[4] == {"cause": "rule", "rule": "spent(days=365) >= 500", "values": {"spent(days=365)": "500.00"}}
    assert reasons[5] == {
        "cause": "rule",
        "rule": "spent() >= 100 or orders(days=30) >= 2",
        "values": {"spent()": "499.99", "orders(days=30)": 0},
    }


@pytest.mark.slow
def test_second_run_writes_nothing(db: Database) -> None:
    shop = _shop(db)
    tiers.apply(db, shop, as_of=AS_OF, now=NOW)
    with db.read() as connection:
        before = (_held(connection, shop), len(_changes(connection, shop)))
    assert tiers.apply(db, shop, as_of=AS_OF, now=NOW).moves == ()
    with db.read() as connection:
        assert (
            (_held(connection, shop), len(_changes(connection, shop)))
            == before
            == ({2: "bronze", 3: "silver", 4: "gold", 5: "silver"}, 4)
        )


def test_going_down_keeps_the_rule_that_was_lost(db: Database) -> None:
    shop = _shop(db)
    tiers.apply(db, shop, as_of=AS_OF, now=NOW)
    later = AS_OF.replace(day=2)
    assert tiers.apply(db, shop, as_of=later, now=NOW).moves == (Move("gold", "silver", 1),)
    with db.read() as connection:
        last = _changes(connection, shop)[-1]
    assert (last.member_id, last.from_level, last.to_level, last.as_of, last.changed_at) == (
        4,
        "gold",
        "silver",
        later,
        NOW,
    )
    assert last.reason == {
        "cause": "rule",
        "rule": "spent() >= 100 or orders(days=30) >= 2",
        "lost_rule": "spent(days=365) >= 500",
        "values": {"spent()": "500.00", "orders(days=30)": 0, "spent(days=365)": "0.00"},
    }


def test_deleted_member_and_removed_level_lose_it_with_the_cause(db: Database) -> None:
    shop = _shop(db)
    tiers.apply(db, shop, as_of=AS_OF, now=NOW)
    with db.write() as connection:
        connection.execute(update(members).where(members.c.member_id == 4).values(state="deleted"))
        tiers.save_levels(connection, shop, [SILVER, GOLD], NOW)
    assert tiers.apply(db, shop, as_of=AS_OF, now=NOW).moves == (Move("bronze", "", 1), Move("gold", "", 1))
    with db.read() as connection:
        assert _held(connection, shop) == {3: "silver", 5: "silver"}
        reasons = {row.member_id: row.reason for row in _changes(connection, shop) if row.to_level == ""}
    assert reasons == {
        2: {"cause": "level_removed", "values": {}},
        4: {"cause": "deleted", "lost_rule": "spent(days=365) >= 500", "values": {"spent(days=365)": "500.00"}},
    }


@pytest.mark.parametrize(
    ("ladder", "of_facts"),
    [
        (["orders() >= 1", "spent() >= 100 and average_order > 5"], True),
        (["spent(days=365) >= 500", 'bought(sku="A")'], True),
        # Whoever never ordered may earn one of these.
        (["orders() == 0"], False),
        (["everyone", "spent() >= 100"], False),
        (['spent() >= 100 and country == "GB"'], False),
    ],
)
def test_facts_alone_are_read_where_every_level_takes_an_order(db: Database, ladder: list[str], of_facts: bool) -> None:
    shop = _shop(db, ladder=[])
    ranks = earned.compiled([Level(f"level{rank}", rule) for rank, rule in enumerate(ladder)])
    first = earned.plan_for(shop, ranks, AS_OF).changing[0].select
    joined = str(first.get_final_froms()[0])
    assert joined.startswith("member_facts") == of_facts
    assert ("member_tiers" in joined) != of_facts


_SHOPS = itertools.count(1)
# A level cannot depend on the level held.
_RULES = rules_of_orders.filter(lambda node: all(asked.arg("since") != "tier" for asked in fields_of(node)))
_LADDERS = st.lists(_RULES, min_size=1, max_size=3)
# What is dated after the day is in the facts, and no run of that day counts it.
_UP_TO_THE_DAY = made_members.filter(lambda one: all(told.days_ago >= 0 for told in (*one.orders, *one.refunds)))


@pytest.mark.slow
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(made=st.lists(_UP_TO_THE_DAY, min_size=1, max_size=4), before=_LADDERS, after=_LADDERS)
def test_facts_alone_tell_the_same_changes(
    db: Database, made: list[MadeMember], before: list[Node], after: list[Node]
) -> None:
    with db.write() as connection:
        shop = keep(connection, next(_SHOPS), made)
    for rules in (before, after):
        wanted = [Level(f"level{rank}", to_text(node)) for rank, node in enumerate(rules)]
        with db.read() as connection:
            plan = earned.plan_for(shop, earned.compiled(wanted), AS_OF)
            told, joined = (
                sorted(change for page in earned.changes(connection, one) for change in page)
                for one in (plan, plan._replace(changing=[plan.everybody]))
            )
        assert told == joined
        tiers.save_and_apply(db, shop, wanted, as_of=AS_OF, now=NOW, actor="test")
        with db.read() as connection:
            assert [*earned.changes(connection, plan)] == []
            f = member_facts.c
            beside = select(f.member_id, f.level_key).where(f.shop_id == shop.shop_id, f.level_key != "")
            assert {row.member_id: row.level_key for row in connection.execute(beside)} == _held(connection, shop)


def test_preview_counts_and_writes_nothing(db: Database) -> None:
    shop = _shop(db)
    tiers.apply(db, shop, as_of=AS_OF, now=NOW)
    with db.read() as connection:
        found = tiers.preview(connection, shop, [Level("all", "everyone"), GOLD], AS_OF)
        assert found.levels == {"": 0, "all": 4, "gold": 1}
        assert found.moves == (Move("", "all", 1), Move("bronze", "all", 1), Move("silver", "all", 2))
        assert found.moved == 4
        assert found.examples == {("", "all"): (1,), ("bronze", "all"): (2,), ("silver", "all"): (3, 5)}
        assert tiers.levels(connection, shop.shop_id) == LADDER
        assert _held(connection, shop) == {2: "bronze", 3: "silver", 4: "gold", 5: "silver"}


def test_saving_and_applying_is_one_act(db: Database) -> None:
    shop = _shop(db)
    report = tiers.save_and_apply(db, shop, [GOLD], as_of=AS_OF, now=NOW, actor="page:owner")
    assert report.moves == (Move("", "gold", 1),)
    with db.read() as connection:
        assert tiers.levels(connection, shop.shop_id) == [GOLD]
        assert _audited(connection) == [
            ("page:owner", "tiers.saved", {"levels": [GOLD.as_dict()], "before": [one.as_dict() for one in LADDER]}),
            ("page:owner", "tiers.applied", report.as_dict()),
        ]


@pytest.mark.parametrize("name", ["Gold", "GOLD"])
def test_two_levels_of_one_name_are_refused(db: Database, name: str) -> None:
    shop = _shop(db)
    same = [Level("gold", "spent() >= 9", {"en": "Gold"}), Level("gold-2", "spent() >= 99", {"en": name, "zh": "金"})]
    with pytest.raises(InvalidInput, match=f"Two levels are called '{name}'"), db.write() as connection:
        tiers.save_levels(connection, shop, same, NOW)
    with db.read() as connection:
        assert tiers.levels(connection, shop.shop_id) == LADDER


def test_refused_level_moves_nobody(db: Database) -> None:
    shop = _shop(db)
    with pytest.raises(RuleError):
        tiers.save_and_apply(db, shop, [Level("gold", "spnt() > 1")], as_of=AS_OF, now=NOW, actor="page:owner")
    with db.read() as connection:
        assert tiers.levels(connection, shop.shop_id) == LADDER
        assert (_held(connection, shop), _audited(connection)) == ({}, [])


def test_level_a_saved_rule_asks_for_stays(db: Database) -> None:
    shop = _shop(db)
    with db.write() as connection:
        segments.save(connection, shop, "others", 'tier != "gold"', NOW)
    with pytest.raises(InvalidInput) as caught:
        tiers.save_and_apply(db, shop, [SILVER], as_of=AS_OF, now=NOW, actor="page:owner")
    assert caught.value.message.startswith('The segment others keeps its rule: tier != "gold".')
    with db.write() as connection:
        assert (tiers.levels(connection, shop.shop_id), _audited(connection)) == (LADDER, [])
        tiers.save_levels(connection, shop, [SILVER], NOW, besides=Rewritten(segments=True))
        assert tiers.levels(connection, shop.shop_id) == [SILVER]


def test_run_is_audited_only_when_it_moves_somebody(db: Database) -> None:
    shop = _shop(db)
    for _ in range(2):
        tiers.apply(db, shop, as_of=AS_OF, now=NOW, actor="cli")
    with db.read() as connection:
        assert [(actor, action, detail["changed"]) for actor, action, detail in _audited(connection)] == [
            ("cli", "tiers.applied", 4)
        ]


def test_level_outlives_facts_made_anew(db: Database) -> None:
    shop = _shop(db, ladder=[Level("all", "everyone"), GOLD])
    tiers.apply(db, shop, as_of=AS_OF, now=NOW)
    with db.write() as connection:
        facts.rebuild(connection, shop, NOW)
        tiers.save_levels(connection, shop, [SILVER], NOW)
    # The one who never ordered holds a level too, and is found by facts of zeros.
    moves = (Move("all", "", 2), Move("all", "silver", 2), Move("gold", "silver", 1))
    assert tiers.apply(db, shop, as_of=AS_OF, now=NOW).moves == moves


def test_one_shop_does_not_touch_another(db: Database) -> None:
    shop, other = _shop(db), _shop(db, PEOPLE[::-1], [GOLD], shop_id=2)
    tiers.apply(db, shop, as_of=AS_OF, now=NOW)
    with db.read() as connection:
        assert _held(connection, other) == {}
        assert _changes(connection, other) == []
    tiers.apply(db, other, as_of=AS_OF, now=NOW)
    with db.read() as connection:
        assert _held(connection, other) == {3: "gold"}
        assert _held(connection, shop) == {2: "bronze", 3: "silver", 4: "gold", 5: "silver"}
        assert tiers.levels(connection, other.shop_id) == [GOLD]


@pytest.mark.parametrize(
    ("level", "error"),
    [
        (Level("gold", "spnt() > 1"), RuleError),
        (Level("gold", ""), RuleError),
        (Level("gold", 'tier == "bronze"'), RuleTypeError),
        (Level("Gold!", "everyone"), InvalidInput),
        (Level("bronze", "everyone"), InvalidInput),
    ],
)
def test_bad_level_is_refused_whole(db: Database, level: Level, error: type[Exception]) -> None:
    shop = _shop(db)
    with db.write() as connection, pytest.raises(error):
        tiers.save_levels(connection, shop, [BRONZE, level], NOW)
    with db.read() as connection:
        assert tiers.levels(connection, shop.shop_id) == LADDER


def test_level_is_read_as_a_file_tells_it() -> None:
    assert tiers.read_level({"key": "gold", "title": "Gold", "rule": "everyone"}) == Level(
        "gold", "everyone", {"en": "Gold"}
    )
    assert tiers.read_level(GOLD.as_dict()) == GOLD
    with pytest.raises(InvalidInput) as caught:
        tiers.read_level({"key": "gold", "rul": "everyone"})
    assert caught.value.field == "rul"


def test_more_changes_than_a_page(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earned, "_PAGE", 3)
    shop = _shop(db, [MadeMember() for _ in range(8)], [Level("all", "everyone")])
    with db.write() as connection:
        row = {
            "shop_id": 1,
            "program_key": "main",
            "member_id": 1,
            "level_key": "old",
            "since_at": NOW,
            "since_on": AS_OF,
        }
        connection.execute(insert(member_tiers).values(**row))
    report = tiers.apply(db, shop, as_of=AS_OF, now=NOW)
    assert report.moves == (Move("", "all", 7), Move("old", "all", 1))
    with db.read() as connection:
        assert _held(connection, shop) == dict.fromkeys(range(1, 9), "all")
        assert len(_changes(connection, shop)) == 8
        assert connection.execute(select(tier_levels.c.rule)).scalars().all() == [{"everyone": True}]
