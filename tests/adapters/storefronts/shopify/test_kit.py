"""What every storefront keeps to, held against the made-up shop."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import responses

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.shopify import ShopifyStorefront
from crm_plugin.adapters.storefronts.shopify.client import ShopifyClient
from crm_plugin.adapters.storefronts.shopify.oauth import OAuth
from crm_plugin.adapters.storefronts.shopify.tokens import Tokens
from crm_plugin.adapters.testing import Store, StorefrontKit
from tests.adapters.storefronts.shopify.fake_shop import CLIENT_ID, SECRET, SHOP
from tests.adapters.storefronts.shopify.shop_store import ShopifyStore

APP = {"client_id": CLIENT_ID, "client_secret": SECRET}
KEYS = {"access_token": "shpat_1", "refresh_token": "shprt_1", "expires_at": 0}


def _at_once(_seconds: float) -> None:
    """A pause that takes no time."""


@pytest.mark.slow
class TestKit(StorefrontKit):
    adapter = ShopifyStorefront
    store_type = ShopifyStore

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        made = ShopifyStore()
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            mock.add_passthru("http://127.0.0.1")
            for method in ("GET", "POST"):
                mock.add_callback(method, re.compile("https://.*"), made.respond, content_type=None)
            yield made

    def open(self, store: Store) -> StorefrontAdapter:
        at = store.served_at
        tokens = Tokens(SHOP, KEYS, OAuth(APP, at, sleep=_at_once), lambda: None, now=store.now.timestamp)
        client = ShopifyClient(
            SHOP, tokens, base_url=at, sleep=_at_once, now=lambda: store.now, rows=store.page_size
        )  # fmt: skip
        return ShopifyStorefront({"shop": SHOP, **KEYS, **APP, "base_url": at}, client=client)
