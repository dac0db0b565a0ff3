"""A made-up Saleor and the adapter that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import responses

from crm_plugin.adapters.storefronts.calls import Calls
from crm_plugin.adapters.storefronts.saleor import SaleorStorefront
from crm_plugin.adapters.storefronts.saleor.client import SaleorClient
from tests.adapters.storefronts.saleor.fake_saleor import APP, TOKEN, URL, FakeSaleor

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def saleor() -> Iterator[FakeSaleor]:
    made = FakeSaleor()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        made.mount(mock)
        yield made


@pytest.fixture
def storefront(saleor: FakeSaleor) -> Iterator[SaleorStorefront]:
    client = SaleorClient(URL, TOKEN, Calls("saleor", sleep=lambda _: None))
    values = {
        "api_url": URL,
        "token": TOKEN,
        "app_id": APP,
        "timezone": "Asia/Taipei",
        "checkout_url": "https://shop.example/checkout?checkout={id}",
        "product_url": "https://shop.example/p/{slug}",
    }
    adapter = SaleorStorefront(values, client=client, page_size=3, now=lambda: NOW)
    yield adapter
    adapter.close()
