"""The WooCommerce storefront: what it is told, how it is probed, which list is walked in which way. Cursors are JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType, Severity
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.rows import Cursor
from crm_plugin.adapters.storefronts.woocommerce import coupons, meta, webhooks
from crm_plugin.adapters.storefronts.woocommerce.again import Lists
from crm_plugin.adapters.storefronts.woocommerce.changes import ChangeWalk, OrderWalk, Part
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient, store_address
from crm_plugin.adapters.storefronts.woocommerce.mapping import Mapper
from crm_plugin.adapters.storefronts.woocommerce.members import MemberWalk
from crm_plugin.adapters.storefronts.woocommerce.recent import recent_fields, without_meta
from crm_plugin.adapters.storefronts.woocommerce.refunds import RefundWalk
from crm_plugin.adapters.storefronts.woocommerce.subscriptions import Subscriptions
from crm_plugin.adapters.storefronts.woocommerce.tiers import AT_ONCE, TierMarks
from crm_plugin.adapters.storefronts.woocommerce.zones import zone_of
from crm_plugin.errors import AdapterError, MalformedResponse
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

_PROBES = 2
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# The trash and what the block checkout keeps of who has not ordered yet are in no list that does not name them; older ones know no drafts.
_ORDERS = (
    Part("live", "orders"),
    Part("trash", "orders", {"status": "trash"}),
    Part("drafts", "orders", {"status": "checkout-draft"}, optional=True),
)
# Older stores have no flat list of variations; their products are still told.
_PRODUCTS = (Part("products", "products"), Part("variations", "variations", optional=True))
_PARTS = {
    Stream.MEMBERS: (Part("all", "customers", {"role": "all"}),),
    Stream.ORDERS: _ORDERS,
    Stream.PRODUCTS: _PRODUCTS,
    Stream.REFUNDS: (Part("refunds", "refunds", optional=True),),
}
# How long before the last comparison an order may have been changed to be looked at again.
_LOOKS_BACK = timedelta(days=30)


class WooCommerceStorefront(StorefrontAdapter):
    """WooCommerce REST v3 with a pair of read (or read/write) keys."""

    name = "woocommerce"
    label = "WooCommerce"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.BACKFILL,
            Capability.INCREMENTAL,
            Capability.BIRTHDAY,
            Capability.CONSENT,
            Capability.COST,
            Capability.SEND_MESSAGE,
            Capability.TIER_METAFIELD,
            Capability.WEBHOOKS,
            Capability.COUPONS,
            Capability.COUPONS_OF_ONE,
            Capability.FIELDS,
            Capability.IN_APP,
            Capability.INSTALL,
        }
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("url", "Store address", SettingType.URL, "As in the browser, such as https://shop.example."),
        Setting(
            "key", "Consumer key", SettingType.TEXT, "Begins with ck_; WooCommerce > Settings > Advanced > REST API."
        ),
        Setting("secret", "Consumer secret", SettingType.SECRET, "Begins with cs_; shown once, beside the key."),
        *meta.SETTINGS,
    )
    # It keeps them only where that is switched on; plugins know what a piece costs.
    costs_may_lack: ClassVar[bool] = True
    unseen: ClassVar[tuple[str, ...]] = ("deleted refunds", "refunds and edits of payment gateways")
    tiers_at_once: ClassVar[int] = AT_ONCE
    coupons_at_once: ClassVar[int] = coupons.AT_ONCE
    streams: ClassVar[tuple[Stream, ...]] = (Stream.PRODUCTS, Stream.MEMBERS, Stream.ORDERS, Stream.REFUNDS)

    def __init__(self, values: Mapping[str, Any], *, client: WooCommerceClient | None = None) -> None:
        super().__init__(values)
        told = self.values
        self.client = client or WooCommerceClient(told["url"], told["key"], told["secret"])
        self._mapper = Mapper(meta.MetaKeys(told))
        self._currency = ""
        self._tiers = TierMarks(self.client)
        self._refunds = RefundWalk(self.client, self._mapper, self._own_currency)

    def close(self) -> None:
        """Give back the connections."""
        self.client.close()

    def check(self) -> list[Problem]:
        """Ask for name, one order and one account. Somebody waits for the answer, so what passes by itself is tried once more only."""
        attempts, self.client.attempts = self.client.attempts, _PROBES
        try:
            self.shop_info()
            self.client.get("orders", {"per_page": "1", "_fields": "id"})
            customers = self.client.get("customers", {"per_page": "1", "role": "all", "orderby": "id"})
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        finally:
            self.client.attempts = attempts
        first = customers[0] if isinstance(customers, list) and customers else None
        told = isinstance(first, dict) and "meta_data" not in first
        return [*self._plain_http(), *([without_meta()] if told else [])]

    def shop_info(self) -> ShopInfo:
        """Name and zone from the store's root, currency from its status."""
        root = self.client.root()
        status = self.client.get(
            "system_status",
            {"_fields": "environment.version,environment.wp_version,settings.HPOS_enabled,settings.currency"},
        )
        settings, environment = _part(status, "settings"), _part(status, "environment")
        self._currency = str(settings.get("currency") or "").upper()
        if len(self._currency) != 3:
            raise MalformedResponse(
                phrase("The store does not tell its currency."), adapter=self.name, path="$.settings.currency"
            )
        zone, notes = zone_of(root)
        return ShopInfo(str(root.get("name") or ""), self._currency, zone, str(environment.get("version") or ""), notes)

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        """See the contract."""
        state: Cursor = json.loads(cursor) if cursor else {}
        if stream is Stream.MEMBERS:
            return MemberWalk(self.client, self._mapper.member).pages(state)
        if stream is Stream.REFUNDS:
            return self._refunds.pages(state)
        if stream is Stream.ORDERS:
            return OrderWalk(self.client, stream, self._order, _ORDERS).pages(state)
        return ChangeWalk(self.client, stream, self._product, _PRODUCTS).pages(state)

    def parse(self, stream: Stream, raw: str) -> Record:
        """See the contract."""
        data = raw.encode()
        if stream is Stream.MEMBERS:
            return self._mapper.member(data)
        if stream is Stream.ORDERS:
            return self._mapper.order(data)
        if stream is Stream.REFUNDS:
            return self._refunds.read(msgspec.Raw(data))
        return self._product(data)

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        """One account, order or product as it is now; None for what is gone and for a refund, which only its list tells."""
        path = {Stream.MEMBERS: "customers", Stream.ORDERS: "orders", Stream.PRODUCTS: "products"}.get(stream)
        if path is None or not external_id.isdigit():
            return None
        try:
            raw = self.client.get_raw(f"{path}/{external_id}")
        except AdapterError as error:
            if error.status == 404:
                return None
            raise
        return self.parse(stream, raw.decode("utf-8", "replace"))

    def reread_many(self, stream: Stream, external_ids: Iterable[str]) -> Iterator[tuple[str, Record | None]]:
        """See the contract; a hundred in one request."""
        if stream is Stream.REFUNDS:
            return super().reread_many(stream, external_ids)
        read = {Stream.MEMBERS: self._mapper.member, Stream.ORDERS: self._order}.get(stream, self._product)
        return self._lists(stream).reread(external_ids, read, lambda name: self.reread(stream, name))

    def second_pass(self, since: datetime) -> Iterator[Page]:
        """The orders that were changed shortly before `since`, and after: deleted refunds and what gateways do move no time of change."""
        after = (since - _LOOKS_BACK).astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        walk = ChangeWalk(self.client, Stream.ORDERS, self._order, _ORDERS[:1])
        return walk.pages({_ORDERS[0].name: {"after": after}})

    def count(self, stream: Stream) -> int | None:
        """See the contract; orders with the trash, products with their variations."""
        return self._lists(stream).count()

    def external_ids(self, stream: Stream) -> Iterator[str] | None:
        """See the contract; refunds are told with their orders."""
        return None if stream is Stream.REFUNDS else self._lists(stream).ids()

    def _lists(self, stream: Stream) -> Lists:
        return Lists(self.client, _PARTS[stream])

    def recent_fields(self, stream: Stream) -> list[dict[str, Any]]:
        """See the contract; up to two hundred records, of products also their variations."""
        attempts, self.client.attempts = self.client.attempts, _PROBES
        try:
            # The trash and drafts hold no other keys than orders.
            parts = _PARTS[stream] if stream is Stream.PRODUCTS else _PARTS[stream][:1]
            return recent_fields(self.client, parts)
        finally:
            self.client.attempts = attempts

    def verify_webhook(self, request: RawRequest) -> None:
        """See the contract; the secret is made of the store's own."""
        webhooks.verify(request, str(self.values["secret"] or ""))

    def parse_webhook(self, request: RawRequest) -> list[StoreEvent]:
        """See the contract."""
        return webhooks.parse(request)

    def shopper(self, request: RawRequest) -> str:
        """See the contract; the companion plugin asks."""
        return webhooks.shopper(request, str(self.values["secret"] or ""), time.time())

    def subscribe(self, address: str) -> list[Problem]:
        """See the contract; needs a key that may write."""
        return Subscriptions(self.client, self.values["secret"]).renew(address)

    def unsubscribe(self, address: str) -> None:
        """See the contract."""
        Subscriptions(self.client, self.values["secret"]).remove(address)

    def create_coupons(self, order: CouponOrder) -> list[CouponMade]:
        """See the contract; up to a hundred codes in one request, bound to accounts by their e-mail addresses."""
        now = datetime.fromtimestamp(self.client.clock(), UTC)
        return coupons.Coupons(self.client, self._own_currency()).create(order, now)

    def check_tiers(self) -> list[Problem]:
        """Whether the key may write; see the contract."""
        return self._tiers.check()

    def write_tiers(self, writes: Sequence[TierWrite]) -> list[TierWritten]:
        """See the contract; up to a hundred accounts in one request."""
        return self._tiers.write(writes)

    def _plain_http(self) -> list[Problem]:
        parts = urlsplit(store_address(self.values["url"]))
        if parts.scheme != "http" or parts.hostname in _LOOPBACK:
            return []
        return [
            Problem(
                "plain_http",
                phrase("The store is asked without encryption: members and orders travel in clear, the keys do not."),
                phrase("Give the store a certificate and enter its https:// address."),
                Severity.WARNING,
            )
        ]

    def _order(self, raw: msgspec.Raw | bytes) -> Record:
        record = self._mapper.order(raw)
        if record.refunds:
            self._refunds.know(record)
        return record

    def _product(self, raw: msgspec.Raw | bytes) -> Record:
        return self._mapper.product(raw, self._own_currency())

    def _own_currency(self) -> str:
        if not self._currency:
            self.shop_info()
        return self._currency


def _part(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
