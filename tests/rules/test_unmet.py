"""Values that no member has are told with those that there are, and only where a member must have them."""

from __future__ import annotations

import pytest

from crm_plugin.rules import compile_rule
from crm_plugin.rules.unmet import unmet
from crm_plugin.store.session import Database
from tests.factories import make_shop, member, write


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ('locale == "EN"', ["No member has the locale 'EN'. There are: en, zh-CN."]),
        ('locale in ["en", "fr"] and orders() > 1', ["No member has the locale 'fr'. There are: en, zh-CN."]),
        ('tag("VIP") or tag("vip")', ["No member has the tag 'VIP'. There are: vip."]),
        ('country == "GB"', ["No member has a country, so nobody has 'GB'."]),
        ('locale == "en"', []),
        ('locale != "EN" and locale not in ["fr"]', []),
        ('not tag("staff")', []),
        ("everyone", []),
    ],
)
def test_a_value_that_no_member_has_is_told_of(db: Database, rule: str, told: list[str]) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1", locale="en", tags=("vip",)), member("2", locale="zh-CN"), member("3")])
    with db.read() as connection:
        assert [str(one) for one in unmet(connection, shop, compile_rule(rule).node)] == told
