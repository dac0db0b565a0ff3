"""Connecting a store: whole or not at all, and never one store for two shops."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, select

from crm_plugin.adapters import registry
from crm_plugin.errors import InvalidInput
from crm_plugin.records import ShopInfo
from crm_plugin.store import shops
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import connect
from tests.factories import NOON, make_shop
from tests.sync.plain_store import PlainStore


def _add(db: Database, name: str) -> Shop:
    box = SecretBox(Fernet.generate_key())
    return connect.add_shop(db, box, name=name, platform="plain", credentials={}, reference="a.example", now=NOON)


def test_who_is_quicker_has_the_store_and_the_other_comes_to_the_same_shop(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is connected between the look whether the store is here and the row that is written."""
    with db.write() as connection:
        make_shop(connection, 5, name="taken")

    class Slow(PlainStore):
        def shop_info(self) -> ShopInfo:
            monkeypatch.setattr(registry, "_foreign", lambda: {"plain": PlainStore})
            _add(db, "first")
            return self.info

    monkeypatch.setattr(registry, "_foreign", lambda: {"plain": Slow})
    assert _add(db, "second").name == "first"
    with pytest.raises(InvalidInput, match="taken"):
        _add(db, "taken")
    with db.read() as connection:
        assert connection.execute(select(func.count()).select_from(shops)).scalar() == 2
