"""Tier programmes from end to end: an airline's club, invitations, levels by hand, rewards, versions, runs and undoing them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, update

from crm_plugin.errors import CrmError, InvalidInput, NotFound, RuleError
from crm_plugin.ids import new_id
from crm_plugin.rules import by_hand, count, tier_undo, tiers
from crm_plugin.rules.by_hand import Desk
from crm_plugin.rules.lab import look_at
from crm_plugin.rules.policies import in_force, versions
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tier_history import history
from crm_plugin.rules.tier_holds import holds
from crm_plugin.rules.tiers import Level, Move
from crm_plugin.store import (
    member_facts,
    member_tiers,
    members,
    metadata,
    orders,
    tier_bars,
    tier_changes,
    tier_entries,
    tier_holds,
    tier_terms,
)
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import facts
from tests.rules.shops import AS_OF, MadeMember, MadeOrder, keep

# Miles flown earn silver, gold and platinum for a year with a quarter of grace; the fourth level is by invitation only.
CLUB: dict[str, Any] = {
    "title": "Club",
    "measure": "spent",
    "window": {"days": 365},
    "term": {"days": 365},
    "grace_days": 90,
    "descent": "one_step",
    "levels": [
        {"key": "silver", "title": "Silver", "entry": 250, "keep": 200, "reward": "points:100"},
        {"key": "gold", "title": "Gold", "entry": 500, "keep": 400, "reentry": 450, "reward": "lounge"},
        {"key": "platinum", "title": "Platinum", "entry": 1000, "keep": 800},
        {"key": "circle", "title": "Circle", "invitation": True},
    ],
}
PEOPLE = [
    MadeMember(orders=(MadeOrder(1, 24_999),)),
    MadeMember(orders=(MadeOrder(364, 25_000),)),
    MadeMember(orders=(MadeOrder(10, 60_000),)),
    MadeMember(orders=(MadeOrder(10, 100_000),)),
]


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def _day(number: int) -> date:
    return AS_OF + timedelta(days=number)


def _club(db: Database, people: list[MadeMember] = PEOPLE, **changed: Any) -> Shop:
    with db.write() as connection:
        shop = keep(connection, 1, people)
        tiers.save_policy(connection, shop, read_policy({**CLUB, **changed}), _noon(AS_OF), actor="test")
    return shop


def _apply(db: Database, shop: Shop, number: int) -> tiers.TierReport:
    return tiers.apply(db, shop, as_of=_day(number), now=_noon(_day(number)))


def _buy(db: Database, shop: Shop, member_id: int, minor: int, number: int) -> None:
    with db.write() as connection:
        order_id, day = new_id(), _day(number)
        row = {"order_id": order_id, "external_id": str(order_id), "member_id": member_id, "status": "completed"}
        row |= {
            "counts": True,
            "currency": "EUR",
            "total_minor": minor,
            "base_minor": minor,
            "first_seen_at": _noon(day),
        }
        connection.execute(insert(orders).values(shop_id=shop.shop_id, **row, placed_at=_noon(day), placed_on=day))
        facts.rebuild(connection, shop, _noon(day))


def _held(db: Database, program: str = "main") -> dict[int, str]:
    c = member_tiers.c
    with db.read() as connection:
        rows = connection.execute(select(c.member_id, c.level_key).where(c.program_key == program))
        return {row.member_id: row.level_key for row in rows}


def _open(db: Database) -> dict[tuple[int, str], str]:
    c = tier_entries.c
    with db.read() as connection:
        rows = connection.execute(select(c.member_id, c.level_key, c.reward).where(c.state == "open"))
        return {(row.member_id, row.level_key): row.reward for row in rows}


def _story(db: Database, member_id: int, program: str = "main") -> list[tuple[str, str, str]]:
    with db.read() as connection:
        return [(one.from_level, one.to_level, one.cause) for one in history(connection, 1, program, member_id)]


def _desk(connection: Connection, shop: Shop, number: int, program: str = "main") -> Desk:
    return Desk(connection, shop, _noon(_day(number)), "page:owner", program)


def _everything(db: Database) -> dict[str, int]:
    with db.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }


@pytest.mark.slow
def test_airline_club(db: Database) -> None:
    shop = _club(db)
    assert _apply(db, shop, 0).moves == (Move("", "gold", 1), Move("", "platinum", 1), Move("", "silver", 1))
    assert _held(db) == {2: "silver", 3: "gold", 4: "platinum"}
    assert _open(db) == {}
    # The flight of the silver one leaves the window, but the term protects; the first flies on and passes both.
    _buy(db, shop, 1, 50_000, 200)
    assert _apply(db, shop, 200).moves == (Move("", "gold", 1),)
    assert _open(db) == {(1, "silver"): "points:100", (1, "gold"): "lounge"}
    # A year later the terms of the first day are over.
    assert _apply(db, shop, 364).run_id is None
    assert _apply(db, shop, 365).as_dict()["terms"] == {"grace": 3}
    _buy(db, shop, 3, 45_000, 400)
    assert _apply(db, shop, 400).as_dict()["terms"] == {"renewed": 1}
    assert _apply(db, shop, 454).run_id is None
    assert _apply(db, shop, 455).moves == (Move("platinum", "gold", 1), Move("silver", "", 1))
    assert _held(db) == {1: "gold", 3: "gold", 4: "gold"}
    with db.read() as connection:
        c = member_tiers.c
        ends = {row.member_id: row.valid_until for row in connection.execute(select(c.member_id, c.valid_until))}
        assert tiers.held(connection, 1) == {"gold": 3}
    assert ends == {1: _day(200 + 364), 3: _day(364 + 365), 4: _day(455 + 364)}
    assert _story(db, 3) == [("", "gold", "rule"), ("gold", "gold", "grace"), ("gold", "gold", "renewed")]
    assert _story(db, 2) == [("", "silver", "rule"), ("silver", "silver", "grace"), ("silver", "", "term_over")]


def test_reasons_in_both_languages(db: Database) -> None:
    shop = _club(db)
    for number in (0, 365, 455):
        _apply(db, shop, number)
    with db.read() as connection:
        came, grace, left = history(connection, 1, "main", 2)
    assert came.words("en") == (
        "It is for members whose amount spent in the last 365 days is at least 250. Through 2027-05-31. "
        "On that day: amount spent in the last 365 days 250.00."
    )
    assert grace.words("zh").startswith(
        "等级有效期已结束，进入宽限期。不再属于近 365 天消费金额不低于 200 的会员。宽限至 2027-08-29。"
    )
    assert left.words("en").startswith("The term is over and was not renewed. No longer one of the members whose")
    assert left.as_dict("zh")["why"].startswith("等级有效期已结束，未能续期。")


def test_missed_days_come_to_the_same(db: Database) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    # Nobody looked for three years: two terms and their grace are over, and so two steps are taken at once.
    assert _apply(db, shop, 1095).moves == (Move("gold", "", 1), Move("platinum", "silver", 1), Move("silver", "", 1))
    with db.read() as connection:
        c = member_tiers.c
        assert connection.execute(select(c.valid_until)).scalar_one() == _day(455 + 455 + 364)


def test_whoever_falls_comes_back_by_the_lower_bar(db: Database) -> None:
    shop = _club(db, [MadeMember(orders=(MadeOrder(0, 60_000),)), MadeMember()], descent="straight", grace_days=0)
    for number in (0, 365):
        _apply(db, shop, number)
    assert _held(db) == {}
    for member_id in (1, 2):
        _buy(db, shop, member_id, 45_000, 366)
    assert _apply(db, shop, 366).moves == (Move("", "gold", 1), Move("", "silver", 1))
    assert _held(db) == {1: "gold", 2: "silver"}
    # Passed before, so nothing is given again.
    assert _open(db) == {(2, "silver"): "points:100"}


def test_whoever_comes_with_a_history_gets_no_reward(db: Database) -> None:
    shop = _club(db, [MadeMember(), MadeMember(), MadeMember()])
    _apply(db, shop, 0)
    with db.write() as connection:
        connection.execute(update(members).where(members.c.member_id > 1).values(first_seen_at=_noon(_day(5))))
    _buy(db, shop, 1, 30_000, -100)
    _buy(db, shop, 2, 30_000, -3)
    _buy(db, shop, 3, 30_000, -2)
    assert _apply(db, shop, 6).moves == (Move("", "silver", 3),)
    # The second first ordered eight days before being seen, the third seven; the first was there all the time.
    assert set(_open(db)) == {(1, "silver"), (3, "silver")}


def test_invitation_lifts_at_once_and_once(db: Database) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    with db.write() as connection:
        by_hand.invite(_desk(connection, shop, 1), 4, "circle", _day(10))
        by_hand.invite(_desk(connection, shop, 1), 3, "circle", _day(10))
        by_hand.invite(_desk(connection, shop, 1), 2, "circle")
        by_hand.answer(_desk(connection, shop, 2), 4, "circle", accept=True)
        by_hand.answer(_desk(connection, shop, 2), 2, "circle", accept=False)
    assert _held(db) == {2: "silver", 3: "gold", 4: "circle"}
    _apply(db, shop, 11)
    with db.write() as connection, pytest.raises(InvalidInput, match="no open invitation"):
        by_hand.answer(_desk(connection, shop, 11), 3, "circle", accept=True)
    # Nothing is asked of whoever was invited: renewed when all others fall.
    _apply(db, shop, 1100)
    assert _held(db) == {4: "circle"}
    assert _story(db, 4)[1:] == [
        ("circle", "circle", "invited"),
        ("circle", "circle", "accepted"),
        ("platinum", "circle", "invitation"),
        ("circle", "circle", "renewed"),
    ]
    with db.read() as connection:
        accepted = history(connection, 1, "main", 4)[3]
    # The level that was left is not lost: nothing is said of its rule.
    assert (accepted.cause, "lost_rule" in accepted.reason) == ("invitation", False)
    assert accepted.words("en") == "The invitation was accepted. Through 2027-06-02."
    assert [one[2] for one in _story(db, 3)][1:3] == ["invited", "expired"]
    assert [one[2] for one in _story(db, 2)][1:3] == ["invited", "declined"]


def test_level_by_hand_holds_until_its_day(db: Database) -> None:
    shop = _club(db, grace_days=0)
    _apply(db, shop, 0)
    with db.write() as connection:
        by_hand.fix(_desk(connection, shop, 1), 1, "platinum", "A friend of the house", _day(30))
        by_hand.fix(_desk(connection, shop, 1), 4, "silver", "Asked for it")
    assert _apply(db, shop, 30).run_id is None
    assert _held(db) == {1: "platinum", 2: "silver", 3: "gold", 4: "silver"}
    assert _open(db) == {}
    assert _apply(db, shop, 31).moves == (Move("platinum", "gold", 1),)
    with db.write() as connection:
        by_hand.free(_desk(connection, shop, 32), 4)
    assert _held(db)[4] == "platinum"
    assert _story(db, 4) == [
        ("", "platinum", "rule"),
        ("platinum", "silver", "by_hand"),
        ("silver", "silver", "freed"),
        ("silver", "platinum", "rule"),
    ]
    with db.read() as connection:
        words = history(connection, 1, "main", 1)[0].words("en")
    assert words == "Fixed by hand. Reason: A friend of the house. Through 2026-07-01."


@pytest.mark.parametrize("plain", [False, True])
def test_no_level_by_hand_holds_until_its_day(db: Database, plain: bool) -> None:
    levels = {"levels": [{"key": "silver", "rule": "spent() >= 250"}]}
    with db.write() as connection:
        shop = keep(connection, 1, PEOPLE)
        tiers.save_policy(connection, shop, read_policy(levels if plain else CLUB), _noon(AS_OF), actor="test")
    _apply(db, shop, 0)
    there = _held(db)
    assert set(there) == {2, 3, 4}
    with db.write() as connection:
        by_hand.fix(_desk(connection, shop, 1), 3, "", "Sells it on", _day(30))
        by_hand.fix(_desk(connection, shop, 1), 1, "", "One of us")
    _buy(db, shop, 1, 100_000, 2)
    _apply(db, shop, 30)
    assert set(_held(db)) == {2, 4}
    _apply(db, shop, 31)
    assert _held(db) == there
    with db.write() as connection:
        by_hand.free(_desk(connection, shop, 32), 1)
    assert set(_held(db)) == {1, 2, 3, 4}
    assert _story(db, 3)[1][1:] == ("", "by_hand")
    assert [one[1:] for one in _story(db, 1)][:2] == [("", "by_hand"), ("", "freed")]
    with db.write() as connection:
        by_hand.fix(_desk(connection, shop, 33), 1, "", "One of us")
        by_hand.fix(_desk(connection, shop, 34), 1, "silver", "After all")
    _apply(db, shop, 35)
    assert _held(db)[1] == "silver"
    with db.read() as connection:
        assert {row.member_id for row in connection.execute(select(tier_bars.c.member_id))} == {3}


def test_level_by_hand_stops_the_plain_pass_too(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, PEOPLE)
        tiers.save_levels(
            connection, shop, [Level("silver", "spent() >= 250"), Level("gold", "spent() >= 500")], _noon(AS_OF)
        )
    _apply(db, shop, 0)
    with db.write() as connection:
        by_hand.fix(_desk(connection, shop, 0), 4, "silver", "Asked for it", _day(5))
    assert _apply(db, shop, 5).run_id is None
    assert _apply(db, shop, 6).moves == (Move("silver", "gold", 1),)
    with db.read() as connection:
        c = member_tiers.c
        assert connection.execute(select(func.count()).where(c.grace_until.is_not(None) | c.fixed)).scalar_one() == 0


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda desk: by_hand.fix(desk, 1, "glod", "why"), InvalidInput),
        (lambda desk: by_hand.fix(desk, 1, "gold", "  "), InvalidInput),
        (lambda desk: by_hand.fix(desk, 1, "gold", "why", _day(-1)), InvalidInput),
        (lambda desk: by_hand.fix(desk, 99, "gold", "why"), NotFound),
        (lambda desk: by_hand.free(desk, 1), InvalidInput),
        (lambda desk: by_hand.invite(desk, 1, "gold"), InvalidInput),
        (lambda desk: by_hand.invite(desk, 1, "circle", _day(-1)), InvalidInput),
        (lambda desk: by_hand.answer(desk, 1, "circle", accept=True), InvalidInput),
    ],
)
def test_refused_act_writes_nothing(db: Database, act: Any, error: type[CrmError]) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    before = _everything(db)
    with pytest.raises(error), db.write() as connection:
        act(_desk(connection, shop, 0))
    assert _everything(db) == before


def test_two_programmes_of_one_shop(db: Database) -> None:
    shop = _club(db)
    coffee = {
        "program": "coffee",
        "levels": [{"key": "fan", "rule": "orders() >= 1"}, {"key": "gold", "rule": "orders() >= 2"}],
    }
    with db.write() as connection:
        tiers.save_policy(connection, shop, read_policy(coffee), _noon(AS_OF), actor="test")
    report = _apply(db, shop, 0)
    assert (report.changed, report.others) == (7, {"coffee": (Move("", "fan", 4),)})
    assert _held(db, "coffee") == dict.fromkeys((1, 2, 3, 4), "fan")
    with db.read() as connection:
        assert count(connection, shop, 'tier(program="coffee") == "fan"', AS_OF) == 4
        assert count(connection, shop, 'tier == "gold"', AS_OF) == 1
        f = member_facts.c
        assert set(connection.execute(select(f.level_key)).scalars()) == {"", "silver", "gold", "platinum"}
    with db.write() as connection:
        tiers.save_policy(
            connection, shop, read_policy({"program": "coffee", "levels": []}), _noon(AS_OF), actor="test"
        )
    assert _apply(db, shop, 1).others == {"coffee": (Move("fan", "", 4),)}
    assert _held(db, "coffee") == {}


def test_policy_for_a_day_to_come_waits(db: Database) -> None:
    shop = _club(db)
    later = {**CLUB, "levels": [{"key": "silver", "entry": 100}], "effective_on": "2026-06-11"}
    with db.write() as connection:
        tiers.save_policy(connection, shop, read_policy(later), _noon(AS_OF), actor="test")
    assert _held_after(db, shop, 9) == {3: "gold", 4: "platinum"}
    with db.read() as connection:
        assert [level.key for level in tiers.levels(connection, 1)] == ["silver", "gold", "platinum", "circle"]
        assert [(one.version, one.effective_on) for one in versions(connection, 1, "main")] == [
            (1, AS_OF),
            (2, _day(10)),
        ]
    assert _held_after(db, shop, 10) == dict.fromkeys((1, 3, 4), "silver")
    with db.read() as connection:
        assert [level.key for level in tiers.levels(connection, 1)] == ["silver"]
        assert in_force(connection, 1, "main", _day(9)).version == 1
        assert "By a new policy, version 2." in history(connection, 1, "main", 1)[-1].words("en")


def _held_after(db: Database, shop: Shop, number: int) -> dict[int, str]:
    _apply(db, shop, number)
    return _held(db)


def test_same_policy_is_no_new_version(db: Database) -> None:
    shop = _club(db)
    with db.write() as connection:
        tiers.save_policy(connection, shop, read_policy(CLUB), _noon(AS_OF), actor="test")
        assert [one.version for one in versions(connection, 1, "main")] == [1]


def test_page_changes_levels_and_keeps_what_is_promised(db: Database) -> None:
    shop = _club(db)
    with db.write() as connection:
        saved = tiers.levels(connection, 1)
        assert [level.rule for level in saved][2:] == ["spent(days=365) >= 1000", ""]
        wanted = [saved[0], Level("gold", "orders() >= 1", {"en": "Golden"}), *saved[2:]]
        tiers.save_levels(connection, shop, wanted, _noon(AS_OF), actor="page:owner")
        assert tiers.levels(connection, 1) == wanted
        kept = in_force(connection, 1, "main", AS_OF).policy.as_dict()
    gold = {
        "key": "gold",
        "title": {"en": "Golden"},
        "keep": 400,
        "reentry": 450,
        "rule": "orders() >= 1",
        "reward": "lounge",
    }
    assert kept["levels"][1] == gold
    assert {name: kept[name] for name in ("term", "grace_days", "descent")} == {
        "term": {"days": 365},
        "grace_days": 90,
        "descent": "one_step",
    }


@pytest.mark.slow
def test_run_is_undone_once(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, PEOPLE)
        tiers.save_levels(
            connection, shop, [Level("silver", "spent() >= 250"), Level("gold", "spent() >= 500")], _noon(AS_OF)
        )
    _apply(db, shop, 0)
    before = (_held(db), _since(db))
    policy = read_policy(
        {**CLUB, "levels": [{"key": "silver", "entry": 200}, {"key": "gold", "entry": 900, "reward": "x"}]}
    )
    report = tiers.save_policy_and_apply(db, shop, policy, as_of=_day(3), now=_noon(_day(3)), actor="test")
    assert report.moves == (Move("", "silver", 1),)
    assert report.terms == {"renewed": 1, "grace": 2}
    with db.write() as connection:
        found = tier_undo.undo(connection, shop, today=_day(4), now=_noon(_day(4)), actor="test")
    assert (found.restored, found.left, found.policies) == (4, 0, ("main",))
    assert (_held(db), _since(db)) == before
    assert _open(db) == {}
    assert _story(db, 1)[-1] == ("silver", "", "undone")
    with db.read() as connection:
        assert [level.rule for level in tiers.levels(connection, 1)] == ["spent() >= 250", "spent() >= 500"]
    # The former rules say what they said.
    assert _apply(db, shop, 4).run_id is None
    with db.write() as connection, pytest.raises(InvalidInput, match="nothing to undo"):
        tier_undo.undo(connection, shop, today=_day(4), now=_noon(_day(4)), actor="test")


def _since(db: Database) -> dict[int, tuple[Any, ...]]:
    c = member_tiers.c
    with db.read() as connection:
        rows = connection.execute(select(c.member_id, c.since_at, c.since_on, c.valid_until, c.grace_until, c.in_grace))
        return {row[0]: tuple(row[1:]) for row in rows}


def test_undo_leaves_whoever_moved_on_and_what_was_used(db: Database) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    for member_id in (1, 2):
        _buy(db, shop, member_id, 100_000, 10)
    run = _apply(db, shop, 10)
    assert run.moves == (Move("", "platinum", 1), Move("silver", "platinum", 1))
    assert set(_open(db)) == {(1, "silver"), (1, "gold"), (2, "gold")}
    with db.write() as connection:
        by_hand.fix(_desk(connection, shop, 11), 2, "gold", "As agreed")
        used = (tier_entries.c.member_id == 1, tier_entries.c.level_key == "silver")
        connection.execute(update(tier_entries).where(*used).values(state="used"))
        found = tier_undo.undo(connection, shop, today=_day(12), now=_noon(_day(12)), actor="test", run_id=run.run_id)
    assert (found.restored, found.left, found.withdrawn) == (1, 1, 2)
    assert _held(db) == {2: "gold", 3: "gold", 4: "platinum"}
    assert _open(db) == {}
    # What was used is not given again, what was withdrawn is.
    _apply(db, shop, 13)
    assert set(_open(db)) == {(1, "gold")}


def test_undo_gives_an_invitation_back(db: Database) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    with db.write() as connection:
        by_hand.fix(_desk(connection, shop, 1), 3, "silver", "For now", _day(5))
        by_hand.invite(_desk(connection, shop, 1), 3, "circle")
        by_hand.answer(_desk(connection, shop, 1), 3, "circle", accept=True)
    assert _held(db)[3] == "silver"
    _apply(db, shop, 6)
    assert _held(db)[3] == "circle"
    with db.write() as connection:
        tier_undo.undo(connection, shop, today=_day(6), now=_noon(_day(6)), actor="test")
    assert _held(db)[3] == "silver"
    _apply(db, shop, 7)
    assert _held(db)[3] == "circle"


def _undo(db: Database, shop: Shop, number: int, run_id: int | None = None, reason: str = "") -> tier_undo.Undone:
    told = {"today": _day(number), "now": _noon(_day(number)), "actor": "test", "run_id": run_id, "reason": reason}
    with db.write() as connection:
        return tier_undo.undo(connection, shop, **told)


def test_undone_stands_still_until_somebody_goes_on(db: Database) -> None:
    shop = _club(db)
    run = _apply(db, shop, 0)
    _undo(db, shop, 0, reason="Too early")
    assert _held(db) == {}
    passed_by = tiers.apply(db, shop, as_of=_day(1), now=_noon(_day(1)), daily=True)
    assert (passed_by.run_id, passed_by.as_dict()["still"], _held(db)) == (None, ["main"], {})
    with db.read() as connection:
        one = holds(connection, 1)["main"]
    assert (one.run_id, one.at, one.actor, one.reason) == (run.run_id, _noon(_day(0)), "test", "Too early")
    # The order of the silver one is more than a year old by now.
    assert _apply(db, shop, 2).moves == (Move("", "gold", 1), Move("", "platinum", 1))
    with db.read() as connection:
        assert holds(connection, 1) == {}
        assert connection.execute(select(tier_holds.c.reason, tier_holds.c.ended_at)).all() == [
            ("Too early", _noon(_day(2)))
        ]
    assert tiers.apply(db, shop, as_of=_day(3), now=_noon(_day(3)), daily=True).still == ()


@pytest.mark.slow
@pytest.mark.parametrize(("effective_on", "first_day"), [(None, 1), ("2026-06-05", 4)])
def test_another_policy_goes_on_once_it_is_in_force(db: Database, effective_on: str | None, first_day: int) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    _undo(db, shop, 0)
    with db.write() as connection:
        told = {**CLUB, "grace_days": 5, "effective_on": effective_on}
        tiers.save_policy(connection, shop, read_policy(told), _noon(AS_OF), actor="test")
    for number in range(1, 6):
        tiers.apply(db, shop, as_of=_day(number), now=_noon(_day(number)), daily=True)
        assert bool(_held(db)) == (number >= first_day)


@pytest.mark.slow
def test_runs_are_undone_the_newest_first(db: Database) -> None:
    shop = _club(db)
    first = _apply(db, shop, 0)
    _buy(db, shop, 1, 50_000, 10)
    second = _apply(db, shop, 10)
    before = _everything(db)
    with pytest.raises(InvalidInput, match="1 later runs stand") as caught:
        _undo(db, shop, 11, first.run_id)
    assert str(second.run_id) in str(caught.value.hint)
    assert _everything(db) == before
    _undo(db, shop, 11, second.run_id)
    assert _undo(db, shop, 11, first.run_id).restored == 3
    assert _held(db) == {}


@pytest.mark.slow
def test_level_of_an_undone_run_was_not_held_before(db: Database) -> None:
    shop = _club(db, [MadeMember()])
    _apply(db, shop, 0)
    _buy(db, shop, 1, 47_000, 1)
    assert _held_after(db, shop, 1) == {1: "silver"}
    _buy(db, shop, 1, 5_000, 2)
    assert _held_after(db, shop, 2) == {1: "gold"}
    _undo(db, shop, 2)
    with db.write() as connection:
        connection.execute(update(orders).where(orders.c.base_minor == 5_000).values(counts=False))
        facts.rebuild(connection, shop, _noon(_day(3)))
    # Who had held gold would come back to it with 450.
    assert _held_after(db, shop, 3) == {1: "silver"}
    _buy(db, shop, 1, 5_000, 4)
    assert _held_after(db, shop, 4) == {1: "gold"}
    assert set(_open(db)) == {(1, "silver"), (1, "gold")}


def test_level_of_an_undone_run_counts_for_no_later_reward(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, PEOPLE)
        tiers.save_levels(connection, shop, [Level("silver", "spent() >= 250")], _noon(AS_OF))
    _apply(db, shop, 0)
    _buy(db, shop, 1, 30_000, 1)
    assert _held_after(db, shop, 1)[1] == "silver"
    _undo(db, shop, 1)
    with db.write() as connection:
        tiers.save_policy(connection, shop, read_policy(CLUB), _noon(_day(2)), actor="test")
    _apply(db, shop, 2)
    assert set(_open(db)) == {(1, "silver"), (1, "gold"), (3, "gold"), (4, "gold")}


def test_lab_names_who_would_move_and_writes_nothing(db: Database) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    before = _everything(db)
    wanted = read_policy({"measure": "spent", "levels": [{"key": "gold", "entry": 200}, {"key": "top", "entry": 800}]})
    with db.read() as connection:
        told = look_at(connection, shop, wanted, AS_OF).as_dict()
    assert {kind: told[kind] for kind in ("in", "out", "up", "down", "stay")} == {
        "in": 1,
        "out": 0,
        "up": 2,
        "down": 0,
        "stay": 1,
    }
    assert told["levels"] == {"": 0, "gold": 3, "top": 1}
    cell = next(one for one in told["matrix"] if one["from"] == "platinum")
    assert (cell["to"], cell["kind"], cell["members"]) == ("top", "up", 1)
    assert cell["samples"] == [{"id": "4", "name": "#4", "cause": "rule", "values": {"spent()": "1000.00"}}]
    assert _everything(db) == before


def test_lab_tells_the_change_from_what_happens_anyway(db: Database) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    _buy(db, shop, 1, 30_000, 1)
    _buy(db, shop, 2, 60_000, 1)
    before = _everything(db)
    # The first two would become gold today; the change takes it from the one with 549.99 and gives platinum to those with 600.
    silver, gold, platinum, _ = CLUB["levels"]
    changed = read_policy({**CLUB, "levels": [silver, {**gold, "entry": 580}, {**platinum, "entry": 600, "keep": 500}]})
    with db.read() as connection:
        seen = look_at(connection, shop, changed, _day(1))
        same = look_at(connection, shop, read_policy(CLUB), _day(1))
    assert [(cell.from_level, cell.to_level, cell.members, cell.anyway) for cell in seen.cells if cell.moves] == [
        ("", "silver", 1, 0),
        ("gold", "platinum", 1, 0),
        ("silver", "platinum", 1, 0),
    ]
    assert [(cell.from_level, cell.to_level, cell.members) for cell in seen.effect] == [
        ("gold", "platinum", 2),
        ("gold", "silver", 1),
    ]
    assert (seen.today, seen.caused) == (2, 3)
    assert [(cell.to_level, cell.anyway) for cell in same.cells if cell.moves] == [("gold", 1), ("gold", 1)]
    assert (same.today, same.caused, same.effect) == (2, 0, ())
    fewer = read_policy({**CLUB, "levels": [{**silver, "entry": 900}, platinum]})
    with db.read() as connection:
        stays = look_at(connection, shop, fewer, _day(1)).as_dict()
    assert ("gold", "", "out") in [(one["from"], one["to"], one["kind"]) for one in stays["effect"]]
    assert _everything(db) == before


def test_refused_policy_writes_nothing(db: Database) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    before = _everything(db)
    bad = read_policy({"levels": [{"key": "gold", "rule": 'segment("gone")'}]})
    own = read_policy({"levels": [{"key": "gold", "rule": 'tier == "gold"'}]})
    for policy in (bad, own):
        with pytest.raises(RuleError):
            tiers.save_policy_and_apply(db, shop, policy, as_of=AS_OF, now=_noon(AS_OF), actor="test")
    assert _everything(db) == before


def test_two_passes_at_once_do_it_once(db: Database) -> None:
    shop = _club(db, PEOPLE * 20)
    reports: list[tiers.TierReport] = []
    both = threading.Barrier(2)

    def work() -> None:
        both.wait()
        reports.append(_apply(db, shop, 0))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.changed for report in reports) == [0, 60]
    with db.read() as connection:
        assert connection.execute(select(func.count()).select_from(tier_changes)).scalar_one() == 60


def test_second_pass_writes_nothing(db: Database) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    before: Mapping[str, int] = _everything(db)
    assert _apply(db, shop, 0).run_id is None
    assert _everything(db) == before
    with db.read() as connection:
        assert connection.execute(select(func.count()).select_from(tier_terms)).scalar_one() == 0


def test_gone_member_holds_nothing_also_by_hand(db: Database) -> None:
    shop = _club(db)
    _apply(db, shop, 0)
    with db.write() as connection:
        by_hand.fix(_desk(connection, shop, 0), 4, "gold", "why")
        connection.execute(update(members).where(members.c.member_id == 4).values(state="deleted"))
    assert _apply(db, shop, 1).moves == (Move("gold", "", 1),)
    assert _story(db, 4)[-1] == ("gold", "", "deleted")
