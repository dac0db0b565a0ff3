"""A guest who turns out to be an account: nothing that has left once leaves again."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import insert, select

from crm_plugin.rules import tiers
from crm_plugin.rules.by_hand import Desk, fix
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tier_history import history
from crm_plugin.store import member_facts, member_tiers, members, tier_bars, touchpoints
from crm_plugin.store.program import copy_beside_facts
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from tests.factories import NOON, make_shop, member, order, write

_GUEST, _ACCOUNT = 1, 2


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1", email="old@x.test")])
    write(db, shop, [order("o1", contact=member("", email="new@x.test"))])
    return shop


def _touchpoint(
    db: Database, shop: Shop, touchpoint_id: int, state: str, *, of_account: bool, **values: object
) -> None:
    with db.write() as connection:
        found = members.c.external_id.is_not(None) if of_account else members.c.external_id.is_(None)
        member_id = connection.execute(select(members.c.member_id).where(found)).scalar_one()
        row = {
            "shop_id": shop.shop_id,
            "touchpoint_id": touchpoint_id,
            "journey_key": "birthday",
            "member_id": member_id,
            "occasion": "2026-06-01",
            "state": state,
            "occasion_on": date(2026, 6, 1),
            "due_at": NOON,
            "next_try_at": NOON,
            "valid_until": NOON + timedelta(days=1),
            "planned_at": NOON,
            "updated_at": NOON,
            **values,
        }
        connection.execute(insert(touchpoints).values(**row))


def _become_one(db: Database, shop: Shop) -> list[tuple[int, str]]:
    write(db, shop, [member("1", email="new@x.test")])
    with db.read() as connection:
        owner = connection.execute(select(members.c.member_id)).scalar_one()
        rows = connection.execute(select(touchpoints).order_by(touchpoints.c.touchpoint_id)).all()
    assert {row.member_id for row in rows} <= {owner}
    return [(row.touchpoint_id, row.state) for row in rows]


@pytest.mark.parametrize(
    ("guests", "accounts", "kept"),
    [
        ("delivered", "planned", (_GUEST, "delivered")),
        ("in_flight", "retry_wait", (_GUEST, "in_flight")),
        ("unconfirmed", "skipped", (_GUEST, "unconfirmed")),
        ("failed", "planned", (_GUEST, "failed")),
        ("planned", "accepted", (_ACCOUNT, "accepted")),
        ("planned", "planned", (_ACCOUNT, "planned")),
        ("delivered", "delivered", (_ACCOUNT, "delivered")),
    ],
)
def test_of_two_for_one_occasion_the_sent_one_stays(
    db: Database, shop: Shop, guests: str, accounts: str, kept: tuple[int, str]
) -> None:
    _touchpoint(db, shop, _GUEST, guests, of_account=False)
    _touchpoint(db, shop, _ACCOUNT, accounts, of_account=True)
    assert _become_one(db, shop) == [kept]


def test_other_occasions_of_the_guest_move_along(db: Database, shop: Shop) -> None:
    _touchpoint(db, shop, _GUEST, "delivered", of_account=False, occasion="2025-06-01")
    _touchpoint(db, shop, _ACCOUNT, "planned", of_account=True)
    assert _become_one(db, shop) == [(_GUEST, "delivered"), (_ACCOUNT, "planned")]


@pytest.mark.parametrize(
    ("of_guest", "of_account", "kept"), [("gold", "", "gold"), ("gold", "silver", "silver"), ("", "silver", "silver")]
)
def test_level_stands_beside_the_facts_of_both(
    db: Database, shop: Shop, of_guest: str, of_account: str, kept: str
) -> None:
    with db.write() as connection:
        found = select(members.c.member_id).order_by(members.c.external_id.is_not(None))
        for member_id, level in zip(connection.execute(found).scalars(), (of_guest, of_account), strict=True):
            if level:
                row = {"shop_id": shop.shop_id, "program_key": "main", "member_id": member_id, "level_key": level}
                connection.execute(insert(member_tiers).values(**row, since_at=NOON, since_on=NOON.date()))
                copy_beside_facts(connection, shop.shop_id, 0, member_id)
    _become_one(db, shop)
    with db.read() as connection:
        assert connection.execute(select(member_tiers.c.level_key)).scalar_one() == kept
        facts = connection.execute(select(member_facts)).one()
    assert (facts.orders_count, facts.level_key) == (1, kept)


def _club(db: Database, shop: Shop, *, of_guest: str | None, of_account: str | None) -> None:
    """Everybody earns silver, also of a second programme; each of the two may be given a level by hand besides, an empty one for none."""
    with db.write() as connection:
        for program in ("main", "tea"):
            levels = [{"key": "silver", "rule": "everyone"}, {"key": "gold", "rule": "orders() >= 9"}]
            tiers.save_policy(connection, shop, read_policy({"program": program, "levels": levels}), NOON, actor="test")
    tiers.apply(db, shop, as_of=NOON.date(), now=NOON)
    with db.write() as connection:
        ids = connection.execute(select(members.c.member_id).order_by(members.c.external_id.is_not(None))).scalars()
        for member_id, level, who in zip(ids, (of_guest, of_account), ("the guest", "the account"), strict=True):
            if level is not None:
                fix(Desk(connection, shop, NOON, "page:owner"), member_id, level, f"Said of {who}")


@pytest.mark.parametrize(
    ("of_guest", "of_account", "kept", "barred"),
    [
        ("", None, "", "Said of the guest"),
        (None, "", "", "Said of the account"),
        ("", "", "", "Said of the account"),
        ("gold", "", "", "Said of the account"),
        ("", "gold", "gold", None),
    ],
    ids=["guest barred", "account barred", "both barred", "account barred, guest given", "guest barred, account given"],
)
def test_no_level_by_hand_stays_none(
    db: Database, shop: Shop, of_guest: str | None, of_account: str | None, kept: str, barred: str | None
) -> None:
    _club(db, shop, of_guest=of_guest, of_account=of_account)
    _become_one(db, shop)
    for day in range(3):
        now = NOON + timedelta(days=day)
        with db.read() as connection:
            owner = connection.execute(select(members.c.member_id)).scalar_one()
            held = connection.execute(select(member_tiers.c.program_key, member_tiers.c.level_key)).all()
            bars = connection.execute(select(tier_bars.c.member_id, tier_bars.c.reason)).all()
            facts = connection.execute(select(member_facts.c.level_key)).scalar_one()
        # The other programme knows nothing of it.
        assert {row.program_key: row.level_key for row in held} == {"tea": "silver"} | ({"main": kept} if kept else {})
        assert bars == ([(owner, barred)] if barred else [])
        assert facts == kept
        tiers.apply(db, shop, as_of=now.date(), now=now)


def test_level_lost_by_becoming_one_says_why(db: Database, shop: Shop) -> None:
    _club(db, shop, of_guest="", of_account=None)
    _become_one(db, shop)
    with db.read() as connection:
        owner = connection.execute(select(members.c.member_id)).scalar_one()
        told = history(connection, shop.shop_id, "main", owner)
    last = [(one.from_level, one.to_level, one.cause) for one in told if one.cause == "by_hand"]
    assert last == [("silver", "", "by_hand"), ("silver", "", "by_hand")]


def test_bar_that_is_over_takes_no_level(db: Database, shop: Shop) -> None:
    _club(db, shop, of_guest="", of_account=None)
    with db.write() as connection:
        connection.execute(tier_bars.update().values(until=NOON.date() - timedelta(days=1)))
    _become_one(db, shop)
    with db.read() as connection:
        assert set(connection.execute(select(member_tiers.c.level_key)).scalars()) == {"silver"}
        assert connection.execute(select(tier_bars)).all() == []
