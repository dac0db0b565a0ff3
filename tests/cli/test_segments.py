"""Segments on the command line: rules and lists, whom they hold, who came and went, on any day."""

from __future__ import annotations

import csv
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crm_plugin.clock import local_day
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import shop_named
from tests.cli.conftest import Run
from tests.factories import member, order, write


@pytest.fixture
def people(run: Run) -> dict[str, str]:
    """Ada has ordered twice, forty days ago and yesterday; Bob never; their ids by name."""
    assert run("shop", "add", "shop", "--platform", "csv", "--currency", "EUR", "--timezone", "Europe/Berlin")[0] == 0
    _write(
        member("1", email="ada@x.test", phone="+491701234567", first_name="Ada"),
        member("2", email="bob@x.test", first_name="=Bob"),
    )
    _order("o1", 40)
    _order("o2", 1)
    found = run("rule", "list", "shop", "everyone")[1]
    return {row["first_name"]: row["member_id"] for row in found}


def _write(*records: Any) -> None:
    runtime = Runtime.open()
    with runtime.db.read() as connection:
        shop = shop_named(connection, "shop")
    write(runtime.db, shop, records, runtime.clock.now())
    runtime.close()


def _order(key: str, days_ago: int, **values: Any) -> None:
    runtime = Runtime.open()
    placed = runtime.clock.now() - timedelta(days=days_ago)
    runtime.close()
    _write(order(key, 1000, member_external_id="1", placed_at=placed, **values))


def _day(days_ago: int) -> str:
    runtime = Runtime.open()
    with runtime.db.read() as connection:
        shop = shop_named(connection, "shop")
    day = local_day(runtime.clock.now(), shop.timezone) - timedelta(days=days_ago)
    runtime.close()
    return day.isoformat()


def test_saved_rule_says_whom_it_holds(run: Run, people: dict[str, str]) -> None:
    code, told = run("segment", "save", "shop", "regulars", "orders() >= 2", "--title", "Regulars")
    assert code == 0
    assert (told["count"], told["rule"], told["words"]) == (
        1,
        "orders() >= 2",
        "members whose number of orders is at least 2",
    )
    assert [one["name"] for one in told["sample"]] == ["Ada"]
    assert told["kept_at"]
    _, rows = run("segment", "list", "shop")
    told = {"key": "regulars", "kind": "rule", "title": "Regulars", "rule": "orders() >= 2", "members": 1}
    assert rows == [{**told, "entered_30_days": 0, "left_30_days": 0, "problem": ""}]


@pytest.mark.slow
def test_rule_is_asked_of_any_day(run: Run, people: dict[str, str]) -> None:
    run("segment", "save", "shop", "regulars", "orders() >= 2")
    assert [one["name"] for one in run("segment", "members", "shop", "regulars")[1]] == ["Ada"]
    assert run("segment", "members", "shop", "regulars", "--as-of", _day(2))[1] == []
    held = [run("segment", "members", "shop", "regulars", "--as-of", _day(back))[1] for back in (0, 1)]
    # It is a list since today; whom it would have held yesterday did not come today.
    assert [[one["since"] for one in rows] for rows in held] == [[_day(0)], [None]]


def test_round_notes_who_came_and_who_went(run: Run, people: dict[str, str]) -> None:
    run("segment", "save", "shop", "regulars", "orders() >= 2")
    _order("o2", 1, deleted=True)
    code, told = run("tick", "shop")
    assert (code, told["segments"]) == (0, {"regulars": {"entered": 0, "left": 1}})
    assert run("tick", "shop")[1]["segments"] == {}
    shown = run("segment", "show", "shop", "regulars")[1]
    assert (shown["count"], shown["entered_30_days"], shown["left_30_days"]) == (0, 0, 1)


def test_list_comes_from_a_file(run: Run, people: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "vips.csv"
    file.write_text("Name,Email\nAda,ADA@x.test\nNobody,no@x.test\n,\n")
    code, told = run("segment", "save", "shop", "vips", "--csv", str(file))
    assert code == 0
    assert (told["members"], told["entered"], told["left"]) == (1, 1, 0)
    assert told["lines"] == [{"line": 3, "text": "no@x.test", "problem": "is nobody"}]
    file.write_text("id\n2\n")
    assert run("segment", "save", "shop", "vips", "--csv", str(file), "--add")[1]["entered"] == 1
    file.write_text("phone\n0170 1234567\n")
    told = run("segment", "save", "shop", "vips", "--csv", str(file))[1]
    assert (told["entered"], told["left"]) == (0, 1)
    assert run("rule", "count", "shop", 'segment("vips") and orders() == 2')[1]["count"] == 1
    assert run("segment", "members", "shop", "vips", "--as-of", _day(1))[1] == []


def test_members_go_into_a_file_without_formulas(run: Run, people: dict[str, str], tmp_path: Path) -> None:
    run("segment", "save", "shop", "all", "everyone")
    file = tmp_path / "all.csv"
    assert run("segment", "members", "shop", "all", "--csv", str(file))[1]["members"] == 2
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["name"] for row in rows] == ["Ada", "'=Bob"]
    assert [row["email"] for row in rows] == ["ada@x.test", "bob@x.test"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("save", "shop", "x"), "A segment is a rule or a list."),
        (("save", "shop", "x", "ordrs() > 1"), "There is no field 'ordrs'."),
        (("save", "shop", "x", 'segment("y")'), "There is no segment 'y'."),
        (("save", "shop", "Ö", "everyone"), "'Ö' cannot be the key of a segment."),
        (("save", "shop", "x", "--csv", "nowhere.csv"), "cannot be opened"),
        (("show", "shop", "x"), "There is no segment 'x'."),
        (("members", "shop", "x"), "There is no segment 'x'."),
        (("remove", "shop", "x"), "There is no segment 'x'."),
    ],
)
def test_mistake_is_told_and_nothing_saved(run: Run, people: dict[str, str], words: tuple[str, ...], told: str) -> None:
    code, error = run("segment", *words)
    assert code == 1
    assert told in error["error"]["message"]
    assert run("segment", "list", "shop")[1] == []


@pytest.mark.slow
def test_segment_that_a_rule_asks_for_stays(run: Run, people: dict[str, str]) -> None:
    run("segment", "save", "shop", "regulars", "orders() >= 2")
    run("segment", "save", "shop", "gone", 'segment("regulars") and days_since_order > 90')
    code, error = run("segment", "remove", "shop", "regulars")
    assert code == 1
    assert "The segment gone keeps its rule" in error["error"]["message"]
    assert run("segment", "save", "shop", "regulars", 'days_in_segment("gone") > 3')[0] == 1
    assert run("segment", "remove", "shop", "gone")[0] == 0
    assert run("segment", "remove", "shop", "regulars") == (0, {"removed": "regulars"})


def test_changes_name_who_may_differ(run: Run, people: dict[str, str]) -> None:
    # Everybody was written just now; of a later time, only the calendar can have moved somebody.
    later, much_later = f"{_day(-1)}T00:00", f"{_day(-90)}T00:00"
    told = run("rule", "changes", "shop", "days_since_order >= 30", "--from", later, "--to", much_later)[1]
    assert (told["members"], told["member_ids"]) == (1, [people["Ada"]])
    assert told["because"] == {"member": 0, "purchases": 0, "days": 1}
    code, error = run("rule", "changes", "shop", "everyone", "--from", much_later, "--to", later)
    assert (code, error["error"]["message"]) == (1, "--to is before --from.")
