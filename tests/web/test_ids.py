"""Ids that no row can have: pages answer that there is no such thing, lists that there is no more."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import tokens
from tests.factories import member, write
from tests.web.conftest import Page, Post, words

LARGEST = 2**63 - 1
TOO_LARGE = [str(LARGEST + 1), "9" * 19, "9" * 40, "9" * 5000]


@pytest.mark.parametrize("number", [str(LARGEST), *TOO_LARGE], ids=lambda told: f"{len(told)} digits")
def test_page_of_an_impossible_id_is_not_found(page: Page, post: Post, number: str) -> None:
    for path in (f"members/{number}", f"outbox/{number}", f"outbox/{number}/message"):
        page(path, status=404)
    given = {"channel": "email", "state": "granted", "note": "by phone", "do": "cancel"}
    for path in (f"members/{number}/consent", f"outbox/{number}"):
        assert (post(path, given).status_code, path[:9]) == (404, path[:9])


@pytest.mark.parametrize("number", TOO_LARGE[:3], ids=lambda told: f"{len(told)} digits")
def test_problem_of_an_impossible_id_changes_nothing(post: Post, number: str) -> None:
    assert post(f"connections/problems/{number}").status_code == 404


@pytest.mark.parametrize("number", TOO_LARGE, ids=lambda told: f"{len(told)} digits")
def test_message_of_an_impossible_id_is_not_found(
    stranger: FlaskClient, runtime: Runtime, shop: Shop, number: str
) -> None:
    token = tokens.member(runtime.box, shop.shop_id, 1)
    answer = stranger.post(f"/inapp/messages/{number}/read", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 404


def test_lists_end_before_an_impossible_id(page: Page, runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [member("1", email="ann@x.test")])
    assert "ann@x.test" in page("members?after=0")
    assert "ann@x.test" not in page(f"members?after={'9' * 40}")
    assert "ann@x.test" in page(f"members?after=-{'9' * 40}")
    for query in (f"before={'9' * 5000}", f"before=-{'9' * 40}", f"before=-{'9' * 5000}", "before=x"):
        assert "Outbox" in words(page(f"outbox?{query}"))
