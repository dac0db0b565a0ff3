"""A guest inside a journey who becomes an account goes on as the account, and is not in it twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from crm_plugin.store import enrolments, members, tasks, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.sync.merge import merge
from tests.factories import write
from tests.touchpoints.steps.stage import SEND, START, inside, person, plan, settle, stage, turn_on

TEN = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize("both", [True, False])
def test_two_who_become_one_are_inside_once(db: Database, both: bool) -> None:
    shop = stage(db)
    write(db, shop, [person(1), person(2, birth_day=1 if both else 9)], START)
    call = {"key": "call", "task": {"title": "Call"}}
    turn_on(db, shop, SEND, call, {"key": "rest", "wait": {"days": 1}}, {**SEND, "key": "again"}, reentry="once")
    plan(db, shop, TEN)
    settle(db, TEN)
    plan(db, shop, TEN + timedelta(hours=1))
    with db.write() as connection:
        m = members.c
        guest, account = connection.execute(select(m.member_id).order_by(m.external_id)).scalars().all()
        merge(connection, shop, guest, account, TEN)
        assert connection.execute(select(enrolments.c.member_id)).scalars().all() == [account]
        assert set(connection.execute(select(tasks.c.member_id)).scalars()) == {account}
    assert inside(db) == {"m2": ("active", "rest", "waits")}
    assert plan(db, shop, TEN + DAY) == {"planned": 1}
    with db.read() as connection:
        t = touchpoints.c
        assert connection.execute(select(t.member_id, t.step).order_by(t.step)).all() == [(account, 1), (account, 4)]
    assert plan(db, shop, TEN + 9 * DAY) == {}
