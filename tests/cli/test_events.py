"""Events and days of members by command."""

from __future__ import annotations

import pytest

from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import shop_named
from tests.cli.conftest import Run
from tests.factories import member, write


@pytest.fixture
def shop(run: Run) -> Run:
    """A shop of files with one member."""
    assert run("shop", "add", "s", "--platform", "csv", "--currency", "EUR", "--timezone", "UTC")[0] == 0
    runtime = Runtime.open()
    with runtime.db.read() as connection:
        found = shop_named(connection, "s")
    write(runtime.db, found, [member("ada", email="ada@x.test")])
    runtime.close()
    return run


def test_event_is_raised_once_and_withdrawn(shop: Run) -> None:
    told = ("points_expiring", "--member", "ada", "--subject", "lot 1")
    more = ("--on", "2026-12-31", "--amount", "500", "--payload", '{"points": 50}')
    assert [shop("event", "raise", "s", *told, *more)[1]["added"] for _ in range(2)] == [True, False]
    code, rows = shop("event", "list", "s", "--member", "ada")
    assert (code, len(rows)) == (0, 1)
    row = rows[0]
    assert (row["kind"], row["subject"], row["on"], row["amount_minor"], row["payload"], row["withdrawn_at"]) == (
        "points_expiring", "lot 1", "2026-12-31", 500, {"points": 50}, None,
    )  # fmt: skip
    assert [shop("event", "withdraw", "s", *told)[1]["withdrawn"] for _ in range(2)] == [True, False]
    assert shop("event", "list", "s", "--member", "ada")[1][0]["withdrawn_at"] is not None
    # It comes again: a new event, so that journeys speak of it.
    assert shop("event", "raise", "s", *told)[1]["added"] is True
    [again] = shop("event", "list", "s", "--member", "ada")[1]
    assert (again["event_id"] > row["event_id"], again["payload"], again["withdrawn_at"]) == (True, {}, None)


def test_day_to_be_reminded_of(shop: Run) -> None:
    told = ("event", "remind", "s", "--member", "ada", "--person", "Grace", "--month", "6", "--day", "19")
    assert [shop(*told)[1]["added"] for _ in range(2)] == [True, False]
    assert shop(*told, "--lunar")[1]["added"] is True
    again = ("event", "forget", *told[2:])
    assert [shop(*again)[1]["forgotten"] for _ in range(2)] == [True, False]
    assert shop(*told)[1]["added"] is True


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("raise", "s", "Two words", "--member", "ada"), "kind"),
        (("raise", "s", "party", "--member", "ada", "--payload", "{"), "payload"),
        (("raise", "s", "party", "--member", "ada", "--payload", "[]"), "payload"),
        (("raise", "s", "party", "--member", "ada", "--on", "soon"), "on"),
        (("remind", "s", "--member", "ada", "--person", "Grace", "--month", "2", "--day", "31"), "month_day"),
    ],
)
def test_what_is_wrong_is_named(shop: Run, words: tuple[str, ...], field: str) -> None:
    code, told = shop("event", *words)
    assert code == 1
    assert told["error"]["field"] == field
    assert shop("event", "list", "s", "--member", "ada")[1] == []
