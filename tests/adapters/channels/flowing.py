"""An SMTP channel whose mails go through a flow, for tests that hold for both ways."""

from __future__ import annotations

from typing import Any

from crm_plugin.adapters.channels.smtp import SmtpChannel
from crm_plugin.records import Message, SendResult


class Flowing(SmtpChannel):
    """Sends one by one, through one flow."""

    def __init__(self, *told: Any, **more: Any) -> None:
        super().__init__(*told, **more)
        self._through = self.flow()

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        del idempotency_key
        self._through.put(7, message, 1)
        ends = []
        while self._through.under_way:
            ends += self._through.ended(wait=True)
        [end] = ends
        assert end.tag == 7
        if end.error is not None:
            raise end.error
        assert end.result is not None
        return end.result

    def close(self) -> None:
        self._through.close()
        super().close()
