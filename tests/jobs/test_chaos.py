"""Workers, clocks and brokers die at any instant: nothing is lost or doubled. A short form of `./dev chaos`, and what ends politely."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.fire import Plan, Told, asked_to_end, run
from tests.databases import PostgresDatabases

# Each program takes a second or two of a processor to start, and is started many times.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def database_url(postgres: PostgresDatabases) -> Iterator[str]:
    """An empty database."""
    with postgres.bare() as url:
        yield url


def _short(layout: str, *, keyed: bool) -> Plan:
    """Shops are small, so that what the killed ones held keeps few messages waiting."""
    return Plan(7, layout, keyed, shops=16, touchpoints=192, kills=6, seconds=0.02, most_wait_seconds=3)


def _is_right(plan: Plan, told: Told) -> None:
    assert told.wrong(plan) == []
    assert (told.kills.total(), told.states.total()) == (plan.kills, plan.touchpoints)


def test_threads_may_be_killed_at_any_instant(tmp_path: Path) -> None:
    plan = _short("threads", keyed=False)
    _is_right(plan, run(plan, tmp_path))


def test_workers_clocks_and_broker_may_be_killed_at_any_instant(tmp_path: Path, database_url: str) -> None:
    plan = _short("redis", keyed=True)
    _is_right(plan, run(plan, tmp_path, database_url))


@pytest.mark.parametrize("layout", ["threads", "redis"])
def test_who_is_asked_to_end_leaves_nothing_in_doubt(layout: str, tmp_path: Path) -> None:
    plan = Plan(7, layout, shops=4, touchpoints=400, seconds=0.1)
    states = asked_to_end(plan, tmp_path, after=20)
    assert set(states) == {"accepted", "planned"}
