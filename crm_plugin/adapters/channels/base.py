"""The channel contract: build, post, read. The base class owns the sequence, a subclass fills the holes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from crm_plugin.adapters.base import Adapter, Setting, SettingType
from crm_plugin.adapters.channels.sms_parts import SmsSize, sms_size
from crm_plugin.errors import UnsupportedFeature
from crm_plugin.events import DeliveryEvent, EventPage
from crm_plugin.phrases import phrase
from crm_plugin.records import Message, RawRequest, SendResult, StoreEvent

__all__ = ["CALLBACK_SETTING", "PRICE_SETTING", "RATE_SETTING", "ChannelAdapter", "SmsSize", "sms_size"]


# A sender that has to be told where to report deliveries has a setting of this name; left empty, it is filled with our own hook.
CALLBACK_SETTING = "status_callback_url"
# What one part of a text message costs, in the shop's currency; a sender of texts that has a setting of this name tells rehearsals of it.
PRICE_SETTING = "part_price"
# What a provider allows differs by contract, so the merchant may tell it; `most_a_minute` reads it.
RATE_SETTING = Setting(
    "most_a_minute",
    "Most messages a minute",
    SettingType.INTEGER,
    "What your provider allows; 0 for no limit.",
    required=False,
    default=0,
)


# Not frozen: one is made for every message, and that would take several times as long.
@dataclass(slots=True)
class Flowed:
    """What came of a message of a flow: its tag, the seconds it took, and the result or the error that `send` would have raised."""

    tag: int
    seconds: float
    result: SendResult | None = None
    error: Exception | None = None


class Flow(ABC):
    """Messages handed over several at a time by one thread, for a sender whose provider can be told of the next before it has answered.

    All of it is called by that thread. What was put counts as called for, and ends, however long that takes within the time-outs.
    """

    @property
    @abstractmethod
    def under_way(self) -> int:
        """How many have been put and not been told as ended."""

    @abstractmethod
    def room(self, width: int) -> int:
        """How many more may be put, where the provider works on `width` at a time."""

    @abstractmethod
    def put(self, tag: int, message: Message, width: int) -> None:
        """Hand over one message. Raises: AdapterError for one that cannot be made; it is not under way then."""

    @abstractmethod
    def ended(self, wait: bool) -> list[Flowed]:
        """Do what can be done; with `wait` once there is something to do. Answers what has ended, which may be nothing all the same."""

    @abstractmethod
    def close(self) -> None:
        """Leave; nothing is under way."""


class ChannelAdapter(Adapter):
    """How a message reaches a member.

    `channel` is the kind of message: email, sms, inapp or note. `send` either returns (the provider has taken it) or raises the
    error whose class says who must act; `OutcomeUnknown` when the message left and no answer came.

    What became of a message is told in three forms, each declared: reports to our hook (DELIVERY_EVENTS: `verify_webhook`, `parse_events`),
    a list that is asked for page by page (POLL_EVENTS: `events`), and whether it was taken at all (FIND_MESSAGE: `find`).
    """

    channel: ClassVar[str]
    # A sender that works through the store's own connection names that platform; its settings are then the store's credentials.
    uses_storefront: ClassVar[str] = ""

    @property
    def parallel(self) -> int:
        """How many messages may be handed over at the same time; `send` is then called by as many threads."""
        return 1

    def flow(self) -> Flow | None:
        """Several messages at a time by one thread; None where `send` is called by several."""
        return None

    @property
    def most_a_minute(self) -> int:
        """How many messages may leave in a minute; 0 for no limit."""
        return max(int(self.values.get(RATE_SETTING.key) or 0), 0)

    def whose(self, address: str) -> str:
        """Who is called for this address; empty where it is one provider for all. One who fails keeps only their own messages waiting."""
        del address
        return ""

    @abstractmethod
    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        """Hand one message to the provider."""

    def find(self, message: Message, *, since: datetime) -> Sequence[SendResult]:
        """What the provider took of this very text for this address around `since`, when the call began; empty where it knows of none."""
        raise UnsupportedFeature(
            phrase("%(label)s cannot be asked for what it sent.", label=phrase(self.label)),
            adapter=self.name,
            operation="find",
        )

    def events(self, *, since: datetime, cursor: str = "") -> EventPage:
        """What became of the messages taken from `since` on, newest first, from `cursor` on; the same events, by their ids, as it reports.

        Raises: AdapterError. Needs POLL_EVENTS; without it the provider is never asked.
        """
        raise UnsupportedFeature(
            phrase("%(label)s cannot be asked what became of messages.", label=phrase(self.label)),
            adapter=self.name,
            operation="events",
        )

    def verify_webhook(self, request: RawRequest) -> None:
        """Check that a delivery webhook comes from the provider. Raises: WebhookRejected."""
        raise UnsupportedFeature(
            phrase("%(label)s sends no delivery events here.", label=phrase(self.label)),
            adapter=self.name,
            operation="webhook",
        )

    def parse_events(self, request: RawRequest) -> list[DeliveryEvent]:
        """The delivery events of a verified webhook."""
        raise UnsupportedFeature(
            phrase("%(label)s sends no delivery events here.", label=phrase(self.label)),
            adapter=self.name,
            operation="webhook",
        )

    @classmethod
    def reported(cls, event: StoreEvent, at: datetime) -> list[DeliveryEvent]:
        """What a store's event of the kind REPORT says of messages that went through it; `at` is when it came, for one without a time.

        Default: this sender hears nothing by way of a store.
        """
        del event, at
        return []
