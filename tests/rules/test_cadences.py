"""Counting how long things last in slices comes to the same as counting all at once, wherever it was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from crm_plugin.records import OrderLineRecord
from crm_plugin.rules import cadences
from crm_plugin.store import cadences as cadence_rows
from crm_plugin.store import refills
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.factories import NOON, make_shop, member, order, write

_PEOPLE = "abcd"
# Who bought what, how many of it, and how many days ago.
_BUYS = st.tuples(
    st.sampled_from(_PEOPLE), st.sampled_from(["TEA", "CUP", "MUG"]), st.integers(1, 3), st.integers(0, 90)
)
_LATER = timedelta(days=1)


def _buy(db: Database, shop: Shop, first: int, told: Sequence[tuple[str, str, int, int]]) -> None:
    made = []
    for number, (who, sku, pieces, ago) in enumerate(told, first):
        line = OrderLineRecord(sku=sku, title=sku, quantity=pieces, total_minor=100)
        placed = {"placed_at": NOON - timedelta(days=ago), "lines": (line,)}
        made.append(order(f"o{number}", member_external_id=who, **placed))
    if made:
        write(db, shop, made, NOON + _LATER * (first > 0))


def _kept(db: Database) -> tuple[Any, Any]:
    c, r = cadence_rows.c, refills.c
    with db.read() as connection:
        counted = connection.execute(select(c.kind, c.name, c.milli_days, c.pairs).order_by(c.kind, c.name)).all()
        columns = (r.member_id, r.sku, r.order_id, r.bought_on, r.quantity, r.expected_on)
        return counted, connection.execute(select(*columns).order_by(r.member_id, r.sku)).all()


def _clear(db: Database) -> None:
    with db.write() as connection:
        for table in (cadence_rows, refills):
            connection.execute(delete(table))


class _Killed(SystemExit):
    """The process is gone."""


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(_BUYS, max_size=30), after=st.lists(_BUYS, max_size=10), cut=st.integers(0, 9))
def test_slices_come_to_the_same_as_the_whole(
    sqlite_db: Database, before: list[Any], after: list[Any], cut: int
) -> None:
    db = sqlite_db
    with db.write() as connection:
        for table in reversed(cadence_rows.metadata.sorted_tables):
            connection.execute(delete(table))
        shop = make_shop(connection)
    write(db, shop, [member(one) for one in _PEOPLE], NOON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cadences, "PAIRS", 2)
        _buy(db, shop, 0, before)
        patch.setattr(cadences, "_MEMBERS", 1)
        patch.setattr(cadences, "_PRODUCTS", 1)
        cadences.count(db, shop, NOON)
        _buy(db, shop, len(before), after)
        at = NOON + _LATER
        steps = [0]

        def dies(*told: Any) -> None:
            steps[0] += 1
            if steps[0] > cut:
                raise _Killed

        with patch.context() as killing, suppress(_Killed):
            killing.setattr(cadences, "lock", dies)
            cadences.count(db, shop, at)
        cadences.count(db, shop, at + timedelta(minutes=1))
        sliced = _kept(db)
        assert cadences.count(db, shop, at + timedelta(minutes=2)).changed == 0
        # All at once, with the cadences that a count goes on from.
        _clear(db)
        patch.setattr(cadences, "_MEMBERS", 10**6)
        patch.setattr(cadences, "_PRODUCTS", 10**6)
        patch.setattr(cadences, "_steady", lambda found, _before: {**found, **_steady_as(sliced[0], found)})
        cadences.count(db, shop, at)
    assert _kept(db) == sliced


def _steady_as(kept: Any, found: Any) -> dict[str, tuple[int, int]]:
    """A cadence that hardly moved stays as it was: of those the slices kept, the ones within that of what was found."""
    told = {row.name: (row.milli_days, row.pairs) for row in kept if row.kind == cadences.SKU and row.name in found}
    return {name: one for name, one in told.items() if abs(found[name][0] - one[0]) * 10 <= one[0]}
