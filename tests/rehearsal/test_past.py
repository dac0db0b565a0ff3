"""A rehearsal of the past comes to what the live engine did then."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from crm_plugin.clock import FixedClock
from crm_plugin.records import CheckoutRecord, ConsentRecord, ConsentState
from crm_plugin.rehearsal import Ask, rehearse
from crm_plugin.store import journey_versions, journeys, members
from crm_plugin.store.session import Database
from crm_plugin.sync.checkouts import write_checkouts
from crm_plugin.touchpoints import program
from tests.rehearsal.story import BEGIN, HOUR, Story, begin
from tests.touchpoints.steps.stage import turn_on

DAY = timedelta(days=1)


def _tell(story: Story, days: int) -> None:
    """Something every few hours, at odd minutes; some of it known late."""
    rng = story.rng
    for hour in range(12, days * 24, 4):
        when = BEGIN + hour * HOUR + timedelta(minutes=rng.randrange(1, 59), seconds=rng.randrange(60))
        kind = rng.random()
        if kind < 0.6:
            late = rng.choice((timedelta(0), timedelta(minutes=20), timedelta(hours=30), timedelta(days=4)))
            story.at(when, lambda at, late=late: story.buys(at, late=late))
        elif kind < 0.8:
            story.at(when, story.says)
        elif kind < 0.85:
            story.at(when, story.person)
        elif kind < 0.9:
            story.at(when, story.bounces)
        elif kind < 0.95:
            story.at(when, story.fixes)
        else:
            story.at(when, story.lists)


@pytest.mark.slow
def test_rehearsed_past_is_what_was(db: Database, tmp_path: Path) -> None:
    _rehearse_what_was(db, tmp_path, 1, 7, None)


@pytest.mark.slow
def test_rehearsed_outage_is_what_was(sqlite_db: Database, tmp_path: Path) -> None:
    _rehearse_what_was(sqlite_db, tmp_path, 3, 9, (4.5, 7.0))


def _rehearse_what_was(
    db: Database, folder: Path, seed: int, days: int, outage: tuple[float, float] | None, first: int = 4
) -> None:
    story = begin(db, folder, seed, people=30)
    _tell(story, days)
    down = [(BEGIN + outage[0] * DAY, BEGIN + outage[1] * DAY)] if outage else []
    since = BEGIN + first * DAY
    last = (BEGIN + (days - 1) * DAY).date()
    ask = Ask(since.date(), last, outages=down)
    begins, ends = ask.span(story.shop)
    story.live(BEGIN, ends, down)
    with db.read() as connection:
        ids = tuple(connection.execute(select(members.c.member_id)).scalars())
    lived = story.contacts(begins, ends)
    seen = rehearse(story.runtime, story.shop, Ask(ask.first, ask.last, outages=down, member_ids=ids))
    rehearsed = {
        (one.journey, one.member_id, one.occasion): (one.state, one.reason, one.channel, one.due_on)
        for one in seen.contacts
    }
    differ = {
        key: (lived.get(key), rehearsed.get(key))
        for key in lived.keys() | rehearsed.keys()
        if lived.get(key) != rehearsed.get(key)
    }
    assert differ == {}
    kinds = Counter((state, reason) for state, reason, _, _ in lived.values())
    assert len(lived) > 8
    assert kinds["accepted", ""] > 5


@pytest.mark.slow
def test_history_read_on_connecting_came_when_it_happened(sqlite_db: Database, tmp_path: Path) -> None:
    story = begin(sqlite_db, tmp_path, 4, people=0, on=["thanks"])
    story.person(BEGIN, timezone="Europe/Berlin", joined_at=BEGIN - 90 * DAY)
    story.buys(BEGIN, late=20 * DAY)
    first = (BEGIN - 30 * DAY).date()
    seen = rehearse(story.runtime, story.shop, Ask(first, (BEGIN - DAY).date(), "thanks"))
    # Placed on 28 February at one in the morning in Berlin; two days later at ten.
    assert [(str(one.on), one.messages) for one in seen.sends] == [("2026-03-02", 1)]
    assert rehearse(story.runtime, story.shop, Ask(first, (BEGIN - 21 * DAY).date(), "thanks")).messages == 0


@pytest.mark.slow
def test_journey_switched_on_later_is_on_all_the_time(sqlite_db: Database, tmp_path: Path) -> None:
    story = begin(sqlite_db, tmp_path, 4, people=0, on=["thanks"])
    story.person(BEGIN, timezone="Europe/Berlin")
    story.buys(BEGIN + HOUR)
    clock = story.runtime.clock
    assert isinstance(clock, FixedClock)
    clock.at = BEGIN + 9 * DAY
    with sqlite_db.write() as connection:
        connection.execute(journeys.update().values(enabled_at=clock.at, planned_through=clock.at))
    seen = rehearse(story.runtime, story.shop, Ask(BEGIN.date(), (BEGIN + 5 * DAY).date()))
    assert [(str(one.on), one.journey, one.messages) for one in seen.sends] == [("2026-03-22", "thanks", 1)]


@pytest.mark.slow
def test_checkout_that_was_finished_later_stands_open_until_then(sqlite_db: Database, tmp_path: Path) -> None:
    story = begin(sqlite_db, tmp_path, 1, people=0, on=[])
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=BEGIN),)
    story.person(BEGIN, timezone="Europe/Berlin", phone="", consents=yes)
    trigger = {"type": "abandoned_checkout", "minutes": 60}
    cart = {"key": "cart", "trigger": trigger, "channels": ["email"], "template": "birthday", "enabled": True}
    left = BEGIN + 2 * DAY + 10 * HOUR
    with sqlite_db.read() as connection:
        who = connection.execute(select(members.c.external_id)).scalar_one()
    begun = CheckoutRecord(external_id="c", member_external_id=who, currency="EUR", started_at=left)
    with sqlite_db.write() as connection:
        program.load(connection, story.shop, {"journeys": [cart]}, BEGIN)
        write_checkouts(connection, story.shop, [begun], left)
    with sqlite_db.write() as connection:
        done = replace(begun, completed_at=left + 3 * HOUR)
        write_checkouts(connection, story.shop, [done], left + 3 * HOUR)
    assert isinstance(story.runtime.clock, FixedClock)
    story.runtime.clock.at = BEGIN + 6 * DAY
    first = (BEGIN + DAY).date()
    seen = rehearse(story.runtime, story.shop, Ask(first, first + 4 * DAY))
    assert [(one.journey, one.messages) for one in seen.sends] == [("cart", 1)]


@pytest.mark.slow
def test_published_version_that_cannot_be_read_is_told_and_stops_nothing(sqlite_db: Database, tmp_path: Path) -> None:
    story = begin(sqlite_db, tmp_path, 4, people=0, on=["thanks"])
    turn_on(sqlite_db, story.shop, {"key": "t", "tag": {"add": ["a"]}}, at=BEGIN)
    with sqlite_db.write() as connection:
        broken = journey_versions.update().where(journey_versions.c.journey_key == "j")
        connection.execute(broken.values(document={"steps": [{"key": "t", "tagg": {}}]}))
    assert isinstance(story.runtime.clock, FixedClock)
    story.runtime.clock.at = BEGIN + 3 * DAY
    seen = rehearse(story.runtime, story.shop, Ask(BEGIN.date(), (BEGIN + DAY).date()))
    assert [one.count for one in seen.unknown if one.what.startswith("Published versions")] == [1]
