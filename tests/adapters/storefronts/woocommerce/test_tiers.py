"""Levels in the meta data of accounts, against a store on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

import pytest
import responses

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.woocommerce import WooCommerceStorefront
from crm_plugin.demo.server import ServedShop, Trouble, serve
from crm_plugin.demo.shop import DemoShop, generate
from crm_plugin.errors import ActionRequired, MalformedResponse, PermanentError, TransientError
from crm_plugin.records import TierWrite
from tests.adapters.storefronts.woocommerce.fake_store import URL
from tests.contracts.storefront_tiers import GOLD, TierContract


@pytest.fixture(scope="module")
def made() -> DemoShop:
    return generate(seed=4, members=20, years=1, until=date(2026, 11, 24))


@pytest.fixture
def served(made: DemoShop) -> Iterator[ServedShop]:
    with serve(made) as shop:
        yield shop


class TestTiers(TierContract):
    @pytest.fixture
    def storefront(self, served: ServedShop) -> Iterator[StorefrontAdapter]:
        adapter = WooCommerceStorefront({"url": served.url, "key": served.key, "secret": served.secret})
        yield adapter
        adapter.close()

    @pytest.fixture
    def references(self, made: DemoShop) -> tuple[str, str]:
        return str(made.customers[0]["id"]), str(made.customers[1]["id"])

    @pytest.fixture
    def missing(self) -> str:
        return "999999"

    @pytest.fixture
    def fail(self, served: ServedShop) -> Callable[[str], None]:
        def begin(how: str) -> None:
            served.may_write = how != "read_only"
            troubles = {
                "busy": Trouble(429, {"Retry-After": "40"}),
                "down": Trouble(503),
                "silent": Trouble(0, after=True),
            }
            served.trouble = lambda _method, _path: troubles.get(how)

        return begin

    def test_form_is_meta_data(self, storefront: StorefrontAdapter) -> None:
        assert Capability.TIER_METAFIELD in storefront.capabilities
        assert storefront.tiers_at_once == 100

    def test_hundred_are_one_request(self, storefront: StorefrontAdapter, served: ServedShop, made: DemoShop) -> None:
        writes = [TierWrite(str(row["id"]), GOLD) for row in made.customers]
        assert all(done.error is None for done in storefront.write_tiers(writes))
        assert served.calls["POST customers/batch"] == 1


def _store() -> WooCommerceStorefront:
    return WooCommerceStorefront({"url": URL, "key": "ck_1", "secret": "cs_1"})


BATCH = f"{URL}/wp-json/wc/v3/customers/batch"
WEB_PAGE = "<!doctype html><html><title>Just a moment</title></html>"


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (200, '{"update":[{"id":7,"error":{"code":"woocommerce_rest_cannot_edit","message":"Sorry."}}]}', PermanentError, "permanent"),
        (200, '{"update":[{"id":7,"error":{"code":"wc_user_invalid_id","message":"Invalid"}}]}', PermanentError, "gone"),
        (200, '{"update":[{"id":8}]}', MalformedResponse, "malformed_response"),
        (200, "[]", MalformedResponse, "malformed_response"),
        (200, '{"update":{"id":7}}', MalformedResponse, "malformed_response"),
        (200, WEB_PAGE, ActionRequired, "not_json"),
        (403, '{"code":"woocommerce_rest_cannot_batch","message":"Sorry."}', ActionRequired, "scope_missing"),
        (413, '{"code":"woocommerce_rest_request_entity_too_large","message":"no"}', PermanentError, "permanent"),
        (500, '{"code":"internal_server_error","message":"critical"}', TransientError, "transient"),
    ],
)  # fmt: skip
@responses.activate
def test_refusals_say_who_must_act(status: int, body: str, kind: type[Exception], code: str) -> None:
    responses.post(BATCH, status=status, body=body, content_type="application/json")
    store = _store()
    with pytest.raises(kind) as caught:
        store.write_tier("7", GOLD)
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert len(responses.calls) == 1


@responses.activate
def test_php_writes_no_change_as_a_list() -> None:
    responses.post(BATCH, body="[]", content_type="application/json")
    assert _store().check_tiers() == []
