"""Attempts that begin and messages that end are written together; of those that another worker has taken meanwhile nothing is written."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.records import SendResult
from crm_plugin.store import attempts, touchpoint_contents, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import claims
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.settling import Outcome, begin, settle
from crm_plugin.touchpoints.states import State
from tests.touchpoints.guarding import NOON, journey, plant, rows, shop_with
from tests.touchpoints.plans import counted

_TEXT = Rendered("en", "Hi", "Hello")


@pytest.fixture
def claimed(db: Database) -> list[Any]:
    """Three messages in our hands."""
    journey(db, shop_with(db, 3), "a")
    plant(db, "a")
    return list(claims.claim(db, 1, NOON, 3, resting=()))


def _lose(db: Database, row: Any, **values: Any) -> None:
    with db.write() as connection:
        mine = touchpoints.c.touchpoint_id == row.touchpoint_id
        connection.execute(update(touchpoints).where(mine).values(**(values or {"fence": row.fence + 1})))


def _noted(db: Database) -> tuple[set[int], set[int]]:
    with db.read() as connection:
        tables = attempts, touchpoint_contents
        tried, told = (set(connection.execute(select(table.c.touchpoint_id)).scalars()) for table in tables)
    return tried, told


def _accepted(row: Any) -> Outcome:
    return Outcome(row, State.ACCEPTED, NOON, attempt=1, result=SendResult(f"<{row.touchpoint_id}@x.test>"))


def test_those_that_are_ours_are_noted_without_being_asked_for(db: Database, claimed: list[Any]) -> None:
    with counted(db) as asked:
        ours, _ = begin(db, [(row, _TEXT) for row in claimed], NOON)
    assert ours == {row.touchpoint_id for row in claimed}
    assert _noted(db) == (ours, ours)
    assert [statement for statement in asked if statement.startswith("SELECT")] == []


@pytest.mark.parametrize("lost", [{}, {"state": "delivered"}])
def test_one_that_is_not_ours_any_more_is_not_noted(db: Database, claimed: list[Any], lost: dict[str, str]) -> None:
    _lose(db, claimed[1], **lost)
    before = rows(db)
    ours, written = begin(db, [(claimed[0], _TEXT), (claimed[1], _TEXT)], NOON, [_accepted(claimed[2])])
    assert ours == {claimed[0].touchpoint_id}
    assert [one.row for one in written] == [claimed[2]]
    assert _noted(db) == (ours, ours)
    assert {row.touchpoint_id: row for row in rows(db)}[claimed[1].touchpoint_id] in before


@pytest.mark.parametrize("lost", [{}, {"state": "delivered"}])
def test_one_that_is_not_ours_any_more_is_not_settled(db: Database, claimed: list[Any], lost: dict[str, str]) -> None:
    begin(db, [(row, _TEXT) for row in claimed], NOON)
    _lose(db, claimed[1], **lost)
    written = settle(db, [_accepted(row) for row in claimed])
    assert [one.row for one in written] == [claimed[0], claimed[2]]
    with db.read() as connection:
        ended = select(attempts.c.touchpoint_id, attempts.c.outcome).order_by(attempts.c.touchpoint_id)
        assert [row.outcome for row in connection.execute(ended)] == ["accepted", "", "accepted"]
    assert [row.provider_message_id is None for row in rows(db)] == [False, True, False]
