"""What is proven of a rule without a member is true of every member."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_plugin.rules.book import resolve
from crm_plugin.rules.check import check
from crm_plugin.rules.evaluate import Snapshot, evaluate
from crm_plugin.rules.nodes import And, Node, Not, Or
from crm_plugin.rules.parse import parse
from crm_plugin.rules.provable import always, implies, never
from tests.rules.shops import AS_OF, BOOK, rules
from tests.rules.test_flip import snapshots

_NEVER = [
    "orders() >= 3 and orders() < 2",
    "not (orders() < 3 or orders() >= 2)",
    "orders(days=30) >= 2 and orders(days=90) < 1",
    "orders(days=30) >= 2 and orders() == 1",
    "orders() < 0",
    "orders() == 1.5",
    "orders() > 1 and orders() < 2",
    'orders(since="month") >= 3 and orders(since="year") <= 2',
    'orders(from_date="2026-01-01", to_date="2026-02-01") > 1 and orders(from_date="2025-12-01") == 1',
    'country == "GB" and country == "DE"',
    'country == "GB" and country in ["DE", "FR"]',
    'country == "GB" and country != "GB"',
    'country == "GB" and not known(country)',
    'email == "a@x.test" and ends_with(email, "@Y.test")',
    'contains(email, "A") and not contains(email, "a")',
    'tag("vip") and not tag("vip")',
    'bought(sku="A") and bought_times(sku="A") == 0',
    'bought(sku="A", days=30) and orders(days=60) == 0',
    'consents("email") and consent("email", topic="marketing") == "withdrawn"',
    "orders() == 0 and days_since_order > 90",
    "orders(days=30) >= 1 and days_since_order >= 30",
    "orders(days=30) == 0 and days_since_order < 30",
    "not known(days_since_order) and orders(days=10) > 0",
    "days_since_first_order < 10 and days_since_order > 20",
    "coupon_share() > 1",
    "birthday_month < 1 or birthday_month > 12",
    "spent() > orders() * 10 and orders() * 10 >= spent()",
    "not everyone",
    'segment("british") and country == "DE"',
    'segment("british") and days_since_order < 30',
]
_MAYBE = [
    "spent(days=30) >= 100 and spent(days=90) < 50",
    'orders(since="joined") >= 0',
    "days_since_order < 30 or not days_since_order < 30",
    'country == "GB" or country != "GB"',
    "orders(days=90) >= 2 and orders(days=30) < 1",
    "orders(days=30) >= 1 and days_since_order >= 29",
    'orders(since="year") >= 1 and orders(days=30) < 1',
    "average_order >= 0",
    "mean_gap > 20 and mean_gap < 21",
    'bought_items(sku="A") > 1 and bought_items(sku="A") < 2',
    "days_since_joined < 0",
    'starts_with(email, "a") and not starts_with(email, "ab")',
    'segment("vips") and not segment("buyers")',
]


@pytest.mark.parametrize("text", _NEVER)
def test_contradictions_are_found(text: str) -> None:
    node = resolve(check(parse(text)), BOOK)
    assert never(node)
    assert not always(node)


@pytest.mark.parametrize("text", _MAYBE)
def test_what_may_be_either_is_not_called_certain(text: str) -> None:
    node = resolve(check(parse(text)), BOOK)
    assert not never(node)
    assert not always(node)


@pytest.mark.parametrize(
    "text",
    [
        "everyone",
        "orders() >= 0",
        "orders() < 3 or orders() >= 2",
        "orders(days=90) < 2 or orders() > 1",
        'tag("vip") or not tag("vip")',
        "known(country) or not known(country)",
        'tier == "gold" or tier != "gold"',
        "known(days_since_order) or orders() == 0",
        'country == "GB" or not known(country) or country != "GB"',
        'segment("buyers") or not segment("buyers")',
    ],
)
def test_what_always_holds_is_found(text: str) -> None:
    node = resolve(check(parse(text)), BOOK)
    assert always(node)
    assert never(Not(node))


@pytest.mark.parametrize(
    ("one", "others", "follows"),
    [
        ("orders() >= 5", ["orders() >= 3"], True),
        ("orders() >= 3", ["orders() >= 5"], False),
        ("spent(days=365) >= 500 and orders() >= 2", ["spent(days=365) >= 100"], True),
        ("orders() >= 1", ["orders() >= 3", "orders() < 5"], True),
        ("spent(days=365) >= 500", ["spent() >= 500"], False),
        ("not days_since_order < 30", ["days_since_order >= 30"], True),
        ("days_since_order >= 30", ["not days_since_order < 30"], True),
        ("orders() == 0", ["not days_since_order < 30"], False),
    ],
)
def test_what_follows_is_found(one: str, others: list[str], follows: bool) -> None:
    assert implies(check(parse(one)), *(check(parse(other)) for other in others)) is follows


def _crossed(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Rules that contradict or complete themselves more often than chance would have it."""
    return st.builds(
        lambda one, other, how: {0: And((one, other, Not(one))), 1: Or((one, Not(one), other)), 2: And((one, other))}[
            how
        ],
        inner,
        inner,
        st.integers(0, 2),
    )


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(node=rules | _crossed(rules), members=st.lists(snapshots, min_size=5, max_size=8))
def test_certain_is_certain_for_every_member(node: Node, members: list[Snapshot]) -> None:
    asked = resolve(check(node), BOOK)
    is_never, is_always = never(asked), always(asked)
    for member in members:
        for day in (AS_OF, AS_OF + timedelta(days=40)):
            truth = evaluate(asked, member, day)
            assert not (is_never and truth is True)
            assert not (is_always and truth is not True)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(one=rules, other=rules, members=st.lists(snapshots, min_size=5, max_size=8))
def test_what_follows_holds_for_every_member(one: Node, other: Node, members: list[Snapshot]) -> None:
    left, right = (resolve(check(node), BOOK) for node in (one, other))
    assert implies(left, left)
    if implies(left, right):
        for member in members:
            assert not (evaluate(left, member, AS_OF) is True and evaluate(right, member, AS_OF) is not True)


def test_search_comes_to_an_end() -> None:
    wide = And(tuple(Or(tuple(parse(f'tag("{a}{b}")') for b in range(10))) for a in range(20)))
    assert not never(wide)
    assert not always(wide)
    assert not never(And((wide, Not(wide))))
