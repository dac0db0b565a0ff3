"""Journeys on the command line: published with what they lack told, paused, moved, put away; tasks, coupons, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import shop_named
from tests.cli.conftest import Run
from tests.factories import member, write

_PROGRAM = """
segments:
  - {key: buyers, title: Buyers, rule: tag("in")}
journeys:
  - key: care
    trigger: {type: lapse, days: 60}
    audience: segment("buyers")
    steps:
      - key: code
        coupon: {pool: care}
      - key: call
        task: {title: {en: Call them, zh-CN: 打电话}, due_days: 2, owner: Eva}
      - key: rest
        wait: {days: 3}
      - key: mark
        tag: {add: [called]}
"""


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> str:
    """A shop with three members, two of them in the audience, and the journey above, which is off."""
    assert run("shop", "add", "shop", "--platform", "csv", "--currency", "EUR", "--timezone", "Europe/Berlin")[0] == 0
    runtime = Runtime.open()
    with runtime.db.read() as connection:
        found = shop_named(connection, "shop")
    people = [member(str(n), email=f"m{n}@x.test", tags=("in",) if n < 3 else ()) for n in (1, 2, 3)]
    write(runtime.db, found, people, runtime.clock.now())
    runtime.close()
    (tmp_path / "program.yaml").write_text(_PROGRAM, encoding="utf-8")
    assert run("program", "load", "shop", str(tmp_path / "program.yaml"))[0] == 0
    return "shop"


def _codes(run: Run, tmp_path: Path, *codes: str) -> Any:
    (tmp_path / "codes.txt").write_text("\n".join(codes), encoding="utf-8")
    return run("coupons", "load", "shop", "care", str(tmp_path / "codes.txt"))


@pytest.mark.slow
def test_from_publishing_to_a_task_that_is_done(run: Run, shop: str, tmp_path: Path) -> None:
    code, told = run("journey", "publish", shop, "care")
    assert code == 1
    assert told["error"]["field"] == "steps.code.pool"
    assert _codes(run, tmp_path, "A1", "A2", "A1", "")[1] == {"pool": "care", "added": 2, "there": 0, "alike": 0}
    assert _codes(run, tmp_path, "A2", "a1")[1] == {"pool": "care", "added": 0, "there": 1, "alike": 1}
    told = run("journey", "publish", shop, "care")[1]
    audience = told.pop("audience")
    assert told == {"journey": "care", "version": 1, "status": "on", "could_be_taken_in": 2, "warnings": []}
    assert audience == {"members": 2, "gaps": [], "rules": []}
    told = run("journey", "publish", shop, "care", "--inside", "1")[1]
    assert told["taken_in"] == 1
    assert run("plan", shop)[0] == 0
    code, told = run("plan", shop, "--at", "2999-01-01T10:00")
    assert (code, told["error"]["field"]) == (1, "at")
    assert "crm-plugin rehearse shop" in told["error"]["hint"]
    assert len(run("tasks", shop)[1]) == 1
    [task] = run("tasks", shop)[1]
    assert (task["title"], task["owner"], task["member"], task["journey"]) == ("Call them", "Eva", "m1@x.test", "care")
    assert run("tasks", shop, "--due", "2020-01-01")[1] == []
    assert run("tasks", shop, "--done", task["id"])[0] == 1
    assert run("tasks", shop, "--done", task["id"], "--outcome", "Comes back in May")[0] == 0
    code, told = run("tasks", shop, "--done", task["id"], "--outcome", "Again")
    assert (code, told["error"]["code"]) == (1, "not_found")
    assert run("tasks", shop)[1] == []
    assert run("coupons", "list", shop)[1] == [{"key": "care", "title": "", "codes": 2, "left": 1, "kept": 0}]


@pytest.mark.slow
def test_why_says_where_somebody_is_and_what_comes_next(run: Run, say: Any, shop: str, tmp_path: Path) -> None:
    _codes(run, tmp_path, "A1")
    run("journey", "publish", shop, "care", "--inside", "2")
    run("plan", shop)
    told = run("why", shop, "--member", "m1@x.test", "--journey", "care")[1]
    assert (told["journey"], told["status"], told["inside"]) == ("care", "on", True)
    [stay] = told["enrolments"]
    assert (stay["step_key"], stay["phase"], stay["version"]) == ("rest", "waits", 1)
    assert [(one["what"], one["step_key"], one["reason"], one["detail"]) for one in stay["happened"][1:]] == [
        ("done", "code", "", "A1"),
        ("done", "call", "", ""),
        ("begun", "rest", "", ""),
    ]
    assert set(stay["next"]) == {"member", "shop"}
    told = say("why", shop, "--member", "m1@x.test", "--journey", "care").out.splitlines()
    assert " for being in the audience already, on version 1:" in told[1]
    assert told[2].endswith("  enrolled")
    never = run("why", shop, "--member", "m3@x.test", "--journey", "care")[1]
    assert (never["inside"], never["enrolments"], never["messages"]) == (False, [], [])
    assert say("why", shop, "--member", "m3@x.test", "--journey", "care").out.splitlines()[1:] == [
        "Never in it since it is on, at most a year back:",
        "  Nothing that it speaks of fell due for the member in that time. No order that counts is known.",
    ]
    before = run("why", shop, "--member", "m3@x.test", "--journey", "care", "--on", "2020-02-01")[1]["outside"]
    assert [(one["cause"], one["due"]) for one in before] == [("not_on", None)]
    assert run("why", shop, "--member", "m1@x.test", "--journey", "gone")[0] == 1


def test_pause_look_and_go_on(run: Run, shop: str, tmp_path: Path) -> None:
    _codes(run, tmp_path, "A1")
    run("journey", "publish", shop, "care", "--inside", "2")
    assert run("journey", "pause", shop, "care")[1] == {"journey": "care", "status": "paused"}
    told = run("journey", "resume", shop, "care")[1]
    assert (told["status"], told["inside_valid"], told["valid"], told["missed"]) == ("paused", 2, 2, 0)
    assert run("journey", "resume", shop, "care", "--yes")[1]["status"] == "on"
    assert run("journey", "resume", shop, "care", "--yes")[0] == 1


@pytest.mark.slow
def test_move_show_and_archive(run: Run, shop: str, tmp_path: Path) -> None:
    _codes(run, tmp_path, "A1", "A2", "A3")
    run("journey", "publish", shop, "care", "--inside", "2")
    run("plan", shop)
    changed = _PROGRAM.replace("wait: {days: 3}", "wait: {days: 5}")
    (tmp_path / "program.yaml").write_text(changed, encoding="utf-8")
    assert run("program", "load", shop, str(tmp_path / "program.yaml"))[0] == 0
    seen = [{"version": 1, "step_key": "rest", "count": 2, "to_step": "rest"}]
    assert run("journey", "move", shop, "care")[1] == {"moved": 0, "inside": seen}
    assert run("journey", "move", shop, "care", "--yes")[1] == {"moved": 2, "inside": seen}
    told = run("journey", "show", shop, "care")[1]
    assert (told["version"], told["inside"]) == (2, [{"version": 2, "step_key": "rest", "count": 2}])
    assert run("journey", "archive", shop, "care")[1] == {"journey": "care", "status": "archived", "ended": 2}
    assert run("journey", "on", shop, "care")[0] == 1
    [listed] = [one for one in run("journey", "list", shop)[1] if one["key"] == "care"]
    assert listed["status"] == "archived"


def test_what_lacks_is_told_with_its_step(run: Run, say: Any, shop: str, tmp_path: Path) -> None:
    lacks = "The pool care of the step code has no codes left. Fill it on the page Coupons, or with crm-plugin coupons."
    assert say("journey", "publish", shop, "care").err.strip() == f"steps.code.pool: {lacks}"
    _codes(run, tmp_path, "A1")
    assert run("journey", "publish", shop, "care")[0] == 0
    file = tmp_path / "program.yaml"
    file.write_text(_PROGRAM.replace("pool: care", "pool: none"), encoding="utf-8")
    code, told = run("program", "load", shop, str(file))
    assert (code, told["error"]["field"]) == (1, "journeys.care.steps.code.pool")
    assert told["error"]["message"] == (
        "journeys, care, steps.code.pool: The pool none of the step code has no codes left."
    )
    file.write_text(_PROGRAM.replace("tag: {add: [called]}", 'branch: {rule: segment("gone")}'), encoding="utf-8")
    said = say("program", "load", shop, str(file)).err
    assert said.startswith("line 1, column 1: In the rule of journeys, care, steps.mark: There is no segment 'gone'.")


@pytest.mark.slow
def test_what_its_audience_lacks_is_told_before_and_with_publishing(
    run: Run, say: Any, shop: str, tmp_path: Path
) -> None:
    code, told = run("journey", "check", shop, "care")
    assert (code, [one["field"] for one in told["faults"]]) == (1, ["steps.code.pool"])
    _codes(run, tmp_path, "A1")
    code, told = run("journey", "check", shop, "care")
    assert (code, told["faults"], told["audience"]) == (0, [], {"members": 2, "gaps": [], "rules": []})
    assert run("journey", "publish", shop, "care")[1]["audience"] == told["audience"]
    (tmp_path / "one.yaml").write_text(_CAMPAIGN, encoding="utf-8")
    assert run("program", "load", shop, str(tmp_path / "one.yaml"))[0] == 0
    lines = say("journey", "check", shop, "sale").out.splitlines()
    assert lines[:2] == ["It reaches 3 people at once.", "Its audience now: 3 members."]
    assert "  3 (100 %): Without a language: they get English." in lines
    at = lines.index("How the hour of a message is found:")
    assert lines[at + 1] == "  3 (100 %): The hour is the shop's (Europe/Berlin), for no place of theirs is known."
    told = say("journey", "publish", shop, "care").out.splitlines()
    assert told == [
        "The journey care is published as version 1, and is on.",
        "2 members are in its audience already and come in only when it starts for them again; "
        "`crm-plugin journey publish shop care --inside 2` takes them in now.",
        "Its audience now: 2 members.",
    ]
    assert say("coupons", "list", shop).out.splitlines() == [
        "pool\ttitle\tcodes\thanded out\tleft\tkept",
        "care\t\t1\t0\t1\t0",
    ]
    assert say("journey", "on", shop, "sale", "--confirm", "3").out.splitlines()[1:3] == lines[1:3]


def test_a_campaign_to_many_is_confirmed_by_their_number(run: Run, say: Any, shop: str, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(_CAMPAIGN, encoding="utf-8")
    assert run("program", "load", shop, str(tmp_path / "one.yaml"))[0] == 0
    for command in ("on", "publish"):
        said = say("journey", command, shop, "sale").err.strip()
        assert said == "--confirm: This reaches 3 people at once. Type 3 to go ahead."
    assert run("journey", "publish", shop, "sale", "--confirm", "3")[1]["status"] == "on"


_CAMPAIGN = """
settings: {blast: {confirm_above: 2}}
journeys:
  - {key: sale, trigger: {type: campaign}, channels: [inapp]}
templates:
  sale: {inapp: {en: {subject: "Hi {{ member.name }}", text: Come and see.}}}
"""
