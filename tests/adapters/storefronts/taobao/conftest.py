"""One shop behind a gateway that answers as TOP does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses

from crm_plugin.adapters.storefronts.taobao import TaobaoStorefront
from tests.adapters.storefronts.taobao.fake_top import VALUES, Top


@pytest.fixture
def top() -> Iterator[Top]:
    gateway = Top()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        gateway.install(mock)
        yield gateway


@pytest.fixture
def store(top: Top) -> Iterator[TaobaoStorefront]:
    adapter = TaobaoStorefront(VALUES, sleep=top.sleep, now=top.clock)
    yield adapter
    adapter.close()
