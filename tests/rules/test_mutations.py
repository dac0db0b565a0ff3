"""The test of agreement is worth something: a mistake seeded into either side makes it fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, and_, false, func, not_

from crm_plugin.rules import evaluate, operands, scopes, snapshot, sql
from crm_plugin.rules.book import resolve
from crm_plugin.rules.catalogue import purchases
from crm_plugin.rules.check import check
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nodes import Node, Within
from crm_plugin.rules.operands import DaysSince, Flag, Ratio
from crm_plugin.rules.operators import OPERATORS
from crm_plugin.rules.parse import parse
from crm_plugin.rules.windows import Window
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.rules.shops import BOOK, MadeMember, MadeOrder, MadeRefund, keep, rules
from tests.rules.test_agreement import agree

_A, _B = ("A", "Mug", 1.0), ("B", "Hat", 2.5)
# Every edge that a rule may stand on: windows of 1, 30 and 365 days, the day before a past day, nothing at all.
_PEOPLE = [
    MadeMember(),
    MadeMember(
        country="GB",
        email="ada@example.com",
        joined_days_ago=365,
        tier="gold",
        tier_days_ago=30,
        consents={"email": "granted", "sms": "withdrawn"},
        tags=frozenset({"vip"}),
        lists=(("vips", 30),),
        orders=(MadeOrder(0, 5_000, lines=(_A,)), MadeOrder(29, 1_000, lines=(_B,), cost=400), MadeOrder(364, 999)),
        refunds=(MadeRefund(0, 1_000), MadeRefund(365, 1)),
    ),
    MadeMember(
        country="DE",
        email="bob%_@example.org",
        joined_days_ago=30,
        tier="silver",
        tier_days_ago=0,
        suppressed=True,
        orders=(MadeOrder(30, 1_001, coupon=True), MadeOrder(31, 5_000, known_rate=False), MadeOrder(365, 12_345)),
        refunds=(MadeRefund(31, 5_000),),
    ),
    MadeMember(
        state="deleted",
        locale="en",
        birth_md=229,
        birth_year=1990,
        orders=(MadeOrder(0, 1_000), MadeOrder(0, 1_000)),
    ),
    MadeMember(email="ÉVA@Example.com", joined_days_ago=0, orders=(MadeOrder(1, 1_000, counts=False),)),
    MadeMember(country="GB", orders=(MadeOrder(400, 5_000, foreign=1_501),), refunds=(MadeRefund(29, 1_501),)),
]
_Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.slow


def _not_over_unknown(patch: _Patch) -> None:
    patch.setattr(sql, "not_", lambda holds: not_(func.coalesce(holds, false())))


def _unknown_in_a_segment(patch: _Patch) -> None:
    right = sql.truth

    def wrong(scope: Any, node: Node) -> Any:
        return wrong(scope, node.rule) if isinstance(node, Within) and node.rule is not None else right(scope, node)

    patch.setattr(sql, "truth", wrong)


def _window_is_a_day_longer(patch: _Patch) -> None:
    right = scopes._ByKey._span

    def wrong(self: Any, rows: Any, window: Window | None, anchor: Any, *, later: bool) -> Any:
        longer = replace(window, days=window.days + 1) if window is not None and window.days else window
        return right(self, rows, longer, anchor, later=later)

    patch.setattr(scopes._ByKey, "_span", wrong)


def _mirrored_operator(patch: _Patch) -> None:
    patch.setattr(operands, "OPERATORS", {**OPERATORS, ">=": replace(OPERATORS[">="], mirrored="<")})


def _since_tomorrow(patch: _Patch) -> None:
    right = DaysSince.compare
    patch.setattr(DaysSince, "compare", lambda self, op, value: right(replace(self, as_of=self.as_of + 1), op, value))


def _nothing_over_nothing(patch: _Patch) -> None:
    patch.setattr(
        Ratio, "compare", lambda self, op, value: OPERATORS[op].call(func.coalesce(self.top / self.bottom, 0), value)
    )


def _case_counts(patch: _Patch) -> None:
    patch.setattr(sql, "folded", lambda column: column)


def _join_without_its_shop(patch: _Patch) -> None:
    def wrong(self: Any, other: Any, *more: Any) -> None:
        self._source = self._source.outerjoin(other, and_(other.c.member_id == self._members.c.member_id, *more))

    patch.setattr(scopes._ByKey, "_join", wrong)


def _mean_of_all_orders(patch: _Patch) -> None:
    patch.setattr(purchases, "_rated", lambda scope, field: purchases.in_orders(scope, field, "count", "orders_count"))


def _silence_is_consent(patch: _Patch) -> None:
    right = FIELDS["consent"].sql
    wrong = replace(FIELDS["consents"], sql=lambda scope, field: Flag(right(scope, field).expression != "withdrawn"))  # type: ignore[attr-defined]
    patch.setitem(FIELDS, "consents", wrong)


def _later_refunds_are_kept(patch: _Patch) -> None:
    patch.setitem(scopes._FROM_REFUNDS, "spent_minor", ("minor", -1))


def _refunds_are_added(patch: _Patch) -> None:
    patch.setitem(evaluate.FIELDS, "spent", lambda asked: evaluate._gross(asked) + evaluate._refunded(asked))


def _unknown_is_no(patch: _Patch) -> None:
    right = evaluate._compare
    patch.setattr(evaluate, "_compare", lambda found, op, value: right(found, op, value) is True)


def _either_when_unknown(patch: _Patch) -> None:
    patch.setattr(evaluate, "_any", lambda truths: True in truths)


def _level_of_now(patch: _Patch) -> None:
    right = snapshot._Reader.tiers
    patch.setattr(snapshot._Reader, "tiers", lambda self, as_of: right(self, date.max))


def _orders_to_come_count(patch: _Patch) -> None:
    right = evaluate._Asked.__init__

    def wrong(self: Any, member: Any, asked: Any, as_of: date) -> None:
        right(self, member, asked, as_of)
        self.placed = list(member.orders)

    patch.setattr(evaluate._Asked, "__init__", wrong)


def _asking(*texts: str) -> st.SearchStrategy[Node]:
    """Rules of which a part is about what is broken, next to whatever else there may be."""
    return st.sampled_from([parse(text) for text in texts])


_LATE = _asking("days_since_order == 30", "days_in_tier >= 30", "days_since_joined >= 31", "orders() >= 1")
MUTATIONS: dict[Callable[[_Patch], None], st.SearchStrategy[Node]] = {
    _not_over_unknown: _asking(
        "not days_since_order < 30", "not average_order > 5", "not (orders() >= 1 and mean_gap > 2)"
    ),
    _unknown_in_a_segment: _asking('not segment("buyers")', 'segment("british")', "everyone"),
    _window_is_a_day_longer: _asking("orders(days=30) == 0", "spent(days=365) >= 100", "refunds(days=30) >= 1"),
    _mirrored_operator: _LATE,
    _since_tomorrow: _LATE,
    _nothing_over_nothing: _asking("average_order < 50", "coupon_share(days=30) >= 0", "return_rate() < 0.5"),
    _case_counts: _asking('ends_with(email, "@example.com")', 'contains(email, "EXAMPLE")', "known(email)"),
    _join_without_its_shop: _asking("orders() == 0", "spent() >= 10", "days_since_order < 30"),
    _mean_of_all_orders: _asking("average_order >= 50", "average_order(days=365) >= 5", "average_order != 10"),
    _silence_is_consent: _asking('consents("email")', 'not consents("sms")', 'consents("inapp")'),
    _later_refunds_are_kept: _asking("spent() >= 9", "spent() < 50", "orders() >= 1"),
    _refunds_are_added: _asking("spent() >= 10", "spent(days=365) < 50", "not spent() > 20"),
    _unknown_is_no: rules,
    _either_when_unknown: _asking("not (mean_gap < 30 or orders() == 1)", "mean_gap not in [1, 2]", "orders() >= 1"),
    _level_of_now: _asking('tier == "gold"', 'tier == ""', "known(days_in_tier)"),
    _orders_to_come_count: _asking("days_since_order >= 0", "mean_gap > 20", "orders() >= 1"),
}


def _compare(connection: Connection, shop: Shop, asked: st.SearchStrategy[Node], most: int) -> None:
    """The test of agreement, with the same few rules each time."""

    @settings(
        max_examples=most,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(nodes=st.lists(asked, min_size=1, max_size=4))
    def compare(nodes: list[Node]) -> None:
        agree(connection, shop, _PEOPLE, [resolve(check(node), BOOK) for node in nodes])

    compare()


@pytest.fixture
def shop(sqlite_db: Database) -> Any:
    with sqlite_db.write() as connection:
        kept = keep(connection, 1, _PEOPLE)
        # Another shop whose members have the same ids, and are others.
        keep(connection, 2, _PEOPLE[::-1])
        yield connection, kept


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.__name__.strip("_"))
def test_seeded_mistake_is_found(
    shop: tuple[Connection, Shop], monkeypatch: pytest.MonkeyPatch, mutation: Callable[[_Patch], None]
) -> None:
    mutation(monkeypatch)
    with pytest.raises(AssertionError):
        _compare(*shop, MUTATIONS[mutation], 60)


def test_nothing_is_found_without_one(shop: tuple[Connection, Shop]) -> None:
    for asked in set(MUTATIONS.values()):
        _compare(*shop, asked, 4)
