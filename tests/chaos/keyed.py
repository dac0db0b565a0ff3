"""A sender whose provider takes a message of the same key once: the webhook channel, with e-mail addresses as its own recipients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from crm_plugin.adapters.base import Capability, Setting, SettingType
from crm_plugin.adapters.channels.webhook import WebhookChannel
from crm_plugin.records import Message, SendResult

_HOST = "provider.test"
_PUBLIC = "203.0.114.1"


class KeyedChannel(WebhookChannel):
    """Calls a provider on this machine; how a call is made and what an answer means is the webhook channel's."""

    name = "keyed"
    label = "Keyed"
    channel = "email"
    capabilities = frozenset({Capability.SEND_MESSAGE, Capability.IDEMPOTENCY_KEY, Capability.NEEDS_EMAIL})
    settings = (*WebhookChannel.settings, Setting("port", "Port", SettingType.INTEGER, "On this machine."))

    def __init__(self, values: Mapping[str, Any]) -> None:
        port = int(values["port"])
        super().__init__(values, look_up=lambda _host, _port: [_PUBLIC], transport=lambda _host, _ip: _ToHere(port))

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        """Call for the message's own recipient."""
        there = replace(message, to=f"https://{_HOST}/{quote(message.to)}")
        return super().send(there, idempotency_key=idempotency_key)


class _ToHere(requests.adapters.HTTPAdapter):
    """Takes calls to a port of this machine, without TLS."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        request.url = str(request.url).replace(f"https://{_HOST}", f"http://127.0.0.1:{self._port}", 1)
        return super().send(request, *args, **more)


def install(folder: Path) -> None:
    """Write an entry point into a folder, so that whoever has it in PYTHONPATH knows this sender, as of any package that brings one."""
    told = folder / "crm_keyed-1.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: crm-keyed\nVersion: 1\n")
    (told / "entry_points.txt").write_text("[crm_plugin.adapters]\nkeyed = tests.chaos.keyed:KeyedChannel\n")
