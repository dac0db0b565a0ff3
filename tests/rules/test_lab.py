"""What a policy would do costs the same few statements whatever the number of members, and remembers no more than who moves today."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event

from crm_plugin.rules import by_hand, tiers
from crm_plugin.rules.by_hand import Desk
from crm_plugin.rules.lab import Lab, look_at, moves_today
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.rules.shops import AS_OF, MadeMember, MadeOrder, keep

_NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
_PLAIN: dict[str, Any] = {
    "measure": "spent",
    "levels": [{"key": "silver", "entry": 10}, {"key": "gold", "entry": 50}],
}
_TERM: dict[str, Any] = {**_PLAIN, "term": {"days": 365}}
# Of ten: three stay without a level, four are silver, three gold.
_SPENT = (0, 999, 0, 1_000, 1_001, 4_999, 4_000, 5_000, 9_000, 12_000)


def _shop(db: Database, tens: int, policy: Mapping[str, Any], *, shop_id: int) -> Shop:
    people = [MadeMember(orders=(MadeOrder(1, minor),)) for minor in _SPENT] * tens
    with db.write() as connection:
        shop = keep(connection, shop_id, people)
        tiers.save_policy(connection, shop, read_policy(policy), _NOON, actor="test")
    return shop


def _counted(db: Database, shop: Shop, wanted: Mapping[str, Any]) -> tuple[Lab, list[str]]:
    """What it comes to, and what was asked of the database; how each begins a transaction or plans a cursor is no question."""
    asked: list[str] = []
    with db.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *told: asked.append(told[2]))
        found = look_at(connection, shop, read_policy(wanted), AS_OF)
    return found, [one for one in asked if not one.startswith(("BEGIN", "SET LOCAL"))]


def _lower(policy: Mapping[str, Any]) -> dict[str, Any]:
    silver, gold = policy["levels"]
    return {**policy, "levels": [silver, {**gold, "entry": 40}]}


@pytest.mark.slow
@pytest.mark.parametrize("applied", [False, True], ids=["everybody moves today", "nobody moves today"])
@pytest.mark.parametrize(
    ("policy", "bound", "statements"),
    [(_PLAIN, False, 14), (_PLAIN, True, 14), (_TERM, False, 12)],
    ids=["plain", "plain with one by hand", "with terms"],
)
def test_statements_do_not_grow_with_members(
    db: Database, policy: dict[str, Any], bound: bool, statements: int, applied: bool
) -> None:
    numbers = []
    for shop_id, tens in ((1, 1), (2, 12)):
        shop = _shop(db, tens, policy, shop_id=shop_id)
        if applied:
            tiers.apply(db, shop, as_of=AS_OF, now=_NOON)
        if bound:
            with db.write() as connection:
                by_hand.fix(Desk(connection, shop, _NOON, "page:owner"), 1, "gold", "A friend")
        seen, asked = _counted(db, shop, _lower(policy))
        numbers.append(len(asked))
        # Those who spent 49.99 and 40.00 become gold by the lower bar; before the first pass everybody earns a level anew besides.
        one = int(bound)
        assert seen.caused == 2 * tens
        assert seen.today == (0 if applied else 7 * tens)
        assert seen.after == {"": 3 * tens - one, "silver": 2 * tens, "gold": 5 * tens + one}
    assert numbers == [statements, statements]


def test_same_policy_looks_at_everybody_once(db: Database) -> None:
    shop = _shop(db, 1, _PLAIN, shop_id=1)
    _, other = _counted(db, shop, _lower(_PLAIN))
    seen, same = _counted(db, shop, _PLAIN)
    assert (seen.today, seen.caused) == (7, 0)
    looks = [sum("CASE WHEN" in one and "member_facts" in one for one in asked) for asked in (other, same)]
    assert looks[0] == 2 * looks[1] > 0


def test_ways_of_today_are_kept_once(db: Database) -> None:
    """As many members as there may be take a place each, and no words of their own."""
    shop = _shop(db, 12, _PLAIN, shop_id=1)
    with db.read() as connection:
        found = moves_today(connection, shop, "main", AS_OF)
    assert len(found) == 84
    assert len({id(way) for way in found.values()}) == 2
