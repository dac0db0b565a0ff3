"""What rounds, figures, watching and pruning read: what waits, happened lately or is old enough to go, never what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, event, insert, select

from crm_plugin import rounds
from crm_plugin.clock import FixedClock
from crm_plugin.config import Config
from crm_plugin.ids import first_of
from crm_plugin.jobs import metrics, prune, stalls
from crm_plugin.runtime import Runtime
from crm_plugin.store import (
    attempts,
    delivery_events,
    inbox,
    members,
    problems,
    touchpoint_contents,
    touchpoints,
)
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import backlog, health
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.inquiry import inquire_shop
from crm_plugin.touchpoints.intake import match_early
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.recover import miss_shop, recover_shop
from crm_plugin.touchpoints.states import State
from tests.touchpoints.guarding import BOX, NOON, journey, shop_with

pytestmark = pytest.mark.slow
STORED, DOUBTFUL, LATER = 4_000, 500, 500
# Rows that an operation may read where it finds nothing.
FEW = 20
# SQLite counts the steps of its machine instead: ten or more for each row that it reads, and as many for each statement.
STEPS_A_ROW = 20
LARGE = ("touchpoints", "attempts", "touchpoint_contents", "delivery_events", "inbox", "problems")
_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)


@pytest.fixture
def shop(db: Database) -> Shop:
    """Two years of messages that are over, some of which nobody knows the end of, and what waits for later; nothing is due."""
    made = shop_with(db, 3)
    journey(db, made, "hello")
    with db.write() as connection:
        _stock(connection)
    if not db.is_sqlite:
        with db.write() as connection:
            connection.exec_driver_sql("ANALYZE")
    return made


def _stock(connection: Connection) -> None:
    ago = [NOON - 2 * _DAY - 700 * _DAY * n / STORED for n in range(STORED)]
    told = [*_touchpoints(connection, ago, "delivered", "smtp")]
    told += _touchpoints(connection, [NOON - 60 * _DAY - _MINUTE * n for n in range(DOUBTFUL)], "unconfirmed", "twilio")
    _touchpoints(connection, [NOON + _DAY + _MINUTE * n for n in range(LATER)], "planned", "smtp")
    own = [{"shop_id": 1, "touchpoint_id": number} for number, _ in told]
    at = [at for _, at in told]
    rows: dict[Table, list[dict[str, Any]]] = {
        attempts: [{**one, "attempt_no": 1, "adapter": "smtp", "started_at": t, "outcome": "x"} for one, t in zip(own, at, strict=True)],
        touchpoint_contents: [{**one, "subject": "Hello", "rendered_at": t} for one, t in zip(own, at, strict=True)],
        delivery_events: [
            {**one, "event_id": n, "adapter": "smtp", "provider_event_id": str(n), "kind": "delivered", "at": t, "received_at": t}
            for one, (n, t) in zip(own, told, strict=True)
        ],
        inbox: [
            {"shop_id": 1, "inbox_id": n, "source": "smtp", "dedupe_key": str(n), "body": "{}", "received_at": t}
            for n, t in told
        ],
        problems: [
            {"shop_id": 1, "problem_id": n, "stream": "orders", "external_id": str(n), "reason": "", "raw": "", "first_at": t, "last_at": t}
            for n, t in told
        ],
    }  # fmt: skip
    for table, some in rows.items():
        connection.execute(insert(table), some)


def _touchpoints(
    connection: Connection, ago: list[datetime], state: str, adapter: str, **more: Any
) -> list[tuple[int, datetime]]:
    """One of that state at each instant; answers their ids with it."""
    owner = connection.execute(select(members.c.member_id).limit(1)).scalar_one()
    rows = []
    for place, at in enumerate(ago):
        over = (
            {}
            if state == "planned"
            else {"accepted_at": at, "settled_at": at}
            if state == "delivered"
            else {"settled_at": at}
        )
        row = dict.fromkeys(("due_at", "next_try_at", "planned_at", "updated_at"), at)
        about = {
            "journey_key": "hello",
            "member_id": owner,
            "occasion_on": at.date(),
            "adapter": adapter,
            "attempts": 1,
        }
        number = first_of(at) + place
        rows.append(
            {
                "shop_id": 1,
                "touchpoint_id": number,
                "occasion": str(number),
                "state": state,
                **row,
                **about,
                "valid_until": at + 7 * _DAY,
                **over,
                **more,
            }
        )
    connection.execute(insert(touchpoints), rows)
    return [(row["touchpoint_id"], row["due_at"]) for row in rows]


@pytest.fixture
def runtime(db: Database, tmp_path: Path) -> Runtime:
    return Runtime(Config("", tmp_path), db, BOX, FixedClock(NOON))


@contextmanager
def _read(db: Database) -> Iterator[Callable[[], int]]:
    """How many rows of large tables were read in the block, on SQLite about."""
    with (_steps if db.is_sqlite else _rows)(db) as count:
        yield count


@contextmanager
def _steps(db: Database) -> Iterator[Callable[[], int]]:
    every, told = 50, [0]

    def count() -> int:
        told[0] += every
        return 0

    def watch(connection: Any, *_: Any) -> None:
        connection.set_progress_handler(count, every)

    db.engine.dispose()
    event.listen(db.engine, "connect", watch)
    yield lambda: told[0] // STEPS_A_ROW
    event.remove(db.engine, "connect", watch)
    db.engine.dispose()


@contextmanager
def _rows(db: Database) -> Iterator[Callable[[], int]]:
    told = [0]

    def note(connection: Connection, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if many or statement.split()[0] not in ("SELECT", "UPDATE", "DELETE", "WITH"):
            return
        # It is run twice, and the first time undone.
        raw = connection.connection.cursor()
        raw.execute("SAVEPOINT asked")
        raw.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, values)
        told[0] += _rows_of(raw.fetchone()[0][0]["Plan"])
        raw.execute("ROLLBACK TO SAVEPOINT asked")

    event.listen(db.engine, "before_cursor_execute", note)
    yield lambda: told[0]
    event.remove(db.engine, "before_cursor_execute", note)


def _rows_of(node: dict[str, Any]) -> int:
    own = 0
    if node.get("Relation Name") in LARGE and "Scan" in node["Node Type"]:
        each = sum(
            node.get(name, 0) for name in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        )
        own = int(each * node["Actual Loops"])
    return own + sum(_rows_of(one) for one in node.get("Plans", ()))


def _asks(runtime: Runtime, shop: Shop) -> dict[str, Callable[[], object]]:
    db = runtime.db

    def reading(ask: Callable[[Connection], object]) -> Callable[[], object]:
        def work() -> object:
            with db.read() as connection:
                return ask(connection)

        return work

    return {
        "recover": lambda: recover_shop(db, shop, NOON),
        "missed": lambda: miss_shop(db, shop, NOON),
        "early events": lambda: match_early(db, shop, NOON),
        "inquiry": lambda: inquire_shop(db, BOX, shop, NOON),
        "dispatch": lambda: dispatch_shop(db, BOX, shop, NOON),
        "backlog": reading(lambda connection: backlog.backlogs(connection, NOON)),
        "estimates": reading(lambda connection: backlog.estimates(connection, BOX, 1, NOON)),
        "stalls": reading(lambda connection: stalls.stalls(connection, NOON)),
        "rests": reading(lambda connection: health.rests(connection, 1, NOON)),
        "prune": lambda: prune.prune(runtime, shop, now=NOON),
        "round": lambda: rounds.tick(runtime, shop, NOON),
    }


def test_what_is_stored_costs_nothing_where_nothing_waits(db: Database, runtime: Runtime, shop: Shop) -> None:
    # The first round of a day looks at its members.
    rounds.tick(runtime, shop, NOON)
    for name, ask in _asks(runtime, shop).items():
        with _read(db) as count:
            ask()
            assert (name, count() <= FEW) == (name, True)
    with _read(db) as count:
        metrics.exposition(runtime)
        # Those whose end nobody knows are counted.
        assert count() <= DOUBTFUL + FEW


@pytest.mark.postgres
def test_all_is_found_before_the_first_is_written(request: pytest.FixtureRequest) -> None:
    told: list[str] = []

    def note(connection: Connection, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if "INSERT INTO touchpoints" in statement:
            raw = connection.connection.cursor()
            raw.execute("EXPLAIN " + statement, values)
            told.extend(row[0] for row in raw.fetchall())

    with request.getfixturevalue("postgres").kept() as db:
        shop = shop_with(db, 3)
        journey(db, shop, "hello")
        event.listen(db.engine, "before_cursor_execute", note)
        assert plan_shop(db, shop, NOON).total(State.PLANNED) == 3
    # Else each row would be looked for among those that were just written.
    steps = [line.split("->")[-1].split()[0] for line in told if "->" in line or line.startswith("Insert")]
    assert (steps[0], "Sort" in steps[1:4]) == ("Insert", True)
