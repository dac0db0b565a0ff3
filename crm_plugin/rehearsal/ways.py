"""Senders that take everything and send nothing, and texts that are written only where somebody reads or counts them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from crm_plugin.adapters.base import Problem
from crm_plugin.adapters.channels.base import ChannelAdapter, sms_size
from crm_plugin.records import Message, SendResult
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.batch import Batch
from crm_plugin.touchpoints.compose import compose, key_of
from crm_plugin.touchpoints.dispatch import Ways
from crm_plugin.touchpoints.policy import Policy
from crm_plugin.touchpoints.render import Rendered


class Taker(ChannelAdapter):
    """Takes every message, and tells how many parts a text message would be billed as."""

    name = "rehearsal"
    label = "Rehearsal"
    channel = "any"

    def check(self) -> list[Problem]:
        return []

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        parts = sms_size(message.text).parts if message.channel == "sms" else 1
        return SendResult(f"rehearsal:{idempotency_key}", parts)


@dataclass(slots=True)
class Paper:
    """How messages are written: each of them, or only those that are billed by length or belong to `members`.

    Of the others one is written for each text and language: it shows whether there is a text at all, and one that can be filled in.
    """

    every: bool
    members: Collection[int] = ()
    _written: set[tuple[str, str, str]] = field(default_factory=set)

    def compose(
        self, row: Row[Any], batch: Batch, shop: Shop, policy: Policy, box: SecretBox, public_url: str
    ) -> tuple[Message, Rendered]:
        """As `compose.compose`. Raises: RenderError, NoTemplate."""
        if self.every or row.channel == "sms" or row.member_id in self.members:
            return compose(row, batch, shop, policy, box, public_url)
        member = batch.members[row.member_id]
        about = (row.journey_key, row.channel, member.locale)
        if about not in self._written:
            made = compose(row, batch, shop, policy, box, public_url)
            self._written.add(about)
            return made
        return Message(row.channel, row.address, key_of(row), ""), Rendered("", "", "", "")

    def ways(self) -> Ways:
        """For `dispatch_shop`."""
        return Ways(self.compose, _open)


def _open(
    _db: Database, _box: SecretBox, _shop: Shop, _adapter: str, _now: datetime, *, public_url: str = ""
) -> ChannelAdapter:
    del public_url
    return Taker({})
