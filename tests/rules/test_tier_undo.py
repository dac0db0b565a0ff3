"""What undoing a run does about members who are not what they were: gone, or two who became one; and what it costs."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import event, select, update

from crm_plugin.rules import tier_undo, tiers
from crm_plugin.rules.policies import in_force
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tier_holds import holds
from crm_plugin.rules.tiers import Level, Move
from crm_plugin.store import member_tiers, members, orders, tier_changes
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import facts
from crm_plugin.sync.merge import merge
from tests.rules.shops import AS_OF, MadeMember, MadeOrder, keep

_SMALL, _LARGE = MadeMember(orders=(MadeOrder(3, 100),)), MadeMember(orders=(MadeOrder(3, 50_000),))
_LEVELS = [Level("member", "orders() >= 1"), Level("silver", "spent() >= 250")]


def _noon(number: int) -> datetime:
    day = _day(number)
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def _day(number: int) -> date:
    return AS_OF + timedelta(days=number)


def _shop(db: Database, people: list[MadeMember], levels: list[Level] = _LEVELS) -> Shop:
    with db.write() as connection:
        shop = keep(connection, 1, people)
        tiers.save_levels(connection, shop, levels, _noon(0))
    return shop


def _apply(db: Database, shop: Shop, number: int) -> tiers.TierReport:
    return tiers.apply(db, shop, as_of=_day(number), now=_noon(number))


def _undo(db: Database, shop: Shop, number: int) -> tier_undo.Undone:
    with db.write() as connection:
        return tier_undo.undo(connection, shop, today=_day(number), now=_noon(number), actor="test")


def _amounts(db: Database, shop: Shop, minor: int, number: int) -> None:
    """Let all orders be of that amount."""
    with db.write() as connection:
        connection.execute(update(orders).values(total_minor=minor, base_minor=minor))
        facts.rebuild(connection, shop, _noon(number))


def _held(db: Database) -> dict[int, str]:
    c = member_tiers.c
    with db.read() as connection:
        return {row.member_id: row.level_key for row in connection.execute(select(c.member_id, c.level_key))}


def test_who_is_gone_gets_no_level_back(db: Database) -> None:
    shop = _shop(db, [_LARGE, _LARGE])
    _apply(db, shop, 0)
    with db.write() as connection:
        connection.execute(update(members).where(members.c.member_id == 2).values(state="deleted"))
    assert _apply(db, shop, 1).moves == (Move("silver", "", 1),)
    found = _undo(db, shop, 1)
    assert (found.restored, found.left) == (0, 1)
    assert _held(db) == {1: "silver"}


def test_two_who_became_one_are_put_back_once(db: Database) -> None:
    shop = _shop(db, [_SMALL, MadeMember(guest=True, orders=_SMALL.orders)])
    _apply(db, shop, 0)
    _amounts(db, shop, 50_000, 1)
    assert _apply(db, shop, 1).moves == (Move("member", "silver", 2),)
    with db.write() as connection:
        merge(connection, shop, 2, 1, _noon(2))
    found = _undo(db, shop, 2)
    assert (found.restored, found.left) == (1, 1)
    assert _held(db) == {1: "member"}


@pytest.mark.parametrize("page", [5_000, 7])
def test_statements_do_not_grow_with_members(db: Database, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    """Those who lost their level are looked up together, a page at a time, and all of them have it back."""
    monkeypatch.setattr(tier_undo, "_PAGE", page)
    shop = _shop(db, [_LARGE] * 30)
    _apply(db, shop, 0)
    before = _held(db)
    with db.write() as connection:
        connection.execute(update(orders).values(counts=False))
        facts.rebuild(connection, shop, _noon(1))
    _apply(db, shop, 1)
    assert _held(db) == {}
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    assert _undo(db, shop, 1).restored == 30
    assert sum("max(tier_changes.change_id)" in one for one in asked) == -(-30 // page)
    assert _held(db) == before
    c = tier_changes.c
    with db.read() as connection:
        back = connection.execute(select(c.member_id).where(c.from_level == "", c.run_id.is_(None))).scalars()
        assert sorted(back) == list(range(1, 31))


_CLUB = {"program": "club", "levels": [{"key": "gold", "rule": "spent() >= 100"}]}


@pytest.mark.parametrize("act", ["saved", "levels", "named", "all"])
def test_only_what_is_applied_goes_on(db: Database, act: str) -> None:
    """Nobody looked at what another programme that stands still would do."""
    shop = _shop(db, [_LARGE])
    with db.write() as connection:
        tiers.save_policy(connection, shop, read_policy(_CLUB), _noon(0), actor="test")
    _apply(db, shop, 0)
    _undo(db, shop, 0)
    told = {"as_of": _day(1), "now": _noon(1), "actor": "test"}
    if act == "saved":
        report = tiers.save_policy_and_apply(db, shop, read_policy({**_CLUB, "title": "Club"}), **told)
    elif act == "levels":
        report = tiers.save_and_apply(db, shop, [*_LEVELS, Level("gold", "spent() >= 9000")], **told)
    else:
        report = tiers.apply(db, shop, **told, going_on="club" if act == "named" else None)
    went = {"saved": {"club"}, "levels": {"main"}, "named": {"club"}, "all": {"club", "main"}}[act]
    with db.read() as connection:
        assert holds(connection, shop.shop_id).keys() == {"club", "main"} - went
        rows = connection.execute(select(member_tiers.c.program_key)).scalars().all()
    assert set(report.still) == {"club", "main"} - went
    assert sorted(rows) == sorted(went)


@pytest.mark.postgres
def test_undo_waits_for_whoever_saves(request: pytest.FixtureRequest) -> None:
    """A policy that is just being saved is not replaced by the former one."""
    with request.getfixturevalue("postgres").kept() as db:
        shop = _shop(db, [_LARGE])
        _apply(db, shop, 0)
        policy = read_policy({"levels": [{"key": "silver", "rule": "spent() >= 100"}]})
        tiers.save_policy_and_apply(db, shop, policy, as_of=_day(1), now=_noon(1), actor="one")
        asks = threading.Event()
        event.listen(db.engine, "before_cursor_execute", lambda *told: asks.set() if "FOR " in told[2] else None)
        waiting = threading.Thread(target=_undo, args=(db, shop, 2))
        with db.write() as connection:
            other = read_policy({"levels": [{"key": "silver", "rule": "spent() >= 50"}]})
            kept = tiers.save_policy(connection, shop, other, _noon(2), actor="two")
            asks.clear()
            waiting.start()
            assert asks.wait(20)
        waiting.join(20)
        assert not waiting.is_alive()
        with db.read() as connection:
            assert in_force(connection, 1, "main", _day(2)).version == kept.version
