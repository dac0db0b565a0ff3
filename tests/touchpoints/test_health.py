"""How senders fare: rests that grow, pauses that were asked for, and how much may leave a minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_plugin.store.session import Database
from crm_plugin.touchpoints import health
from tests.factories import make_shop

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def shop(db: Database) -> Database:
    with db.write() as connection:
        make_shop(connection)
    return db


def test_rests_grow_until_a_message_goes_through(shop: Database) -> None:
    at, spans = NOW, []
    with shop.write() as connection:
        for _ in range(7):
            until = health.rest(connection, 1, "smtp", at, "451 later")
            spans.append((until - at) / MINUTE)
            assert health.resting(connection, 1, until - MINUTE / 60) == {"smtp": until}
            assert health.resting(connection, 1, until) == {}
            at = until
        assert spans == [1, 2, 4, 8, 16, 30, 30]
        assert health.recovering(connection, 1) == {"smtp"}
        health.well(connection, 1, "smtp")
        assert health.recovering(connection, 1) == set()
        assert health.rest(connection, 1, "smtp", at, "451 later") == at + MINUTE


def test_workers_that_fail_together_count_once(shop: Database) -> None:
    with shop.write() as connection:
        first = health.rest(connection, 1, "smtp", NOW, "451")
        assert health.rest(connection, 1, "smtp", NOW + MINUTE / 2, "451") == first
        # Whoever names a longer pause meanwhile has it.
        longer = health.rest(connection, 1, "smtp", NOW + MINUTE / 2, "429", timedelta(hours=1))
        assert longer == NOW + MINUTE / 2 + timedelta(hours=1)
        assert health.rest(connection, 1, "smtp", longer, "451") == longer + 2 * MINUTE


def test_clock_that_is_put_back_keeps_no_sender_away(shop: Database) -> None:
    with shop.write() as connection:
        until = health.rest(connection, 1, "smtp", NOW, "451")
        assert health.resting(connection, 1, until - timedelta(days=2)) == {}


def test_no_limit_writes_nothing(shop: Database) -> None:
    assert health.allowed(shop, 1, "smtp", 0, 500, NOW) == 500
    with shop.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sender_health").scalar() == 0


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(
    most=st.integers(1, 600),
    asks=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 90_000)), min_size=1, max_size=30),
)
def test_no_minute_has_more_than_twice_its_share_and_nobody_starves(
    most: int, asks: list[tuple[int, int]], rate_db: Database
) -> None:
    """A bucket of one minute: in any span at most one bucket more than the rate; whoever waits a minute gets something."""
    with rate_db.write() as connection:
        connection.exec_driver_sql("DELETE FROM sender_health")
    at, given_out = NOW, []
    for wanted, pause in asks:
        at += timedelta(milliseconds=pause)
        got = health.allowed(rate_db, 1, "smtp", most, wanted, at)
        assert 0 <= got <= min(wanted, most)
        if pause >= 60_000:
            assert got == min(wanted, most)
        given_out.append((at, got))
    for place, (begin, _) in enumerate(given_out):
        total = 0
        for end, got in given_out[place:]:
            total += got
            assert total <= most + (end - begin) / MINUTE * most + 1


@pytest.fixture(scope="module")
def rate_db(tmp_path_factory: pytest.TempPathFactory, sqlite_template: object) -> Database:
    import shutil

    from crm_plugin.store.session import make_engine

    path = tmp_path_factory.mktemp("rates") / "crm.sqlite3"
    shutil.copyfile(str(sqlite_template), path)
    database = Database(make_engine(f"sqlite:///{path}"))
    with database.write() as connection:
        make_shop(connection)
    return database


def test_what_did_not_leave_may_leave_later(shop: Database) -> None:
    assert health.allowed(shop, 1, "smtp", 10, 8, NOW) == 8
    health.give_back(shop, 1, "smtp", 5)
    assert [health.allowed(shop, 1, "smtp", 10, 9, NOW), health.allowed(shop, 1, "smtp", 10, 9, NOW)] == [7, 0]
    # Another limit counts from now on.
    assert health.allowed(shop, 1, "smtp", 4, 9, NOW + MINUTE) == 4


def test_rest_is_told_and_ended_and_the_next_failure_rests_for_longer(shop: Database) -> None:
    with shop.write() as connection:
        until = health.rest(connection, 1, "smtp", NOW, "451 later")
        assert health.rests(connection, 1, NOW) == {"smtp": health.Rest(until, "451 later")}
        assert (health.try_now(connection, 1, "smtp"), health.try_now(connection, 1, "smtp")) == (True, False)
        assert health.rests(connection, 1, NOW) == {}
        assert health.rest(connection, 1, "smtp", NOW, "451 later") == NOW + 2 * MINUTE
