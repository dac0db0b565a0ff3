"""The jobs themselves: a round does each thing once, and what goes wrong in one step or one shop stays there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, select
from sqlalchemy.exc import DataError, OperationalError

from crm_plugin import rounds
from crm_plugin.clock import FixedClock
from crm_plugin.config import Config
from crm_plugin.demo import mail_sink
from crm_plugin.errors import ConfigError, InvalidInput
from crm_plugin.jobs import tasks
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.rules import tiers
from crm_plugin.runtime import Runtime
from crm_plugin.store import journeys, runs, shops, tier_changes, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import recipes, senders
from crm_plugin.touchpoints.calling import Pace
from tests.factories import make_shop, member, order, write

START = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)
DUE = datetime(2026, 6, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def runtime(db: Database, tmp_path: Path) -> Runtime:
    config = Config("", tmp_path, public_url="https://crm.example")
    return Runtime(config, db, SecretBox(Fernet.generate_key()), FixedClock(START))


@pytest.fixture
def sink() -> Iterator[mail_sink.MailSink]:
    with mail_sink.serve() as server:
        yield server


@pytest.fixture
def shop(runtime: Runtime, sink: mail_sink.MailSink) -> Shop:
    """Two members with a birthday on 2 June who spent something, the recipes with the birthday's on, a tier, a mail server."""
    with runtime.db.write() as connection:
        made = make_shop(connection)
        recipes.install(connection, made, START)
        tiers.save_levels(connection, made, [tiers.Level("gold", "spent() >= 1")], START)
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=START),)
    people = [member(str(n), email=f"m{n}@x.test", birth_month=6, birth_day=2, consents=yes) for n in range(2)]
    write(runtime.db, made, people, START)
    write(runtime.db, made, [order("o1", member_external_id="1", placed_at=START - timedelta(days=1))], START)
    values = {"host": sink.host, "port": sink.port, "security": "none", "from_address": "shop@x.test"}
    senders.save_connection(runtime.db, runtime.box, made, "smtp", values, START)
    with runtime.db.write() as connection:
        own = journeys.c.journey_key == "birthday"
        connection.execute(journeys.update().where(own).values(channels=["email"], trigger_params={"days": 0}))
        journey_store.switch(connection, made, "birthday", True, START)
    return made


def test_round_does_everything_once(runtime: Runtime, shop: Shop, sink: mail_sink.MailSink) -> None:
    first = rounds.tick(runtime, shop, DUE)
    assert (first.plan["planned"], first.dispatch["states"], first.errors) == (2, {"accepted": 2}, {})
    assert first.tiers is not None
    assert first.tiers["changed"] == 1
    second = rounds.tick(runtime, shop, DUE)
    assert (second.recovered, second.tiers, second.plan["planned"], second.dispatch["states"]) == ({}, None, 0, {})
    assert len(sink.messages) == 2


def test_tiers_are_assigned_once_a_day_of_the_shop(runtime: Runtime, shop: Shop) -> None:
    # In Berlin it is half past midnight on 2 June.
    for at, ran in ((START, True), (START + timedelta(hours=21), False), (START + timedelta(days=1), True)):
        assert (rounds.daily_tiers(runtime, shop, at) is not None) is ran
    with runtime.db.read() as connection:
        last = runs.last(connection, shop.shop_id, rounds.TIERS)
        assert connection.execute(select(func.count()).select_from(tier_changes)).scalar_one() == 1
    assert last is not None
    assert last.through == "2026-06-03"


def test_tiers_of_a_day_to_come_keep_no_day_from_its_own(runtime: Runtime, shop: Shop) -> None:
    later = START + timedelta(days=400)
    for at, ran in ((later, True), (later, False), (START, True), (START, False), (START - timedelta(days=2), False)):
        assert (rounds.daily_tiers(runtime, shop, at) is not None) is ran


@pytest.mark.parametrize(
    ("broken", "step", "error"),
    [
        ("recover_shop", "recover", KeyError("x")),
        ("match_early", "events", KeyError("x")),
        # The database is there, and refuses one statement.
        ("daily_tiers", "tiers", DataError("SELECT 1", {}, Exception({"C": "22003"}))),
    ],
)
def test_broken_step_keeps_no_other_from_its_work(
    runtime: Runtime,
    shop: Shop,
    sink: mail_sink.MailSink,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    step: str,
    error: Exception,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(rounds, broken, fail)
    report = rounds.tick(runtime, shop, DUE)
    assert report.errors == {step: f"{type(error).__name__}: {error}"}
    assert report.dispatch["states"] == {"accepted": 2}
    assert len(sink.messages) == 2


def test_lost_database_ends_the_round(runtime: Runtime, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    monkeypatch.setattr(rounds, "recover_shop", away)
    with pytest.raises(OperationalError):
        rounds.tick(runtime, shop, DUE)


def test_shop_whose_key_is_gone_still_plans(runtime: Runtime, shop: Shop, sink: mail_sink.MailSink) -> None:
    report = rounds.tick(replace(runtime, box=SecretBox(Fernet.generate_key())), shop, DUE)
    assert (report.plan["planned"], report.errors, sink.messages) == (2, {}, [])
    assert report.dispatch["reasons"] == {"sender_paused": 2}
    with runtime.db.read() as connection:
        assert senders.paused(connection, 1)["smtp"].startswith("Stored credentials cannot be read")
    assert senders.check(runtime.db, runtime.box, shop, "smtp", DUE) == []
    assert rounds.tick(runtime, shop, DUE).dispatch["states"] == {"accepted": 2}


def test_live_round_follows_the_clock(runtime: Runtime, shop: Shop, sink: mail_sink.MailSink) -> None:
    clock = FixedClock(DUE)
    evening = replace(runtime, clock=clock)
    told = []

    def night(progress: Any) -> None:
        told.append((progress.stream, progress.done))
        if progress.done == 1 and clock.now() == DUE:
            clock.move(hours=12)

    report = rounds.tick(evening, shop, DUE, live=True, progress=night)
    # The second is noted, then not called for, and asked about anew.
    heard = [("messages", 0), ("messages", 1), ("messages", 1)]
    assert (report.dispatch["states"], told) == ({"accepted": 1, "planned": 1}, heard)


@pytest.mark.parametrize(("seconds", "sent", "again"), [(7, 3, True), (10, 2, False), (0, 4, False)])
def test_long_round_gives_its_worker_back(
    runtime: Runtime,
    shop: Shop,
    sink: mail_sink.MailSink,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    sent: int,
    again: bool,
) -> None:
    # Each message is a group of its own, and the clock moves once for each.
    monkeypatch.setattr(Pace, "MOST", 1)
    ended = {0}
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=START),)
    more = [member(str(n), email=f"m{n}@x.test", birth_month=6, birth_day=2, consents=yes) for n in (2, 3)]
    write(runtime.db, shop, more, START)
    clock = FixedClock(DUE)
    run = tasks.job_named("tick").run

    def hear(told: Any) -> None:
        if told.done not in ended:
            clock.move(seconds=seconds)
        ended.add(told.done)

    first = run(replace(runtime, clock=clock), shop, now=DUE, progress=hear)
    assert (first["plan"]["planned"], len(sink.messages), first["again"], first["errors"]) == (4, sent, again, {})
    # Those of the next turn wait as before, and nobody is written to twice.
    second = run(replace(runtime, clock=clock), shop, now=clock.now(), progress=lambda _told: None)
    assert (second["dispatch"]["states"], second["again"]) == ({"accepted": 4 - sent} if sent < 4 else {}, False)
    assert len({message.recipients for message in sink.messages}) == len(sink.messages) == 4


def test_round_that_is_stopped_is_no_error(runtime: Runtime, shop: Shop, sink: mail_sink.MailSink) -> None:
    def stop(_progress: Any) -> None:
        raise rounds.Stopped

    with pytest.raises(rounds.Stopped):
        rounds.tick(runtime, shop, DUE, progress=stop)
    with runtime.db.read() as connection:
        assert connection.execute(select(touchpoints.c.state).distinct()).scalars().all() == ["planned"]
    assert sink.messages == []


def test_new_shop_has_the_recipes_switched_off(runtime: Runtime) -> None:
    made = tasks.add_shop(runtime, name="new", platform="csv", credentials={}, currency="EUR", timezone="Europe/Berlin")
    with runtime.db.read() as connection:
        there = journey_store.all_journeys(connection, made.shop_id)
    assert {one.key for one in there} >= {"birthday", "lapse", "post_purchase"}
    assert not any(one.enabled for one in there)


def test_refused_shop_leaves_nothing(runtime: Runtime) -> None:
    with pytest.raises(ConfigError, match="magento"):
        tasks.add_shop(runtime, name="new", platform="magento", credentials={})
    with pytest.raises(InvalidInput, match="currency"):
        tasks.add_shop(runtime, name="new", platform="csv", credentials={})
    with runtime.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(shops)).scalar_one() == 0
        assert connection.execute(select(func.count()).select_from(journeys)).scalar_one() == 0


def test_shop_of_files_cannot_be_pulled(runtime: Runtime, shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="takes files"):
        tasks.sync(runtime, shop)


def test_uploaded_file_is_removed_whatever_becomes_of_it(runtime: Runtime, shop: Shop, tmp_path: Path) -> None:
    mapping = {"kind": "members", "member_id": "Id", "email": "Mail"}
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("Id,Mail\n7,seven@x.test\n")
    bad.write_text("Name\nx\n")
    assert tasks.import_file(runtime, shop, path=str(good), mapping=mapping, now=DUE)["members"] == 1
    with pytest.raises(InvalidInput):
        tasks.import_file(runtime, shop, path=str(bad), mapping=mapping, now=DUE)
    assert not good.exists()
    assert not bad.exists()
