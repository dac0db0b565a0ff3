"""A mistake reaches few: a canary first, and a journey that stands still until somebody lets it go."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, select, update

from crm_plugin.errors import InvalidInput
from crm_plugin.store import audit_log, journey_forecasts, journey_versions, journey_waves, journeys, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import claims, radius, wave_figures, waves
from crm_plugin.touchpoints.guard_settings import Blast, blast_of, read_blast
from crm_plugin.touchpoints.holdout import share
from crm_plugin.touchpoints.recover import miss_shop
from tests.touchpoints.guarding import NOON, bought, journey, plant, rows, send, shop_with

_BLAST = {"above": 10, "canary_pct": 20, "hold_hours": 2, "confirm_above": 20}
HOUR = timedelta(hours=1)


@pytest.fixture
def shop(db: Database) -> Shop:
    """Sixty members who are all due at once."""
    made = shop_with(db, 60, settings={"blast": _BLAST})
    journey(db, made, "a")
    plant(db, "a")
    return made


def _waves(db: Database) -> dict[str, tuple[str, str]]:
    with db.read() as connection:
        return {key: (wave.state, wave.cause) for key, wave in waves.all_waves(connection, 1).items()}


@pytest.mark.slow
def test_canary_goes_first_and_the_rest_after_its_hours(db: Database, shop: Shop) -> None:
    assert radius.look(db, shop, NOON) == {"a": "canary"}
    canary = {row.member_id for row in rows(db) if share(1, "a", "canary", row.member_id) < 2000}
    assert 3 <= len(canary) <= 25
    assert send(db, shop, NOON).states == {"accepted": len(canary)}
    held = [row for row in rows(db) if row.state == "planned"]
    assert {(row.reason, row.next_try_at) for row in held} == {("blast_radius", NOON + 2 * HOUR)}
    assert {row.member_id for row in held}.isdisjoint(canary)
    # What comes meanwhile is held too, and nothing is looked at twice.
    assert radius.look(db, shop, NOON + HOUR) == {}
    assert send(db, shop, NOON + HOUR).states == {}
    assert radius.look(db, shop, NOON + 2 * HOUR) == {"a": "clear"}
    assert send(db, shop, NOON + 2 * HOUR).states == {"accepted": 60 - len(canary)}


@pytest.mark.slow
def test_canary_ends_before_the_window_does(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        connection.execute(update(touchpoints).values(valid_until=NOON + HOUR))
    radius.look(db, shop, NOON)
    held = [row for row in rows(db) if row.reason == "blast_radius"]
    assert {row.next_try_at for row in held} == {NOON + HOUR / 2}
    radius.look(db, shop, NOON + HOUR / 2)
    assert send(db, shop, NOON + HOUR / 2).states == {"accepted": 60}


def test_what_went_well_needs_no_canary_until_it_is_edited(db: Database, shop: Shop) -> None:
    radius.look(db, shop, NOON)
    radius.look(db, shop, NOON + 2 * HOUR)
    with db.write() as connection:
        connection.execute(update(touchpoints).values(state="accepted", capped_at=None))
    later = NOON + timedelta(days=3)
    plant(db, "a", due=later, occasion="again")
    assert radius.look(db, shop, later) == {}
    with db.write() as connection:
        connection.execute(update(journeys).values(version=2))
    assert radius.look(db, shop, later) == {"a": "canary"}


def test_few_and_what_is_about_an_order_go_as_they_are(db: Database) -> None:
    shop = shop_with(db, 12, settings={"blast": {**_BLAST, "above": 12}})
    bought(db, shop, 12)
    journey(db, shop, "few")
    journey(db, shop, "order", trigger={"type": "post_purchase", "days": 0}, kind="transactional")
    plant(db, "few")
    plant(db, "order")
    plant(db, "order", occasion="second")
    assert radius.look(db, shop, NOON) == {}


def _expect(db: Database, planned: int) -> None:
    with db.write() as connection:
        connection.execute(
            journey_forecasts.insert().values(shop_id=1, journey_key="a", day=NOON.date(), planned=planned)
        )


def test_three_times_the_forecast_stands_still(db: Database, shop: Shop) -> None:
    _expect(db, 19)
    assert radius.look(db, shop, NOON) == {"a": "held"}
    assert _waves(db) == {"a": ("held", "forecast")}
    assert send(db, shop, NOON).states == {}
    assert {row.reason for row in rows(db)} == {"blast_radius"}
    assert send(db, shop, NOON + timedelta(days=1)).states == {}


def test_up_to_three_times_the_forecast_goes_on(db: Database, shop: Shop) -> None:
    _expect(db, 20)
    assert radius.look(db, shop, NOON) == {"a": "canary"}


@pytest.mark.parametrize(
    ("state", "many", "cause"),
    [("complained", 3, "complaints"), ("complained", 2, ""), ("bounced", 10, "bounces"), ("bounced", 9, "")],
)
def test_what_came_back_stops_the_rest(db: Database, shop: Shop, state: str, many: int, cause: str) -> None:
    journey(db, shop, "b")
    plant(db, "b")
    ids = [row.touchpoint_id for row in rows(db) if row.journey_key == "a"]
    t = touchpoints.c
    with db.write() as connection:
        sent = {"state": "accepted", "accepted_at": NOON - HOUR}
        connection.execute(update(touchpoints).where(t.touchpoint_id.in_(ids[:55])).values(**sent))
        connection.execute(update(touchpoints).where(t.touchpoint_id.in_(ids[:many])).values(state=state))
    radius.look(db, shop, NOON)
    assert _waves(db).get("a", ("", "")) == (("held", cause) if cause else ("", ""))
    # The other journey is not to blame.
    assert _waves(db)["b"] == ("canary", "")


@pytest.mark.slow
def test_stopped_while_it_is_in_hand(db: Database, shop: Shop) -> None:
    stopped = []

    def stop(_done: int) -> None:
        if not stopped:
            told = {"journey_key": "a", "state": "held", "version": 1, "since": NOON, "until": NOON, "updated_at": NOON}
            with db.write() as connection:
                connection.execute(journey_waves.insert().values(shop_id=1, **told))
            stopped.append(True)

    # What was read of a batch is read again after half a minute.
    ticks = itertools.count()
    clock = lambda: NOON + timedelta(seconds=20 * next(ticks))  # noqa: E731
    assert send(db, shop, NOON, progress=stop, clock=clock).states["planned"] >= 1
    assert {row.reason for row in rows(db) if row.state == "planned"} == {"blast_radius"}
    assert {row.state for row in rows(db)} <= {"planned", "accepted"}


@pytest.mark.slow
def test_released_by_the_number_that_would_go(db: Database, shop: Shop) -> None:
    _expect(db, 1)
    radius.look(db, shop, NOON)
    for typed in ("", "yes", "59"):
        with db.write() as connection, pytest.raises(InvalidInput) as caught:
            radius.release(connection, shop, "a", NOON, "anna", typed)
        assert caught.value.field == "confirm"
        assert caught.value.message == "60 messages would go out."
    assert send(db, shop, NOON).states == {}
    with db.write() as connection:
        assert radius.release(connection, shop, "a", NOON, "anna", " 60 ") == 60
    # It is not held against the forecast again.
    assert radius.look(db, shop, NOON) == {}
    assert send(db, shop, NOON).states == {"accepted": 60}
    with db.read() as connection:
        note = connection.execute(select(audit_log.c.actor, audit_log.c.action, audit_log.c.detail)).all()[-1]
    assert tuple(note) == ("anna", "journey.released", {"journey": "a", "messages": 60})
    with db.write() as connection, pytest.raises(InvalidInput, match="Nothing of the journey a is held back"):
        radius.release(connection, shop, "a", NOON, "anna")


@pytest.mark.slow
def test_few_are_released_without_a_number_and_a_canary_too(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        shop = replace(shop, settings={"blast": {**_BLAST, "confirm_above": 100}})
    radius.look(db, shop, NOON)
    with db.write() as connection:
        radius.release(connection, shop, "a", NOON, "anna")
    assert send(db, shop, NOON).states == {"accepted": 60}


def test_what_passes_its_window_meanwhile_says_so(db: Database, shop: Shop) -> None:
    _expect(db, 1)
    radius.look(db, shop, NOON)
    assert miss_shop(db, shop, NOON + timedelta(days=8)) == 60
    assert {(row.state, row.reason) for row in rows(db)} == {("missed", "blast_radius")}


def test_forecast_of_a_day_is_kept_when_it_begins(db: Database) -> None:
    """What the calendar tells, or the busiest day there was."""
    shop = shop_with(db, 7)
    for key in ("calendar", "busy", "new"):
        journey(db, shop, key)
    for number in range(3):
        plant(db, "busy", due=NOON - timedelta(days=5), occasion=f"o{number}", state="accepted")
    with db.write() as connection:
        j = journeys.c
        long_ago = datetime(2026, 1, 1, tzinfo=UTC)
        connection.execute(update(journeys).where(j.journey_key != "new").values(enabled_at=long_ago))
        connection.execute(update(journeys).where(j.journey_key == "new").values(enabled_at=NOON - HOUR))
        connection.execute(
            journey_forecasts.insert().values(
                shop_id=1, journey_key="busy", day=NOON.date() - timedelta(days=1), planned=1
            )
        )
    assert wave_figures.note_forecasts(db, shop, NOON.date()) == 2
    f = journey_forecasts.c
    with db.read() as connection:
        told = connection.execute(select(f.journey_key, f.day, f.planned).order_by(f.journey_key)).all()
    assert [tuple(row) for row in told] == [("busy", NOON.date(), 21), ("calendar", NOON.date(), 7)]


def test_look_asks_as_much_for_many_as_for_few(sqlite_db: Database) -> None:
    shop = shop_with(sqlite_db, 60, settings={"blast": _BLAST})
    asked = []
    statements: list[str] = []
    event.listen(sqlite_db.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    journey(sqlite_db, shop, "a")
    plant(sqlite_db, "a")
    for due in (11, 60):
        ids = [row.touchpoint_id for row in rows(sqlite_db)]
        t = touchpoints.c
        with sqlite_db.write() as connection:
            connection.execute(journey_waves.delete())
            connection.execute(update(touchpoints).values(reason="", next_try_at=NOON + HOUR))
            connection.execute(update(touchpoints).where(t.touchpoint_id.in_(ids[:due])).values(next_try_at=NOON))
        statements.clear()
        assert radius.look(sqlite_db, shop, NOON) == {"a": "canary"}
        asked.append(len(statements))
    assert asked == [12, 12]


def test_settings_are_what_is_usual_where_nothing_is_said() -> None:
    assert blast_of(read_blast({})) == Blast()
    assert blast_of(read_blast({"above": 0, "complaints_pct": "0.1"})) == Blast(above=0, complaints_pct=Decimal("0.1"))


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ("much", "blast"),
        ({"most": 1}, "blast.most"),
        ({"above": -1}, "blast.above"),
        ({"canary_pct": 0}, "blast.canary_pct"),
        ({"hold_hours": True}, "blast.hold_hours"),
        ({"bounces_pct": "NaN"}, "blast.bounces_pct"),
    ],
)
def test_wrong_settings_name_their_place(told: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_blast(told)
    assert caught.value.field == field


def test_unknown_journey_is_told(db: Database, shop: Shop) -> None:
    with db.write() as connection, pytest.raises(Exception, match="no journey 'z'"):
        radius.release(connection, shop, "z", NOON, "anna")


_MAIL = {"channels": ["email"], "template": "t"}
_STEPS = [
    {"key": "promise", "send": {**_MAIL, "kind": "marketing"}},
    {"key": "receipt", "send": {**_MAIL, "kind": "transactional"}},
    {"key": "call", "webhook": {"url": "https://x.example/"}},
]


def _stepped(db: Database, shop: Shop, **told: Any) -> dict[str, int]:
    """A journey about orders whose steps are of each kind; key of the step → its number."""
    journey(
        db, shop, "s", **{"trigger": {"type": "post_purchase", "days": 0}, "channels": None, "steps": _STEPS, **told}
    )
    with db.read() as connection:
        numbers: dict[str, int] = connection.execute(select(journey_versions.c.numbers)).scalar_one()
    return numbers


@pytest.mark.parametrize("kind", ["transactional", "marketing"])
def test_each_step_is_bounded_by_its_own_kind(db: Database, kind: str) -> None:
    """Whatever the journey's is: marketing stands still, the rest goes on, and only the former is counted."""
    shop = shop_with(db, 12, settings={"blast": {**_BLAST, "above": 11}})
    bought(db, shop, 12)
    numbers = _stepped(db, shop, kind=kind)
    for key in ("receipt", "call"):
        plant(db, "s", occasion=key, step=numbers[key], journey_version=1)
    assert radius.look(db, shop, NOON) == {}
    plant(db, "s", occasion="promise", step=numbers["promise"], journey_version=1)
    with db.write() as connection:
        connection.execute(journey_forecasts.insert().values(shop_id=1, journey_key="s", day=NOON.date(), planned=3))
    assert radius.look(db, shop, NOON) == {"s": "held"}
    with db.read() as connection:
        assert waves.all_waves(connection, 1)["s"].detail["due"] == 12
        assert radius.held_back(connection, 1, "s") == 12
    taken = claims.claim(db, 1, NOON, 100, resting=())
    assert Counter(row.occasion for row in taken) == {"receipt": 12, "call": 12}


def test_canary_leaves_out_what_is_exempt(db: Database) -> None:
    shop = shop_with(db, 12, settings={"blast": {**_BLAST, "canary_pct": 1}})
    numbers = _stepped(db, shop, kind="transactional")
    for key, number in numbers.items():
        plant(db, "s", occasion=key, step=number, journey_version=1)
    assert radius.look(db, shop, NOON) == {"s": "canary"}
    assert {row.occasion for row in rows(db) if row.reason == "blast_radius"} == {"promise"}


def test_forecast_of_a_day_counts_marketing_alone(db: Database) -> None:
    shop = shop_with(db, 4)
    numbers = _stepped(db, shop, kind="transactional")
    for place, (key, number) in enumerate(numbers.items()):
        plant(db, "s", due=NOON - timedelta(days=5 + place), occasion=key, step=number, journey_version=1)
    for more in range(2):
        plant(db, "s", due=NOON - timedelta(days=9), occasion=f"m{more}", step=numbers["receipt"], journey_version=1)
    with db.write() as connection:
        connection.execute(update(journeys).values(enabled_at=datetime(2026, 1, 1, tzinfo=UTC)))
    assert wave_figures.note_forecasts(db, shop, NOON.date()) == 1
    with db.read() as connection:
        assert connection.execute(select(journey_forecasts.c.planned)).scalar_one() == 4
