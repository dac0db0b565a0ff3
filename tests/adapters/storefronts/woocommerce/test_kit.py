"""The kit of all storefronts against WooCommerce."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import responses

from crm_plugin.adapters.storefronts.woocommerce import WooCommerceStorefront
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.adapters.testing import Store, StorefrontKit
from crm_plugin.store.session import Database
from tests.adapters.storefronts.woocommerce.kit_store import KEY, SECRET, URL, WooStore


class TestKit(StorefrontKit):
    adapter = WooCommerceStorefront
    store_type = WooStore

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        made = WooStore()
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            for method in ("GET", "POST", "PUT", "DELETE"):
                mock.add_callback(method, re.compile(rf"{re.escape(URL)}/.*"), made.respond, content_type=None)
            mock.add_passthru("http://127.0.0.1")
            yield made

    @pytest.fixture
    def database(self, sqlite_db: Database) -> Database:
        return sqlite_db

    def open(self, store: Store) -> WooCommerceStorefront:
        url = store.served_at or URL
        client = WooCommerceClient(url, KEY, SECRET, sleep=lambda _: None, now=lambda: store.now.timestamp())
        client.per_page = store.page_size
        return WooCommerceStorefront({"url": url, "key": KEY, "secret": SECRET}, client=client)

    def test_forty_cases_apply(self) -> None:
        assert sum(self.cases().values()) >= 40
