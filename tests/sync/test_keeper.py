"""Keys of a store are renewed by one at a time, and never for a store that was taken away."""

from __future__ import annotations

import threading

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select, update

from crm_plugin.errors import TransientError
from crm_plugin.store import shops
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.keeper import ShopKeeper
from tests.factories import make_shop

BOX = SecretBox(Fernet.generate_key())


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        return make_shop(connection, credentials=BOX.seal({"token": "t0", "url": "https://shop.example"}))


def test_each_renews_what_the_one_before_has_kept(db: Database, shop: Shop) -> None:
    def renew() -> None:
        keeper = ShopKeeper(db, BOX, shop)
        with keeper.alone() as keys:
            keeper.keep({"token": f"t{int(keys['token'][1:]) + 1}"})

    threads = [threading.Thread(target=renew) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ShopKeeper(db, BOX, shop).alone() as keys:
        assert keys == {"token": "t4", "url": "https://shop.example"}


def test_whoever_waits_too_long_is_told(db: Database, shop: Shop) -> None:
    pauses: list[float] = []
    with ShopKeeper(db, BOX, shop).alone():
        other = ShopKeeper(db, BOX, shop, sleep=pauses.append, patience=1.0)
        with pytest.raises(TransientError), other.alone():
            pass
    assert len(pauses) == 4
    with other.alone() as keys:
        assert keys["token"] == "t0"


def test_keys_of_a_store_that_was_taken_away_do_not_come_back(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        connection.execute(update(shops).values(credentials=None))
    keeper = ShopKeeper(db, BOX, shop)
    with keeper.alone() as keys:
        assert keys == {}
        keeper.keep({"token": "t1"})
    with db.read() as connection:
        assert connection.execute(select(shops.c.credentials)).scalar() is None
