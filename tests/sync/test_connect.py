"""Connecting a store: whole or not at all, and never one store for two shops."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, select

from crm_plugin.adapters import registry
from crm_plugin.adapters.storefronts.installing import Frame, Installer
from crm_plugin.errors import ActionRequired, InvalidInput
from crm_plugin.records import ShopInfo
from crm_plugin.store import shops
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import connect
from crm_plugin.sync.standing import Standing, of_error
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


def test_store_of_one_shop_is_given_to_no_other(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by typing its keys in, nor by new keys for the shop that lost it."""

    class Named(Installer):
        platform = "plain"

        @classmethod
        def reference_of(cls, url: str) -> str:
            return url.removeprefix("https://")

        def frame(self, reference: str) -> Frame:
            return Frame(("'none'",))

    class Addressed(PlainStore):
        installer = Named

    monkeypatch.setattr(registry, "_foreign", lambda: {"plain": Addressed})
    with sqlite_db.write() as connection:
        make_shop(connection, 1, platform="plain", reference="a.example", url="https://a.example")
        other = make_shop(connection, 2, platform="plain", url="https://b.example")
        lost = make_shop(connection, 3, platform="plain", status="suspended", status_reason="held_elsewhere")
    box, typed = SecretBox(Fernet.generate_key()), {"url": "https://a.example"}
    for act in (
        lambda: connect.add_shop(sqlite_db, box, name="new", platform="plain", credentials=typed, now=NOON),
        lambda: connect.change_credentials(sqlite_db, box, other, typed, NOON),
        lambda: connect.change_credentials(sqlite_db, box, lost, {}, NOON),
    ):
        with pytest.raises(InvalidInput, match="Another shop here holds this store"):
            act()
    with sqlite_db.read() as connection:
        assert connection.execute(select(shops.c.status).order_by(shops.c.shop_id)).scalars().all() == [
            *("connected", "connected", "suspended")
        ]


@pytest.mark.parametrize(
    ("code", "status", "standing"),
    [
        ("unauthorised", 401, Standing.KEYS),
        (None, 401, Standing.KEYS),
        ("scope_missing", 403, Standing.PERMISSION),
        (None, 403, Standing.REFUSED),
        ("not_json", 403, Standing.REFUSED),
        ("not_json", 200, Standing.ADDRESS),
        (None, None, Standing.OTHER),
    ],
)
def test_refusals_are_told_apart(code: str | None, status: int | None, standing: Standing) -> None:
    assert of_error(ActionRequired("refused", code=code, status=status)) is standing
