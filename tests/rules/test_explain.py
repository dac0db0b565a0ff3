"""Each condition with the member's own value; counting, sampling and saved segments."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from crm_plugin.errors import InvalidInput, NotFound, RuleError, RuleTypeError, UnknownField
from crm_plugin.rules import compile_rule, count, sample, segments, tiers
from crm_plugin.rules.explain import explain, snapshot_of
from crm_plugin.store.session import Database
from tests.rules.shops import AS_OF, NOW, MadeMember, MadeOrder, MadeRefund, keep

_RULE = (
    'spent() >= 100 and (days_since_joined < 30 or average_order == 66.67) and not bought(sku="A") and country == "GB"'
)
_MEMBER = MadeMember(
    country="GB",
    tags=frozenset({"vip"}),
    consents={"email": "granted", "sms": "withdrawn"},
    orders=(
        MadeOrder(3, 10_000, lines=(("B", "Mug", 1.0), ("A", "Hat", 0.0))),
        MadeOrder(3, 5_000),
        MadeOrder(90, 5_000, lines=(("B", "Mug", 1.0),)),
        MadeOrder(1, 1, counts=False),
    ),
    refunds=(MadeRefund(2, 2_550),),
)


def test_each_condition_tells_value_and_truth(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [MadeMember(), _MEMBER])
        found = explain(connection, shop, compile_rule(_RULE).node, 2, AS_OF)
        told = found.as_dict()
        (way,) = told.pop("ways")
        # Exactly: the mean of what was ordered is 66.666…
        assert way["words"]["en"] == "66.68 EUR more in orders"
        assert told == {
            "matches": False,
            "truth": None,
            "conditions": [
                {"text": "spent() >= 100", "value": "174.50", "truth": True},
                {"text": "days_since_joined < 30", "value": None, "truth": None},
                # Shown rounded, compared exactly.
                {"text": "average_order() == 66.67", "value": "66.67", "truth": False},
                {"text": 'bought(sku="A")', "value": False, "truth": False},
                {"text": 'country == "GB"', "value": "GB", "truth": True},
            ],
            "gave_up": False,
        }
        assert found.leaves[0].value == Decimal("174.50")
        never = explain(connection, shop, compile_rule("orders() == 0 or not everyone").node, 1, AS_OF)
        assert (never.matches, [leaf.value for leaf in never.leaves]) == (True, [0, True])


def test_snapshot_is_what_was_kept(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [_MEMBER])
        keep(connection, 2, [MadeMember(country="DE", orders=(MadeOrder(1, 99),), tags=frozenset({"staff"}))])
        found = snapshot_of(connection, shop, 1, AS_OF)
        placed = sorted(
            (order.placed_on, order.base_minor, [line.sku for line in order.lines]) for order in found.orders
        )
        days = [AS_OF - timedelta(days=ago) for ago in (90, 3, 3)]
        assert placed == [(days[0], 5_000, ["B"]), (days[1], 5_000, []), (days[2], 10_000, ["B"])]
        assert [(one.refunded_on, one.base_minor) for one in found.refunds] == [(AS_OF - timedelta(days=2), 2_550)]
        assert (found.tags, found.consents) == (
            frozenset({"vip"}),
            {("email", "marketing"): "granted", ("sms", "marketing"): "withdrawn"},
        )
        with pytest.raises(NotFound):
            snapshot_of(connection, shop, 2, AS_OF)


def test_count_and_sample_know_the_shop(db: Database) -> None:
    with db.write() as connection:
        shop = keep(
            connection, 1, [MadeMember(), _MEMBER, MadeMember(orders=_MEMBER.orders), MadeMember(state="deleted")]
        )
        keep(connection, 2, [_MEMBER, _MEMBER])
        assert count(connection, shop, "everyone", AS_OF) == 3
        assert count(connection, shop, "spent() >= 100", AS_OF) == 2
        (row,) = sample(connection, shop, "orders() >= 3", AS_OF, 1)
        assert (row.member_id, row.country, row.tier, row.orders_count, row.spent_minor) == (2, "GB", "", 3, 17_450)
        assert row.last_order_on == AS_OF - timedelta(days=3)
        (row,) = sample(connection, shop, "orders() == 0", AS_OF, 5)
        assert (row.member_id, row.orders_count, row.spent_minor, row.last_order_on) == (1, 0, 0, None)
        with pytest.raises(RuleTypeError):
            count(connection, shop, 'tier != "gold"', AS_OF)
        tiers.save_levels(connection, shop, [tiers.Level("gold", "everyone")], NOW)
        assert count(connection, shop, 'tier != "gold"', AS_OF) == 3


def test_segments_are_saved_shown_and_removed(db: Database) -> None:
    with db.write() as connection:
        shop, other = keep(connection, 1, []), keep(connection, 2, [])
        segments.save(connection, shop, "regulars", "orders() >= 2", NOW, title="Regulars")
        segments.save(connection, shop, "all", "everyone", NOW)
        segments.save(connection, shop, "regulars", "  orders() >= 3 ", NOW, title="Regulars")
        assert [one.as_dict() for one in segments.list(connection, shop.shop_id)] == [
            {"key": "all", "title": "", "rule": "everyone"},
            {"key": "regulars", "title": "Regulars", "rule": "orders() >= 3"},
        ]
        assert segments.show(connection, shop, "regulars").node == compile_rule("orders() >= 3").node
        assert segments.list(connection, other.shop_id) == ()
        with pytest.raises(NotFound) as caught:
            segments.show(connection, shop, "regular")
        assert caught.value.hint == "There are: all, regulars."
        segments.remove(connection, shop, "all", NOW)
        assert [one.key for one in segments.list(connection, shop.shop_id)] == ["regulars"]


@pytest.mark.parametrize(
    ("key", "text", "error"),
    [("Key!", "everyone", InvalidInput), ("key", "", RuleError), ("key", "spnt() > 1", UnknownField)],
)
def test_bad_segment_is_not_saved(db: Database, key: str, text: str, error: type[Exception]) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, [])
        with pytest.raises(error):
            segments.save(connection, shop, key, text, NOW)
        assert segments.list(connection, shop.shop_id) == ()
