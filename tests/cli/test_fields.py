"""Which keys plugins keep in the store, from the command line."""

from __future__ import annotations

from typing import Any

import pytest

from crm_plugin.adapters.storefronts.woocommerce.adapter import WooCommerceStorefront
from crm_plugin.records import Stream
from crm_plugin.runtime import Runtime
from crm_plugin.store import shops
from crm_plugin.store.tenants import shop_named
from crm_plugin.sync import anew, connect
from tests.cli.conftest import Run
from tests.factories import make_shop

MEMBERS = [
    {"dob": "1990-03-04", "geburtsdatum": "03/04/1990", "optin": "yes", "werbung": "Ja", "mobile": "+44 20 7946 0018"},
    {"dob": "1985-12-24", "geburtsdatum": "05/06/1985", "optin": "no", "werbung": "Nein"},
]


@pytest.fixture
def shop(run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    def recent(_self: object, stream: Stream) -> list[dict[str, Any]]:
        return MEMBERS if stream is Stream.MEMBERS else []

    monkeypatch.setattr(WooCommerceStorefront, "recent_fields", recent)
    assert run("db", "upgrade")[0] == 0
    runtime = Runtime.open()
    keys = runtime.box.seal({"url": "https://shop.example", "key": "ck_1", "secret": "cs_1"})
    with runtime.db.write() as connection:
        make_shop(connection, name="shop", platform="woocommerce", credentials=keys)
    runtime.close()
    return "shop"


def _kept() -> tuple[dict[str, Any], bool]:
    runtime = Runtime.open()
    try:
        with runtime.db.read() as connection:
            shop = shop_named(connection, "shop")
            asked = anew.is_asked(connection, shop.shop_id)
        return connect.credentials_of(runtime.db, runtime.box, shop), asked
    finally:
        runtime.close()


def test_keys_are_shown_and_name_nobody(run: Run, shop: str) -> None:
    code, told = run("fields", shop)
    assert code == 0
    rows = {one["key"]: one for one in told}
    assert rows["dob"] == {
        "key": "dob",
        "records": {"members": 2},
        "read_as": "birthday",
        "values": ["1990-03-04", "1985-12-24"],
    }
    assert rows["mobile"]["values"] == ["•••• 18"]
    assert [key for key, one in rows.items() if one["read_as"]] == ["dob"]
    told = run("fields", shop, "--set", "consent=optin")[1]
    assert {one["key"]: one["read_as"] for one in told if one["read_as"]} == {"dob": "birthday", "optin": "consent"}


def test_a_key_is_set_and_read_from_the_beginning(run: Run, shop: str) -> None:
    assert run("fields", shop, "--set", "birthday=dob", "--set", "consent=optin")[0] == 0
    kept, asked = _kept()
    assert (kept["birthday_keys"], kept["consent_keys"], kept["birthday_order"], asked) == (
        "dob",
        "optin",
        "certain",
        True,
    )
    assert run("fields", shop, "--set", "consent=")[0] == 0
    assert _kept()[0]["consent_keys"] == ""


@pytest.mark.parametrize(
    "told", ["birthday=geburtsdatum", "consent=werbung", "birthday=none", "shoe_size=dob", "birthday"]
)
def test_what_somebody_has_to_look_at_is_refused(run: Run, shop: str, told: str) -> None:
    assert run("fields", shop, "--set", told)[0] == 1
    kept, asked = _kept()
    assert ("birthday_keys" in kept, "consent_keys" in kept, asked) == (False, False, False)


def test_store_that_is_not_connected_is_asked_nothing(run: Run, shop: str) -> None:
    runtime = Runtime.open()
    with runtime.db.write() as connection:
        connection.execute(shops.update().values(status="uninstalled"))
    runtime.close()
    assert run("fields", shop)[0] == 1
