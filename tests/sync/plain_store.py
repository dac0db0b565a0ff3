"""A store in memory that tells its changes, for what is about following them and not about any platform."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import AdapterError, WebhookRejected
from crm_plugin.records import Page, RawRequest, Record, ShopInfo, StoreEvent, StoreEventKind, Stream


class PlainStore(StorefrontAdapter):
    """`shelf` is what the store holds, by stream and id; `told` every call; `trouble` is raised by the next one, `troubles` one by one.

    `listed` are ids that its lists name in place of all.
    """

    name = "plain"
    label = "Plain"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.BACKFILL, Capability.WEBHOOKS})
    app_settings: ClassVar[tuple[Setting, ...]] = (Setting("secret", "Secret", SettingType.SECRET, "", False, "hush"),)
    streams: ClassVar[tuple[Stream, ...]] = (Stream.MEMBERS, Stream.ORDERS)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(values or {})
        self.shelf: dict[Stream, dict[str, Record]] = {Stream.MEMBERS: {}, Stream.ORDERS: {}}
        self.told: list[tuple[str, Any]] = []
        self.trouble: AdapterError | None = None
        self.troubles: list[AdapterError] = []
        self.unseen_pages: list[Page] = []
        self.listed: set[str] | None = None
        self.info = ShopInfo("Plain", "EUR", "Europe/Berlin")
        self.queue: list[StoreEvent] = []

    def put(self, *records: Record) -> None:
        for record in records:
            self.shelf[record.stream][record.external_id] = record

    def check(self) -> list[Problem]:
        return [] if self.trouble is None else [Problem("trouble", self.trouble.message)]

    def shop_info(self) -> ShopInfo:
        return self.info

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        yield Page(stream, tuple(self.shelf[stream].values()), "end", last=True)

    def parse(self, stream: Stream, raw: str) -> Record:
        raise NotImplementedError

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        self.told.append((stream.value, external_id))
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        if self.troubles:
            raise self.troubles.pop(0)
        return self.shelf[stream].get(external_id)

    def external_ids(self, stream: Stream) -> Iterator[str] | None:
        return iter(self.shelf[stream] if self.listed is None else self.listed)

    def second_pass(self, since: datetime) -> Iterator[Page]:
        return iter(self.unseen_pages)

    @classmethod
    def addressed(cls, request: RawRequest) -> str:
        return request.headers.get("x-store", "")

    def verify_webhook(self, request: RawRequest) -> None:
        if not hmac.compare_digest(request.headers.get("x-sign", ""), sign(request.body, self.values["secret"])):
            raise WebhookRejected("not theirs")

    def parse_webhook(self, request: RawRequest) -> list[StoreEvent]:
        told = json.loads(request.body)
        return [event(told["id"], key=told["key"], own=told.get("own", False))]

    def confirm(self, events: Iterable[StoreEvent]) -> None:
        done = {one.key for one in events}
        self.queue = [one for one in self.queue if one.key not in done]


class Polled(PlainStore):
    """The same, its messages waiting to be fetched."""

    name = "polled"

    def poll(self, most: int) -> list[StoreEvent]:
        return self.queue[:most]


def sign(body: bytes, secret: str = "hush") -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def event(
    external_id: str,
    kind: StoreEventKind = StoreEventKind.CHANGED,
    stream: Stream | None = Stream.MEMBERS,
    *,
    key: str = "",
    own: bool = False,
    **more: Any,
) -> StoreEvent:
    """ "Look at this again", told once unless a key says otherwise."""
    return StoreEvent(kind, key or f"{kind}:{stream}:{external_id}", "told", stream, external_id, is_own=own, **more)
