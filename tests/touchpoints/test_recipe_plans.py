"""Each recipe on a made-up shop: the right members get it and no others, and every text of it can be read in both languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord, OrderLineRecord, Record
from crm_plugin.store import members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch as batches
from crm_plugin.touchpoints import journeys
from crm_plugin.touchpoints.compose import scene_of
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.recipes import install_one, recipe_texts
from crm_plugin.touchpoints.render import render
from tests.factories import make_shop, member, order, refund, write

# A Monday at noon; everything else is told in days from it.
START = datetime(2026, 6, 1, 12, tzinfo=UTC)
YES = (ConsentRecord(channel="inapp", state=ConsentState.GRANTED, at=START - timedelta(days=900)),)


def day(number: int) -> datetime:
    """Noon, so many days after the start."""
    return START + timedelta(days=number)


def who(key: str, **values: Any) -> MemberRecord:
    """A member who agreed to cards in the store; those of odd keys read Chinese."""
    chinese = key.isdecimal() and int(key) % 2 == 1
    told = {
        "joined_at": day(-400),
        "locale": "zh-CN" if chinese else "en",
        "consents": YES,
        "timezone": "UTC",
        **values,
    }
    return member(key, **told)


def bought(key: str, by: str, on: int, total: int = 5_000, **values: Any) -> Record:
    """An order of one product, paid at once."""
    lines = (OrderLineRecord(sku=f"S{key}", title=f"Thing {key}", total_minor=total, cost_minor=total // 2),)
    return order(key, total, member_external_id=by, placed_at=day(on), paid_at=day(on), lines=lines, **values)


def back(key: str, of: str, on: int, amount: int = 5_000) -> Record:
    """Money given back for an order."""
    return refund(key, amount, order_external_id=of, refunded_at=day(on))


@dataclass(frozen=True, slots=True)
class Case:
    """What is in the store, on which day it is planned for (from the day before it was switched on), and who gets it."""

    recipe: str
    people: Sequence[MemberRecord]
    records: Sequence[Record]
    on: int
    gets: Sequence[str]


CASES = (
    Case(
        "second_purchase",
        [who(str(number)) for number in range(1, 6)],
        [
            bought("a", "1", -21),
            # Two orders; one that was sent back; another day; a second order since.
            bought("b1", "2", -21),
            bought("b2", "2", -60),
            bought("c", "3", -21),
            bought("d", "4", -20),
            bought("e1", "5", -21),
            bought("e2", "5", -3),
            back("r1", "c", -10),
        ],
        0,
        ["1"],
    ),
    Case(
        "review_request",
        [who(str(number)) for number in range(1, 5)],
        [
            bought("a", "1", -10),
            bought("b", "2", -10),
            bought("c", "3", -9),
            bought("d", "4", -10),
            back("r1", "d", -2),
        ],
        0,
        ["1", "2"],
    ),
    Case(
        "cross_sell",
        [who(str(number)) for number in range(1, 4)],
        [
            bought("a0", "1", -90),
            bought("a1", "1", -35),
            # Their first order; one that went back.
            bought("b", "2", -35),
            bought("c0", "3", -90),
            bought("c1", "3", -35),
            back("r1", "c1", -20),
        ],
        0,
        ["1"],
    ),
)


def _world(db: Database, case: Case) -> Shop:
    with db.write() as connection:
        shop = make_shop(connection, url="https://shop.example", timezone="UTC")
        install_one(connection, shop, case.recipe, day(case.on - 1))
        # Who is held out is drawn by the member's id, which is another in each run.
        told = {**journeys.get(connection, 1, case.recipe).as_dict(), "holdout_pct": 0}
        journeys.save(connection, shop, journeys.read_draft(told), day(case.on - 1))
    write(db, shop, case.people, day(case.on - 1))
    for kind in (lambda one: not hasattr(one, "amount_minor"), lambda one: hasattr(one, "amount_minor")):
        if found := [one for one in case.records if kind(one)]:
            write(db, shop, found, day(case.on - 1))
    with db.write() as connection:
        journeys.switch(connection, shop, case.recipe, True, day(case.on - 1))
    return shop


def _planned(db: Database) -> list[Any]:
    m, t = members.c, touchpoints.c
    query = (
        select(touchpoints, m.external_id, m.locale)
        .join(members, (m.shop_id == t.shop_id) & (m.member_id == t.member_id))
        .where(t.state == "planned")
        .order_by(m.external_id)
    )
    with db.read() as connection:
        return list(connection.execute(query))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.recipe) for case in CASES])
def test_the_right_members_get_it(db: Database, case: Case) -> None:
    shop = _world(db, case)
    plan_shop(db, shop, day(case.on) + timedelta(hours=12))
    rows = _planned(db)
    assert [row.external_id for row in rows] == list(case.gets)
    _all_can_be_read(db, shop, case, rows)
    # Whoever got it gets it once.
    plan_shop(db, shop, day(case.on) + timedelta(hours=14))
    assert len(_planned(db)) == len(rows)


def _all_can_be_read(db: Database, shop: Shop, case: Case, rows: Sequence[Any]) -> None:
    """Every text of the recipe says something to each of them, in either language."""
    texts = recipe_texts(case.recipe)
    with db.read() as connection:
        known = batches.load(connection, shop, rows, day(case.on), texts)
    for row in rows:
        for text in texts:
            scene = scene_of(row, known, shop, policy_of(shop), text.locale)
            made = render(text, scene, policy_of(shop).brand)
            assert made.text.strip()
            assert "None" not in made.text + made.subject + made.html
