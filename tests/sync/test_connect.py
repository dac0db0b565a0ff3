"""Connecting a store: whole or not at all, and never one store for two shops."""

from __future__ import annotations

import threading

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, select

from crm_plugin.adapters import registry
from crm_plugin.adapters.storefronts.installing import Frame, Installer
from crm_plugin.errors import ActionRequired, InvalidInput, TransientError
from crm_plugin.records import ShopInfo
from crm_plugin.store import shops
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import connect, holders
from crm_plugin.sync.holders import StoreIsHeld
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


class _Named(Installer):
    platform = "plain"

    @classmethod
    def reference_of(cls, url: str) -> str:
        return url

    def frame(self, reference: str) -> Frame:
        return Frame(("'none'",))


class _Addressed(PlainStore):
    """A platform whose stores are known by their addresses."""

    installer = _Named


@pytest.fixture
def addressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_foreign", lambda: {"plain": _Addressed})


def _type_in(db: Database, name: str, url: str) -> Shop:
    box = SecretBox(Fernet.generate_key())
    return connect.add_shop(db, box, name=name, platform="plain", credentials={"url": url}, now=NOON)


@pytest.mark.usefixtures("addressed")
def test_store_of_one_shop_is_given_to_no_other(db: Database) -> None:
    """Neither by typing its keys in, nor by new keys for another shop or for the one that lost it."""
    with db.write() as connection:
        make_shop(connection, 1, platform="plain", reference="https://a.example", url="https://a.example")
        other = make_shop(connection, 2, platform="plain", url="https://b.example")
        lost = make_shop(connection, 3, platform="plain", status="suspended", status_reason="held_elsewhere")
    box, typed = SecretBox(Fernet.generate_key()), {"url": "https://a.example"}
    for act in (
        lambda: _type_in(db, "new", "https://a.example"),
        lambda: _type_in(db, "new", "https://b.example"),
        lambda: connect.change_credentials(db, box, other, typed, NOON),
        lambda: connect.change_credentials(db, box, lost, {}, NOON),
    ):
        with pytest.raises(StoreIsHeld, match="Another shop here holds this store") as refused:
            act()
        assert not {"shop-1", "shop-2", "Shop 1", "Shop 2"} & set(str(refused.value).split())
    with db.read() as connection:
        assert connection.execute(select(shops.c.status).order_by(shops.c.shop_id)).scalars().all() == [
            *("connected", "connected", "suspended")
        ]


@pytest.mark.usefixtures("addressed")
@pytest.mark.parametrize(
    ("again", "is_same"),
    [
        ("https://shop.example/de", True),
        ("HTTP://Shop.Example/DE/", True),
        ("https://shop.example:443/de/", True),
        ("http://shop.example:80/de", True),
        ("https://www.shop.example/de", False),
        ("https://shop.example:8443/de", False),
        ("https://shop.example/fr", False),
        ("https://shop.example", False),
    ],
)
def test_address_is_the_same_however_it_is_typed(sqlite_db: Database, again: str, is_same: bool) -> None:
    first = _type_in(sqlite_db, "first", "https://shop.example/de")
    if not is_same:
        assert _type_in(sqlite_db, "second", again).name == "second"
        return
    with pytest.raises(StoreIsHeld) as refused:
        _type_in(sqlite_db, "second", again)
    assert refused.value.shop_id == first.shop_id


@pytest.mark.usefixtures("addressed")
def test_who_comes_by_a_name_that_only_looks_alike_takes_no_shop_over(sqlite_db: Database) -> None:
    """On one host /Ada and /ada may be two merchants, and whoever names http may stand in between."""
    box = SecretBox(Fernet.generate_key())
    first = _type_in(sqlite_db, "first", "https://shop.example/ada")
    told = {"name": "second", "platform": "plain", "credentials": {}, "now": NOON}
    for alike in ("https://shop.example/Ada", "http://shop.example/ada", "https://shop.example/ada/"):
        with sqlite_db.read() as connection:
            assert holders.holder_of(connection, "plain", alike) is None
        with pytest.raises(StoreIsHeld):
            connect.add_shop(sqlite_db, box, reference=alike, **told)
    # By its very name it is the same shop.
    assert connect.add_shop(sqlite_db, box, reference="https://shop.example/ada", **told).shop_id == first.shop_id


@pytest.mark.parametrize(
    ("platform", "kept", "again"),
    [
        ("woocommerce", "https://shop.example/", "http://www.SHOP.example/wp-admin/"),
        ("medusa", "https://api.shop.example", "http://API.shop.example/app"),
        ("saleor", "https://shop.example/graphql/", "http://shop.example/graphql"),
        ("shopify", "https://flower-shop.myshopify.com", "https://flower-shop.myshopify.com/"),
    ],
)
def test_each_platform_knows_its_stores_by_their_addresses(
    sqlite_db: Database, platform: str, kept: str, again: str
) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection, platform=platform, url=kept)
        holders.require_free(connection, platform, again, shop)
        with pytest.raises(StoreIsHeld) as refused:
            holders.require_free(connection, platform, again)
    assert refused.value.shop_id == shop.shop_id


@pytest.mark.usefixtures("addressed")
def test_two_who_shared_a_store_go_on_and_neither_comes_back(sqlite_db: Database) -> None:
    """As it was before a second one was refused."""
    box, typed = SecretBox(Fernet.generate_key()), {"url": "https://a.example"}
    with sqlite_db.write() as connection:
        first = make_shop(connection, 1, platform="plain", **typed)
        gone = make_shop(connection, 2, platform="plain", status="uninstalled", status_reason="disconnected", **typed)
    assert connect.change_credentials(sqlite_db, box, first, typed, NOON).status == "connected"
    with pytest.raises(StoreIsHeld):
        connect.change_credentials(sqlite_db, box, gone, typed, NOON)


@pytest.mark.usefixtures("addressed")
def test_store_that_is_being_erased_is_waited_for(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        make_shop(
            connection, 1, platform="plain", url="https://a.example", status="uninstalled", status_reason="erasing"
        )
    with pytest.raises(TransientError, match="Begin again in a few minutes"):
        _type_in(sqlite_db, "new", "https://a.example")


@pytest.mark.usefixtures("addressed")
def test_two_who_connect_one_store_at_once_make_one_shop(db: Database) -> None:
    """Each is told the store's address before either is kept."""
    outcomes: list[str] = []
    ready = threading.Barrier(2)

    class Met(_Addressed):
        def shop_info(self) -> ShopInfo:
            ready.wait(10)
            return self.info

    def begin(name: str, url: str) -> None:
        try:
            outcomes.append(_type_in(db, name, url).name)
        except StoreIsHeld:
            outcomes.append("held")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(registry, "_foreign", lambda: {"plain": Met})
        both = [threading.Thread(target=begin, args=told) for told in (("a", "http://a.example"), ("b", "A.example/"))]
        for one in both:
            one.start()
        for one in both:
            one.join(20)
    assert sorted(outcomes) in (["a", "held"], ["b", "held"])


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
