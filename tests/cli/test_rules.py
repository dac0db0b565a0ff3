"""Reading rules on the command line: checked, put into words, explained for one member, held against another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from crm_plugin.rules import reference
from crm_plugin.rules.fields import FIELDS
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import shop_named
from tests.cli.conftest import Run, Spoken
from tests.factories import member, order, write

DAY = "2026-06-01"


@pytest.fixture
def shop(run: Run) -> Run:
    """Ada with two orders of 100 and 20, on 1 March and 30 May; Bob with one of 20; Cem with none."""
    assert run("shop", "add", "shop", "--platform", "csv", "--currency", "EUR", "--timezone", "Europe/Berlin")[0] == 0
    runtime = Runtime.open()
    with runtime.db.read() as connection:
        found = shop_named(connection, "shop")
    people = [member(str(number), email=f"{name}@x.test", first_name=name) for number, name in enumerate(_NAMES, 1)]
    write(runtime.db, found, people)
    for key, who, day, total in (("o1", "1", (3, 1), 10_000), ("o2", "1", (5, 30), 2_000), ("o3", "2", (5, 30), 2_000)):
        placed = datetime(2026, *day, 12, tzinfo=UTC)
        write(runtime.db, found, [order(key, total, member_external_id=who, placed_at=placed)])
    runtime.close()
    return run


_NAMES = ("ada", "bob", "cem")


def test_sound_rule_is_given_back_tidy(run: Run) -> None:
    code, told = run("rule", "check", "  spent( days = 365 )>=1_000 and not tag('vip')")
    assert (code, told["rule"]) == (0, 'spent(days=365) >= 1000 and not tag("vip")')
    assert told["fields"] == ["spent", "tag"]
    assert list(told["document"]) == ["and"]


def test_error_is_pointed_at(say: Callable[..., Spoken], run: Run) -> None:
    said = say("rule", "check", 'country == "中" and\n  spend() > 3')
    assert (said.code, said.out) == (1, "")
    assert said.err.splitlines()[:2] == ["    spend() > 3", "    ^"]
    assert "line 2, column 3: There is no field 'spend'. Did you mean spent?" in said.err
    code, told = run("rule", "check", 'country == "中" and\n  spend() > 3')
    assert (code, told["error"]["line"], told["error"]["column"]) == (1, 2, 3)
    # A wide character takes the room of two.
    assert say("rule", "check", 'title("中") == 1').err.splitlines()[1] == "  ^"
    assert say("rule", "check", '"中" == spend').err.splitlines()[1] == "  " + " " * 8 + "^"


def test_names_are_checked_with_a_shop(shop: Run) -> None:
    assert shop("rule", "check", 'segment("gone")')[0] == 0
    code, told = shop("rule", "check", 'segment("gone")', "shop")
    assert (code, told["error"]["code"]) == (1, "unknown_segment")
    assert shop("rule", "check", "everyone", "shop")[0] == 0


def test_mistake_in_a_long_rule_is_shown_around_its_place(say: Callable[..., Spoken]) -> None:
    good = 'tag("a") and ' * 40
    shown = say("rule", "check", f"{good}spnt() >= 1 and {good}guest").err.splitlines()
    assert [len(shown[0]), shown[0][2], shown[0][-1]] == [164, "…", "…"]
    assert shown[0][shown[1].index("^") :].startswith("spnt() >= 1")
    assert say("rule", "check", "x" * 100_000).err.splitlines()[2].startswith("line 1, column 10001: ")


def test_help_gives_examples_that_can_be_read(say: Callable[..., Spoken]) -> None:
    told = say("rule", "--help").out
    assert [example for example in map(reference.example, FIELDS.values()) if example not in told] == []


def test_rule_is_told_in_both_languages(run: Run) -> None:
    assert run("rule", "words", "orders() >= 2", "--lang", "zh") == (
        0,
        {"words": "订单数不低于 2 的会员", "lang": "zh"},
    )
    assert run("rule", "words", "orders() >= 2")[1]["words"] == "members whose number of orders is at least 2"


@pytest.mark.slow
def test_member_is_explained(shop: Run, say: Callable[..., Spoken]) -> None:
    words = ("rule", "explain", "shop", "spent() >= 100 and orders() >= 2", "--as-of", DAY, "--member")
    code, told = shop(*words, "bob@x.test")
    assert (code, told["matches"], told["truth"], told["as_of"]) == (0, False, False, DAY)
    assert (told["gave_up"], len(told["ways"])) == (False, 1)
    assert [(one["text"], one["value"], one["truth"]) for one in told["conditions"]] == [
        ("spent() >= 100", "20.00", False),
        ("orders() >= 2", 1, False),
    ]
    ada = shop(*words, "1")[1]
    assert (ada["matches"], ada["ways"][0]["words"]["en"]) == (True, "20.01 EUR given back")
    assert (
        shop("rule", "words", "spent() >= 100", "shop")[1]["words"] == "members whose amount spent is at least 100 EUR"
    )
    assert shop("rule", "words", "spent() >= 100")[1]["words"] == "members whose amount spent is at least 100"
    said = say(*words, "bob@x.test").out.splitlines()
    assert said[:3] == [
        "No, not one of the members whose amount spent is at least 100 EUR and whose number of orders is at least 2",
        "  - whose amount spent is at least 100 EUR (20.00 EUR)",
        "  - whose number of orders is at least 2 (1)",
    ]
    assert said[3:] == ["It would be true with any of these:", "  * 80.00 EUR more in orders"]
    assert [(one["words"]["zh"], one["changes"]) for one in told["ways"]] == [
        ("再消费 80.00 EUR", [{"what": "minor", "of": [], "value": "80.00"}])
    ]
    chinese = say(*words, "3", "--lang", "zh").out.splitlines()
    assert chinese[:2] == [
        "不是：消费金额不低于 100 EUR，并且订单数不低于 2 的会员",
        "  - 消费金额不低于 100 EUR（0.00 EUR）",
    ]
    assert shop(*words, "dan@x.test")[1]["error"]["code"] == "not_found"


def test_two_rules_are_held_against_one_another(shop: Run, say: Callable[..., Spoken]) -> None:
    words = ("rule", "diff", "shop", "spent() >= 100", "days_since_order < 10 and spent() < 50", "--as-of", DAY)
    code, told = shop(*words)
    assert code == 0
    assert {key: told[key] for key in ("before", "after", "came", "went", "stayed")} == {
        "before": 1,
        "after": 1,
        "came": 1,
        "went": 1,
        "stayed": 0,
    }
    assert [[row["first_name"] for row in told[key]] for key in ("came_sample", "went_sample")] == [["bob"], ["ada"]]
    # On a day that orders came after, both are asked of that day.
    told = shop(*words[:3], "spent() >= 100", "orders() == 0", "--as-of", "2026-04-01", "--limit", "1")[1]
    assert (told["came"], told["went"], len(told["came_sample"])) == (2, 1, 1)
    said = say(*words[:4], "spent( > 3")
    assert (said.code, said.err.splitlines()[:2]) == (1, ["  spent( > 3", "       ^"])
    assert say(*words).out.splitlines()[-1].startswith("-\t")


def test_every_field_is_listed(run: Run, say: Callable[..., Spoken]) -> None:
    code, told = run("rule", "fields")
    assert (code, [one["key"] for one in told]) == (0, list(FIELDS))
    assert told[0]["label"] == {"en": "number of orders", "zh": "订单数"}
    assert (
        say("rule", "fields", "--lang", "zh").out.splitlines()[1].startswith("orders\t订单数\torders(days=365) >= 2\t")
    )


def test_saved_rules_are_looked_over(shop: Run, say: Callable[..., Spoken]) -> None:
    assert shop("rule", "audit", "shop") == (0, [])
    assert shop("segment", "save", "shop", "odd", "orders() >= 3 and orders() < 2")[0] == 0
    code, told = shop("rule", "audit", "shop")
    assert (code, [(one["key"], one["problem"]) for one in told]) == (0, [("odd", "never"), ("odd", "dead")])
    assert say("rule", "audit", "shop").out.splitlines()[1].split("\t")[:5] == [
        "segment",
        "odd",
        "odd",
        "never",
        "No member can ever match.",
    ]
