"""Text, JSON and tree are one thing; what is wrong is named where it stands."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_plugin import rules as rules_package
from crm_plugin.errors import RuleError, RuleSyntaxError, RuleTypeError, UnknownField
from crm_plugin.rules import compile_rule
from crm_plugin.rules.book import Book
from crm_plugin.rules.check import check
from crm_plugin.rules.document import from_json, to_json
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nodes import And, Compare, Everyone, Field, Holds, Membership, Node, Not, Or, fields_of
from crm_plugin.rules.parse import parse
from crm_plugin.rules.reference import example, markdown
from crm_plugin.rules.text import to_text
from tests.rules.shops import rules


@pytest.mark.slow
@given(rules)
def test_text_and_json_give_the_tree_back(node: Node) -> None:
    assert parse(to_text(node)) == node
    assert from_json(json.loads(json.dumps(to_json(node)))) == node
    assert check(node) is node


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20))
def test_any_text_survives_as_value(value: str) -> None:
    node = Holds(Field("tag", (("tag", value),)))
    assert parse(to_text(check(node))) == node
    assert from_json(to_json(node)) == node


@pytest.mark.slow
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = _read_or_refused(text)
    if isinstance(found, RuleError):
        assert (found.line >= 1, found.column >= 1) == (True, True)
    else:
        assert parse(to_text(found)) == found


def _read_or_refused(text: str) -> Node | RuleError:
    try:
        return compile_rule(text).node
    except RuleError as error:
        return error


def test_tree_of_the_example() -> None:
    rule = compile_rule('  spent(days=365) >= 1000 and orders(days=365) >= 3 and not bought(sku="GIFT")\n')
    assert rule.text == 'spent(days=365) >= 1000 and orders(days=365) >= 3 and not bought(sku="GIFT")'
    assert rule.node == And(
        (
            Compare(Field("spent", (("days", 365),)), ">=", 1000),
            Compare(Field("orders", (("days", 365),)), ">=", 3),
            Not(Holds(Field("bought", (("sku", "GIFT"),)))),
        )
    )
    assert rule.json == {
        "and": [
            {"field": "spent", "args": {"days": 365}, "op": ">=", "value": 1000},
            {"field": "orders", "args": {"days": 365}, "op": ">=", "value": 3},
            {"not": {"field": "bought", "args": {"sku": "GIFT"}}},
        ]
    }


@pytest.mark.parametrize(
    ("text", "node", "canonical"),
    [
        ("orders >= 2", Compare(Field("orders"), ">=", 2), "orders() >= 2"),
        ("country() == 'GB'", Compare(Field("country"), "==", "GB"), 'country == "GB"'),
        ("1_000.50 < spent()", Compare(Field("spent"), ">", Decimal("1000.5")), "spent() > 1000.5"),
        ("spent() >= 1000.0", Compare(Field("spent"), ">=", 1000), "spent() >= 1000"),
        ("spent() < -5", Compare(Field("spent"), "<", -5), "spent() < -5"),
        (
            'country not in ("GB", "IE")',
            Membership(Field("country"), ("GB", "IE"), negated=True),
            'country not in ["GB", "IE"]',
        ),
        (
            "1 <= orders() < 3",
            And((Compare(Field("orders"), ">=", 1), Compare(Field("orders"), "<", 3))),
            "orders() >= 1 and orders() < 3",
        ),
        (
            'bought(days=30, sku="A")',
            Holds(Field("bought", (("sku", "A"), ("days", 30)))),
            'bought(sku="A", days=30)',
        ),
        ('tag("会员")', Holds(Field("tag", (("tag", "会员"),))), 'tag("会员")'),
        (
            'tag("a") # staff\n  or tag("b")',
            Or((Holds(Field("tag", (("tag", "a"),))), Holds(Field("tag", (("tag", "b"),))))),
            'tag("a") or tag("b")',
        ),
        ("everyone", Everyone(), "everyone"),
    ],
)
def test_other_spellings_mean_the_same(text: str, node: Node, canonical: str) -> None:
    found = compile_rule(text).node
    assert found == node
    assert to_text(found) == canonical


@pytest.mark.parametrize(
    ("text", "kind", "line", "column", "message"),
    [
        ("spnt() >= 1", UnknownField, 1, 1, "There is no field 'spnt'. Did you mean spent?"),
        ("spent() = 5", RuleSyntaxError, 1, 9, "'=' does not compare. Write == to compare."),
        ("orders() => 5", RuleSyntaxError, 1, 10, "'=>' is not an operator here. Write >=."),
        ('tag("a") && tag("b")', RuleSyntaxError, 1, 10, "'&&' is not an operator here. Write and."),
        ('tag("a") OR tag("b")', RuleSyntaxError, 1, 10, "'OR' is written in small letters. Write or."),
        ("(spent() > 1", RuleSyntaxError, 1, 1, "This '(' is never closed."),
        ("spent( >= 3", RuleSyntaxError, 1, 6, "This '(' is never closed."),
        ('tag("a")) or (tag("b")', RuleSyntaxError, 1, 9, "This ')' closes nothing."),
        ('tag("a)', RuleSyntaxError, 1, 5, 'This text has no closing quote. Close it with ".'),
        ("country == “GB”", RuleSyntaxError, 1, 12, "'“' cannot stand here. Write \" instead."),
        ("orders（）>= 2", RuleSyntaxError, 1, 7, "'（' cannot stand here. Write ( instead."),
        ("country == GB", RuleSyntaxError, 1, 12, None),
        (
            'tag("a") and email ends_with "@x.test"',
            RuleSyntaxError,
            1,
            20,
            'ends_with stands before its brackets. Write ends_with(email, "…").',
        ),
        (
            "spent() >= 100 GBP",
            RuleSyntaxError,
            1,
            16,
            "Between 100 and GBP something is missing. Compare with == or >=, and join conditions by and / or. "
            "Amounts are plain numbers in the shop's currency.",
        ),
        ("spent() between 1 and 2", RuleSyntaxError, 1, 9, None),
        (
            "# nothing yet",
            RuleSyntaxError,
            1,
            1,
            "The rule is empty. Write everyone if all are meant. "
            'An example: spent(days=365) >= 1000 and not bought(sku="GIFT").',
        ),
        ("spent() >= £5", RuleSyntaxError, 1, 12, None),
        (
            "spent() >= 1,200",
            RuleSyntaxError,
            1,
            14,
            "A comma cannot stand here. Write 1000, not 1,000, and join conditions by and / or.",
        ),
        ("spent() >=", RuleSyntaxError, 1, 11, None),
        ("orders() > True", RuleSyntaxError, 1, 12, None),
        ("orders() ** 2 > 2", RuleSyntaxError, 1, 1, "This cannot be calculated here. There are + - * and /."),
        ("orders() + 1", RuleSyntaxError, 1, 1, "A number alone says nothing. Compare it: spent() / orders() >= 50."),
        (
            "spent() > orders() * days_since_order",
            RuleTypeError,
            1,
            1,
            None,
        ),
        ("spent() + days_since_order > 1", RuleTypeError, 1, 1, None),
        ("orders() / 0 > 1", RuleTypeError, 1, 1, "Nothing can be divided by zero."),
        ("1 < 2", RuleSyntaxError, 1, 5, None),
        ('orders(days=3, from_date="2026-01-01") > 1', RuleTypeError, 1, 1, None),
        ('orders(from_date="2026-13-01") > 1', RuleTypeError, 1, 1, None),
        ('orders(since="birth") > 1', RuleTypeError, 1, 1, None),
        ('contains(orders(), "1")', RuleTypeError, 1, 1, None),
        ('contains(email, "")', RuleTypeError, 1, 1, None),
        ("known(tag('x'))", RuleTypeError, 1, 1, "tag is always known. Write it alone."),
        ('attribute_number("x") + 1 > 2', RuleTypeError, 1, 1, None),
        ('__import__("os").system("x")', RuleSyntaxError, 1, 17, "'.' cannot stand here."),
        ('eval("1")', UnknownField, 1, 1, None),
        ("[x for x in orders]", RuleSyntaxError, 1, 1, None),
        ("x for x in orders", RuleSyntaxError, 1, 1, None),
        ("", RuleSyntaxError, 1, 1, None),
        ("5", RuleSyntaxError, 1, 1, None),
        ('tag("a") and\n  tag("中") and spnt() > 1', UnknownField, 2, 16, None),
        ("not " * 100 + 'tag("a")', RuleSyntaxError, 1, 165, "The rule is nested too deeply."),
        ("(" * 41, RuleSyntaxError, 1, 41, "The rule is nested too deeply."),
        ("spent()", RuleTypeError, 1, 1, "spent is a number and no condition by itself. Compare it: spent() >= 1."),
        ('spent() >= "x"', RuleTypeError, 1, 1, "spent is a number, and 'x' a text. Write the number without quotes."),
        ("country == 5", RuleTypeError, 1, 1, 'country is a text, and 5 a number. Put it in quotes: "5".'),
        ('country > "GB"', RuleTypeError, 1, 1, "> compares numbers, and country is a text. Write ==, != or in."),
        (
            'country == ""',
            RuleTypeError,
            1,
            1,
            "An empty country is unknown and equals nothing. Write not known(country).",
        ),
        (
            'country != "Germany"',
            RuleTypeError,
            1,
            1,
            "No member has the country 'Germany'. Write the two capital letters of ISO 3166, such as \"GB\".",
        ),
        ("country in []", RuleTypeError, 1, 1, "The list is empty. Name at least one value."),
        ('tag("x") == 1', RuleTypeError, 1, 1, None),
        ("tag()", RuleTypeError, 1, 1, 'tag wants a tag. Write tag("…").'),
        ("bought(days=3)", RuleTypeError, 1, 1, None),
        ('consents("fax")', RuleTypeError, 1, 1, "There is no channel 'fax'. There are: email, sms, inapp."),
        (
            "spent(365) >= 1",
            RuleTypeError,
            1,
            7,
            "spent takes no such value. Give it by name: days=, from_date=, to_date=, since=.",
        ),
        ("orders(day=3) > 1", RuleTypeError, 1, 1, "orders takes no argument 'day'. Did you mean days?"),
        ("orders(days=0) > 1", RuleTypeError, 1, 1, None),
        ("birthday_month == 13", RuleTypeError, 1, 1, None),
        ("spent() > 1.00001", RuleTypeError, 1, 1, None),
        ("spent() > 1000000000001", RuleTypeError, 1, 1, None),
    ],
)
def test_mistakes_are_named_where_they_stand(
    text: str, kind: type[RuleError], line: int, column: int, message: str | None
) -> None:
    with pytest.raises(RuleError) as caught:
        compile_rule(text)
    error = caught.value
    assert (type(error), error.line, error.column) == (kind, line, column)
    if message is not None:
        assert f"{error.message} {error.hint}".strip() == message


@pytest.mark.parametrize(
    ("document", "kind", "path"),
    [
        ([], RuleSyntaxError, "rule"),
        ({}, RuleSyntaxError, "rule"),
        ({"and": []}, RuleTypeError, "rule"),
        ({"and": {"everyone": True}}, RuleSyntaxError, "rule.and"),
        ({"everyone": False}, RuleSyntaxError, "rule"),
        ({"or": [{"everyone": True}, {"field": "spnt", "op": ">=", "value": 1}]}, UnknownField, "rule.or[1].field"),
        ({"field": "spent", "op": "=", "value": 1}, RuleSyntaxError, "rule.op"),
        ({"field": "spent", "op": ">="}, RuleSyntaxError, "rule"),
        ({"field": "spent", "op": ">=", "value": None}, RuleTypeError, "rule.value"),
        ({"field": "spent", "op": ">=", "value": float("nan")}, RuleTypeError, "rule.value"),
        ({"field": "spent", "op": ">=", "value": "1"}, RuleTypeError, "rule"),
        ({"not": {"field": "tag", "args": {"name": "x"}}}, RuleTypeError, "rule.not.args"),
        ({"field": "tag", "args": {"tag": "x"}, "sql": "1=1"}, RuleSyntaxError, "rule"),
    ],
)
def test_mistakes_in_json_tell_their_path(document: Any, kind: type[RuleError], path: str) -> None:
    with pytest.raises(RuleError) as caught:
        check(from_json(document))
    assert (type(caught.value), caught.value.path, caught.value.line) == (kind, path, 0)


def test_a_group_of_one_is_what_it_holds() -> None:
    assert from_json({"and": [{"everyone": True}]}) == Everyone()


_BOOK = Book({"main": ("silver", "gold")}, {"a": parse('segment("b")'), "b": parse('not segment("a")')}, {"lapse"})


def test_mistyped_tier_is_refused_where_tiers_are_known() -> None:
    assert compile_rule('tier != "gold" and tier != ""', _BOOK).text == 'tier != "gold" and tier != ""'
    with pytest.raises(RuleTypeError) as caught:
        compile_rule('orders() > 1 and tier != "glod"', _BOOK)
    assert str(caught.value) == "line 1, column 18: There is no tier 'glod'. Did you mean gold?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('not segment("c")', "There is no segment 'c'."),
        ('days_in_segment("c") > 1', "There is no segment 'c'."),
        ('segment("a")', "The segments speak of one another in a circle: a → b → a."),
        ('opened(journey="laps") > 1', "There is no journey 'laps'."),
        ('tier(program="vip") != "gold"', "There is no tier programme 'vip'."),
    ],
)
def test_names_that_are_not_there_are_refused(text: str, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        compile_rule(text, _BOOK)
    assert caught.value.message == message


def test_readme_tells_every_field_and_operator() -> None:
    text = Path(rules_package.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert markdown() in text


@pytest.mark.parametrize("key", FIELDS)
def test_every_example_is_a_rule(key: str) -> None:
    assert [one.key for one in fields_of(compile_rule(example(FIELDS[key])).node)] == [key]


@pytest.mark.parametrize("key", FIELDS)
def test_every_field_is_told_in_both_languages(key: str) -> None:
    spec = FIELDS[key]
    texts = [spec.label, spec.help, spec.unknown, *(parameter.label for parameter in spec.parameters)]
    texts += [spec.without] if spec.kind == "flag" else []
    assert all(text.en and text.zh and text.en != text.zh for text in texts)


def test_text_is_read_once() -> None:
    # A page and a run read the rules of a shop again and again.
    assert parse("spent() >= 4321") is parse("spent() >= 4321")
