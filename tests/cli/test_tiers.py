"""`tiers`: a policy previewed, applied, told and undone; what people decide about one member."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Spoken

POLICY = """
measure: spent
term: {days: 365}
levels:
  - {key: silver, title: {en: Silver}, entry: 10}
  - {key: circle, title: {en: Circle}, invitation: true}
"""
MAPPING = """
kind: orders
order_id: Order
placed_at: Date
email: Mail
total: Total
currency: {value: EUR}
status: {value: completed}
"""
ORDERS = """Order,Date,Mail,Total
A1,2026-01-05 10:00,ada@example.com,40.00
A2,2026-01-06 10:00,bob@example.com,4.00
"""


@pytest.fixture
def club(run: Any, tmp_path: Path) -> Any:
    """A shop with two who bought, and the policy beside it as a file."""
    (tmp_path / "orders.csv").write_text(ORDERS)
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    (tmp_path / "policy.yaml").write_text(POLICY)
    assert run("shop", "add", "s", "--platform", "csv", "--currency", "EUR", "--timezone", "Europe/Berlin")[0] == 0
    code, report = run("import", "s", str(tmp_path / "orders.csv"), "--mapping", str(tmp_path / "mapping.yaml"))
    assert (code, report["orders"]) == (0, 2), report

    def command(*words: str) -> tuple[int, Any]:
        return run("tiers", words[0], "s", *words[1:])  # type: ignore[no-any-return]

    return command


@pytest.mark.slow
def test_policy_is_previewed_applied_and_undone(club: Any, say: Callable[..., Spoken], tmp_path: Path) -> None:
    policy = str(tmp_path / "policy.yaml")
    code, seen = club("preview", policy)
    assert (code, seen["in"], seen["stay"], seen["levels"]) == (0, 1, 1, {"": 1, "silver": 1, "circle": 0})
    sample = seen["matrix"][-1]["samples"][0]
    assert (sample["name"], sample["values"]) == ("ada@example.com", {"spent()": "40.00"})
    # Who reads it gets words and a currency.
    assert say("tiers", "preview", "s", policy).out.splitlines()[-1].split("\t")[2] == "amount spent 40.00 EUR"
    assert club("policies") == (0, [])
    code, report = club("apply", "--policy", policy)
    assert (code, report["moves"]) == (0, [{"from_level": "", "to_level": "silver", "members": 1}])
    code, told = club("policies")
    assert [(one["program"], one["version"], one["levels"]) for one in told] == [("main", 1, "silver, circle")]
    code, undone = club("undo", "--reason", "Too early")
    assert (code, undone["run"], undone["restored"], undone["policies"]) == (0, report["run"], 1, [])
    code, told = club("list")
    still = told[0]["still"]
    assert (told[0]["members"], still["run"], still["actor"], still["reason"]) == (0, report["run"], "cli", "Too early")
    code, refused = club("undo")
    assert (code, refused["error"]["message"]) == (1, "There is nothing to undo.")


def test_doctor_tells_of_a_programme_that_stands_still(club: Any, run: Any, say: Any, tmp_path: Path) -> None:
    club("apply", "--policy", str(tmp_path / "policy.yaml"))
    assert "stands still" not in say("doctor").out
    club("undo", "--reason", "Too early")
    since = datetime.now(UTC).date()
    problem = f"The tier programme main stands still since a run was undone on {since}."
    hint = "Save another policy, or go on with `crm-plugin tiers apply s`."
    assert {"shop": "s", "problem": problem, "hint": hint} in run("doctor")[1]["problems"]
    assert f"! s: {problem} {hint}\n" in say("doctor").out
    assert club("apply")[0] == 0
    assert "stands still" not in say("doctor").out


def test_run_on_which_others_stand_says_which_to_undo_first(club: Any, say: Any, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    first = club("apply", "--policy", str(policy))[1]["run"]
    policy.write_text(POLICY.replace("entry: 10", "entry: 4"))
    second = club("apply", "--policy", str(policy))[1]["run"]
    told = say("tiers", "undo", "s", "--run", first)
    assert (told.code, told.out) == (1, "")
    assert "later run" in told.err
    assert f"Undo them first, the newest first: {second}." in told.err
    for run_id, restored in ((second, 1), (first, 1)):
        assert club("undo", "--run", run_id)[1]["restored"] == restored


@pytest.mark.slow
def test_one_member_by_hand_and_by_invitation(club: Any, tmp_path: Path) -> None:
    club("apply", "--policy", str(tmp_path / "policy.yaml"))
    bob = ("--member", "bob@example.com")
    assert club("fix", *bob, "--level", "silver", "--reason", "A friend", "--until", "2999-12-31")[1]["to"] == "silver"
    assert club("free", *bob)[1]["cause"] == "term_over"
    assert club("fix", *bob, "--none", "--reason", "Sells it on")[1]["why"] == "Fixed by hand. Reason: Sells it on."
    assert club("fix", *bob, "--none", "--level", "silver", "--reason", "Both")[1]["error"]["field"] == "level"
    assert club("free", *bob)[1]["cause"] == "freed"
    assert club("invite", *bob, "--level", "circle")[1]["cause"] == "invited"
    assert club("accept", *bob, "--level", "circle")[1]["to"] == "circle"
    code, refused = club("decline", *bob, "--level", "circle")
    assert (code, refused["error"]["field"]) == (1, "level")
    code, told = club("history", *bob, "--lang", "zh")
    assert [one["cause"] for one in told] == [
        *("by_hand", "freed", "term_over", "by_hand", "freed", "invited", "accepted", "invitation")
    ]
    assert told[0]["why"] == "由人工固定。原因：A friend。至 2999-12-31 为止。"
    assert {one["program"] for one in told} == {"main"}


def test_mistakes_name_the_file_and_the_flag(club: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("measure: spent\nlevels:\n  - {key: silver, entri: 10}\n")
    code, told = club("apply", "--policy", str(tmp_path / "bad.yaml"))
    assert (code, told["error"]["message"], told["error"]["hint"]) == (
        1,
        "bad.yaml: A policy has no 'entri' here.",
        "Did you mean entry?",
    )
    assert club("history", "--member", "ada@example.com", "--program", "gone")[1]["error"]["field"] == "program"
    club("apply", "--policy", str(tmp_path / "policy.yaml"))
    code, told = club("fix", "--member", "ada@example.com", "--level", "silver", "--reason", "x", "--until", "soon")
    assert (code, told["error"]["field"]) == (1, "until")
