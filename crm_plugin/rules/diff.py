"""Two rules side by side: who comes in and who goes when one takes the other's place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, false, func, not_, select

from crm_plugin.rules import Rule, told_of
from crm_plugin.rules.operands import Truth
from crm_plugin.rules.sql import ACTIVE, JoinedScope, is_history, truth
from crm_plugin.store import members
from crm_plugin.store.tenants import Shop


@dataclass(frozen=True, slots=True)
class Difference:
    """How many active members come in, go and stay, and the first of those who come and go, as `rules.sample` tells them."""

    as_of: date
    came: int
    went: int
    stayed: int
    came_sample: tuple[Row[Any], ...]
    went_sample: tuple[Row[Any], ...]

    @property
    def before(self) -> int:
        return self.went + self.stayed

    @property
    def after(self) -> int:
        return self.came + self.stayed


def diff(connection: Connection, shop: Shop, old: Rule, new: Rule, as_of: date, limit: int) -> Difference:
    """What the new rule changes on that day, by counts and samples of at most `limit`; nobody else's row leaves the database."""
    scope = JoinedScope(shop, as_of, history=is_history(connection, shop, as_of))
    # Whom a rule is unknown for it does not hold, so unknown to false is no change.
    before, after = (func.coalesce(truth(scope, rule.asked), false()) for rule in (old, new))
    came, went, stayed = and_(after, not_(before)), and_(before, not_(after)), and_(before, after)
    came_number, went_number, stayed_number = connection.execute(
        _active(scope, shop, *(_number(one) for one in (came, went, stayed)))
    ).one()
    came_rows, went_rows = (
        tuple(told_of(connection, shop, _active(scope, shop, members.c.member_id).where(one), limit))
        for one in (came, went)
    )
    # A sum over nobody is NULL.
    return Difference(as_of, came_number or 0, went_number or 0, stayed_number or 0, came_rows, went_rows)


def _number(holds: Truth) -> Any:
    return func.sum(case((holds, 1), else_=0))


def _active(scope: JoinedScope, shop: Shop, *columns: Any) -> Select[Any]:
    own = (members.c.shop_id == shop.shop_id, members.c.state == ACTIVE)
    return select(*columns).select_from(scope.source).where(*own)
