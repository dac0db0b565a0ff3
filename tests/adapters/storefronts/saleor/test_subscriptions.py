"""Webhooks of an app that was made by hand: made once, revived, never beside those of the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.storefronts.saleor import SaleorInstaller, SaleorStorefront
from crm_plugin.adapters.storefronts.saleor.topics import APP, CHECKOUTS, TOPICS
from tests.adapters.storefronts.saleor.fake_saleor import APP as APP_ID
from tests.adapters.storefronts.saleor.fake_saleor import FakeSaleor

OWN, COMMON = "https://crm.example/hooks/teas/saleor", "https://crm.example/events/saleor"
JWKS = {"keys": [{"kid": "new"}]}


class Kept:
    """What the adapter had kept."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    @contextmanager
    def alone(self) -> Iterator[dict[str, Any]]:
        yield {}

    def keep(self, renewed: Mapping[str, Any]) -> None:
        self.told.append(dict(renewed))


def _events(saleor: FakeSaleor) -> list[str]:
    return sorted(word["eventType"] for hook in saleor.webhooks for word in hook["asyncEvents"])


def test_all_events_are_asked_for_once(saleor: FakeSaleor, storefront: SaleorStorefront) -> None:
    saleor.jwks = JWKS
    storefront.keeper = kept = Kept()
    for _ in range(2):
        assert storefront.subscribe(OWN) == []
    assert _events(saleor) == sorted(TOPICS)
    assert {hook["targetUrl"] for hook in saleor.webhooks} == {OWN}
    assert all("fragment Told on Event" in hook["subscriptionQuery"] for hook in saleor.webhooks)
    assert kept.told[0] == {"app_id": APP_ID, "jwks": JWKS}
    storefront.unsubscribe(OWN)
    assert saleor.webhooks == []


def test_only_what_the_app_may_know_is_asked_for(saleor: FakeSaleor, storefront: SaleorStorefront) -> None:
    saleor.permissions.remove("MANAGE_CHECKOUTS")
    storefront.subscribe(OWN)
    assert _events(saleor) == sorted(set(TOPICS) - set(CHECKOUTS))


def test_those_of_the_manifest_are_enough(saleor: FakeSaleor, storefront: SaleorStorefront) -> None:
    storefront.subscribe(OWN)
    for hook in saleor.webhooks:
        hook["targetUrl"] = COMMON
    before = [dict(hook) for hook in saleor.webhooks]
    assert storefront.subscribe(OWN) == []
    assert saleor.webhooks == before
    # Installed from the manifest after it had made its own: nothing is told twice.
    saleor.webhooks += [{**hook, "id": f"own-{hook['id']}", "targetUrl": OWN} for hook in before]
    saleor.webhooks.append({**before[0], "id": "other", "targetUrl": "https://other.example/hooks/teas/saleor"})
    assert storefront.subscribe(OWN) == []
    assert [hook["targetUrl"] for hook in saleor.webhooks] == [COMMON] * len(before) + [
        "https://other.example/hooks/teas/saleor"
    ]
    storefront.unsubscribe(OWN)
    assert len(saleor.webhooks) == len(before) + 1


def test_what_was_switched_off_or_is_old_is_mended(saleor: FakeSaleor, storefront: SaleorStorefront) -> None:
    storefront.subscribe(OWN)
    saleor.webhooks[0]["isActive"] = False
    saleor.webhooks[1]["asyncEvents"].pop()
    saleor.webhooks[2]["subscriptionQuery"] = "subscription { event { issuedAt } }"
    gone = saleor.webhooks.pop()
    assert {word["eventType"] for word in gone["asyncEvents"]} == set(APP)
    (problem,) = storefront.subscribe(OWN)
    assert (problem.code, problem.severity) == ("webhooks_renewed", Severity.INFO)
    assert problem.message.startswith("2 ")
    assert _events(saleor) == sorted(TOPICS)
    assert all(hook["isActive"] for hook in saleor.webhooks)
    assert storefront.subscribe(OWN) == []


def test_refusal_says_what_to_do(saleor: FakeSaleor, storefront: SaleorStorefront) -> None:
    (problem,) = storefront.subscribe("http://localhost:8000/hooks/teas/saleor")
    assert (problem.severity, "Invalid target URL." in problem.message) == (Severity.WARNING, True)
    assert "http://localhost:8000/install/saleor/manifest.json" in problem.hint
    saleor.token = None
    (problem,) = storefront.subscribe(OWN)
    assert problem.code == "unauthorised"
    storefront.unsubscribe(OWN)


def test_store_whose_token_was_typed_in_is_known_by_its_api(storefront: SaleorStorefront) -> None:
    assert (
        storefront.address
        == SaleorInstaller.reference_of("https://shop.example/graphql")
        == "https://shop.example/graphql/"
    )


def test_without_published_keys_those_kept_stay(saleor: FakeSaleor, storefront: SaleorStorefront) -> None:
    storefront.keeper = kept = Kept()
    storefront.values["app_id"] = ""
    storefront.subscribe(OWN)
    assert kept.told == [{"app_id": APP_ID}]
