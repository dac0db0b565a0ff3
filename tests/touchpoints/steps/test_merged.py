"""A guest inside a journey who becomes an account goes on as the account, and is not in it twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from crm_plugin.store import coupon_codes, coupon_pools, enrolments, members, tasks, touchpoints
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


@pytest.mark.parametrize("further", ["guest", "account", "both"])
def test_of_two_stays_the_one_further_on_stays(db: Database, further: str) -> None:
    """With its code and its task: nobody gets two codes or is called twice, and nothing is done again for the one that went."""
    shop = stage(db)
    write(db, shop, [person(1), person(2)], START)
    with db.write() as connection:
        ours = {"shop_id": shop.shop_id, "pool_key": "p"}
        connection.execute(insert(coupon_pools).values(**ours, title="", created_at=START))
        connection.execute(insert(coupon_codes), [{**ours, "code": f"C{n}", "place": n} for n in range(1, 5)])
        m = members.c
        guest, account = connection.execute(select(m.member_id).order_by(m.external_id)).scalars().all()
    gift, call = {"key": "gift", "coupon": {"pool": "p"}}, {"key": "call", "task": {"title": "Call"}}
    first = {"guest": "2", "account": "1", "both": "none"}[further]
    waits = {"key": "wait", "branch": f'email == "m{first}@x.test"', "then": [{"key": "day", "wait": {"days": 1}}]}
    turn_on(db, shop, waits, gift, call, {"key": "rest", "wait": {"days": 5}})
    plan(db, shop, TEN)
    with db.write() as connection:
        merge(connection, shop, guest, account, TEN)
    assert inside(db) == {"m2": ("active", "rest", "waits")}
    assert plan(db, shop, TEN + 2 * DAY) == {}
    with db.read() as connection:
        stay = connection.execute(select(enrolments.c.enrolment_id)).scalar_one()
        c, t = coupon_codes.c, tasks.c
        handed = connection.execute(select(c.enrolment_id, c.member_id).where(c.member_id.is_not(None))).all()
        called = connection.execute(select(t.enrolment_id, t.member_id).where(t.done_at.is_(None))).all()
    assert called == [(stay, account)]
    # A code that was handed out is out: it stays the member's, whichever stay it came from.
    assert len(handed) == (2 if further == "both" else 1)
    assert (stay, account) in handed
    assert {row.member_id for row in handed} == {account}
