"""The policy of a tier programme as a document: one canonical form, mistakes told with what to do."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from crm_plugin.errors import CrmError, InvalidInput, RuleError
from crm_plugin.rules import compile_rule
from crm_plugin.rules.evaluate import BoughtLine, GivenRefund, PlacedOrder, Snapshot, evaluate
from crm_plugin.rules.measure import Excluded, Measure
from crm_plugin.rules.policy import Policy
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tier_words import policy_words

DAY = date(2027, 3, 1)
CLUB = {
    "program": "club",
    "title": {"en": "Club"},
    "measure": "spent",
    "window": {"days": 365},
    "exclude": {"products": ["GIFT"], "categories": ["Food, drink"], "shipping": True, "tax": True},
    "term": {"days": 365},
    "grace_days": 30,
    "descent": "one_step",
    "levels": [
        {"key": "silver", "title": {"en": "Silver"}, "entry": 500, "keep": "399.5"},
        {"key": "gold", "title": {}, "entry": 2000, "reentry": 1500, "reward": "points:100"},
        {"key": "vip", "title": {}, "rule": 'tag("vip")', "keep_rule": "orders() >= 1"},
        {"key": "circle", "title": {}, "invitation": True},
    ],
}
PARTS = (
    'spent(days=365) - bought_among(skus="GIFT", categories="Food, drink", days=365)'
    ' + refunded_among(skus="GIFT", categories="Food, drink", days=365)'
    " - shipping(days=365) - tax(days=365)"
)


def test_document_is_canonical() -> None:
    policy = read_policy(CLUB)
    assert policy.as_dict() == CLUB
    assert read_policy(policy.as_dict()) == policy
    assert not policy.plain


@pytest.mark.parametrize("window", ["lifetime", "calendar_year", "since_joining", {"days": 30}])
@pytest.mark.parametrize("term", [None, "none", "end_of_year", "end_of_next_year", {"days": 9}])
def test_term_is_kept_as_it_was_said(window: Any, term: Any) -> None:
    told = {"measure": "spent", "window": window, "levels": [{"key": "gold", "entry": 5}]}
    policy = read_policy(told if term is None else {**told, "term": term})
    assert read_policy(policy.as_dict()) == policy


def test_bars_become_rules_of_the_language() -> None:
    policy = read_policy(CLUB)
    silver, gold, vip, circle = policy.levels
    assert compile_rule(policy.entry_text(silver, DAY)).node == compile_rule(f"{PARTS} >= 500").node
    assert compile_rule(policy.keep_text(silver, DAY)).node == compile_rule(f"{PARTS} >= 399.5").node
    assert compile_rule(policy.reentry_text(gold, DAY)).node == compile_rule(f"{PARTS} >= 1500").node
    assert (policy.entry_text(vip, DAY), policy.keep_text(vip, DAY)) == ('tag("vip")', "orders() >= 1")
    assert (policy.entry_text(circle, DAY), policy.keep_text(circle, DAY)) == ("", "")


@pytest.mark.parametrize(
    ("told", "entry", "keep"),
    [
        ({}, "spent() >= 5", "spent() >= 5"),
        ({"window": "since_joining"}, 'spent(since="joined") >= 5', 'spent(since="joined") >= 5'),
        (
            {"window": "calendar_year"},
            'spent(since="year") >= 5',
            'spent(since="year") >= 5 or spent(from_date="2026-01-01", to_date="2026-12-31") >= 5',
        ),
        ({"measure": "orders", "window": {"days": 30}}, "orders(days=30) >= 5", "orders(days=30) >= 5"),
        (
            {"measure": 'attribute_number("points")'},
            'attribute_number("points") >= 5',
            'attribute_number("points") >= 5',
        ),
        (
            {"measure": "spent() / orders()", "window": {"days": 30}},
            "(spent(days=30) / orders(days=30)) >= 5",
            "(spent(days=30) / orders(days=30)) >= 5",
        ),
        (
            {"measure": 'bought_amount(category="Coffee", days=7)', "window": {"days": 30}},
            'bought_amount(category="Coffee", days=7) >= 5',
            'bought_amount(category="Coffee", days=7) >= 5',
        ),
    ],
)
def test_windows(told: dict[str, Any], entry: str, keep: str) -> None:
    policy = read_policy({"measure": "spent", **told, "levels": [{"key": "one", "entry": 5}]})
    assert (policy.entry_text(policy.levels[0], DAY), policy.keep_text(policy.levels[0], DAY)) == (entry, keep)
    compile_rule(entry)


def _policy(**told: Any) -> Policy:
    return read_policy({"levels": [{"key": "one", "rule": "everyone"}], **told})


@pytest.mark.parametrize(
    ("term", "begins", "ends", "ended", "today", "again"),
    [
        ("none", DAY, None, date(2027, 12, 31), DAY, None),
        ({"days": 1}, DAY, DAY, DAY, date(2027, 3, 2), date(2027, 3, 2)),
        ({"days": 366}, DAY, date(2028, 2, 29), date(2028, 2, 29), date(2028, 3, 1), date(2029, 3, 1)),
        # Two terms have ended since.
        ({"days": 30}, DAY, date(2027, 3, 30), date(2027, 3, 30), date(2027, 5, 29), date(2027, 5, 29)),
        ({"days": 30}, DAY, date(2027, 3, 30), date(2027, 3, 30), date(2027, 5, 30), date(2027, 6, 28)),
        ("end_of_year", DAY, date(2027, 12, 31), date(2027, 12, 31), date(2028, 1, 1), date(2028, 12, 31)),
        # What was kept through the end of a year is kept for one more, not for two.
        ("end_of_next_year", DAY, date(2028, 12, 31), date(2028, 12, 31), date(2029, 1, 1), date(2029, 12, 31)),
        ("end_of_next_year", DAY, date(2028, 12, 31), date(2028, 12, 31), date(2031, 5, 1), date(2031, 12, 31)),
    ],
)
def test_terms(term: Any, begins: date, ends: date | None, ended: date, today: date, again: date | None) -> None:
    policy = _policy(term=term)
    assert (policy.ends(begins), policy.ends_again(ended, today)) == (ends, again)


def test_year_reached_holds_through_the_next() -> None:
    policy = read_policy({"measure": "spent", "window": "calendar_year", "levels": [{"key": "one", "entry": 5}]})
    assert policy.term == "end_of_next_year"
    assert _policy(descent="never", term={"days": 30}).ends(DAY) is None


_LEVEL = {"key": "one", "entry": 5}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], ""),
        ({"levles": []}, "levles"),
        ({"levels": "gold"}, "levels"),
        ({"levels": [{"key": "One!", "rule": "everyone"}]}, "key"),
        ({"levels": [{"key": "one"}]}, "entry"),
        ({"levels": [_LEVEL]}, "measure"),
        ({"measure": "spent", "levels": [_LEVEL, _LEVEL]}, "key"),
        ({"measure": "spent", "levels": [_LEVEL, {"key": "two", "entry": 5}]}, "entry"),
        ({"measure": "spent", "levels": [{**_LEVEL, "rule": "everyone"}]}, "rule"),
        ({"measure": "spent", "levels": [{**_LEVEL, "keep": 6}]}, "keep"),
        ({"measure": "spent", "levels": [{**_LEVEL, "keep": 4, "reentry": 3}]}, "keep"),
        ({"measure": "spent", "levels": [{**_LEVEL, "entry": "many"}]}, "entry"),
        ({"measure": "spent", "levels": [{**_LEVEL, "entry": "NaN"}]}, "entry"),
        # Written out these would fill the memory; Python does not spell out the last at all.
        ({"measure": "spent", "levels": [{**_LEVEL, "entry": "1e999999999"}]}, "entry"),
        ({"measure": "spent", "levels": [{**_LEVEL, "entry": "1e-999999999"}]}, "entry"),
        ({"measure": "spent", "levels": [{**_LEVEL, "entry": 10**5000}]}, "entry"),
        ({"measure": "spent", "levels": [{**_LEVEL, "entry": True}]}, "entry"),
        ({"measure": "spent", "levels": [{**_LEVEL, "invitation": True}]}, "invitation"),
        ({"measure": "spent", "levels": [{**_LEVEL, "invitation": "yes"}]}, "invitation"),
        ({"measure": "spent", "levels": [{**_LEVEL, "reward": 5}]}, "reward"),
        ({"measure": "spent", "window": "week", "levels": []}, "window"),
        ({"measure": "spent", "window": {"days": 0}, "levels": []}, "window"),
        ({"window": "lifetime", "levels": []}, "measure"),
        ({"measure": "orders", "exclude": {"tax": True}, "levels": []}, "exclude"),
        ({"measure": "spent", "exclude": {"products": ["a;b"]}, "levels": []}, "exclude"),
        ({"measure": "spent", "exclude": {"products": "a"}, "levels": []}, "exclude"),
        ({"levels": [], "term": "forever"}, "term"),
        ({"levels": [], "term": {"days": 0}}, "term"),
        ({"levels": [], "grace_days": -1}, "grace_days"),
        ({"levels": [], "descent": "fall"}, "descent"),
        ({"levels": [], "effective_on": "soon"}, "effective_on"),
    ],
)
def test_mistakes_name_their_field(document: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_policy(document)
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["window", "term"])
def test_mistaken_span_is_told_how_days_are_written(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_policy({"measure": "spent", "levels": [], name: 365})
    assert caught.value.hint.endswith(", {days: 365}.")


@pytest.mark.parametrize(
    "measure", ["spnt", "spent() +", "spent.__class__", "__import__('os')", "(" * 3000, "tier", "everyone"]
)
def test_measure_that_is_no_number_is_refused(measure: str) -> None:
    with pytest.raises(CrmError):
        read_policy({"measure": measure, "levels": [_LEVEL]})


def test_unknown_field_is_suggested() -> None:
    with pytest.raises(RuleError) as caught:
        read_policy({"measure": "spnt", "levels": [_LEVEL]})
    assert "spent" in caught.value.hint


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        (
            "en",
            [
                "A level holds for 365 days.",
                "Whoever then misses it has 30 more days.",
                "Then the member goes down one level at a time.",
            ],
        ),
        ("zh", ["等级有效期为 365 天。", "未达标者另有 30 天宽限期。", "之后每次下降一级。"]),
    ],
)
def test_policy_in_words(lang: str, said: list[str]) -> None:
    assert policy_words(read_policy(CLUB), lang) == said


def test_where_nobody_goes_down_no_term_is_told() -> None:
    assert policy_words(read_policy({**CLUB, "descent": "never"}), "en") == ["Nobody ever goes down."]


@pytest.mark.parametrize(
    ("what", "back", "counts"),
    [
        ("spent", 0, 40),
        ("spent", 10_000, 0),
        ("spent", 5_000, 20),
        ("profit", 5_000, 10),
        ("spent() + 1", 5_000, 21),
        # Nothing given back is off it, so nothing is added again.
        ("gross", 5_000, 40),
    ],
)
def test_excluded_and_given_back_counts_once(what: str, back: int, counts: int) -> None:
    """An order of 100 of which 60 are excluded."""
    lines = (BoughtLine("GIFT", base_minor=6_000), BoughtLine("MUG", base_minor=4_000))
    order = PlacedOrder(DAY, 10_000, lines, cost_minor=1_000)
    member = Snapshot("GBP", orders=(order,), refunds=(GivenRefund(DAY, back, order),) if back else ())
    rule = compile_rule(f"{Measure(what, excluded=Excluded(products=('GIFT',))).text()} == {counts}").node
    assert evaluate(rule, member, DAY) is True


@pytest.mark.parametrize(
    ("measure", "column", "message"),
    [
        ("spnt()", 1, "There is no field 'spnt'."),
        ("spent() / ordrs()", 11, "There is no field 'ordrs'."),
        ("spent(", 1, ""),
    ],
)
def test_a_mistyped_measure_is_told_where_it_is_written(measure: str, column: int, message: str) -> None:
    with pytest.raises(RuleError) as refused:
        read_policy({"measure": measure, "levels": [_LEVEL]})
    assert (refused.value.line, refused.value.column, refused.value.path) == (1, column, "measure")
    assert refused.value.message.startswith(message)
