"""What every adapter has: a name, settings, capabilities, a cheap check, and problems told in words that say what to do."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase


class Capability(StrEnum):
    """What a platform or provider can do; the support table in the docs is made from these."""

    BACKFILL = "backfill"
    INCREMENTAL = "incremental"
    WEBHOOKS = "webhooks"
    BIRTHDAY = "birthday"
    CONSENT = "consent"
    COST = "cost"
    OPAQUE_IDS_ONLY = "opaque_ids_only"
    SEND_MESSAGE = "send_message"
    IDEMPOTENCY_KEY = "idempotency_key"
    DELIVERY_EVENTS = "delivery_events"
    # It can be asked afterwards whether it took a message.
    FIND_MESSAGE = "find_message"
    # It can be asked what became of the messages it took.
    POLL_EVENTS = "poll_events"
    HTML = "html"
    NEEDS_EMAIL = "needs_email"
    NEEDS_PHONE = "needs_phone"
    NEEDS_ORDER = "needs_order"
    NEEDS_ACCOUNT = "needs_account"
    # In what form a store can hold a member's level.
    TIER_TAG = "tier_tag"
    TIER_GROUP = "tier_group"
    TIER_GRADE = "tier_grade"
    TIER_METAFIELD = "tier_metafield"
    # What else a store lets us write.
    WRITE_TAGS = "write_tags"
    WRITE_CONSENT = "write_consent"
    COUPONS = "coupons"
    # A code can be bound to an account, so that nobody else can use it.
    COUPONS_OF_ONE = "coupons_of_one"
    # It shows what plugins keep with its records, so that the merchant can say which of it means what.
    FIELDS = "fields"
    # Messages shown inside the storefront, by the platform's own means.
    IN_APP = "in_app"
    # Installed from the platform's marketplace, and its page shown inside the platform's admin.
    INSTALL = "install"
    EMBEDDED = "embedded"


class SettingType(StrEnum):
    """How a setting is typed, shown and read."""

    TEXT = "text"
    SECRET = "secret"  # noqa: S105
    URL = "url"
    INTEGER = "integer"
    CHOICE = "choice"
    BOOLEAN = "boolean"
    # Of money, kept as it is written with a point.
    AMOUNT = "amount"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of an adapter: form field, plugin.yaml entry and reader in one.

    One that is `hidden` is kept as all others are and asked for nowhere: a platform handed it over, or a page of its own decides it.
    `beside` names the setting that it came with, which is not asked for either as long as there is something beside it.
    """

    key: str
    label: str
    type: SettingType = SettingType.TEXT
    help: str = ""
    required: bool = True
    default: Any = None
    choices: tuple[str, ...] = ()
    hidden: bool = False
    beside: str = ""

    def read(self, raw: Any) -> Any:
        """The typed value of what a form, file or environment gave. Raises: InvalidInput naming the field."""
        if raw is None or raw == "":
            if self.required and self.default is None:
                raise InvalidInput(
                    phrase("%(label)s is missing.", label=phrase(self.label)),
                    field=self.key,
                    hint=phrase(self.help) if self.help else "",
                )
            return self.default
        if self.type is SettingType.INTEGER:
            try:
                return int(raw)
            except (TypeError, ValueError) as error:
                raise InvalidInput(
                    phrase("%(label)s must be a whole number, not %(raw)r.", label=phrase(self.label), raw=raw),
                    field=self.key,
                ) from error
        if self.type is SettingType.BOOLEAN:
            return raw if isinstance(raw, bool) else str(raw).strip().lower() in ("1", "true", "yes", "on")
        if self.type is SettingType.JSON:
            return raw
        text = str(raw).strip()
        if self.type is SettingType.AMOUNT:
            return self._amount(text)
        if self.type is SettingType.CHOICE and text not in self.choices:
            raise InvalidInput(
                phrase("%(label)s must be one of %(choices)s.", label=phrase(self.label), choices=list(self.choices)),
                field=self.key,
            )
        if self.type is SettingType.URL:
            if not text.startswith(("http://", "https://")):
                raise InvalidInput(
                    phrase("%(label)s must begin with https:// or http://.", label=phrase(self.label)), field=self.key
                )
            text = text.rstrip("/")
        return text

    def _amount(self, text: str) -> str:
        told = text.replace(",", ".")
        if not _AMOUNT.fullmatch(told):
            raise InvalidInput(
                phrase("%(label)s must be an amount such as 0.05, not %(raw)r.", label=phrase(self.label), raw=text),
                field=self.key,
            )
        return told


# Up to a thousand, to a millionth.
_AMOUNT = re.compile(r"(1000|[0-9]{1,3})(\.[0-9]{1,6})?")


class Severity(StrEnum):
    """How much a problem stops."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a connection, in words for the merchant: what is wrong, then what to do."""

    code: str
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR
    context: dict[str, Any] = field(default_factory=dict)


class Adapter(ABC):
    """Common ground of storefronts and channels. Constructed with the typed values of its `settings`."""

    name: ClassVar[str]
    label: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    settings: ClassVar[tuple[Setting, ...]] = ()

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values: dict[str, Any] = {setting.key: setting.read(values.get(setting.key)) for setting in self.settings}

    @abstractmethod
    def check(self) -> list[Problem]:
        """A cheap probe of address and credentials; an empty list means all is well. Never raises for what it probes."""

    def close(self) -> None:  # noqa: B027  (most adapters hold nothing)
        """Give back connections; safe to call twice."""
