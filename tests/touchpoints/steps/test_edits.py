"""An edit changes the key under which a message or a stay is kept; whoever was spoken to of an occasion is not spoken to of it again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.store import enrolments, journeys, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.journey_document import read_draft
from tests.factories import write
from tests.touchpoints.steps.stage import SEND, START, person, plan, settle, stage

TEN = datetime.fromisoformat("2026-06-01T08:00:00+00:00")
HOUR = timedelta(hours=1)
DIRECT: dict[str, Any] = {"channels": ["email"], "template": "hello"}
EACH: dict[str, Any] = {"steps": [SEND]}
ONCE: dict[str, Any] = {**EACH, "reentry": "once"}
PERIOD: dict[str, Any] = {**EACH, "reentry": {"every_days": 30}}
FORMS = {"direct": DIRECT, "each": EACH, "once": ONCE, "every_days": PERIOD}
EDITS = [(was, to) for was in FORMS for to in FORMS]


@pytest.fixture
def shop(db: Database) -> Shop:
    return stage(db)


@pytest.fixture
def sqlite_shop(sqlite_db: Database) -> Shop:
    return stage(sqlite_db)


def _save(db: Database, shop: Shop, at: datetime, **told: Any) -> None:
    draft = read_draft({"key": "j", "trigger": {"type": "birthday", "days": 0}, **told})
    with db.write() as connection:
        saved = journey_store.save(connection, shop, draft, at)
        if not saved.enabled:
            connection.execute(update(journeys).values(enabled=True, enabled_at=at, planned_through=at))


def _told(db: Database) -> list[tuple[int, str]]:
    """Of whom and of which occasion of the trigger each message is, by member and time."""
    t, e = touchpoints.c, enrolments.c
    with db.read() as connection:
        cause = {
            (row.member_id, row.occasion): row.cause
            for row in connection.execute(select(e.member_id, e.occasion, e.cause))
        }
        rows = connection.execute(select(t.member_id, t.step, t.occasion).order_by(t.touchpoint_id)).all()
    numbers = {member_id: number for number, member_id in enumerate(sorted({row.member_id for row in rows}), 1)}
    return sorted(
        (numbers[row.member_id], cause[row.member_id, row.occasion] if row.step else row.occasion) for row in rows
    )


@pytest.mark.parametrize(("was", "to"), EDITS, ids=lambda form: form)
@pytest.mark.parametrize("sends", [True, False], ids=["sent", "waiting"])
def test_an_edit_that_takes_the_mark_back_sends_nothing_again(
    db: Database, shop: Shop, was: str, to: str, sends: bool
) -> None:
    write(db, shop, [person(1), person(2)], START)
    _save(db, shop, START, **FORMS[was])
    plan(db, shop, TEN)
    if sends:
        settle(db, TEN)
    plan(db, shop, TEN + HOUR / 12)
    _save(db, shop, TEN + HOUR, send_at="09:00", **FORMS[to])
    plan(db, shop, TEN + 2 * HOUR)
    assert _told(db) == [(1, "2026"), (2, "2026")]


@pytest.mark.parametrize(("was", "to"), EDITS, ids=lambda form: form)
def test_who_moves_to_another_zone_after_an_edit_is_told_nothing_again(
    sqlite_db: Database, sqlite_shop: Shop, was: str, to: str
) -> None:
    write(sqlite_db, sqlite_shop, [person(1), person(2)], START)
    _save(sqlite_db, sqlite_shop, START, **FORMS[was])
    plan(sqlite_db, sqlite_shop, TEN)
    settle(sqlite_db, TEN)
    plan(sqlite_db, sqlite_shop, TEN + HOUR / 12)
    _save(sqlite_db, sqlite_shop, TEN + HOUR, **FORMS[to])
    plan(sqlite_db, sqlite_shop, TEN + 2 * HOUR)
    write(sqlite_db, sqlite_shop, [person(1, timezone="Europe/Paris")], TEN + 2 * HOUR + HOUR / 60)
    plan(sqlite_db, sqlite_shop, TEN + 3 * HOUR)
    assert _told(sqlite_db) == [(1, "2026"), (2, "2026")]


@pytest.mark.parametrize(("was", "to"), [("direct", "each"), ("each", "direct"), ("once", "each")])
def test_the_next_occasion_comes_in_all_the_same(db: Database, shop: Shop, was: str, to: str) -> None:
    write(db, shop, [person(1)], START)
    _save(db, shop, START, **FORMS[was])
    plan(db, shop, TEN)
    settle(db, TEN)
    plan(db, shop, TEN + HOUR)
    _save(db, shop, TEN + 2 * HOUR, **FORMS[to])
    plan(db, shop, TEN + timedelta(days=365))
    assert _told(db) == [(1, "2026"), (1, "2027")]
