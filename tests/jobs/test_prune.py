"""What goes when it has been kept long enough, what stays, and that a kill in between does no harm."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Table, event, func, insert, select

from crm_plugin.clock import FixedClock
from crm_plugin.config import Config
from crm_plugin.errors import InvalidInput
from crm_plugin.ids import first_of
from crm_plugin.jobs import prune
from crm_plugin.rounds import Stopped
from crm_plugin.runtime import Runtime
from crm_plugin.store import (
    attempts,
    delivery_events,
    inbox,
    members,
    problems,
    runs,
    suppressions,
    touchpoint_contents,
    touchpoints,
)
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.settings import keep_days, save_settings
from tests.factories import NOON, make_shop, member, write

DAY = timedelta(days=1)
OLD, NEW = NOON - 731 * DAY, NOON - 729 * DAY


@pytest.fixture
def runtime(db: Database, tmp_path: Path) -> Runtime:
    return Runtime(Config("", tmp_path), db, SecretBox(Fernet.generate_key()), FixedClock(NOON))


@pytest.fixture
def shop(db: Database) -> Shop:
    """One shop with a member, and another whose old rows are its own business."""
    with db.write() as connection:
        made = make_shop(connection)
        other = make_shop(connection, 2)
    for one in (made, other):
        write(db, one, [member("1", email="a@x.test")], OLD)
    return made


def _put(db: Database, shop_id: int, at: datetime, count: int = 1) -> None:
    """Messages with all that belongs to them, made at that instant."""
    numbers = [first_of(at) + number for number in range(count)]
    with db.write() as connection:
        owner = connection.execute(select(members.c.member_id).where(members.c.shop_id == shop_id)).scalar_one()
        for number in numbers:
            own: dict[str, Any] = {"shop_id": shop_id, "touchpoint_id": number}
            row = dict.fromkeys(("due_at", "next_try_at", "valid_until", "planned_at", "updated_at", "accepted_at"), at)
            about = {"journey_key": "j", "member_id": owner, "occasion": str(number), "occasion_on": at.date()}
            connection.execute(insert(touchpoints).values(**own, **about, **row, state="delivered"))
            connection.execute(insert(touchpoint_contents).values(**own, subject="Hello", rendered_at=at))
            connection.execute(insert(attempts).values(**own, attempt_no=1, adapter="smtp", started_at=at, outcome="x"))
            connection.execute(
                insert(delivery_events).values(
                    **own,
                    event_id=number,
                    adapter="smtp",
                    provider_event_id=str(number),
                    kind="delivered",
                    at=at,
                    raw={"to": "a@x.test"},
                    received_at=at,
                )
            )
            told = {"shop_id": shop_id, "source": "smtp", "dedupe_key": str(number), "body": "{}", "received_at": at}
            connection.execute(insert(inbox).values(inbox_id=number, **told))
            broken = {"stream": "orders", "external_id": str(number), "reason": "no total", "raw": "{}"}
            connection.execute(
                insert(problems).values(shop_id=shop_id, problem_id=number, **broken, first_at=at, last_at=at)
            )


def _count(db: Database, table: Table, shop_id: int = 1) -> int:
    with db.read() as connection:
        return int(
            connection.execute(select(func.count()).select_from(table).where(table.c.shop_id == shop_id)).scalar_one()
        )


GOES = (touchpoint_contents, inbox, problems)
STAYS = (touchpoints, attempts, delivery_events)


def test_words_and_payloads_go_and_what_makes_never_twice_true_stays(
    db: Database, runtime: Runtime, shop: Shop
) -> None:
    for shop_id, at, count in ((1, OLD, 3), (1, NEW, 2), (2, OLD, 1)):
        _put(db, shop_id, at, count)
    with db.write() as connection:
        # Set aside long ago, and told again yesterday.
        connection.execute(problems.update().where(problems.c.problem_id == first_of(OLD)).values(last_at=NOON - DAY))
        blocked = {"channel": "email", "address": "a@x.test", "reason": "bounce", "at": OLD}
        connection.execute(insert(suppressions).values(shop_id=1, **blocked))
    told = prune.prune(runtime, shop, now=NOON)
    assert told == {
        "before": (NOON - 730 * DAY).isoformat(),
        "touchpoint_contents": 3,
        "inbox": 3,
        "problems": 2,
        "delivery_events": 3,
    }
    assert [_count(db, table) for table in GOES] == [2, 2, 3]
    assert [_count(db, table) for table in (*STAYS, suppressions)] == [5, 5, 5, 1]
    assert [_count(db, table, 2) for table in (*GOES, *STAYS)] == [1] * 6
    with db.read() as connection:
        raw = connection.execute(select(delivery_events.c.raw).order_by(delivery_events.c.event_id)).scalars().all()
    assert sorted(map(str, raw)) == sorted(["{}"] * 3 + ["{'to': 'a@x.test'}"] * 3)
    assert set(prune.prune(runtime, shop, now=NOON).values()) == {(NOON - 730 * DAY).isoformat(), 0}


def test_kill_between_two_slices_leaves_the_rest_to_the_next_run(
    db: Database, runtime: Runtime, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "SLICE", 2)
    _put(db, 1, OLD, 5)
    for allowed in range(1, 30):
        if not _killed(runtime, shop, allowed):
            break
    assert allowed > 3
    assert [_count(db, table) for table in GOES] == [0, 0, 0]
    assert _marked(db)
    assert [_count(db, table) for table in STAYS] == [5, 5, 5]
    assert set(prune.prune(runtime, shop, now=NOON).values()) == {(NOON - 730 * DAY).isoformat(), 0}


def _killed(runtime: Runtime, shop: Shop, allowed: int) -> bool:
    """Run until so many slices are done; whether it was stopped before its end."""
    left = allowed

    def stop(_told: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped

    try:
        prune.prune(runtime, shop, now=NOON, progress=stop)
    except Stopped:
        return True
    return False


def _marked(db: Database) -> bool:
    with db.read() as connection:
        mark = runs.last(connection, 1, "prune_raw")
    return mark is not None and mark.through == str(first_of(OLD) + 4)


def test_nothing_old_takes_one_look_a_table(db: Database, runtime: Runtime, shop: Shop) -> None:
    _put(db, 1, NEW, 3)
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    prune.prune(runtime, shop, now=NOON)
    # One for each of three tables; the mark and the events.
    assert len([one for one in asked if one.startswith("SELECT")]) == len(asked) - asked.count("BEGIN IMMEDIATE") == 5


def test_days_are_the_shops_and_0_is_for_ever(db: Database, shop: Shop) -> None:
    assert keep_days(shop) == 730
    with db.write() as connection:
        assert keep_days(save_settings(connection, shop, {"keep_days": 0}, NOON)) == 0
        assert keep_days(save_settings(connection, shop, {"keep_days": "90"}, NOON)) == 90
        assert keep_days(save_settings(connection, shop, {"keep_days": ""}, NOON)) == 730
        for wrong in ("29", "-1", "1e3", "36501", True):
            with pytest.raises(InvalidInput):
                save_settings(connection, shop, {"keep_days": wrong}, NOON)


def test_it_is_due_once_a_day(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        assert prune.is_due(connection, shop, NOON)
        runs.keep(connection, 1, runs.Run("prune", NOON, NOON, {}, ""))
        assert not prune.is_due(connection, shop, NOON + 23 * timedelta(hours=1))
        assert prune.is_due(connection, shop, NOON + DAY)
