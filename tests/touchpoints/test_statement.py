"""The statement that plans is made once for a journey, and anew for whatever changes what it says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.rules import segments
from crm_plugin.store import connections, journeys, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import statement
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.settings import save_settings
from tests.factories import make_shop, member, write

# Midnight in Berlin; one has a birthday on each day from then on.
START = datetime(2026, 3, 1, 23, tzinfo=UTC)
DAY = timedelta(days=1)
YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=START - 90 * DAY),)
GREET: dict[str, Any] = {
    "key": "greet",
    "trigger": {"type": "birthday"},
    "audience": 'segment("ours")',
    "channels": ["email"],
}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The journeys for which a statement is made."""
    told: list[str] = []
    make = statement._statement

    def note(connection: Connection, terms: statement.Terms, *rest: Any) -> Any:
        told.append(terms.journey.key)
        return make(connection, terms, *rest)

    monkeypatch.setattr(statement, "_statement", note)
    monkeypatch.setattr(statement, "_KEPT", statement.Shelf(10))
    return told


def _set_up(db: Database, **told: Any) -> Shop:
    with db.write() as connection:
        shop = make_shop(connection)
        row = {"adapter": "smtp", "channel": "email", "settings": b"", "enabled": True, "status": "ok"}
        connection.execute(insert(connections).values(shop_id=1, updated_at=START, **row))
        segments.save(connection, shop, "ours", "known(email)", START)
        journey_store.save(connection, shop, read_draft({**GREET, **told}), START)
        connection.execute(journeys.update().values(enabled=True, enabled_at=START, planned_through=START))
    people = [member(str(day), email=f"m{day}@x.test", birth_month=3, birth_day=day, consents=YES) for day in (2, 3, 4)]
    write(db, shop, people, START - 90 * DAY)
    return shop


def _states(db: Database) -> list[tuple[str, str, str]]:
    t = touchpoints.c
    with db.read() as connection:
        query = select(t.address, t.state, t.reason).order_by(t.due_at)
        return [tuple(row) for row in connection.execute(query)]


def test_rounds_of_many_days_share_one_statement(db: Database, made: list[str]) -> None:
    shop = _set_up(db, audience="")
    for days in range(4):
        plan_shop(db, shop, START + days * DAY)
    assert made == ["greet"]
    assert _states(db) == [(f"m{day}@x.test", "planned", "") for day in (2, 3, 4)]


def test_a_rule_is_asked_on_each_day_anew(sqlite_db: Database, made: list[str]) -> None:
    shop = _set_up(sqlite_db, audience="days_since_joined() >= 0 or known(email)")
    for hours in range(0, 72, 6):
        plan_shop(sqlite_db, shop, START + timedelta(hours=hours))
    assert len(made) == 3
    assert len(_states(sqlite_db)) == 3


def _of_another_segment(connection: Connection, shop: Shop) -> None:
    segments.save(connection, shop, "ours", 'email != "m3@x.test"', START + DAY)


def _without_a_sender(connection: Connection, _shop: Shop) -> None:
    connection.execute(connections.update().values(enabled=False))


def _of_another_version(connection: Connection, _shop: Shop) -> None:
    connection.execute(journeys.update().values(channels=["sms"], version=2))


def _with_other_cases(connection: Connection, shop: Shop) -> None:
    save_settings(connection, shop, {"open_cases": {"complaint_days": 0}}, START + DAY)


@pytest.mark.parametrize(
    ("change", "second"),
    [
        (_of_another_segment, None),
        (_without_a_sender, ("", "skipped", "no_sender")),
        (_of_another_version, ("", "skipped", "no_sender")),
        (_with_other_cases, ("m3@x.test", "planned", "")),
    ],
)
def test_what_changes_it_makes_another(
    sqlite_db: Database,
    made: list[str],
    change: Callable[[Connection, Shop], None],
    second: tuple[str, str, str] | None,
) -> None:
    _set_up(sqlite_db)
    noon = START + timedelta(hours=12)
    with sqlite_db.read() as connection:
        plan_shop(sqlite_db, shop_by_id(connection, 1), noon)
    before = len(made)
    with sqlite_db.write() as connection:
        change(connection, shop_by_id(connection, 1))
    with sqlite_db.read() as connection:
        shop = shop_by_id(connection, 1)
    plan_shop(sqlite_db, shop, noon + DAY)
    assert (before, len(made)) == (1, 2)
    assert _states(sqlite_db)[1:] == ([second] if second else [])
