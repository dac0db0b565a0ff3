"""The SQL and the plain Python give the same answer for any rule over any shop."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Table, select
from sqlalchemy.sql.visitors import iterate

from crm_plugin.rules import count, counts
from crm_plugin.rules.book import resolve
from crm_plugin.rules.check import check
from crm_plugin.rules.evaluate import evaluate
from crm_plugin.rules.nodes import And, Node, Not, Or
from crm_plugin.rules.parse import parse
from crm_plugin.rules.snapshot import snapshot_of
from crm_plugin.rules.sql import condition, is_history, select_members
from crm_plugin.store import members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.rules.shops import AS_OF, BOOK, MadeMember, MadeOrder, MadeRefund, keep, made_members, rules

_SHOPS = itertools.count(1)


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    currency=st.sampled_from(["EUR", "JPY"]),
    made=st.lists(made_members, min_size=1, max_size=4),
    asked=st.lists(rules, min_size=1, max_size=6),
)
def test_sql_and_evaluate_agree(db: Database, currency: str, made: list[MadeMember], asked: list[Node]) -> None:
    # Every shop in the database has members 1, 2, 3 …, so that a join without its shop would show at once.
    with db.write() as connection:
        shop = keep(connection, next(_SHOPS), made, currency=currency)
        agree(connection, shop, made, [resolve(check(one), BOOK) for one in asked])


def agree(connection: Connection, shop: Shop, made: Sequence[MadeMember], nodes: Iterable[Node]) -> None:
    """Fail unless both say the same of every rule, today and on a day that is past, in each of the ways a rule is asked."""
    for as_of in (AS_OF, AS_OF - timedelta(days=30)):
        history = is_history(connection, shop, as_of)
        people = {key: snapshot_of(connection, shop, key, as_of) for key in range(1, len(made) + 1)}
        gone = {key for key in people if made[key - 1].state != "active"}
        for node in nodes:
            expected = {key for key, one in people.items() if evaluate(node, one, as_of) is True}
            found = select_members(shop, node, as_of, history=history)
            assert set(connection.execute(found).scalars()) == expected - gone, (node, as_of)
            found = select_members(shop, node, as_of, live=False, history=history)
            assert set(connection.execute(found).scalars()) == expected, (node, as_of)
            by_key = select(members.c.member_id).where(
                members.c.shop_id == shop.shop_id,
                condition(shop, node, as_of, members.c.member_id, history=history),
            )
            assert set(connection.execute(by_key).scalars()) == expected, (node, as_of)


_REGULAR = MadeMember(
    country="GB",
    joined_days_ago=400,
    birth_md=229,
    tags=frozenset({"vip"}),
    consents={"email": "granted", "sms": "withdrawn"},
    orders=(
        MadeOrder(364, 10_000, lines=(("A", "Mug", 1.0),)),
        MadeOrder(365, 5_000, lines=(("B", "Hat", 1.0),)),
        MadeOrder(10, 7_777, counts=False),
    ),
    refunds=(MadeRefund(5, 2_500),),
)
_NEVER = MadeMember()


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("orders() == 2", {1}),
        ("orders() == 0", {2}),
        ("orders(days=365) == 1", {1}),
        ("spent() == 125", {1}),
        ("spent(days=365) == 75.00", {1}),
        ("spent(days=4) == 0", {1, 2}),
        ("refunds() >= 1", {1}),
        ("average_order == 75", {1}),
        ("days_since_order == 364", {1}),
        ("days_since_first_order >= 365", {1}),
        # What is unknown matches neither a comparison nor its opposite.
        ("days_since_order < 30", set()),
        ("not days_since_order < 30", {1}),
        ("average_order != 75", set()),
        ('country != "DE"', {1}),
        ('not country == "DE"', {1}),
        ('country not in ["DE"]', {1}),
        ("birthday_month == 2", {1}),
        ("not birthday_month == 2", set()),
        ('country == "DE" or spent() == 0', {2}),
        # Having no level is known.
        ('tier != "gold"', {1, 2}),
        ('tier == ""', {1, 2}),
        ('tag("vip")', {1}),
        ('not tag("vip")', {2}),
        ('bought(sku="A")', {1}),
        ('bought(title="Hat", days=365)', set()),
        ('bought(sku="A", title="Hat")', set()),
        ('consents("email")', {1}),
        ('not consents("sms")', {1, 2}),
        ("100 <= spent() < 125.01", {1}),
        ("spent() == 124.999", set()),
        ("everyone", {1, 2}),
        ("not everyone", set()),
    ],
)
def test_rules_match_exactly(db: Database, text: str, matching: set[int]) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_REGULAR, _NEVER])
        keep(connection, 2, [_NEVER, _REGULAR, _REGULAR])
        found = connection.execute(select_members(shop, check(parse(text)), AS_OF)).scalars().all()
    assert sorted(found) == sorted(matching)


@pytest.mark.parametrize("node", [And(()), Or(())])
def test_empty_group_matches_nobody(db: Database, node: Node) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_NEVER])
        assert connection.execute(select_members(shop, node, AS_OF)).all() == []
        assert evaluate(node, snapshot_of(connection, shop, 1, AS_OF), AS_OF) is False


def test_numbers_beyond_the_columns_are_answers(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_REGULAR])
        for text, expected in [
            ("orders() < 1000000000000", [1]),
            ("days_since_order < 1000000000000", [1]),
            ("spent() < 1000000000000", [1]),
            ("average_order < 1000000000000", [1]),
            ("average_order > 99999999999.9999", []),
        ]:
            found = connection.execute(select_members(shop, check(parse(text)), AS_OF)).scalars().all()
            assert found == expected, text


def test_not_is_not_pushed_over_unknown(db: Database) -> None:
    twice = Not(Not(parse("days_since_order >= 0")))
    with db.write() as connection:
        shop = keep(connection, 1, [_REGULAR, _NEVER])
        assert connection.execute(select_members(shop, twice, AS_OF)).scalars().all() == [1]


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("spent() >= 100 and orders() >= 2", {"member_facts"}),
        ("days_since_order >= 30 or late_by > 2", {"member_facts"}),
        ("spent() / orders() >= 50", {"member_facts"}),
        ("orders(days=30) >= 1", {"member_facts", "orders"}),
        # Whoever never ordered may match these.
        ("orders() == 0", {"members", "member_facts"}),
        ('spent() >= 100 and country == "GB"', {"members", "member_facts"}),
    ],
)
def test_rule_of_facts_reads_no_orders(db: Database, text: str, tables: set[str]) -> None:
    """Whoever is gone is a list of its own."""
    with db.write() as connection:
        shop = keep(connection, 1, [_REGULAR, _NEVER])
    query = select_members(shop, check(parse(text)), AS_OF, live=False)
    read = {table.name for one in query.get_final_froms() for table in iterate(one) if isinstance(table, Table)}
    assert read == tables


def test_several_rules_are_counted_as_each_is(db: Database) -> None:
    texts = ["orders() >= 2", "spent() < 125", 'country == "GB"', "not days_since_order > 400", "everyone"]
    with db.write() as connection:
        shop = keep(connection, 1, [_REGULAR, _NEVER, replace(_REGULAR, state="deleted")])
        for some in (texts, texts[:2], []):
            assert counts(connection, shop, some, AS_OF) == [count(connection, shop, one, AS_OF) for one in some]


@pytest.mark.slow
@pytest.mark.parametrize("minor", [0, -100])
def test_what_is_calculated_with_something_unknown_is_unknown(db: Database, minor: int) -> None:
    """Money was given back for nothing: there is no rate of returns, nor anything that is divided by it or multiplied with it."""
    one = MadeMember(orders=(MadeOrder(30, minor),), refunds=(MadeRefund(20, 500, of=0),))
    with db.write() as connection:
        shop = keep(connection, 1, [one])
        for text in (
            "orders() / return_rate() <= 0",
            "return_rate() * return_rate() >= 0",
            "orders() - return_rate() > -99",
        ):
            node = check(parse(text))
            agree(connection, shop, [one], [node])
            assert connection.execute(select_members(shop, node, AS_OF)).all() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("minor", "back", "expected"),
    [
        # Half of each order is excluded, to the unit below.
        (10_000, (), 5_000),
        (10_000, (10_000,), 0),
        (10_000, (5_000,), 2_500),
        # Rounded down for each refund: 33 of 99, twice.
        (10_000, (67, 67), 4_932),
        (0, (100,), -100),
        # The product of two such amounts is beyond 64 bits.
        (8_000_000_000_000, (7_999_999_999_999,), 0),
    ],
)
def test_what_is_given_back_falls_on_lines_in_proportion(
    db: Database, minor: int, back: tuple[int, ...], expected: int
) -> None:
    bought = MadeOrder(5, minor, lines=(("A", "Mug", 1.0), ("B", "Hat", 1.0)))
    one = MadeMember(orders=(bought,), refunds=tuple(MadeRefund(2, some, of=0) for some in back))
    # The same without knowing of which order: nothing falls on its lines.
    lost = replace(one, refunds=tuple(replace(some, of=None) for some in one.refunds))
    text = 'spent() - bought_among(skus="A") + refunded_among(skus="A")'
    without = minor - sum(back) - minor // 2
    with db.write() as connection:
        shop = keep(connection, 1, [one, lost])
        for wanted, found in ((expected, {1}), (without, {2})):
            node = check(parse(f"{text} == {Decimal(wanted) / 100}"))
            agree(connection, shop, [one, lost], [node])
            matching = set(connection.execute(select_members(shop, node, AS_OF)).scalars())
            assert matching == (found if expected != without else {1, 2})
