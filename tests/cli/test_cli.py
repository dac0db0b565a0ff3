"""The command line as a merchant's developer types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crm_plugin.runtime import Runtime
from crm_plugin.store import migrate
from crm_plugin.store.tenants import shop_named
from crm_plugin.touchpoints import tokens
from tests.adapters.storefronts.csv.test_csv import HEADER, LINES, ROWS


@pytest.fixture
def imported(run: Any, tmp_path: Path) -> Any:
    """A shop with the small file loaded."""
    (tmp_path / "lines.csv").write_text(HEADER + ROWS)
    (tmp_path / "mapping.yaml").write_text(json.dumps(LINES))
    added = run("shop", "add", "uci", "--platform", "csv", "--currency", "GBP", "--timezone", "Europe/London")
    assert added == (0, {"name": "uci", "title": "uci", "currency": "GBP", "timezone": "Europe/London"})
    code, report = run("import", "uci", str(tmp_path / "lines.csv"), "--mapping", str(tmp_path / "mapping.yaml"))
    assert code == 0
    assert {key: report[key] for key in ("members", "orders", "refunds", "lines", "skipped", "problems")} == {
        "members": 1,
        "orders": 2,
        "refunds": 1,
        "lines": 5,
        "skipped": 1,
        "problems": 0,
    }
    return run


@pytest.mark.slow
def test_rules_count_and_list(imported: Any) -> None:
    assert imported("rule", "count", "uci", "spent() >= 10.55", "--as-of", "2011-12-10") == (
        0,
        {"count": 1, "as_of": "2011-12-10"},
    )
    assert imported("rule", "count", "uci", "days_since_order > 373", "--as-of", "2011-12-10")[1]["count"] == 1
    assert imported("rule", "count", "uci", "days_since_order > 374", "--as-of", "2011-12-10")[1]["count"] == 0
    code, rows = imported("rule", "list", "uci", "orders() >= 1", "--as-of", "2011-12-10")
    assert (code, [(row["external_id"], row["spent_minor"]) for row in rows]) == (0, [("17850", 1055)])


@pytest.mark.slow
def test_typo_in_a_rule_is_named(imported: Any) -> None:
    code, answer = imported("rule", "count", "uci", "spend() > 3")
    assert code == 1
    assert (answer["error"]["code"], answer["error"]["column"]) == ("unknown_field", 1)
    assert "Did you mean spent?" in answer["error"]["hint"]


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("sync", "none"), "not_found", "Add one"),
        (("shop", "add", "x", "--platform", "magento"), "config", "Use one of: woocommerce, "),
        (("shop", "add", "x", "--platform", "csv"), "invalid_input", "ISO 4217"),
        (("shop", "add", "x", "--platform", "woocommerce", "--url", "shop"), "invalid_input", ""),
    ],
)
def test_refusals_say_what_to_do(run: Any, words: tuple[str, ...], code: str, hint: str) -> None:
    exit_code, answer = run(*words)
    assert (exit_code, answer["error"]["code"]) == (1, code)
    assert hint in answer["error"]["hint"]


def test_problems_are_listed_and_retried(imported: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(HEADER + "9,S1,H,six,2010-12-01 08:26:00,2,1,UK\n")
    _, report = imported("import", "uci", str(tmp_path / "bad.csv"), "--mapping", str(tmp_path / "mapping.yaml"))
    assert report["problems"] == 1
    _, rows = imported("problems", "uci")
    assert [(row["external_id"], row["path"]) for row in rows] == [("9", "Quantity")]
    assert imported("problems", "uci", "--retry") == (0, {"resolved": 0, "open": 1})


def test_file_shop_cannot_be_pulled(imported: Any) -> None:
    code, answer = imported("sync", "uci")
    assert (code, answer["error"]["message"]) == (1, "uci takes files.")


def test_upgrade_and_doctor(run: Any) -> None:
    assert run("db", "upgrade") == (0, {"from": None, "to": migrate.head()})
    code, answer = run("doctor")
    assert (code, answer["database"], answer["shops"]) == (0, "sqlite", [])


def test_token_shows_that_members_messages(imported: Any) -> None:
    code, answer = imported("inapp-token", "uci", "17850")
    runtime = Runtime.open()
    shop_id, member_id = tokens.read_member(runtime.box, answer["token"])
    with runtime.db.read() as connection:
        assert shop_named(connection, "uci").shop_id == shop_id
    runtime.close()
    assert (code, answer["member_id"]) == (0, str(member_id))
    assert imported("inapp-token", "uci", "nobody")[1]["error"]["code"] == "not_found"
