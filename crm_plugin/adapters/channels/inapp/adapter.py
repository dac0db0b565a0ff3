"""The in-app channel: a message becomes a row in the member's inbox, which the storefront's script fetches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from crm_plugin.adapters.base import Capability, Problem, Setting
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.errors import ConfigError, PermanentError
from crm_plugin.phrases import phrase
from crm_plugin.records import Message, SendResult

Sink = Callable[[Message, str], str]

# A link or picture is shown inside the shop's own page: nothing but web addresses and paths of that shop may stand there.
_LINK = re.compile(r"(?:https?://[^\s\x00-\x1f\"'<>\\]+|/(?![/\\])[^\s\x00-\x1f\"'<>\\]*)", re.IGNORECASE)


class InAppChannel(ChannelAdapter):
    """Adapters know no store, so whoever opens the channel gives it a sink by `bind`.

    The sink keeps the message and returns its id; for an idempotency key that it has kept already it returns the id of then.
    """

    name = "inapp"
    label = "In-app"
    channel = "inapp"
    capabilities = frozenset({Capability.SEND_MESSAGE, Capability.IDEMPOTENCY_KEY})
    settings: ClassVar[tuple[Setting, ...]] = ()

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._sink: Sink | None = None

    def bind(self, sink: Sink) -> InAppChannel:
        """Give the place where messages are kept; returns itself."""
        self._sink = sink
        return self

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        """Keep one message."""
        if self._sink is None:
            raise ConfigError(
                phrase("The in-app channel has no inbox to write to."), hint=phrase("Call bind() before sending.")
            )
        if not message.text.strip():
            raise PermanentError(phrase("The message is empty."), adapter=self.name, operation="build")
        for what, link in ((phrase("link"), message.url), (phrase("picture"), message.image_url)):
            if link and not _LINK.fullmatch(link):
                raise PermanentError(
                    phrase("The %(what)s is not a web address.", what=what),
                    adapter=self.name,
                    operation="build",
                    hint=phrase("Begin it with https:// or with / for a page of the shop."),
                )
        return SendResult(self._sink(message, idempotency_key))

    def check(self) -> list[Problem]:
        """Nothing to reach; only the inbox must be there."""
        if self._sink is None:
            return [Problem("not_bound", phrase("The in-app inbox is not connected."), phrase("Restart the plugin."))]
        return []
