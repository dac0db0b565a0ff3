"""The queue of levels for the store: the newest alone counts, and what is put aside says why."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update

from crm_plugin.store import member_tiers, members, tier_writebacks, writeback_switches, writebacks
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import shop_by_id
from crm_plugin.sync import merge
from tests.factories import NOON, make_shop, member, write

LATER = NOON + timedelta(hours=1)


def _switch(connection: Connection, shop_id: int = 1, *, on: bool = True) -> None:
    connection.execute(insert(writeback_switches).values(shop_id=shop_id, enabled=on, updated_at=NOON))


def _rows(connection: Connection, shop_id: int = 1) -> dict[tuple[str, int], tuple[str, str, str]]:
    w = tier_writebacks.c
    rows = connection.execute(select(tier_writebacks).where(w.shop_id == shop_id))
    return {(row.program_key, row.member_id): (row.wanted_level, row.state, row.reason) for row in rows}


def _hold(connection: Connection, member_id: int, level: str, program: str = "main") -> None:
    values = {"shop_id": 1, "program_key": program, "member_id": member_id, "level_key": level}
    connection.execute(insert(member_tiers).values(**values, since_at=NOON, since_on=NOON.date()))


def _set(connection: Connection, member_id: int, **values: Any) -> None:
    w = tier_writebacks.c
    connection.execute(update(tier_writebacks).where(w.shop_id == 1, w.member_id == member_id).values(**values))


@pytest.fixture
def people(db: Database) -> list[int]:
    """Two accounts, a guest and a deleted account."""
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1"), member("2"), member("3"), member("4", deleted=True)])
    with db.write() as connection:
        m = members.c
        connection.execute(update(members).where(m.external_id == "3").values(external_id=None))
        return list(connection.execute(select(m.member_id).order_by(m.member_id)).scalars())


def test_nothing_is_queued_where_it_is_off(db: Database, people: list[int]) -> None:
    with db.write() as connection:
        writebacks.queue_levels(connection, 1, "main", [(people[0], "gold")], NOON)
        _switch(connection, on=False)
        writebacks.queue_levels(connection, 1, "main", [(people[0], "gold")], NOON)
        assert _rows(connection) == {}
        assert not writebacks.is_due(connection, 1, LATER)


def test_who_has_no_account_is_put_aside(db: Database, people: list[int]) -> None:
    with db.write() as connection:
        _switch(connection)
        writebacks.queue_levels(connection, 1, "main", [(one, "gold") for one in people], NOON)
        assert _rows(connection) == {
            ("main", people[0]): ("gold", "waiting", ""),
            ("main", people[1]): ("gold", "waiting", ""),
            ("main", people[2]): ("gold", "impossible", "guest"),
            ("main", people[3]): ("gold", "impossible", "gone"),
        }
        assert writebacks.is_due(connection, 1, NOON)
        assert not writebacks.is_due(connection, 1, NOON - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("before", "level", "state"),
    [
        ({"state": "written", "store_level": "gold"}, "silver", "waiting"),
        ({"state": "waiting", "store_level": "silver"}, "silver", "written"),
        ({"state": "waiting", "store_level": None}, "silver", "waiting"),
        ({"state": "failed", "store_level": None}, "silver", "waiting"),
        ({"state": "in_flight", "store_level": None, "claimed_until": LATER}, "silver", "in_flight"),
        ({"state": "written", "store_level": ""}, "", "written"),
    ],
)
def test_newer_level_takes_the_place(
    db: Database, people: list[int], before: dict[str, Any], level: str, state: str
) -> None:
    with db.write() as connection:
        _switch(connection)
        writebacks.queue_levels(connection, 1, "main", [(people[0], "gold")], NOON)
        _set(connection, people[0], **before, attempts=3, reason="transient")
        writebacks.queue_levels(connection, 1, "main", [(people[0], level)], LATER)
        assert _rows(connection) == {("main", people[0]): (level, state, "")}
        row = connection.execute(select(tier_writebacks)).one()
    assert (row.wanted_at, row.attempts, row.claimed_until) == (LATER, 0, before.get("claimed_until"))


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({"state": "impossible", "reason": "guest"}, ("silver", "impossible", "guest")),
        ({"state": "in_flight", "claimed_until": LATER}, ("silver", "in_flight", "")),
        ({"state": "written", "store_level": "silver"}, ("silver", "written", "")),
    ],
)
def test_newer_level_of_a_guest(
    db: Database, people: list[int], before: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    with db.write() as connection:
        _switch(connection)
        writebacks.queue_levels(connection, 1, "main", [(people[2], "gold")], NOON)
        _set(connection, people[2], **before)
        writebacks.queue_levels(connection, 1, "main", [(people[2], "silver")], LATER)
        assert _rows(connection) == {("main", people[2]): expected}


def test_turning_on_queues_all_who_hold_a_level(db: Database, people: list[int]) -> None:
    with db.write() as connection:
        _switch(connection)
        writebacks.queue_levels(connection, 1, "main", [(people[0], "gold"), (people[1], "gold")], NOON)
        _set(connection, people[0], state="written", store_level="gold")
        _set(connection, people[1], state="written", store_level="gold")
        _hold(connection, people[0], "gold")
        _hold(connection, people[2], "silver")
        _hold(connection, people[0], "friend", "club")
        writebacks.queue_everybody(connection, 1, LATER)
        assert _rows(connection) == {
            ("main", people[0]): ("gold", "written", ""),
            ("main", people[1]): ("", "waiting", ""),
            ("main", people[2]): ("silver", "impossible", "guest"),
            ("club", people[0]): ("friend", "waiting", ""),
        }


def test_guest_who_becomes_an_account_is_written(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
        _switch(connection)
    write(db, shop, [member("9", email="a@example.test")])
    with db.write() as connection:
        connection.execute(update(members).values(external_id=None))
        (guest,) = connection.execute(select(members.c.member_id)).scalars()
        writebacks.queue_levels(connection, 1, "main", [(guest, "gold")], NOON)
        assert _rows(connection) == {("main", guest): ("gold", "impossible", "guest")}
    write(db, shop, [member("7", email="a@example.test")], LATER)
    with db.read() as connection:
        assert _rows(connection) == {("main", guest): ("gold", "waiting", "")}


def test_merged_members_level_follows(db: Database, people: list[int]) -> None:
    account, guest = people[0], people[2]
    with db.write() as connection:
        _switch(connection)
        _hold(connection, guest, "gold")
        writebacks.queue_levels(connection, 1, "main", [(guest, "gold")], NOON)
        merge.merge(connection, shop_by_id(connection, 1), guest, account, LATER)
        assert _rows(connection) == {("main", account): ("gold", "waiting", "")}


def test_failed_are_tried_again_when_asked(db: Database, people: list[int]) -> None:
    with db.write() as connection:
        _switch(connection)
        writebacks.queue_levels(connection, 1, "main", [(people[0], "gold"), (people[1], "gold")], NOON)
        _set(connection, people[0], state="failed", reason="refused")
        assert writebacks.retry_failed(connection, 1, LATER) == 1
        assert _rows(connection)["main", people[0]][1] == "waiting"


def test_left_in_flight_is_due_after_its_lease(db: Database, people: list[int]) -> None:
    with db.write() as connection:
        _switch(connection)
        writebacks.queue_levels(connection, 1, "main", [(people[0], "gold")], NOON)
        _set(connection, people[0], state="in_flight", claimed_until=LATER)
        assert not writebacks.is_due(connection, 1, LATER)
        assert writebacks.is_due(connection, 1, LATER + timedelta(seconds=1))
        _rest(connection, LATER + timedelta(hours=1))
        assert not writebacks.is_due(connection, 1, LATER + timedelta(seconds=1))


def _rest(connection: Connection, until: datetime) -> None:
    connection.execute(update(writeback_switches).values(resting_until=until))
