"""The Saleor storefront: what it is told, how it is probed, which list is walked in which way. Cursors are JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

from crm_plugin.adapters.base import Capability, Problem, Setting
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.metadata import KnownKeys
from crm_plugin.adapters.storefronts.rows import Cursor, Reader, page_of, read_rows
from crm_plugin.adapters.storefronts.saleor import known, shoppers, vouchers, webhooks, writing
from crm_plugin.adapters.storefronts.saleor.client import ADAPTER, AGAIN, PAGE_SIZE, SaleorClient
from crm_plugin.adapters.storefronts.saleor.mapping import Mapper, kept_with
from crm_plugin.adapters.storefronts.saleor.settings import PERMISSIONS, SETTINGS
from crm_plugin.adapters.storefronts.saleor.signing import KeyRing, fetch_jwks, jwks_of
from crm_plugin.adapters.storefronts.saleor.subscriptions import Subscriptions
from crm_plugin.adapters.storefronts.saleor.walk import ChangeWalk
from crm_plugin.errors import AdapterError, WebhookRejected
from crm_plugin.phrases import phrase
from crm_plugin.records import (
    CouponMade,
    CouponOrder,
    Page,
    RawRequest,
    Record,
    ShopInfo,
    StoreEvent,
    Stream,
    TierWrite,
    TierWritten,
)

_ONE = {
    Stream.MEMBERS: "member_one",
    Stream.ORDERS: "order_one",
    Stream.PRODUCTS: "variant_one",
    Stream.CHECKOUTS: "checkout_one",
}
_LISTS = {
    Stream.MEMBERS: "members",
    Stream.ORDERS: "orders",
    Stream.PRODUCTS: "variants",
    Stream.CHECKOUTS: "checkouts",
}
_KINDS = {
    Stream.MEMBERS: "User",
    Stream.ORDERS: "Order",
    Stream.PRODUCTS: "ProductVariant",
    Stream.CHECKOUTS: "Checkout",
}


class SaleorStorefront(StorefrontAdapter):
    """Saleor's GraphQL API with an app's token."""

    name = ADAPTER
    label = "Saleor"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.BACKFILL,
            Capability.INCREMENTAL,
            Capability.WEBHOOKS,
            Capability.BIRTHDAY,
            Capability.CONSENT,
            Capability.COST,
            Capability.TIER_METAFIELD,
            Capability.WRITE_TAGS,
            Capability.COUPONS,
            Capability.FIELDS,
            Capability.IN_APP,
            Capability.INSTALL,
            Capability.EMBEDDED,
        }
    )
    settings: ClassVar[tuple[Setting, ...]] = SETTINGS
    unseen: ClassVar[tuple[str, ...]] = ("A product's name, category or picture moves the product, not its variants.",)
    scopes: ClassVar[Mapping[str, bool]] = PERMISSIONS
    # The cost of a variant has a field of its own.
    field_streams: ClassVar[tuple[Stream, ...]] = (Stream.MEMBERS, Stream.ORDERS)
    tiers_at_once: ClassVar[int] = writing.AT_ONCE
    coupons_at_once: ClassVar[int] = vouchers.AT_ONCE
    costs_are_of_now: ClassVar[bool] = True
    streams: ClassVar[tuple[Stream, ...]] = (Stream.PRODUCTS, Stream.MEMBERS, Stream.ORDERS, Stream.CHECKOUTS)

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        client: SaleorClient | None = None,
        page_size: int = PAGE_SIZE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(values)
        told = self.values
        self.client = client or SaleorClient(webhooks.api_address(told["api_url"]), told["token"])
        self._size = page_size
        self._now = now
        self._mapper = Mapper(
            KnownKeys(told), told["checkout_url"] or "", told["product_url"] or "", told["channel"] or ""
        )
        self._metadata = writing.Metadata(self.client)
        self._read: dict[Stream, Reader] = {
            Stream.MEMBERS: self._mapper.member,
            Stream.ORDERS: self._mapper.order,
            Stream.PRODUCTS: self._mapper.product,
            Stream.CHECKOUTS: self._mapper.checkout,
        }

    @staticmethod
    def clock() -> float:
        """Seconds since 1970, by which the age of a customer's token is judged."""
        return time.time()

    @property
    def address(self) -> str:
        """See the contract."""
        return webhooks.api_address(self.values["api_url"] or "")

    def close(self) -> None:
        """Give back the connections."""
        self.client.close()

    def check(self) -> list[Problem]:
        """Ask for the shop, and what the app may do there."""
        attempts, self.client.calls.attempts = self.client.calls.attempts, 2
        try:
            self.shop_info()
            missing = {name for name, needed in PERMISSIONS.items() if needed} - (self.granted() or frozenset())
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        finally:
            self.client.calls.attempts = attempts
        if not missing:
            return []
        told = phrase("The app lacks permissions: %(names)s.", names=sorted(missing))
        return [Problem("scope_missing", told, AGAIN)]

    def shop_info(self) -> ShopInfo:
        """Name and version of the shop, the currency of its channel; the zone is a setting, for Saleor has none."""
        return known.ask(self.client).info(self.values["channel"] or "", self.values["timezone"])

    def granted(self) -> frozenset[str]:
        """The app's permissions. Raises: ActionRequired when Saleor no longer knows the app."""
        return known.ask(self.client).granted()

    def recent_fields(self, stream: Stream) -> list[dict[str, Any]]:
        """See the contract; a hundred records, our own marks and tags left out."""
        attempts, self.client.calls.attempts = self.client.calls.attempts, 2
        try:
            rows = self.client.list(f"recent_{_LISTS[stream]}", {"first": 100}).rows
        finally:
            self.client.calls.attempts = attempts
        return [kept_with(raw) for raw in rows]

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        """See the contract."""
        state: Cursor = json.loads(cursor) if cursor else {}
        if stream is Stream.CHECKOUTS:
            return self._checkouts(state)
        return self._walk(stream, _LISTS[stream]).pages(state)

    def parse(self, stream: Stream, raw: str) -> Record:
        """See the contract."""
        return self._read[stream](raw.encode())

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        """One record as it is now; None for what is gone."""
        if not writing.is_id(external_id, _KINDS.get(stream, "")):
            return None
        raw = self.client.ask(_ONE[stream], {"id": external_id}).get("one", msgspec.Raw(b"null"))
        return None if bytes(raw) == b"null" else self._read[stream](raw)

    def second_pass(self, since: datetime) -> Iterator[Page]:
        """The variants of products that changed."""
        state: Cursor = {"since": since.astimezone(UTC).isoformat(), "after": ""}
        more = True
        while more:
            listing = self.client.list(
                "products_changed", {"first": self._size, "after": state["after"] or None, "since": state["since"]}
            )
            state["after"], more = listing.after, bool(listing.after)
            found = read_rows(Stream.PRODUCTS, _variants(listing.rows), self._mapper.product)
            yield page_of(Stream.PRODUCTS, found, state, total=None, last=not more)

    def count(self, stream: Stream) -> int | None:
        """The store's own count; open checkouts are not counted, for they come and go."""
        if stream not in _LISTS or stream is Stream.CHECKOUTS:
            return None
        return self.client.list(f"count_{_LISTS[stream]}", {}).total

    def external_ids(self, stream: Stream) -> Iterator[str] | None:
        """All ids, a hundred in a call."""
        return self._ids(f"ids_{_LISTS[stream]}") if stream in _LISTS else None

    @classmethod
    def addressed(cls, request: RawRequest) -> str:
        """The API's address, as the request names it."""
        return webhooks.store_of(request)

    def verify_webhook(self, request: RawRequest) -> None:
        """See the contract; the keys are fetched again for one that is not known. Of a store that is not known here nobody is believed."""
        told = self.values
        api_url, keys = self._signer()
        webhooks.verify(request, api_url, told["app_id"] or "", keys, told["webhook_secret"] or "")

    def parse_webhook(self, request: RawRequest) -> list[StoreEvent]:
        """See the contract."""
        return webhooks.parse(request)

    def subscribe(self, address: str) -> list[Problem]:
        """See the contract; who we are there, and what the store signs with, is learnt anew meanwhile."""
        hooks = Subscriptions(self.client, address)
        problems = hooks.renew()
        learnt = {"app_id": hooks.app_id, **self._fresh_keys()} if hooks.app_id else {}
        if self.keeper is not None and any(self.values[key] != value for key, value in learnt.items()):
            self.keeper.keep(learnt)
        return problems

    def unsubscribe(self, address: str) -> None:
        """See the contract."""
        Subscriptions(self.client, address).remove()

    def origins(self) -> frozenset[str]:
        """See the contract: the storefront's, as the merchant names them."""
        return shoppers.origins_of(self.values["storefront_origins"] or "")

    def shopper(self, request: RawRequest) -> str:
        """See the contract: the customer's own access token says who asks."""
        return shoppers.shopper(request, *self._signer(), self.clock())

    def check_tiers(self) -> list[Problem]:
        """Whether the app may change accounts."""
        try:
            is_granted = "MANAGE_USERS" in self.granted()
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        told = phrase("The app lacks permissions: %(names)s.", names=["MANAGE_USERS"])
        return [] if is_granted else [Problem("scope_missing", told, AGAIN)]

    def write_tiers(self, writes: Sequence[TierWrite]) -> list[TierWritten]:
        """See the contract; several accounts in one request."""
        return self._metadata.tiers(writes)

    def write_tags(self, reference: str, add: Collection[str], remove: Collection[str]) -> None:
        """See the contract."""
        self._metadata.tags(reference, add, remove)

    def create_coupons(self, order: CouponOrder) -> list[CouponMade]:
        """See the contract: one voucher holds all codes."""
        return vouchers.Vouchers(self.client).make(order, known.ask(self.client).channels or ())

    def _fresh_keys(self) -> dict[str, Any]:
        try:
            found = fetch_jwks(self.address)
        except AdapterError:
            return {}
        return {"jwks": dict(found)} if found["keys"] else {}

    def _signer(self) -> tuple[str, KeyRing]:
        """The API's address, and the keys that it signs with. Raises: WebhookRejected."""
        if not self.address:
            raise WebhookRejected("The store is not connected.")
        return self.address, KeyRing(self.address, jwks_of(self.values["jwks"]))

    def _walk(self, stream: Stream, operation: str, **more: Any) -> ChangeWalk:
        return ChangeWalk(self.client, stream, operation, self._read[stream], size=self._size, now=self._now, **more)

    def _checkouts(self, state: Cursor) -> Iterator[Page]:
        """Those that became orders, which are no longer there, then those that are."""
        # What was an order before the first reading was never shown as open.
        finished: Cursor = state.setdefault("finished", {"top": self._now().isoformat(), "ended": True})
        ends = self._walk(Stream.CHECKOUTS, "finished_checkouts", keep=lambda head: bool(head.checkout_id))
        yield from ends.pages(finished, state, final=False)
        open_ones: Cursor = state.setdefault("open", {})
        yield from self._walk(Stream.CHECKOUTS, "checkouts", by_day=True).pages(open_ones, state)

    def _ids(self, operation: str) -> Iterator[str]:
        after, more = "", True
        while more:
            listing = self.client.list(operation, {"first": self._size, "after": after or None})
            after, more = listing.after, bool(listing.after)
            yield from (str(msgspec.json.decode(raw)["id"]) for raw in listing.rows)


class _Variants(msgspec.Struct):
    variants: list[msgspec.Raw] | None = None


def _variants(rows: Sequence[msgspec.Raw]) -> list[msgspec.Raw]:
    return [one for raw in rows for one in msgspec.json.decode(raw, type=_Variants).variants or ()]
