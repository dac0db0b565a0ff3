"""What is stored of a record can be asked for on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.rules import compile_rule
from crm_plugin.rules.sql import select_members
from crm_plugin.store import members, orders
from crm_plugin.store.session import Database
from crm_plugin.sync.values import attributes_json
from tests.factories import NOON, make_shop, member, order, write


@pytest.mark.parametrize(
    ("told", "stored"),
    [
        ({"city": "Y\0ork"}, '{"city":"York"}'),
        ({"c\0ity": [{"a": "b\0"}, 1, None]}, '{"city":[{"a":"b"},1,null]}'),
        # Six letters that only look like it.
        ({"city": "Y\\u0000"}, '{"city":"Y\\\\u0000"}'),
    ],
)
def test_attributes_hold_no_nul(told: dict[str, Any], stored: str) -> None:
    assert attributes_json(told) == stored


def test_rule_reads_attributes_told_with_nul(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1", attributes={"city": "Y\0ork"}), member("2", attributes={"city": "Bath"})])
    write(db, shop, [order("o1", member_external_id="1", attributes={"gift": "\0"})])
    rule = compile_rule('attribute("city") == "York"').node
    with db.read() as connection:
        found = connection.execute(select_members(shop, rule, NOON.date())).scalars().all()
        one = connection.execute(select(members.c.member_id).where(members.c.external_id == "1")).scalar_one()
        kept = connection.execute(select(orders.c.attributes)).scalar_one()
    assert list(found) == [one]
    assert kept == {"gift": ""}
