"""What every channel adapter keeps. A channel's tests subclass `ChannelContract` and fill its four fixtures."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crm_plugin.adapters import registry
from crm_plugin.adapters.base import Capability, SettingType
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.errors import InvalidInput, PermanentError, UnsupportedFeature
from crm_plugin.records import Message, RawRequest

CHANNELS = {"email", "sms", "inapp", "note", "webhook"}


class ChannelContract:
    """`sent` counts the messages that the other side has taken so far."""

    @pytest.fixture
    def values(self) -> dict[str, Any]:
        """Settings with which the channel works."""
        raise NotImplementedError

    @pytest.fixture
    def channel(self, values: dict[str, Any]) -> ChannelAdapter:
        """The channel, its other side ready."""
        raise NotImplementedError

    @pytest.fixture
    def message(self) -> Message:
        """A message it can send."""
        raise NotImplementedError

    @pytest.fixture
    def sent(self) -> Callable[[], int]:
        raise NotImplementedError

    def test_describes_itself(self, channel: ChannelAdapter) -> None:
        kind = type(channel)
        assert registry.channel_class(kind.name) is kind
        assert kind.label
        assert kind.channel in CHANNELS
        assert Capability.SEND_MESSAGE in kind.capabilities
        assert (Path(inspect.getfile(kind)).parent / "README.md").is_file()

    def test_settings_are_documented(self, channel: ChannelAdapter) -> None:
        readme = (Path(inspect.getfile(type(channel))).parent / "README.md").read_text(encoding="utf-8")
        keys = [setting.key for setting in channel.settings]
        assert len(keys) == len(set(keys))
        for setting in channel.settings:
            assert setting.label
            assert setting.help
            assert f"`{setting.key}`" in readme
            assert setting.type is SettingType.SECRET or not any(
                word in setting.key for word in ("password", "secret", "token")
            )

    def test_missing_setting_is_named(self, channel: ChannelAdapter, values: dict[str, Any]) -> None:
        for setting in channel.settings:
            if setting.required and setting.default is None:
                with pytest.raises(InvalidInput) as caught:
                    type(channel)({**values, setting.key: ""})
                assert caught.value.field == setting.key

    def test_check_finds_nothing_wrong(self, channel: ChannelAdapter, sent: Callable[[], int]) -> None:
        assert channel.check() == []
        assert sent() == 0

    def test_sends_one_message(self, channel: ChannelAdapter, message: Message, sent: Callable[[], int]) -> None:
        result = channel.send(message, idempotency_key=message.touchpoint_key)
        assert result.provider_message_id
        assert result.parts == 1
        assert sent() == 1

    def test_repeat_is_deduplicated_where_declared(
        self, channel: ChannelAdapter, message: Message, sent: Callable[[], int]
    ) -> None:
        first = channel.send(message, idempotency_key=message.touchpoint_key)
        second = channel.send(message, idempotency_key=message.touchpoint_key)
        if Capability.IDEMPOTENCY_KEY in channel.capabilities:
            assert second.provider_message_id == first.provider_message_id
            assert sent() == 1
        else:
            assert sent() == 2

    def test_empty_message_is_refused(self, channel: ChannelAdapter, message: Message, sent: Callable[[], int]) -> None:
        with pytest.raises(PermanentError):
            channel.send(dataclasses.replace(message, text="", html=""), idempotency_key="empty")
        assert sent() == 0

    def test_webhooks_only_where_declared(self, channel: ChannelAdapter) -> None:
        if Capability.DELIVERY_EVENTS in channel.capabilities:
            return
        request = RawRequest("POST", "https://crm.example/hooks", {}, b"")
        with pytest.raises(UnsupportedFeature):
            channel.verify_webhook(request)
        with pytest.raises(UnsupportedFeature):
            channel.parse_events(request)

    @pytest.mark.parametrize(
        ("capability", "name"), [(Capability.FIND_MESSAGE, "find"), (Capability.POLL_EVENTS, "events")]
    )
    def test_asked_only_where_declared(
        self, channel: ChannelAdapter, message: Message, capability: Capability, name: str
    ) -> None:
        assert (getattr(type(channel), name) is not getattr(ChannelAdapter, name)) == (
            capability in channel.capabilities
        )
        if capability not in channel.capabilities:
            ask = getattr(channel, name)
            with pytest.raises(UnsupportedFeature):
                ask(*([message] if name == "find" else []), since=datetime(2026, 6, 1, tzinfo=UTC))

    def test_closes_twice(self, channel: ChannelAdapter, message: Message, sent: Callable[[], int]) -> None:
        channel.send(message, idempotency_key=message.touchpoint_key)
        channel.close()
        channel.close()
        assert sent() == 1
