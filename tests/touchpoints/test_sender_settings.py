"""How a sender's settings are kept: what may hold a secret is encrypted, all else is signed."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.store import connections
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import senders
from tests.touchpoints.guarding import BOX, START, shop_with

_SERVER = {"host": "mail.example", "port": 25, "security": "none", "from_address": "shop@lantern.example"}


@pytest.mark.parametrize(
    ("adapter", "told", "is_open"),
    [
        ("smtp", _SERVER, True),
        ("smtp", {**_SERVER, "username": "shop", "password": "s3cr3t"}, False),
        ("webhook", {"signing_secret": "s3cr3t" * 4}, False),
    ],
)
def test_only_settings_without_a_secret_are_kept_open(
    sqlite_db: Database, adapter: str, told: dict[str, Any], is_open: bool
) -> None:
    shop = shop_with(sqlite_db)
    senders.save_connection(sqlite_db, BOX, shop, adapter, told, START, probe=False)
    with sqlite_db.read() as connection:
        kept = connection.execute(select(connections.c.settings).where(connections.c.adapter == adapter)).scalar_one()
    assert (kept.startswith(b"{"), b"mail.example" in kept) == (is_open, is_open)
    assert b"s3cr3t" not in kept
    assert senders.settings_of(sqlite_db, BOX, shop, adapter).items() >= told.items()


def test_secret_that_is_given_later_is_encrypted_with_the_rest(sqlite_db: Database) -> None:
    shop = shop_with(sqlite_db)
    for told in (_SERVER, {**_SERVER, "username": "shop", "password": "s3cr3t"}, _SERVER):
        senders.save_connection(sqlite_db, BOX, shop, "smtp", told, START, probe=False)
    with sqlite_db.read() as connection:
        kept = connection.execute(select(connections.c.settings).where(connections.c.adapter == "smtp")).scalar_one()
    assert not kept.startswith(b"{")
    # An empty secret keeps the one that is there.
    assert senders.settings_of(sqlite_db, BOX, shop, "smtp")["password"] == "s3cr3t"
