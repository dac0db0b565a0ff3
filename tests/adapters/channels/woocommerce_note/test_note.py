"""Customer notes: posted once to the order, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import requests
import responses

from crm_plugin.adapters.channels.woocommerce_note import WooCommerceNoteChannel
from crm_plugin.errors import ActionRequired, OutcomeUnknown, PermanentError
from crm_plugin.records import Message

URL = "https://shop.example/wp-json/wc/v3/orders/42/notes"
MESSAGE = Message(
    channel="note", to="a@x.test", touchpoint_key="thanks:1:0:order:9", text="Thank you!", order_external_id="42"
)


@pytest.fixture
def channel() -> WooCommerceNoteChannel:
    return WooCommerceNoteChannel({"url": "https://shop.example", "key": "ck_a", "secret": "cs_b"})


@responses.activate
def test_note_goes_to_the_customer_of_the_order(channel: WooCommerceNoteChannel) -> None:
    responses.post(URL, json={"id": 77}, status=201)
    assert channel.send(MESSAGE, idempotency_key="k").provider_message_id == "77"
    assert json.loads(responses.calls[0].request.body or "") == {"note": "Thank you!", "customer_note": True}


@responses.activate
def test_no_answer_is_unknown_and_not_repeated(channel: WooCommerceNoteChannel) -> None:
    responses.post(URL, body=requests.ReadTimeout("slow"))
    with pytest.raises(OutcomeUnknown):
        channel.send(MESSAGE, idempotency_key="k")
    assert len(responses.calls) == 1


@responses.activate
def test_read_only_key_asks_for_the_merchant(channel: WooCommerceNoteChannel) -> None:
    told = {
        "code": "woocommerce_rest_authentication_error",
        "message": "The API key provided does not have write permissions.",
    }
    responses.post(URL, json=told, status=401)
    responses.get("https://shop.example/wp-json/", json={"home": "https://shop.example"})
    with pytest.raises(ActionRequired, match="may not do this"):
        channel.send(MESSAGE, idempotency_key="k")


@responses.activate
def test_note_without_order_is_refused(channel: WooCommerceNoteChannel) -> None:
    with pytest.raises(PermanentError, match="needs an order"):
        channel.send(replace(MESSAGE, order_external_id=""), idempotency_key="k")
    assert len(responses.calls) == 0
