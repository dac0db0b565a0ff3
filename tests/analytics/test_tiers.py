"""The history of tiers, and what members are called in it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from crm_plugin.analytics.tiers import Act, history, holders
from crm_plugin.rules import tiers
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.tiers import Level, Move
from crm_plugin.store import audit, members
from crm_plugin.store.members import names_of
from crm_plugin.store.session import Database
from tests.factories import NOON, make_shop, member, write

ALL = Level("all", "everyone")


def test_history_tells_what_moved_and_who_did_it(db: Database) -> None:
    with db.write() as connection:
        shop, other = make_shop(connection, 1), make_shop(connection, 2)
    write(db, shop, [member("1"), member("2")])
    later = NOON + timedelta(days=1)
    tiers.save_and_apply(db, shop, [ALL], as_of=NOON.date(), now=NOON, actor="page:owner")
    write(db, shop, [member("3")])
    with db.write() as connection:
        audit.note(connection, 1, "cli", "settings", {}, later)
    tiers.apply(db, shop, as_of=later.date(), now=later)
    with db.read() as connection:
        assert history(connection, shop.shop_id) == [
            Act(later, "job:tiers", False, "main", {"main": (Move("", "all", 1),)}, 0),
            Act(NOON, "page:owner", False, "main", {"main": (Move("", "all", 2),)}, 0),
            Act(NOON, "page:owner", True, "main", {}, 0),
        ]
        assert [act.changed for act in history(connection, shop.shop_id, limit=2)] == [1, 2]
        assert history(connection, other.shop_id) == []


def test_history_tells_of_every_programme_and_of_terms(db: Database) -> None:
    later = NOON + timedelta(days=1)
    club = {"program": "club", "term": {"days": 1}, "levels": [{"key": "a", "rule": "everyone"}]}
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1"), member("2")])
    told = {"as_of": NOON.date(), "now": NOON, "actor": "page:owner"}
    tiers.save_policy_and_apply(db, shop, read_policy(club), **told)
    tiers.apply(db, shop, as_of=later.date(), now=later)
    with db.read() as connection:
        assert history(connection, shop.shop_id) == [
            Act(later, "job:tiers", False, "main", {}, 2),
            Act(NOON, "page:owner", False, "main", {"club": (Move("", "a", 2),)}, 0),
            Act(NOON, "page:owner", True, "club", {}, 0),
        ]
        assert holders(connection, shop.shop_id) == {"club": 2}


def test_names_fall_back_to_what_is_known(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    people = [
        member("1", first_name="Anna", last_name="Li", email="a@x.test"),
        member("2", email="b@x.test"),
        member("3", phone="+4915112345678"),
        member("4"),
    ]
    write(db, shop, people)
    with db.read() as connection:
        ids = connection.execute(select(members.c.member_id)).scalars().all()
        assert sorted(names_of(connection, shop.shop_id, ids).values()) == [
            "#4",
            "+4915112345678",
            "Anna Li",
            "b@x.test",
        ]
        assert names_of(connection, shop.shop_id + 1, ids) == {}
