"""The Shopify storefront: what it is told, how it is probed, how each stream is read, and what is written. Cursors are JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

import msgspec

from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType, Severity
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.rows import Cursor, Reader
from crm_plugin.adapters.storefronts.shopify import consents, mapping, operations, payloads, reread, webhooks, writing
from crm_plugin.adapters.storefronts.shopify.bulk import BulkRead
from crm_plugin.adapters.storefronts.shopify.client import ShopifyClient
from crm_plugin.adapters.storefronts.shopify.coupons import AT_ONCE as CODES_AT_ONCE
from crm_plugin.adapters.storefronts.shopify.coupons import Coupons
from crm_plugin.adapters.storefronts.shopify.oauth import APP_SETTINGS, OAuth, secrets_of
from crm_plugin.adapters.storefronts.shopify.scopes import REQUIRED, SCOPES
from crm_plugin.adapters.storefronts.shopify.signatures import shop_domain
from crm_plugin.adapters.storefronts.shopify.tokens import Tokens
from crm_plugin.adapters.storefronts.shopify.walk import ChangeWalk
from crm_plugin.clock import is_zone
from crm_plugin.errors import AdapterError, InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.records import (
    ConsentRecord,
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
# A nightly reading may wait for its file longer than a sync may.
_NIGHTLY_SECONDS = 900.0
# What comes with the token where the app was installed.
_HANDED_OVER: dict[str, Any] = {"hidden": True, "beside": "access_token"}
_BIRTHDAY = "Name space and key of the customer's metafield, such as facts.birth_date."


class _ShopData(msgspec.Struct):
    row: payloads.Shop


class ShopifyStorefront(StorefrontAdapter):
    """Shopify's GraphQL Admin API, as an app that was installed or with the token of an app that the merchant made."""

    name = "shopify"
    label = "Shopify"
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
            Capability.WRITE_CONSENT,
            Capability.COUPONS,
            Capability.COUPONS_OF_ONE,
            Capability.IN_APP,
            Capability.INSTALL,
            Capability.EMBEDDED,
        }
    )
    app_settings: ClassVar[tuple[Setting, ...]] = APP_SETTINGS
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("shop", "Shop domain", help="The shop's own, such as flower-shop.myshopify.com."),
        Setting("access_token", "Admin API access token", SettingType.SECRET, "Begins with shpat_; of an app that you made in the shop."),
        Setting("refresh_token", "Refresh token", SettingType.SECRET, required=False, **_HANDED_OVER),
        Setting("expires_at", "End of the access token", SettingType.INTEGER, required=False, default=0, **_HANDED_OVER),
        Setting("birthday_metafield", "Metafield of the birthday", help=_BIRTHDAY, required=False, default=operations.BIRTHDAY),
        Setting("base_url", "API address", SettingType.URL, "Only for tests: the shop's own when empty.", required=False, default=""),
    )  # fmt: skip
    scopes: ClassVar[Mapping[str, bool]] = SCOPES
    streams: ClassVar[tuple[Stream, ...]] = (Stream.PRODUCTS, Stream.MEMBERS, Stream.ORDERS, Stream.CHECKOUTS)
    tiers_at_once: ClassVar[int] = writing.AT_ONCE
    coupons_at_once: ClassVar[int] = CODES_AT_ONCE
    costs_are_of_now: ClassVar[bool] = True
    # It asks for it two days after the app was taken away, and gives thirty.
    erased_within: ClassVar[timedelta | None] = timedelta(days=32)
    unseen: ClassVar[tuple[str, ...]] = ("birthdays and levels of accounts", "costs of products")

    def __init__(self, values: Mapping[str, Any], *, client: ShopifyClient | None = None) -> None:
        super().__init__(values)
        told = self.values
        if not self.shop:
            said = phrase("%(told)r is no domain of a Shopify shop: it ends with .myshopify.com.", told=told["shop"])
            raise InvalidInput(said, field="shop")
        birthday = told["birthday_metafield"]
        if not operations.is_place(birthday):
            said = phrase("%(told)r is no name space and key of a metafield, such as facts.birth_date.", told=birthday)
            raise InvalidInput(said, field="birthday_metafield")
        oauth = OAuth(told, told["base_url"])
        tokens = Tokens(self.shop, told, oauth, lambda: self.keeper)
        self.client = client or ShopifyClient(
            self.shop, tokens, base_url=told["base_url"], version=told["api_version"], birthday=birthday
        )
        self._currency = ""
        self._tiers = writing.TierMarks(self.client)
        self._readers: dict[Stream, Reader] = {
            Stream.MEMBERS: mapping.member,
            Stream.ORDERS: mapping.order,
            Stream.CHECKOUTS: mapping.checkout,
            Stream.PRODUCTS: lambda raw: mapping.variant(raw, self._own_currency()),
        }

    @property
    def address(self) -> str:
        """See the contract."""
        return f"https://{self.shop}" if self.shop else ""

    @property
    def shop(self) -> str:
        """The shop's own domain; empty where it is not known, or none."""
        return shop_domain(str(self.values["shop"] or "").removeprefix("https://").rstrip("/"))

    def close(self) -> None:
        """Give back the connections."""
        self.client.close()

    def check(self) -> list[Problem]:
        """Ask for the shop's name and for what it lets us do. Somebody waits for it: what passes by itself is tried once more only."""
        attempts, self.client.attempts = self.client.attempts, _PROBES
        try:
            self.shop_info()
            scopes = writing.granted(self.client)
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        finally:
            self.client.attempts = attempts
        return [*self._without(scopes), *self._other_version()]

    def granted(self) -> frozenset[str] | None:
        """See the contract."""
        return writing.granted(self.client)

    def shop_info(self) -> ShopInfo:
        """Name, currency and zone of the shop; the version that it answers in."""
        row = self.client.query("shop", _ShopData).row
        self._currency = row.currency_code
        zone = row.iana_timezone if is_zone(row.iana_timezone) else "UTC"
        return ShopInfo(row.name, row.currency_code, zone, self.client.answered_version)

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        """See the contract: the history from a file that the shop prepares, then what has changed since."""
        state: Cursor = json.loads(cursor) if cursor else {}
        read, client = self._readers[stream], self.client
        while True:
            if "since" not in state:
                yield from BulkRead(client, stream, read).pages(state)
            yield from ChangeWalk(client, stream, read).pages(state)
            if "since" in state:
                return

    def parse(self, stream: Stream, raw: str) -> Record:
        """See the contract."""
        return self._readers[stream](raw.encode())

    @classmethod
    def addressed(cls, request: RawRequest) -> str:
        """See the contract; a store's reference is its domain."""
        return webhooks.addressed(request)

    def verify_webhook(self, request: RawRequest) -> None:
        """See the contract; of a shop that is not known here only the app's signature can be wrong."""
        webhooks.verify(request, self.shop, secrets_of(self.values))

    def parse_webhook(self, request: RawRequest) -> list[StoreEvent]:
        """See the contract."""
        return webhooks.parse(request)

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        """See the contract."""
        ((_, record),) = self.reread_many(stream, [external_id])
        return record

    def reread_many(self, stream: Stream, external_ids: Iterable[str]) -> Iterator[tuple[str, Record | None]]:
        """See the contract; several in one call."""
        for external_id, raw in reread.many(self.client, stream, external_ids):
            yield external_id, None if raw is None else self._readers[stream](raw)

    def second_pass(self, since: datetime) -> Iterator[Page]:
        """All accounts and all products: of what `unseen` names no list tells what has changed."""
        for stream in (Stream.MEMBERS, Stream.PRODUCTS):
            yield from BulkRead(self.client, stream, self._readers[stream], patience=_NIGHTLY_SECONDS).pages({})

    def count(self, stream: Stream) -> int | None:
        """See the contract."""
        return reread.count(self.client, stream) if self._tells_all(stream) else None

    def external_ids(self, stream: Stream) -> Iterator[str] | None:
        """See the contract."""
        return reread.all_ids(self.client, stream) if self._tells_all(stream) else None

    def check_tiers(self) -> list[Problem]:
        """See the contract."""
        return self._tiers.check()

    def write_tiers(self, writes: Sequence[TierWrite]) -> list[TierWritten]:
        """See the contract."""
        return self._tiers.write(writes)

    def write_tags(self, reference: str, add: Collection[str], remove: Collection[str]) -> None:
        """See the contract."""
        writing.write_tags(self.client, reference, add, remove)

    def write_consent(self, reference: str, consent: ConsentRecord) -> None:
        """See the contract."""
        consents.write(self.client, reference, consent)

    def create_coupons(self, order: CouponOrder) -> list[CouponMade]:
        """See the contract."""
        return Coupons(self.client, self._own_currency()).create(order, self.client.now())

    def _tells_all(self, stream: Stream) -> bool:
        """Whether lists of this stream have all there is: of orders a shop shows the last 60 days where it was not asked for more."""
        if stream is Stream.ORDERS:
            return "read_all_orders" in writing.granted(self.client)
        return stream is not Stream.CHECKOUTS

    def _own_currency(self) -> str:
        if not self._currency:
            self.shop_info()
        return self._currency

    @staticmethod
    def _without(scopes: frozenset[str]) -> list[Problem]:
        missing = sorted(REQUIRED - scopes)
        told = []
        if missing:
            said = phrase("The shop has not agreed to: %(scopes)s.", scopes=", ".join(missing))
            told.append(
                Problem("scope", said, phrase("Open the app in the shop's admin and agree to what it asks for."))
            )
        if "read_all_orders" not in scopes:
            said = phrase("The shop shows orders of the last 60 days only.")
            hint = phrase("Older ones need the scope read_all_orders, which Shopify approves for an app as a whole.")
            told.append(Problem("sixty_days", said, hint, Severity.WARNING))
        return told

    def _other_version(self) -> list[Problem]:
        asked, answered = self.client.version, self.client.answered_version
        if asked == answered:
            return []
        said = phrase(
            "The shop answers in version %(answered)s of its API, not in %(asked)s.", answered=answered, asked=asked
        )
        return [Problem("version", said, phrase("Bring crm-plugin up to date."), Severity.WARNING)]
