"""Who waits for a message costs a round nothing, and is found when it is settled: by whom, when and in whatever order."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, event, func, select, text, update

from crm_plugin.store import journey_versions, members, touchpoints
from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.merge import merge
from crm_plugin.touchpoints import claims, versions
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.steps import acts, loading, moves, sends, waits
from crm_plugin.touchpoints.versions import with_steps
from tests.factories import order, write
from tests.touchpoints.plans import explained
from tests.touchpoints.steps.stage import SEND, START, Counting, inside, person, plan, settle, stage, turn_on

TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
REST = {"key": "rest", "wait": {"days": 30}}


@pytest.fixture
def shop(db: Database) -> Shop:
    return stage(db)


def _enter(db: Database, shop: Shop, count: int, *steps: dict[str, Any], **told: Any) -> None:
    write(db, shop, [person(n) for n in range(count)], START)
    turn_on(db, shop, *steps, **told)
    plan(db, shop, TEN)


def _settle_one(db: Database, at: datetime, state: str = "accepted") -> None:
    t = touchpoints.c
    with db.write() as connection:
        first = select(t.touchpoint_id).where(t.state == "planned").order_by(t.member_id).limit(1)
        values = {"state": state, "settled_at": at, "updated_at": at}
        connection.execute(
            update(touchpoints).where(t.touchpoint_id == connection.execute(first).scalar_one()).values(**values)
        )


def _phases(db: Database) -> list[str]:
    return [phase for _, _, phase in inside(db).values()]


def test_round_looks_at_what_is_settled_alone(db: Database, shop: Shop) -> None:
    """Of many who wait for a message the rows that a round reads and writes are those of the one whose message is settled."""
    _enter(db, shop, 9, SEND, REST)
    with Counting(db) as idle:
        plan(db, shop, TEN + timedelta(hours=1))
    assert not any("INSERT INTO enrolment_events" in one for one in idle.statements)
    _settle_one(db, TEN + timedelta(hours=1))
    written: list[int] = []

    def note(_connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
        if "UPDATE enrolments SET" in statement:
            written.append(cursor.rowcount)

    event.listen(db.engine, "after_cursor_execute", note)
    plan(db, shop, TEN + timedelta(hours=2))
    event.remove(db.engine, "after_cursor_execute", note)
    # Moved into the wait.
    assert written == [1]
    with db.read() as connection:
        assert connection.execute(select(func.count()).where(touchpoints.c.taken_up)).scalar_one() == 1
    assert sorted(_phases(db)) == ["sent"] * 8 + ["waits"]


@pytest.mark.parametrize("kill", range(1, 19, 3))
def test_killed_round_loses_nobody_whose_message_is_settled(sqlite_db: Database, kill: int) -> None:
    db, shop = sqlite_db, stage(sqlite_db)
    _enter(db, shop, 3, SEND, REST)
    settle(db, TEN)
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == kill:
            raise KeyboardInterrupt

    event.listen(db.engine, "before_cursor_execute", count)
    try:
        plan_shop(db, shop, TEN + DAY)
    except KeyboardInterrupt:
        assert _phases(db) == ["sent"] * 3
    finally:
        event.remove(db.engine, "before_cursor_execute", count)
    plan(db, shop, TEN + DAY)
    assert _phases(db) == ["waits"] * 3


def test_clock_that_is_put_back_keeps_nobody(db: Database, shop: Shop) -> None:
    """Settled an hour ahead, and before a round that ran later: neither instant is asked."""
    _enter(db, shop, 2, SEND, REST)
    _settle_one(db, TEN + timedelta(hours=1))
    plan(db, shop, TEN + 2 * timedelta(hours=1))
    assert sorted(_phases(db)) == ["sent", "waits"]
    _settle_one(db, TEN - timedelta(hours=2), "failed")
    plan(db, shop, TEN - timedelta(hours=1))
    assert sorted(_phases(db)) == ["due", "waits"]
    plan(db, shop, TEN + timedelta(hours=1))
    assert _phases(db) == ["waits", "waits"]


def test_message_sent_again_before_the_round_is_waited_for(db: Database, shop: Shop) -> None:
    _enter(db, shop, 1, SEND, REST)
    settle(db, TEN, "failed")
    with db.write() as connection:
        connection.execute(update(touchpoints).values(state="planned", settled_at=None))
    plan(db, shop, TEN + DAY)
    assert _phases(db) == ["sent"]
    settle(db, TEN + DAY)
    plan(db, shop, TEN + 2 * DAY)
    assert _phases(db) == ["waits"]


def test_who_waits_for_what_was_deleted_goes_on_a_day_after_its_window(db: Database, shop: Shop) -> None:
    _enter(db, shop, 1, SEND, REST)
    with db.write() as connection:
        connection.execute(delete(touchpoints))
    plan(db, shop, TEN + 4 * DAY - timedelta(hours=1))
    assert _phases(db) == ["sent"]
    plan(db, shop, TEN + 4 * DAY)
    assert _phases(db) == ["waits"]


def test_who_waits_long_is_looked_at_once_a_day(db: Database, shop: Shop) -> None:
    _enter(db, shop, 1, SEND, REST)
    costs = []
    for hours in (95, 96, 97, 119, 120, 121):
        with Counting(db) as ran:
            plan(db, shop, TEN + timedelta(hours=hours))
        costs.append(sum("UPDATE enrolments" in one for one in ran.statements))
    assert costs == [0, 1, 0, 0, 1, 0]
    settle(db, TEN + timedelta(hours=121))
    plan(db, shop, TEN + timedelta(hours=122))
    assert _phases(db) == ["waits"]


def test_stay_that_waits_for_the_message_of_a_merged_member_goes_on(db: Database, shop: Shop) -> None:
    """The guest's message left and was taken up; of the two the account's stay goes on, which is at the same step, and waits for it."""
    _enter(db, shop, 2, SEND, REST, reentry="once")
    with db.write() as connection:
        guest, account = connection.execute(select(members.c.member_id).order_by(members.c.external_id)).scalars().all()
        taken_up = {"state": "accepted", "accepted_at": TEN, "settled_at": TEN, "taken_up": True}
        connection.execute(update(touchpoints).where(touchpoints.c.member_id == guest).values(**taken_up))
        merge(connection, shop, guest, account, TEN)
    plan(db, shop, TEN + timedelta(hours=1))
    assert inside(db) == {"m1": ("active", "rest", "waits")}


def test_version_of_an_older_program_is_heard_for_all(db: Database, shop: Shop) -> None:
    buys = {"key": "buys", "wait": {"event": "order_placed", "within_days": 9}, "then": [REST]}
    tag = {"key": "mark", "tag": {"add": ["a"]}}
    write(db, shop, [person(0)], START)
    turn_on(db, shop, buys, tag)
    with db.write() as connection:
        assert with_steps(connection, 1) == {"j": {"tag", "wait", "wait:order_placed"}}
        connection.execute(update(journey_versions).values(kinds=None))
        assert {"wait:order_placed", "wait:opened", "tier"} <= with_steps(connection, 1)["j"]
    plan(db, shop, TEN)
    write(db, shop, [order("o1", member_external_id="0", placed_at=TEN + DAY)], TEN + DAY)
    plan(db, shop, TEN + DAY)
    assert inside(db) == {"m0": ("active", "rest", "waits")}


def test_statements_go_by_their_indexes(db: Database, shop: Shop) -> None:
    """PostgreSQL is kept from reading a whole table, as it would one of a few rows; which of the indexes of so few it takes is its own."""
    ours = {"shop_id": 1, "journey_key": "j", "now": to_micros(TEN), "rows": "[]"}
    stays, messages, key = (
        "sqlite_autoindex_enrolments_2",
        "sqlite_autoindex_touchpoints_2",
        "sqlite_autoindex_enrolments_1",
    )
    orders, deliveries = ("ix_orders_seen", "ix_enrolments_member"), ("ix_delivery_events_received", stays, messages)
    loads = {
        loading.loading(db.is_sqlite, waits.heard(db.is_sqlite, kinds)): indexes
        for kinds, indexes in (
            ((), ()),
            (("wait:order_placed",), orders),
            (("wait:opened",), deliveries),
            (("wait:order_placed", "wait:opened"), (*orders, *deliveries)),
        )
    }
    asked: list[tuple[Any, dict[str, Any], tuple[str, ...]]] = [
        (sends._taking_up(db.is_sqlite), {"most": 9}, ("ix_touchpoints_taken_up", "sqlite_autoindex_touchpoints_1")),
        (sends._asked_of(db.is_sqlite), {"number": 1}, (messages,)),
        *(
            (one, {"most": 9, "since": 0}, ("ix_enrolments_due", stays, key, *indexes))
            for one, indexes in loads.items()
        ),
        (moves._noting(db.is_sqlite, True), {}, ("ix_enrolments_due",)),
        (moves._moving(db.is_sqlite), {}, (key,)),
        *((one, {}, ()) for one in acts._tagging(db.is_sqlite, True, False)[:-1]),
        (acts._tagging(db.is_sqlite, False, True)[0], {}, ("sqlite_autoindex_member_tags_1",)),
        (acts._tagging(db.is_sqlite, True, True)[-1], {}, ("sqlite_autoindex_members_1",)),
        (
            acts._free(db.is_sqlite, 1),
            {"pool0": "p", "wanted0": 9, "takers": "[]"},
            ("ix_coupon_codes_own (shop_id=? AND pool_key=? AND member_id=?)", "ix_coupon_codes_nobodys"),
        ),
        (acts._handing(db.is_sqlite), {}, ()),
        (waits._hearing_first(db.is_sqlite, True), {"within": 9}, (key,)),
        (waits._hearing_first(db.is_sqlite, False), {"within": 9, "event": "opened"}, (key, messages)),
        (versions._KINDS, {}, ("ix_journey_versions_kinds",)),
    ]
    with db.read() as connection:
        for statement, values, indexes in asked:
            told = {**ours, **values}
            told = explained(connection, statement.bindparams(**{name: told[name] for name in statement._bindparams}))
            assert "Seq Scan" not in told
            if statement in loads:
                # By that index those who are due are found, and nobody else looked at.
                assert told.count("ix_enrolments_due") == 1
            if statement is acts._handing(db.is_sqlite):
                # Codes are met by their key, and none is looked for.
                assert "pk_coupon_codes" in told or db.is_sqlite
                assert not re.search(r"(Scan.* on|SCAN|SEARCH) coupon_codes", told)
            if db.is_sqlite:
                assert all(name in told for name in indexes), told
                assert told.count("(shop_id=?)") == (statement is versions._KINDS), told


def test_rules_are_asked_by_the_members_in_hand(db: Database, shop: Shop) -> None:
    """Also of tables that the database has no figures about, of which it may take any to be quickly read whole."""
    write(db, shop, [person(n) for n in range(300)], START)
    turn_on(db, shop, {"key": "rich", "branch": "orders() >= 1"}, REST)
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT w.member_id"):
            asked.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    plan(db, shop, TEN)
    event.remove(db.engine, "before_cursor_execute", note)
    [(statement, parameters)] = asked
    with db.read() as connection:
        if db.is_sqlite:
            told = [str(row) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            assert any("SEARCH rule_members" in line and "member_id=?" in line for line in told)
            return
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        told = [str(row) for row in connection.exec_driver_sql(f"EXPLAIN ANALYZE {statement}", parameters)]
    assert {line.split("loops=")[1].rstrip(")',") for line in told if "on members" in line} == {"300"}


def test_all_who_are_heard_are_gone_through_once(db: Database, shop: Shop) -> None:
    """And not again for each who is in hand, of whom PostgreSQL expects one."""
    write(db, shop, [person(n) for n in range(30)], START)
    turn_on(db, shop, {"key": "buys", "wait": {"event": "order_placed", "within_days": 9}})
    plan(db, shop, TEN)
    write(db, shop, [order(f"o{n}", member_external_id=str(n), placed_at=TEN + DAY) for n in range(30)], TEN + DAY)
    asked = loading.loading(db.is_sqlite, waits.heard(db.is_sqlite, ["wait:order_placed"]))
    told = {"shop_id": 1, "journey_key": "j", "now": to_micros(TEN + DAY), "since": to_micros(TEN), "rows": "[]"}
    with db.read() as connection:
        assert len(connection.execute(asked, {**told, "most": 99}).all()) == 30
        how = "EXPLAIN QUERY PLAN" if db.is_sqlite else "EXPLAIN ANALYZE"
        lines = [str(row) for row in connection.execute(text(f"{how} {asked.text}"), {**told, "most": 99})]
    if db.is_sqlite:
        assert any("SEARCH h USING AUTOMATIC" in line for line in lines), lines
    else:
        assert {line.split("loops=")[1].rstrip(")',") for line in lines if "on heard" in line} == {"1"}


def test_claims_go_on_within_the_index(db: Database) -> None:
    """Also among rows that are due at one same instant."""
    asked = claims._asked(1, TEN, ["smtp"], {}, claims.Place((TEN, 5)))
    with db.read() as connection:
        told = explained(connection, claims._DUE.params(**asked, b_count=9))
    if db.is_sqlite:
        assert "ix_touchpoints_due (shop_id=? AND (next_try_at,touchpoint_id)>(?,?) AND next_try_at<?)" in told
        assert "TEMP B-TREE" not in told
    else:
        # What it makes of an index depends on the figures that it has of so few rows.
        assert "Seq Scan" not in told
