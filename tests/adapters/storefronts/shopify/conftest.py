"""The made-up shop, listening under its own domain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses

from tests.adapters.storefronts.shopify.fake_shop import FakeShop


@pytest.fixture
def shop() -> Iterator[FakeShop]:
    fake = FakeShop()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        fake.listen(mock)
        yield fake
