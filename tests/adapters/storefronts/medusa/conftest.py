"""A made-up Medusa and the adapter that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import responses

from crm_plugin.adapters.storefronts.calls import Calls
from crm_plugin.adapters.storefronts.medusa import MedusaStorefront
from crm_plugin.adapters.storefronts.medusa.client import MedusaClient
from tests.adapters.storefronts.medusa.fake_medusa import KEY, URL, FakeMedusa

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SECRET = "shared"


@pytest.fixture
def medusa() -> Iterator[FakeMedusa]:
    made = FakeMedusa()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        made.mount(mock)
        yield made


@pytest.fixture
def storefront(medusa: FakeMedusa, monkeypatch: pytest.MonkeyPatch) -> Iterator[MedusaStorefront]:
    monkeypatch.setattr(MedusaStorefront, "clock", staticmethod(NOW.timestamp))
    client = MedusaClient(f"{URL}/app", KEY, Calls("medusa", sleep=lambda _: None))
    values = {"url": URL, "key": KEY, "webhook_secret": SECRET, "timezone": "Asia/Taipei"}
    adapter = MedusaStorefront(values, client=client, page_size=3, now=lambda: NOW)
    yield adapter
    adapter.close()
