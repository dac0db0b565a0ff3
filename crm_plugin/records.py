"""Plain values that cross borders: what an adapter hands to sync, and what dispatch hands to a channel.

A record says what the platform said, already typed: aware UTC times, money in minor units, strings stripped. It never holds
our own ids. None means "the platform does not tell", an empty value means "told to be empty".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar

import msgspec

from crm_plugin.errors import AdapterError


class Stream(StrEnum):
    """What a storefront can be asked for, in the order it is pulled."""

    PRODUCTS = "products"
    MEMBERS = "members"
    ORDERS = "orders"
    REFUNDS = "refunds"
    CHECKOUTS = "checkouts"


class OrderStatus(StrEnum):
    """Our words for an order's state; the platform's own word stays beside it."""

    PENDING = "pending"
    ON_HOLD = "on_hold"
    PAID = "paid"
    SHIPPED = "shipped"
    COMPLETED = "completed"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DRAFT = "draft"
    TRASH = "trash"
    TEST = "test"
    UNKNOWN = "unknown"

    @property
    def counts(self) -> bool:
        """Whether an order in this state counts towards facts; a total of zero counts too."""
        return self not in _NOT_COUNTED


_NOT_COUNTED = frozenset(
    {OrderStatus.CANCELLED, OrderStatus.FAILED, OrderStatus.DRAFT, OrderStatus.TRASH, OrderStatus.TEST}
)


class ConsentState(StrEnum):
    """What a member said about one channel and topic."""

    GRANTED = "granted"
    WITHDRAWN = "withdrawn"


class ConsentRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One statement of consent as a platform or file tells it. `topic` "marketing" covers all promotional messages."""

    channel: str
    state: ConsentState
    topic: str = "marketing"
    at: datetime | None = None
    source: str = ""
    wording: str = ""
    proof: dict[str, Any] = {}


class MemberRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A customer as the platform knows them. `external_id` is the platform's own id of the account, opaque to us.

    `region` is the letters of the state or province within the country. A birthday with `birth_lunar` is one of the Chinese lunisolar
    calendar, its year too; with `birth_leap` one of a leap month there. `marks` are the levels that we wrote into the store, by programme,
    as it has them now: they stand here alone, never among `tags` or `attributes`. None means that this record does not tell.
    """

    stream: ClassVar[Stream] = Stream.MEMBERS

    external_id: str
    email: str = ""
    other_emails: tuple[str, ...] = ()
    phone: str = ""
    first_name: str = ""
    last_name: str = ""
    locale: str = ""
    timezone: str = ""
    country: str = ""
    region: str = ""
    birth_year: int | None = None
    birth_month: int | None = None
    birth_day: int | None = None
    birth_lunar: bool = False
    birth_leap: bool = False
    joined_at: datetime | None = None
    updated_at: datetime | None = None
    tags: tuple[str, ...] | None = None
    consents: tuple[ConsentRecord, ...] = ()
    attributes: dict[str, Any] = {}
    marks: dict[str, str] | None = None
    deleted: bool = False


class OrderLineRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of an order. `quantity` may be fractional; `cost_minor` is the cost of goods of the whole line."""

    sku: str = ""
    product_external_id: str = ""
    title: str = ""
    quantity: float = 1.0
    total_minor: int = 0
    cost_minor: int | None = None


class RefundRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Money given back. `amount_minor` is positive. Without `refunded_at` the platform has not yet told when."""

    stream: ClassVar[Stream] = Stream.REFUNDS

    external_id: str
    amount_minor: int
    currency: str
    order_external_id: str = ""
    member_external_id: str = ""
    refunded_at: datetime | None = None
    updated_at: datetime | None = None
    reason: str = ""
    deleted: bool = False


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order as the platform tells it.

    `member_external_id` is empty for a guest; `contact` then is all that is known of them. `total_minor` is what was charged,
    tax and shipping included, not lowered by refunds. `refunds` None means the order does not tell its refunds; a tuple means
    these are all of them.
    """

    stream: ClassVar[Stream] = Stream.ORDERS

    external_id: str
    number: str = ""
    status: OrderStatus
    platform_status: str = ""
    currency: str
    total_minor: int
    tax_minor: int = 0
    shipping_minor: int = 0
    discount_minor: int = 0
    cost_minor: int | None = None
    member_external_id: str = ""
    contact: MemberRecord | None = None
    placed_at: datetime
    paid_at: datetime | None = None
    shipped_at: datetime | None = None
    delivered_at: datetime | None = None
    updated_at: datetime | None = None
    coupon_codes: tuple[str, ...] = ()
    lines: tuple[OrderLineRecord, ...] = ()
    refunds: tuple[RefundRecord, ...] | None = None
    attributes: dict[str, Any] = {}
    deleted: bool = False


class ProductRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A product or one of its variants; `cost_minor` is the cost of one piece where the platform knows it.

    `parent_external_id` is the id by which the platform tells that the product of a variant is gone, and all its variants with it.
    """

    stream: ClassVar[Stream] = Stream.PRODUCTS

    external_id: str
    sku: str = ""
    title: str = ""
    category: str = ""
    url: str = ""
    image_url: str = ""
    price_minor: int | None = None
    cost_minor: int | None = None
    currency: str = ""
    parent_external_id: str = ""
    updated_at: datetime | None = None
    deleted: bool = False


class CheckoutRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A checkout that a customer began. `url` leads back into it; `completed_at` is set once it became an order.

    `updated_at` is when the customer was last seen at it; `email` finds a guest who is known.
    """

    stream: ClassVar[Stream] = Stream.CHECKOUTS

    external_id: str
    member_external_id: str = ""
    email: str = ""
    currency: str = ""
    total_minor: int = 0
    url: str = ""
    lines: tuple[OrderLineRecord, ...] = ()
    started_at: datetime
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    deleted: bool = False


Record = MemberRecord | OrderRecord | RefundRecord | ProductRecord | CheckoutRecord


@dataclass(frozen=True, slots=True)
class RecordProblem:
    """A record that could not be read: set aside with its reason and raw text, the rest goes on.

    `external_id` is the platform's id, or a stable place such as "row 17" when even that could not be read; `path` is the place
    inside the record (`$.billing.email`).
    """

    stream: Stream
    external_id: str
    reason: str
    raw: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a stream.

    `next_cursor` is saved in the transaction that writes the page; handing it back continues after it, also in another
    process. `total` is the platform's own count, for progress. `last` means the stream is in step for now. `raw_of` gives the raw
    text of the record at a place, as `parse` reads it, for one that turns out not to be storable.
    """

    stream: Stream
    records: tuple[Record, ...]
    next_cursor: str
    problems: tuple[RecordProblem, ...] = ()
    total: int | None = None
    last: bool = False
    skipped: int = 0
    raw_of: Callable[[int], str] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ShopInfo:
    """What a storefront says of itself on connecting."""

    name: str
    currency: str
    timezone: str
    version: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TierMark:
    """One member's level in one programme, as a store is to hold it; an empty `level` takes the mark away.

    `rank` counts levels from 0, the lowest; -1 without a level, and for one that the programme no longer has.
    """

    program: str
    level: str
    title: str = ""
    rank: int = -1


@dataclass(frozen=True, slots=True)
class TierWrite:
    """A mark and the account that it is for, by the platform's own id."""

    reference: str
    mark: TierMark


@dataclass(frozen=True, slots=True)
class TierWritten:
    """What became of one write. `changed_at` is the store's own time of the account's change, where it tells one."""

    reference: str
    changed_at: datetime | None = None
    error: AdapterError | None = None


@dataclass(frozen=True, slots=True)
class CouponOrder:
    """Codes that a store is to honour. Either `percent` (above 0, at most 100) or `amount_minor` of `currency` comes off.

    `codes` are the very codes, each good once. `references` are the accounts that may use them, by the platform's own ids, with `emails`
    beside them in the same order for a store that knows people by that; without any, whoever has the code may.
    `reference` is stable over retries: a store that is asked twice for the same makes it once.
    """

    reference: str
    title: str
    codes: tuple[str, ...]
    percent: Decimal | None = None
    amount_minor: int | None = None
    currency: str = ""
    least_minor: int = 0
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    references: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CouponMade:
    """What became of one code: the store's own id of it, or why there is none. `is_restricted`: nobody but its accounts can use it."""

    code: str
    external_id: str = ""
    is_restricted: bool = False
    error: AdapterError | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered message to one address; `touchpoint_key` is unique and stable over retries.

    `headers` are extra e-mail headers. `extra` passes options that only one provider knows.
    """

    channel: str
    to: str
    touchpoint_key: str
    text: str
    subject: str = ""
    html: str = ""
    to_name: str = ""
    locale: str = "en"
    sender: str = ""
    sender_name: str = ""
    reply_to: str = ""
    unsubscribe_url: str = ""
    url: str = ""
    image_url: str = ""
    expires_at: datetime | None = None
    member_external_id: str = ""
    order_external_id: str = ""
    marketing: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendResult:
    """The provider took the message: its own id for it, and how many billed parts."""

    provider_message_id: str
    parts: int = 1
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A webhook exactly as it came in; header names lower-cased, body unread bytes."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


class StoreEventKind(StrEnum):
    """What a store tells of itself. CHANGED and DELETED both mean: look at this id again; what is there then holds."""

    CHANGED = "changed"
    DELETED = "deleted"
    MERGED = "merged"
    # The store is another than before: its name, currency or zone, or what it lets us do.
    SHOP = "shop"
    SCOPES = "scopes"
    # The app was switched off there for a while, switched on again, or taken away.
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    UNINSTALLED = "uninstalled"
    # What the law gives a customer: the merchant gets all that is kept of them, or nothing of them stays.
    EXPORT = "export"
    ERASE = "erase"
    ERASE_SHOP = "erase_shop"
    # A large reading that the store prepares is ready.
    BULK_READY = "bulk_ready"
    # What became of a message that went through the platform; the sender that works through it reads `detail`.
    REPORT = "report"
    # It only asks whether we are there.
    PING = "ping"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StoreEvent:
    """One event as a store told it.

    `key` is the same when the same event is told again, and of no other; `topic` is the store's own word. `stream` and `external_id` say
    what to look at; `into` who a merged account has become. `is_own` is True for an echo of what we wrote. An order to erase or to export
    names its person also by `email`, `phone` and `orders`, for a guest has no account.
    """

    kind: StoreEventKind
    key: str
    topic: str
    stream: Stream | None = None
    external_id: str = ""
    at: datetime | None = None
    into: str = ""
    is_own: bool = False
    email: str = ""
    phone: str = ""
    orders: tuple[str, ...] = ()
    # Which store, by its own name for itself, where one queue of messages serves them all.
    reference: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
