"""The in-app channel with a sink in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from crm_plugin.adapters.channels.inapp import InAppChannel
from crm_plugin.errors import ConfigError, PermanentError
from crm_plugin.records import Message
from tests.contracts.channel import ChannelContract

MESSAGE = Message(
    channel="inapp",
    to="7",
    touchpoint_key="lapse:7:0:lapse:2026-01-05",
    subject="Good to see you again",
    text="Have a look at what we have now.",
    url="https://shop.example/new",
)


class Inbox:
    """Keeps a message once per key."""

    def __init__(self) -> None:
        self.kept: dict[str, Message] = {}

    def __call__(self, message: Message, key: str) -> str:
        self.kept.setdefault(key, message)
        return f"id of {key}"


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


class TestContract(ChannelContract):
    @pytest.fixture
    def values(self) -> dict[str, Any]:
        return {}

    @pytest.fixture
    def channel(self, values: dict[str, Any], inbox: Inbox) -> InAppChannel:
        return InAppChannel(values).bind(inbox)

    @pytest.fixture
    def message(self) -> Message:
        return MESSAGE

    @pytest.fixture
    def sent(self, inbox: Inbox) -> Callable[[], int]:
        return lambda: len(inbox.kept)


def test_sink_gets_message_and_key(inbox: Inbox) -> None:
    result = InAppChannel({}).bind(inbox).send(MESSAGE, idempotency_key="a key")
    assert result.provider_message_id == "id of a key"
    assert inbox.kept == {"a key": MESSAGE}


def test_unbound_says_so() -> None:
    channel = InAppChannel({})
    assert [problem.code for problem in channel.check()] == ["not_bound"]
    with pytest.raises(ConfigError):
        channel.send(MESSAGE, idempotency_key="a key")


@pytest.mark.parametrize("link", ["/new?from=card", "http://shop.example", "HTTPS://shop.example/a#b"])
def test_web_links_are_kept(inbox: Inbox, link: str) -> None:
    InAppChannel({}).bind(inbox).send(dataclasses.replace(MESSAGE, url=link), idempotency_key="k")
    assert inbox.kept["k"].url == link


@pytest.mark.parametrize("field", ["url", "image_url"])
@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "/\\evil.example",
        'https://a.example/"x',
        "new",
    ],
)
def test_other_links_are_refused(inbox: Inbox, field: str, link: str) -> None:
    with pytest.raises(PermanentError):
        InAppChannel({}).bind(inbox).send(dataclasses.replace(MESSAGE, **{field: link}), idempotency_key="k")
    assert inbox.kept == {}
