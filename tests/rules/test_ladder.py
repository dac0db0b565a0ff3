"""The first ladder: thresholds from the shop's own spending, in round numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from crm_plugin.rules import tiers
from crm_plugin.rules.ladder import nearest_round, next_round, propose
from crm_plugin.store.session import Database
from tests.rules.shops import AS_OF, MadeMember, MadeOrder, MadeRefund, keep


def _spends(amounts: list[int], days_ago: int = 1) -> list[MadeMember]:
    return [MadeMember(orders=(MadeOrder(days_ago, amount * 100),)) for amount in amounts]


@pytest.mark.slow
def test_a_fifth_and_a_twentieth_reach_the_upper_levels(db: Database) -> None:
    people = [*_spends(list(range(10, 1010, 10))), MadeMember(), *_spends([9000], days_ago=500)]
    with db.write() as connection:
        shop = keep(connection, 1, people)
    with db.read() as connection:
        found = propose(connection, shop, AS_OF, 365)
        assert found is not None
        assert (found.spenders, found.days) == (100, 365)
        assert [(level.key, level.rule) for level in found.levels] == [
            ("member", "orders() >= 1"),
            ("silver", "spent(days=365) >= 800"),
            ("gold", "spent(days=365) >= 950"),
        ]
        counted = tiers.preview(connection, shop, found.levels, AS_OF).levels
        assert counted == {"": 1, "member": 80, "silver": 15, "gold": 6}
        ever = propose(connection, shop, AS_OF, None)
        assert ever is not None
        assert ever.levels[2].rule == "spent() >= 950"


def test_same_amount_everywhere_still_makes_steps(db: Database) -> None:
    with db.write() as connection:
        shop = keep(connection, 1, _spends([30] * 25))
    with db.read() as connection:
        found = propose(connection, shop, AS_OF, None)
    assert found is not None
    assert [level.rule for level in found.levels] == ["orders() >= 1", "spent() >= 30", "spent() >= 35"]


def test_too_few_who_spend_propose_nothing(db: Database) -> None:
    given_back = MadeMember(orders=(MadeOrder(1, 1000),), refunds=(MadeRefund(1, 1000),))
    gone = MadeMember(state="deleted", orders=(MadeOrder(1, 1000),))
    with db.write() as connection:
        shop = keep(connection, 1, [*_spends([10] * 19), given_back, gone])
    with db.read() as connection:
        assert propose(connection, shop, AS_OF, None) is None


@pytest.mark.parametrize(
    ("amount", "nearest", "above"),
    [
        ("163", "150", "200"),
        ("2390", "2500", "2500"),
        ("0.34", "0.35", "0.35"),
        ("125", "100", "150"),
        ("9.99", "10", "10"),
    ],
)
def test_round_numbers(amount: str, nearest: str, above: str) -> None:
    assert nearest_round(Decimal(amount)) == Decimal(nearest)
    assert next_round(Decimal(amount)) == Decimal(above)
