"""One run: shops are filled, programs started, killed and started again while messages leave; then the rest is settled and counted."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from crm_plugin.store import members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints.states import State
from tests.brokers import Broker, RabbitMQ, Redis, start
from tests.chaos import keyed
from tests.chaos.programs import ROOT, Program, environment
from tests.chaos.provider import HOST, PATIENCE_SECONDS, USUAL, Fate, Provider

LAYOUTS = ("threads", "redis", "rabbitmq")
_BROKERS: dict[str, type[Broker]] = {"redis": Redis, "rabbitmq": RabbitMQ}
# One kill in so many is the broker's: it takes longest to come back.
_BROKER_SHARE = 0.08
# After the last kill: when leases have run out, and when each further try of what was put off comes.
_AFTERWARDS = tuple(timedelta(minutes=minutes) for minutes in (11, 14, 25, 60, 180, 400))
_OPEN = {State.PLANNED, State.IN_FLIGHT, State.RETRY_WAIT}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    `keyed` is whether the provider takes a message of the same key once; `seconds` what a message takes it. Where nothing leaves for
    `most_wait_seconds` somebody is killed all the same.
    """

    seed: int
    layout: str = "threads"
    keyed: bool = False
    shops: int = 50
    touchpoints: int = 20_000
    kills: int = 200
    seconds: float = 0.02
    most_wait_seconds: float = 30.0


@dataclass(slots=True)
class Told:
    """What a run came to. Everything in `wrong` must not be."""

    kills: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    # Unconfirmed ones that had arrived, and that had not.
    arrived: int = 0
    missing: int = 0
    repeats: int = 0
    fell: Counter[str] = field(default_factory=Counter)
    orphans: int = 0
    seconds: float = 0.0

    def wrong(self, plan: Plan) -> list[str]:
        """What a run must not come to, in words."""
        found = [
            f"{len(some)} {what}: {some[:5]}" for what, some in (("lost", self.lost), ("doubled", self.doubled)) if some
        ]
        if plan.keyed and self.states[State.UNCONFIRMED.value]:
            found.append(f"{self.states[State.UNCONFIRMED.value]} unconfirmed, though the provider knows its keys")
        if self.fell:
            found.append(f"ended by themselves: {dict(self.fell)}")
        if self.orphans:
            found.append(f"{self.orphans} processes outlived their program")
        return found


def run(plan: Plan, folder: Path, database_url: str = "", say: Callable[[str], None] = lambda _text: None) -> Told:
    """Do it in an empty folder; SQLite in it unless another empty database is named."""
    drawn, told = random.Random(plan.seed), Told()
    with ExitStack() as stack:
        place = stack.enter_context(_prepared(plan, folder, database_url))
        say(f"{plan.touchpoints:,} messages of {plan.shops} shops are due")
        began = time.monotonic()
        with _running(_programs(plan, place.env, folder), told) as programs:
            _fire(plan, drawn, programs, place, told, say)
        say(f"{place.provider.handled:,} messages were handed over when the programs had ended; the rest is settled")
        _settle(place)
        told.seconds = time.monotonic() - began
        _judge(place, told)
    return told


def asked_to_end(plan: Plan, folder: Path, after: int) -> Counter[str]:
    """Ask all programs to end by SIGTERM when `after` messages have been handed over; answers the states of all then.

    Raises: AssertionError when one ends otherwise than well, or a message was taken that is not in the rows.
    """
    told = Told()
    with _prepared(plan, folder, "", shares={Fate.TAKE: 1.0}) as place:
        with _running(_programs(plan, place.env, folder), told):
            until = time.monotonic() + 60
            while place.provider.handled < after:
                assert time.monotonic() < until, f"{place.provider.handled} messages were handed over"
                time.sleep(0.01)
        _judge(place, told)
        assert (told.fell, told.orphans, told.doubled) == (Counter(), 0, [])
        assert place.provider.taken.total() == told.states[State.ACCEPTED.value]
    return told.states


@dataclass(frozen=True, slots=True)
class _Place:
    """What a run has: its provider, its broker, its database and what its programs see."""

    provider: Provider
    broker: Broker | None
    database: Database
    env: dict[str, str]


@contextmanager
def _prepared(plan: Plan, folder: Path, database_url: str, shares: Mapping[Fate, float] = USUAL) -> Iterator[_Place]:
    with ExitStack() as stack:
        provider = Provider(plan.seed, seconds=plan.seconds, shares=shares)
        provider.start()
        stack.callback(provider.stop)
        broker = start(_BROKERS[plan.layout]) if plan.layout in _BROKERS else None
        if broker is not None:
            stack.callback(broker.stop)
        packages, data = folder / "packages", folder / "data"
        keyed.install(packages)
        env = environment(
            packages,
            CRM_DATA_DIR=str(data),
            CRM_DATABASE_URL=database_url,
            CRM_BROKER_URL="" if broker is None else broker.url,
            CRM_PUBLIC_URL="https://crm.test",
        )
        _fill(plan, provider, env)
        database = Database.at(database_url or f"sqlite:///{data / 'crm.sqlite3'}")
        stack.callback(database.dispose)
        yield _Place(provider, broker, database, env)


def _fill(plan: Plan, provider: Provider, env: dict[str, str]) -> None:
    if plan.keyed:
        sender, settings = "keyed", {"signing_secret": "s" * 32, "port": provider.http_port}
    else:
        where = {"host": HOST, "port": provider.smtp_port, "security": "none", "from_address": "shop@crm.test"}
        sender, settings = "smtp", {**where, "timeout": PATIENCE_SECONDS}
    words = [str(plan.shops), str(plan.touchpoints // plan.shops), sender, json.dumps(settings)]
    subprocess.run([sys.executable, "-m", "tests.chaos.shops", *words], env=env, cwd=ROOT, check=True)


def _programs(plan: Plan, env: dict[str, str], folder: Path) -> list[Program]:
    if plan.layout == "threads":
        words = [("serve", "--port", "0", "--workers", "4")]
    else:
        words = [("worker", "--processes", "2")] * 2 + [("clock",)] * 2
    return [Program(one, env, folder / f"{one[0]}-{number}.log") for number, one in enumerate(words)]


@contextmanager
def _running(programs: list[Program], told: Told) -> Iterator[list[Program]]:
    for program in programs:
        program.start()
    try:
        yield programs
        for program in programs:
            # One that was just begun cannot be asked politely yet.
            if (code := program.end()) not in (0, -signal.SIGTERM):
                told.fell[f"{program.name}, asked to end, with {code}"] += 1
    finally:
        for program in programs:
            if program.fell:
                told.fell[program.name] += program.fell
            told.orphans += program.orphans()


def _fire(
    plan: Plan,
    drawn: random.Random,
    programs: list[Program],
    place: _Place,
    told: Told,
    say: Callable[[str], None],
) -> None:
    """Kill somebody each time that so many messages have been handed over, at an instant drawn by lot."""
    step, provider = plan.touchpoints / max(plan.kills, 1), place.provider
    while told.kills.total() < plan.kills:
        target, until = provider.handled + drawn.expovariate(1 / step), time.monotonic() + plan.most_wait_seconds
        while provider.handled < target and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(drawn.uniform(0, plan.seconds))
        for program in programs:
            program.revive()
        if place.broker is not None and drawn.random() < _BROKER_SHARE:
            place.broker.kill()
            place.broker.start()
            told.kills[plan.layout] += 1
        else:
            told.kills[drawn.choice(programs).kill(drawn)] += 1
        if told.kills.total() % 20 == 0:
            say(f"{told.kills.total()} kills, {provider.handled:,} messages handed over")


def _settle(place: _Place) -> None:
    """Rounds by hand at later and later instants, until nothing waits any more."""
    last = datetime.now(UTC)
    for later in _AFTERWARDS:
        at = (last + later).isoformat()
        words = [sys.executable, "-m", "crm_plugin", "tick", "--at", at, "--yes", "--json"]
        subprocess.run(
            words, env=place.env, cwd=ROOT, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with place.database.read() as connection:
            left = select(touchpoints.c.touchpoint_id).where(touchpoints.c.state.in_([one.value for one in _OPEN]))
            if connection.execute(left.limit(1)).first() is None:
                return


def _judge(place: _Place, told: Told) -> None:
    """Compare what the rows say with what the provider has counted."""
    m, t, provider = members.c, touchpoints.c, place.provider
    with place.database.read() as connection:
        states = {row.address: row.state for row in connection.execute(select(t.address, t.state))}
        known = list(connection.execute(select(m.email)).scalars())
    told.states.update(states.values())
    told.repeats = provider.repeats
    for address in known:
        state, count = states.get(address, "not planned"), provider.taken[address]
        if count > 1:
            told.doubled.append(f"{address} ({state}): {count}")
        elif state == State.UNCONFIRMED:
            told.arrived += count
            told.missing += 1 - count
        elif count != (state == State.ACCEPTED) or state not in (State.ACCEPTED, State.FAILED):
            told.lost.append(f"{address} ({state}): {count}")
