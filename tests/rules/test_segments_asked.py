"""A segment stays while anything asks for it, also what only keeps a level or is planned; and no two savings make a circle between them."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from crm_plugin.errors import CrmError, InvalidInput, RuleTypeError
from crm_plugin.rules import segments, tiers
from crm_plugin.rules.book import read_book, resolve
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.store import audit_log
from crm_plugin.store.session import Database
from tests.factories import NOON, make_shop

_LEVEL = {"key": "silver", "entry": 250}
_PLANNED = (NOON.date() + timedelta(days=30)).isoformat()


@pytest.mark.parametrize(
    ("level", "more", "days", "kept"),
    [
        ({**_LEVEL, "keep_rule": 'segment("vips")'}, {}, 0, True),
        ({**_LEVEL, "reentry_rule": 'segment("vips")'}, {}, 0, True),
        ({"key": "silver", "rule": 'segment("vips")'}, {"effective_on": _PLANNED}, 0, True),
        ({**_LEVEL, "keep_rule": 'segment("vips")'}, {"effective_on": _PLANNED}, 40, True),
        # What is over asks for nothing.
        (_LEVEL, {}, 0, False),
    ],
    ids=["keeps", "comes back", "is planned", "is in force by now", "is over"],
)
def test_segment_of_a_policy_cannot_be_removed(
    db: Database, level: dict[str, Any], more: dict[str, Any], days: int, kept: bool
) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
        segments.save(connection, shop, "vips", "orders() >= 1", NOON)
        for one in ({"key": "silver", "rule": 'segment("vips")'}, _LEVEL, level):
            told = read_policy(
                {"program": "club", "measure": "spent", "levels": [one], **(more if one is level else {})}
            )
            tiers.save_policy(connection, shop, told, NOON, actor="a")
        if kept:
            with pytest.raises(InvalidInput, match="The tier silver keeps its rule"):
                segments.remove(connection, shop, "vips", NOON + timedelta(days=days))
        else:
            segments.remove(connection, shop, "vips", NOON + timedelta(days=days))
        assert [one.key for one in segments.list(connection, shop.shop_id)] == (["vips"] if kept else [])


@pytest.mark.postgres
def test_two_savings_at_once_make_no_circle(request: pytest.FixtureRequest) -> None:
    with request.getfixturevalue("postgres").kept() as db:
        with db.write() as connection:
            shop = make_shop(connection)
            for key in ("a", "b"):
                segments.save(connection, shop, key, "orders() >= 1", NOON)
        refused: list[CrmError] = []

        def other() -> None:
            try:
                with db.write() as connection:
                    segments.save(connection, shop, "b", 'segment("a")', NOON)
            except CrmError as error:
                refused.append(error)

        asks = threading.Event()
        waiting = threading.Thread(target=other)
        with db.write() as connection:
            segments.save(connection, shop, "a", 'segment("b")', NOON)
            event.listen(db.engine, "before_cursor_execute", lambda *told: asks.set() if "FOR " in told[2] else None)
            waiting.start()
            assert asks.wait(20)
        waiting.join(20)
        assert [type(one) for one in refused] == [RuleTypeError]
        with db.read() as connection:
            book = read_book(connection, shop.shop_id)
        assert all(resolve(rule, book) for rule in book.segments.values() if rule is not None)


def test_log_tells_who_saved_and_removed_in_the_same_transaction(db: Database) -> None:
    c = audit_log.c
    with db.write() as connection:
        shop = make_shop(connection)
        segments.save(connection, shop, "vips", " orders() >= 1 ", NOON, actor="cli")
        segments.save_list(connection, shop, "listed", NOON, actor="cli")
        segments.remove(connection, shop, "vips", NOON, actor="page:owner")
        segments.save(connection, shop, "quiet", "orders() >= 1", NOON)
        told = connection.execute(select(c.actor, c.action, c.detail).order_by(c.audit_id)).all()
    assert told == [
        ("cli", "segment.saved", {"segment": "vips", "rule": "orders() >= 1"}),
        ("cli", "segment.saved", {"segment": "listed", "rule": ""}),
        ("page:owner", "segment.removed", {"segment": "vips", "rule": "orders() >= 1"}),
    ]
