"""A store at a new address: taken when it is the same one, refused when its accounts are other people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses
from sqlalchemy import select

from crm_plugin.errors import InvalidInput
from crm_plugin.store import shops
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.connect import add_shop, change_credentials, credentials_of
from tests.adapters.storefronts.woocommerce.fake_store import URL, FakeStore, customer
from tests.factories import NOON, member, write

BOX = SecretBox("A" * 43 + "=")
MOVED = "https://moved.example"
KEYS = {"url": URL, "key": "ck_" + "a" * 40, "secret": "cs_" + "b" * 40}


@pytest.fixture
def moved() -> Iterator[FakeStore]:
    there = FakeStore()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        FakeStore().mount(mock)
        FakeStore().mount(mock, "https://www.shop.example")
        there.mount(mock, MOVED)
        yield there


@pytest.fixture
def shop(moved: FakeStore, db: Database) -> Shop:
    shop = add_shop(db, BOX, name="fake", platform="woocommerce", credentials=KEYS, now=NOON)
    # Guests and accounts without an address say nothing of a store.
    write(db, shop, [member(str(number), email=f"c{number}@example.test") for number in range(1, 5)] + [member("5")])
    return shop


def _url(db: Database) -> str:
    with db.read() as connection:
        return connection.execute(select(shops.c.url)).scalar_one()


def test_same_store_elsewhere_is_taken(db: Database, shop: Shop, moved: FakeStore) -> None:
    moved.lists["customers"] = [
        customer(1),
        customer(2, email="C2@Example.TEST"),
        customer(3),
        customer(4, email="x@y.test"),
    ]
    change_credentials(db, BOX, shop, {"url": MOVED}, NOON)
    assert _url(db) == MOVED


@pytest.mark.parametrize(("there", "told"), [([], "none is"), (["1"], "1 is"), (["1", "2"], "2 are")])
def test_other_peoples_store_is_refused(
    db: Database, shop: Shop, moved: FakeStore, there: list[str], told: str
) -> None:
    moved.lists["customers"] = [
        customer(number, email=f"c{number}@example.test" if str(number) in there else f"other{number}@example.test")
        for number in range(1, 5)
    ]
    with pytest.raises(InvalidInput) as caught:
        change_credentials(db, BOX, shop, {"url": MOVED, "secret": "cs_new"}, NOON)
    assert caught.value.message == (
        f"That is another store: of 4 accounts of fake that were looked for, {told} there with the same e-mail."
    )
    assert (_url(db), credentials_of(db, BOX, shop)) == (URL, KEYS)


def test_other_currency_is_another_store(db: Database, shop: Shop, moved: FakeStore) -> None:
    moved.currency = "USD"
    moved.lists["customers"] = [customer(number) for number in range(1, 5)]
    with pytest.raises(InvalidInput, match="it counts in USD, fake in EUR"):
        change_credentials(db, BOX, shop, {"url": MOVED}, NOON)
    assert _url(db) == URL


def test_new_keys_of_the_same_address_ask_nobody(db: Database, shop: Shop) -> None:
    change_credentials(db, BOX, shop, {"url": "https://www.shop.example/", "secret": "cs_new"}, NOON)
    assert credentials_of(db, BOX, shop)["secret"] == "cs_new"
