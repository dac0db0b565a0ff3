"""Calls to the Admin API: keys renewed, errors of three layers, costs, and the version that answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
import requests

from crm_plugin.adapters.storefronts.shopify.client import ShopifyClient
from crm_plugin.adapters.storefronts.shopify.oauth import OAuth
from crm_plugin.adapters.storefronts.shopify.tokens import Tokens
from crm_plugin.errors import ActionRequired, MalformedResponse, PermanentError, TransientError
from tests.adapters.storefronts.shopify.fake_shop import CLIENT_ID, SECRET, SHOP, FakeShop
from tests.adapters.storefronts.shopify.shop_rows import customer

AT = 1_800_000_000.0
APP = {"client_id": CLIENT_ID, "client_secret": SECRET}
RENEWABLE = {"access_token": "shpat_1", "refresh_token": "shprt_1", "expires_at": int(AT) + 3600}
BY_QUERY = {"after": None, "query": None}


class Kept:
    """Keys as a database keeps them for all processes."""

    def __init__(self, keys: Mapping[str, Any]) -> None:
        self.keys = dict(keys)
        self._turn = threading.Lock()

    @contextmanager
    def alone(self) -> Iterator[dict[str, Any]]:
        with self._turn:
            yield dict(self.keys)

    def keep(self, renewed: Mapping[str, Any]) -> None:
        self.keys |= renewed


class Made:
    """A client, the pauses that it made, and its clock."""

    def __init__(self, keys: Mapping[str, Any] = RENEWABLE, kept: Kept | None = None) -> None:
        self.pauses: list[float] = []
        self.on_pause: Callable[[], None] = lambda: None
        self.at = AT
        oauth = OAuth(APP, sleep=self._pause)
        self.tokens = Tokens(SHOP, keys, oauth, lambda: kept, now=lambda: self.at)
        self.client = ShopifyClient(SHOP, self.tokens, sleep=self._pause, clock=lambda: self.at)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.at += seconds
        self.on_pause()

    def ask(self) -> str:
        return str(self.client.query("shop", dict[str, Any])["row"]["name"])


def test_token_is_renewed_before_it_ends(shop: FakeShop) -> None:
    kept = Kept(RENEWABLE)
    made = Made(kept=kept)
    assert made.ask() == "Flower Shop"
    assert shop.exchanged == []
    made.at = AT + 3301
    made.ask()
    assert shop.tokens_seen == ["shpat_1", "shpat_1x"]
    assert shop.exchanged == [
        {"client_id": CLIENT_ID, "client_secret": SECRET, "grant_type": "refresh_token", "refresh_token": "shprt_1"}
    ]
    assert kept.keys == {"access_token": "shpat_1x", "refresh_token": "shprt_1x", "expires_at": int(AT) + 6901}


def test_refused_token_is_renewed_once(shop: FakeShop) -> None:
    shop.token = "shpat_2"
    assert Made().ask() == "Flower Shop"
    assert len(shop.exchanged) == 1
    shop.trouble = lambda _name, _variables: (401, {}, {})
    with pytest.raises(ActionRequired) as caught:
        Made({**RENEWABLE, "access_token": shop.token}).ask()
    assert caught.value.code == "reopen"
    assert len(shop.exchanged) == 2


def test_keys_that_another_renewed_are_taken(shop: FakeShop) -> None:
    kept = Kept({**RENEWABLE, "access_token": "shpat_9"})
    shop.token = "shpat_9"
    assert Made(kept=kept).ask() == "Flower Shop"
    assert shop.tokens_seen == ["shpat_1", "shpat_9"]
    assert shop.exchanged == []


def test_lost_reply_is_asked_for_again(shop: FakeShop) -> None:
    replies: list[Any] = [requests.ConnectionError("cut off"), (503, {}), shop.oauth]

    def answer(told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply(told) if callable(reply) else reply  # type: ignore[no-any-return]

    shop.oauth = answer
    made = Made({**RENEWABLE, "expires_at": int(AT)})
    assert made.ask() == "Flower Shop"
    assert [told["refresh_token"] for told in shop.exchanged] == ["shprt_1"] * 3
    assert made.pauses == [1.0, 2.0]


@pytest.mark.parametrize(
    ("status", "error"), [(401, "invalid_request"), (400, "invalid_grant"), (400, "invalid_client"), (401, "")]
)
def test_end_of_the_keys_is_for_the_merchant(shop: FakeShop, status: int, error: str) -> None:
    shop.oauth = lambda _told: (status, {"error": error})
    kept = Kept({**RENEWABLE, "expires_at": int(AT)})
    with pytest.raises(ActionRequired) as caught:
        Made(kept.keys, kept).ask()
    assert caught.value.code == "reopen"
    assert (len(shop.exchanged), shop.said, kept.keys["access_token"]) == (1, [], "shpat_1")


def test_token_of_an_own_app_is_not_renewed(shop: FakeShop) -> None:
    assert Made({"access_token": "shpat_1"}).ask() == "Flower Shop"
    with pytest.raises(ActionRequired) as caught:
        Made({"access_token": "shpat_0"}).ask()
    assert caught.value.code == "unauthorised"
    assert shop.exchanged == []


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, PermanentError, "permanent"), (402, ActionRequired, "frozen"), (403, ActionRequired, "scope"),
        (404, ActionRequired, "no_shop"),
        (302, ActionRequired, "no_shop"), (423, ActionRequired, "locked"), (503, TransientError, "transient"),
    ],
)  # fmt: skip
def test_status_says_who_must_act(shop: FakeShop, status: int, kind: type[Exception], code: str) -> None:
    shop.trouble = lambda _name, _variables: (status, {"Location": "https://elsewhere.example"}, "no")
    with pytest.raises(kind) as caught:
        Made().ask()
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert len(shop.said) == (4 if status == 503 else 1)


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ({"errors": [{"message": "no", "extensions": {"code": "ACCESS_DENIED"}}], "data": {"row": {}}}, ActionRequired, "scope"),
        ({"errors": [{"message": "x", "extensions": {"code": "SHOP_INACTIVE"}}]}, ActionRequired, "frozen"),
        ({"errors": [{"message": "Field 'x' doesn't exist"}]}, PermanentError, "permanent"),
        ({"errors": "Not Found"}, PermanentError, "permanent"),
        ({"errors": [{"message": "x", "extensions": {"code": "INTERNAL_SERVER_ERROR", "requestId": "1"}}]}, TransientError, "transient"),
        ("<html>hello</html>", MalformedResponse, "malformed_response"),
        ('{"data": {"row": {"na', TransientError, "transient"),
        ({"data": None}, MalformedResponse, "malformed_response"),
    ],
)  # fmt: skip
def test_answer_says_who_must_act(shop: FakeShop, body: Any, kind: type[Exception], code: str) -> None:
    shop.trouble = lambda _name, _variables: (200, {}, body)
    with pytest.raises(kind) as caught:
        Made().ask()
    assert caught.value.code == code  # type: ignore[attr-defined]


def test_pause_that_is_asked_for_is_made(shop: FakeShop) -> None:
    answers: list[Any] = [(429, {"Retry-After": "7"}, ""), None, (429, {"Retry-After": "40"}, "")]
    shop.trouble = lambda _name, _variables: answers.pop(0)
    made = Made()
    made.ask()
    assert made.pauses == [7.0]
    with pytest.raises(TransientError) as caught:
        made.ask()
    assert caught.value.retry_after == 40


def test_empty_bucket_is_waited_for(shop: FakeShop) -> None:
    shop.rows["customers"] = [customer(1)]
    made = Made()
    shop.available = 20
    made.client.page("members", BY_QUERY)
    # 86 points were asked for, 20 were there, and 100 come back each second: at least one second is waited.
    assert made.pauses == [1.0]
    assert [name for name, _ in shop.said] == ["Members", "Members"]


def test_page_waits_for_its_points(shop: FakeShop) -> None:
    made = Made()
    made.client.page("members", BY_QUERY)
    shop.available = 4.0
    made.ask()
    made.on_pause = lambda: setattr(shop, "available", 2000.0)
    made.client.page("members", BY_QUERY)
    # Three points are left, the page cost 86 when it was asked for last, and a hundred come back each second.
    assert made.pauses == [pytest.approx(0.83)]
    assert [name for name, _ in shop.said] == ["Members", "Shop", "Members"]


@pytest.mark.slow
def test_page_shrinks_when_it_costs_too_much_and_grows_again(shop: FakeShop) -> None:
    shop.rows["customers"] = [customer(number) for number in range(1, 300)]
    shop.most_cost = 70
    made = Made()
    assert len(made.client.page("members", BY_QUERY).nodes) == 12
    shop.most_cost = 1000
    sizes = [len(made.client.page("members", BY_QUERY).nodes) for _ in range(6)]
    assert sizes == [24, 48, 96, 192, 250, 250]
    shop.most_cost = 1
    with pytest.raises(PermanentError) as caught:
        made.client.page("members", BY_QUERY)
    assert caught.value.code == "too_costly"


def test_filter_that_is_not_understood_stops(shop: FakeShop) -> None:
    shop.rows["customers"] = [customer(1)]
    with pytest.raises(PermanentError, match="colour") as caught:
        Made().client.page("members", {"after": None, "query": "colour:red"})
    assert caught.value.code == "filter"


def test_another_version_is_noticed(shop: FakeShop, caplog: pytest.LogCaptureFixture) -> None:
    shop.answers_as = "2027-01"
    made = Made()
    made.ask()
    made.ask()
    assert made.client.answered_version == "2027-01"
    assert len(caplog.records) == 1
    assert msgspec.json.encode(made.client.version) == b'"2026-10"'
