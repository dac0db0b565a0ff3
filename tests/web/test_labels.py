"""Every word of the code that a page may show has one of ours, with what it means and what to do, in both languages."""

from __future__ import annotations

import pytest
from flask import Flask
from flask_babel import force_locale

from crm_plugin.events import DeliveryEventKind
from crm_plugin.records import OrderStatus
from crm_plugin.touchpoints.journey import CHANNELS
from crm_plugin.touchpoints.states import Reason, State
from crm_plugin.web import labels

TONES = {"good", "bad", "warn", "info", "accent", ""}


def _in(app: Flask, locale: str, *texts: object) -> list[str]:
    with app.test_request_context("/?lang=zh" if locale.startswith("zh") else "/?lang=en"):
        app.preprocess_request()
        with force_locale(locale):
            return [str(text) for text in texts]


@pytest.mark.parametrize("word", [*State, *Reason])
def test_states_and_reasons_are_explained(app: Flask, word: State | Reason) -> None:
    label = labels.STATES[word] if isinstance(word, State) else labels.REASONS[word]
    english = _in(app, "en", label.text, label.help)
    chinese = _in(app, "zh_Hans_CN", label.text, label.help)
    assert all(english)
    assert len(english[1]) > len(english[0])
    assert not set(english) & set(chinese)
    assert label.tone in TONES


def test_no_two_states_share_a_word(app: Flask) -> None:
    for locale in ("en", "zh_Hans_CN"):
        told = _in(app, locale, *(label.text for label in (*labels.STATES.values(), *labels.REASONS.values())))
        assert len(set(told)) == len(told)


def test_all_else_has_a_word() -> None:
    assert set(labels.CHANNELS) == {*CHANNELS, "webhook"}
    assert set(labels.EVENTS) == set(DeliveryEventKind)
    assert set(labels.ORDERS) == set(OrderStatus)
    assert {label.tone for label in (*labels.EVENTS.values(), *labels.ORDERS.values())} <= TONES


def test_unknown_words_stand_for_themselves(app: Flask) -> None:
    known = labels.reason("some_day")
    assert known is not None
    assert known.text == "some_day"
    assert labels.reason("") is None
    assert _in(app, "en", labels.source_name("woocommerce:order")) == ["WooCommerce (with an order)"]
    assert _in(app, "en", labels.source_name("klaviyo:form"), labels.sender_name("gone")) == ["klaviyo (form)", "gone"]
