"""A shop's settings: what is typed is checked whole, what is kept is merged, what is wrong writes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.errors import InvalidInput
from crm_plugin.store import audit_log
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import shop_by_id
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.settings import read_settings, save_settings, told_settings
from tests.factories import NOON, make_shop


def test_settings_are_read_into_one_form() -> None:
    told = {
        "title": " Lantern & Leaf ",
        "locale": "zh_CN",
        "quiet_hours": {"from": "22:00", "to": "07:30"},
        "brand": {"color": "#AABBCC", "logo_url": "https://shop.example/logo.png"},
        "address": " 1 Mill Lane \r\n York ",
        "cta_url": "https://shop.example/sale?a=1",
        "sender_name": "Lantern",
        "rates": {"USD": "0.920", "JPY": 0.0061},
    }
    assert read_settings(told) == {
        "title": "Lantern & Leaf",
        "locale": "zh-CN",
        "quiet_hours": {"from": "22:00", "to": "07:30"},
        "brand": {"color": "#aabbcc", "logo_url": "https://shop.example/logo.png"},
        "address": "1 Mill Lane\nYork",
        "cta_url": "https://shop.example/sale?a=1",
        "sender_name": "Lantern",
        "rates": {"JPY": "0.0061", "USD": "0.92"},
    }


@pytest.mark.parametrize(
    ("told", "field", "words"),
    [
        ({"adress": "x"}, "adress", "Did you mean address?"),
        ({"brand": {"colour": "#000000"}}, "brand.colour", "Did you mean color?"),
        ({"brand": {"color": "red"}}, "brand.color", "#1f4d3d"),
        ({"brand": {"logo_url": "http://shop.example/l.png"}}, "brand.logo_url", "https://"),
        ({"brand": "#000000"}, "brand", "color"),
        ({"quiet_hours": {"from": "21:00"}}, "quiet_hours", "beginning and an end"),
        ({"quiet_hours": {"from": "21:00", "to": "25:00"}}, "quiet_hours", "25:00"),
        ({"quiet_hours": {"from": 1260, "to": 480}}, "quiet_hours", "1260"),
        ({"cta_url": "shop.example"}, "cta_url", "https://"),
        ({"cta_url": 'https://shop.example/"onload="x'}, "cta_url", "web address"),
        ({"cta_url": "javascript:alert(1)"}, "cta_url", "web address"),
        ({"cta_url": "https://"}, "cta_url", "web address"),
        ({"sender_name": "Shop\r\nBcc: x@y.test"}, "sender_name", "one line"),
        ({"sender_name": ["Shop"]}, "sender_name", "is a text"),
        ({"address": "x" * 501}, "address", "500"),
        ({"tracking": True}, "tracking", "{clicks: true, opens: false}"),
        ({"tracking": {"opens": "yes"}}, "tracking.opens", "true or false"),
        ({"tracking": {"click": True}}, "tracking.click", "Did you mean clicks?"),
        ({"rates": {"usd": 1}}, "rates", "capital letters"),
        ({"rates": {"USD": "-1"}}, "rates.USD", "not an exchange rate"),
        ({"rates": {"USD": "NaN"}}, "rates.USD", "not an exchange rate"),
        ({"rates": {"USD": True}}, "rates.USD", "is a text"),
        ({"rates": [1]}, "rates", "by currency"),
        ({"locale": "klingon!"}, "locale", "not a language"),
        ({"title": " "}, "title", "cannot be empty"),
        ({"title": None}, "title", "cannot be empty"),
    ],
)
def test_wrong_settings_name_their_field(told: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_settings(told)
    assert (caught.value.field, words in str(caught.value)) == (field, True)


def test_saving_merges_and_empties(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection, settings={"address": "Old", "kept_by_another": 1})
        make_shop(connection, 2, name="other", settings={"address": "Theirs"})
        saved = save_settings(connection, shop, {"title": "New", "sender_name": "Ann"}, NOON, actor="page:ann")
        saved = save_settings(connection, saved, {"address": "", "locale": "zh-CN"}, NOON)
    assert (saved.title, saved.locale) == ("New", "zh-CN")
    assert saved.settings == {"kept_by_another": 1, "sender_name": "Ann"}
    with db.read() as connection:
        assert shop_by_id(connection, 2).settings == {"address": "Theirs"}
        rows = connection.execute(select(audit_log.c.actor, audit_log.c.action, audit_log.c.detail)).all()
    assert [tuple(row) for row in rows] == [
        ("page:ann", "settings.saved", {"changed": ["sender_name", "title"]}),
    ]


def test_own_currency_needs_no_rate(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
        with pytest.raises(InvalidInput, match="own currency"):
            save_settings(connection, shop, {"address": "X", "rates": {"EUR": "1"}}, NOON)
        assert shop_by_id(connection, 1).settings == {}


def test_told_settings_can_be_read_again(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection, settings={"quiet_hours": "nonsense", "rates": {"USD": "0.9"}, "brand": {}})
    told = told_settings(shop)
    assert told == {"title": "Shop 1", "locale": "en", "rates": {"USD": "0.9"}}
    assert read_settings(told) == told
    assert policy_of(shop).quiet.start.hour == 21
