"""A first ladder for a shop without levels: Member, Silver and Gold, with thresholds from what its own members spend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, ROUND_HALF_DOWN, Decimal

from sqlalchemy import Connection, func, select

from crm_plugin.money import to_major
from crm_plugin.rules.earned import Level
from crm_plugin.rules.measure import LIFETIME, Measure
from crm_plugin.rules.nodes import Field
from crm_plugin.rules.operands import Whole, plain
from crm_plugin.rules.policy import Policy, PolicyLevel
from crm_plugin.rules.sql import ACTIVE, JoinedScope, operand
from crm_plugin.rules.tier_runs import ladder_of
from crm_plugin.store import members
from crm_plugin.store.tenants import Shop

# Of those who spend anything, this share in percent is to reach the level at least.
SHARES = {"silver": 20, "gold": 5}
# What the two that are proposed look at, in days.
STARTS: dict[str, int | None] = {"year": 365, "ever": None}
# With fewer who spend, a share of them says nothing.
FEWEST = 20
_TITLES = {
    "member": {"en": "Member", "zh-CN": "普通会员"},
    "silver": {"en": "Silver", "zh-CN": "银卡会员"},
    "gold": {"en": "Gold", "zh-CN": "金卡会员"},
}


@dataclass(frozen=True, slots=True)
class Ladder:
    """A policy proposed; `levels` are its levels as rules, lowest first.

    `days` is the window of spending it looks at, None all there ever was.
    """

    policy: Policy
    levels: tuple[Level, ...]
    days: int | None
    spenders: int


def propose(connection: Connection, shop: Shop, as_of: date, days: int | None) -> Ladder | None:
    """A ladder whose upper levels hold about the `SHARES` of those who spend; None when too few do."""
    asked = Field("spent", () if days is None else (("days", days),))
    scope = JoinedScope(shop, as_of)
    spent = operand(scope, asked)
    assert isinstance(spent, Whole)
    # One row: an active member who spent more than came back.
    amounts = (
        select(spent.expression.label("minor"))
        .select_from(scope.source)
        .where(members.c.shop_id == shop.shop_id, members.c.state == ACTIVE, spent.expression > 0)
        .subquery()
    )
    spenders = connection.execute(select(func.count()).select_from(amounts)).scalar_one()
    if spenders < FEWEST:
        return None
    found = [PolicyLevel("member", _TITLES["member"], rule="orders() >= 1")]
    below: Decimal | None = None
    for key, share in SHARES.items():
        place = select(amounts.c.minor).order_by(amounts.c.minor.desc()).offset(spenders * share // 100 - 1).limit(1)
        reached = nearest_round(to_major(int(connection.execute(place).scalar_one()), shop.currency))
        # Where many spend the same, the next level still asks for more.
        below = reached if below is None else max(reached, next_round(below))
        found.append(PolicyLevel(key, _TITLES[key], entry=plain(below)))
    policy = Policy(tuple(found), measure=Measure(asked.key, LIFETIME, days))
    return Ladder(policy, tuple(ladder_of(policy, as_of)), days, spenders)


def nearest_round(amount: Decimal) -> Decimal:
    """The round number nearest to an amount, half a leading digit apart: 150 for 163, 2500 for 2390; of two equally near the lower."""
    step = _step(amount)
    return (amount / step).to_integral_value(ROUND_HALF_DOWN) * step


def next_round(amount: Decimal) -> Decimal:
    """The first round number above an amount."""
    step = _step(amount)
    return (amount / step).to_integral_value(ROUND_FLOOR) * step + step


def _step(amount: Decimal) -> Decimal:
    return Decimal(5).scaleb(amount.adjusted() - 1)
