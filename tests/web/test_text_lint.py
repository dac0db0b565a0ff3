"""A text that may be sent and still should not be like that: said in the preview and on saving."""

from __future__ import annotations

import pytest

from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import recipes
from crm_plugin.touchpoints.journey_document import read_draft
from tests.factories import NOON
from tests.web.conftest import Page, Post, words

TOLD = "This text message is marketing and does not say how to stop it"
SMS = "journeys/{}/texts/sms/en"


@pytest.fixture(autouse=True)
def journeys(runtime: Runtime, shop: Shop) -> None:
    """The recipes, switched off."""
    with runtime.db.write() as connection:
        recipes.install(connection, shop, NOON)


@pytest.mark.slow
def test_text_message_without_a_way_out(page: Page, post: Post) -> None:
    path = SMS.format("birthday")
    assert TOLD not in words(page(path))
    bare = {"body_text": "{{ shop.title }}: Happy birthday!"}
    assert TOLD in words(post(f"{path}/preview", bare).text)
    assert post(path, {**bare, "do": "save"}).status_code == 303
    html = page(path)
    assert words(html).count(TOLD) == 2
    assert "Saved." in words(html)
    assert "这条短信属于营销内容" in words(page(f"{path}?lang=zh"))
    with_stop = {"body_text": "{{ shop.title }}: Happy birthday!{% if marketing %} Reply STOP{% endif %}"}
    assert TOLD not in words(post(f"{path}/preview", with_stop).text)
    assert post(path, {**with_stop, "do": "save"}).status_code == 303
    assert TOLD not in words(page(path))


def test_text_message_about_an_order_needs_none(post: Post) -> None:
    about = {"body_text": "{{ shop.title }}: Thank you for order {{ order.number }}!"}
    path = SMS.format("post_purchase")
    form = {"en": "Thanks", "days": "3", "send_at": "10:00", "validity_days": "3", "channel-1": "sms", "do": "save"}
    marketing = post("journeys/post_purchase", {**form, "kind": "marketing"})
    assert marketing.status_code == 303
    assert TOLD in words(post(f"{path}/preview", about).text)
    assert post("journeys/post_purchase", {**form, "kind": "transactional"}).status_code == 303
    assert TOLD not in words(post(f"{path}/preview", about).text)


def test_marketing_is_warned_of_in_a_text_that_it_shares(runtime: Runtime, shop: Shop, post: Post) -> None:
    """A journey about the order comes first and needs no way out; the one that shares its text does."""
    trigger = {"type": "post_purchase", "days": 3}
    for key, kind in (("aftercare", "transactional"), ("more", "marketing")):
        told = {"key": key, "trigger": trigger, "channels": ["sms"], "kind": kind, "template": "post_purchase"}
        with runtime.db.write() as connection:
            journey_store.save(connection, shop, read_draft(told), NOON)
    bare = {"body_text": "{{ shop.title }}: Thank you for order {{ order.number }}!"}
    with_stop = {"body_text": bare["body_text"] + "{% if marketing %} Reply STOP{% endif %}"}
    path = SMS.format("aftercare")
    assert TOLD in words(post(f"{path}/preview", bare).text)
    assert TOLD not in words(post(f"{path}/preview", with_stop).text)
