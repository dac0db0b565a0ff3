"""The level beside the facts is the level held, whatever comes in between: merges, cancellations, deletions, recounts,
other ladders, runs that are undone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from crm_plugin.errors import InvalidInput
from crm_plugin.records import MemberRecord, Record
from crm_plugin.rules import tiers
from crm_plugin.rules.earned import Level
from crm_plugin.rules.tier_undo import undo
from crm_plugin.store import member_facts, member_tiers, metadata
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import facts
from tests.factories import NOON, make_shop, member, order, write
from tests.sync.test_facts import _EMAILS, _PAGES

# Of orders alone, by which the facts alone are read; and of other things, by which members without facts are levelled too.
_LADDERS: tuple[tuple[str, ...], ...] = (
    (),
    ("orders() >= 1",),
    ("orders() >= 1", "spent() >= 10"),
    ("spent() >= 30",),
    ("everyone", "orders() >= 2"),
    ("known(email)",),
)
_gone = st.sampled_from(["1", "2", "3"]).map(lambda key: [MemberRecord(external_id=key, deleted=True)])
# A guest orders, and an account of that address comes, in whichever order: they become one.
_guest = st.tuples(st.sampled_from(_EMAILS), st.integers(0, 9)).map(
    lambda told: [order(f"g{told[1]}", 2000, contact=MemberRecord(external_id="", email=told[0]))]
)
_account = st.tuples(st.sampled_from(["1", "2", "3"]), st.sampled_from(_EMAILS)).map(
    lambda told: [member(told[0], email=told[1])]
)
_STEPS = st.lists(
    st.one_of(
        _guest,
        _account,
        st.just("apply"),
        _PAGES.map(lambda pages: pages[0]),
        _gone,
        st.sampled_from(_LADDERS),
        st.just("apply"),
        st.just("rebuild"),
        st.just("undo"),
    ),
    min_size=2,
    max_size=16,
)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all examples; each has a shop of its own."""
    database = Database.at(f"sqlite:///{tmp_path_factory.mktemp('levels') / 'x.sqlite3'}")
    metadata.create_all(database.engine)
    yield database
    database.dispose()


def _take(db: Database, shop: Shop, step: list[Record] | tuple[str, ...] | str) -> None:
    if isinstance(step, list):
        write(db, shop, step)
    elif isinstance(step, tuple):
        with db.write() as connection:
            wanted = [Level(f"level{rank}", rule) for rank, rule in enumerate(step)]
            tiers.save_levels(connection, shop, wanted, NOON)
    elif step == "apply":
        tiers.apply(db, shop, as_of=NOON.date(), now=NOON)
    elif step == "undo":
        # There may be nothing left to undo.
        with suppress(InvalidInput), db.write() as connection:
            undo(connection, shop, today=NOON.date(), now=NOON, actor="test")
    else:
        with db.write() as connection:
            facts.rebuild(connection, shop, NOON)


def _held_and_beside(db: Database, shop: Shop) -> tuple[dict[int, str], dict[int, str]]:
    t, f = member_tiers.c, member_facts.c
    with db.read() as connection:
        held = connection.execute(select(t.member_id, t.level_key).where(t.shop_id == shop.shop_id)).all()
        beside = select(f.member_id, f.level_key).where(f.shop_id == shop.shop_id, f.level_key != "")
        return {m: key for m, key in held}, {m: key for m, key in connection.execute(beside)}  # noqa: C416


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(ladder=st.sampled_from(_LADDERS[1:]), steps=_STEPS)
def test_they_never_part(shared: Database, ladder: tuple[str, ...], steps: list[object]) -> None:
    with shared.write() as connection:
        shop = make_shop(connection, next(_numbers), settings={"rates": {"USD": "0.9"}})
    for step in (ladder, "apply", *steps, "apply"):
        _take(shared, shop, step)  # type: ignore[arg-type]
        held, beside = _held_and_beside(shared, shop)
        assert held == beside, step
    # Whoever reads facts alone finds nobody left to move, as whoever reads all does.
    later = NOON + timedelta(minutes=1)
    assert tiers.apply(shared, shop, as_of=NOON.date(), now=later).changed == 0
