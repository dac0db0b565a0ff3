"""The Taobao and Tmall storefront. People are known by opaque ids alone: no e-mail and no phone number comes this way, nor goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from crm_plugin.adapters.base import Capability, Problem, Setting
from crm_plugin.adapters.storefronts.base import Allowance, StorefrontAdapter, StoreGrade
from crm_plugin.adapters.storefronts.taobao.client import TopClient
from crm_plugin.adapters.storefronts.taobao.coupons import AT_ONCE, Coupons, benefits_of
from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER
from crm_plugin.adapters.storefronts.taobao.errors import Act
from crm_plugin.adapters.storefronts.taobao.grades import HIGHEST, Grades, levels_of
from crm_plugin.adapters.storefronts.taobao.groups import Groups
from crm_plugin.adapters.storefronts.taobao.mapping import Mapper
from crm_plugin.adapters.storefronts.taobao.members import Members
from crm_plugin.adapters.storefronts.taobao.messages import Messages
from crm_plugin.adapters.storefronts.taobao.paging import State
from crm_plugin.adapters.storefronts.taobao.session import Session
from crm_plugin.adapters.storefronts.taobao.settings import APP, SHOP
from crm_plugin.adapters.storefronts.taobao.trades import Refunds, Trades
from crm_plugin.adapters.storefronts.taobao.values import CURRENCY, ZONE
from crm_plugin.errors import AdapterError, InvalidInput, MalformedResponse, PermanentError
from crm_plugin.http_client import CALL_TIMEOUT
from crm_plugin.phrases import phrase
from crm_plugin.records import CouponMade, CouponOrder, Page, Record, ShopInfo, StoreEvent, Stream, TierMark


class TaobaoStorefront(StorefrontAdapter):
    """Taobao and Tmall over TOP, with an app's key and secret and a shop's session."""

    name = ADAPTER
    label = "Taobao/Tmall"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.BACKFILL,
            Capability.INCREMENTAL,
            Capability.OPAQUE_IDS_ONLY,
            Capability.SEND_MESSAGE,
            Capability.TIER_GRADE,
            Capability.WRITE_TAGS,
            Capability.COUPONS,
            Capability.COUPONS_OF_ONE,
            Capability.INSTALL,
        }
    )
    settings: ClassVar[tuple[Setting, ...]] = (*APP, *SHOP)
    app_settings: ClassVar[tuple[Setting, ...]] = APP
    streams: ClassVar[tuple[Stream, ...]] = (Stream.MEMBERS, Stream.ORDERS, Stream.REFUNDS)
    most_grades: ClassVar[int] = HIGHEST
    coupons_at_once: ClassVar[int] = AT_ONCE
    codes_for_anybody: ClassVar[bool] = False

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        whole: float = CALL_TIMEOUT,
    ) -> None:
        super().__init__(values)
        told = self.values
        for setting in APP[:2]:
            if not told[setting.key]:
                raise InvalidInput(
                    phrase("%(label)s is missing.", label=phrase(setting.label)),
                    field=setting.key,
                    hint=phrase(setting.help),
                )
        self._session = Session(told, now, lambda: self.keeper)
        self.client = TopClient(told, self._session, whole=whole, sleep=sleep, now=now)
        self._groups = Groups(self.client)
        levels = levels_of(told["grades"])
        mapper = Mapper(told["grade_program"], levels, self._groups.name, told["members_agreed"])
        self._mapper = mapper
        self._members = Members(self.client, mapper)
        self._trades = Trades(self.client, mapper, told["trade_api"])
        self._refunds = Refunds(self.client, mapper)
        self._grades = Grades(self.client, self._members, told["grade_program"], levels)
        self._messages = Messages(self.client, told["message_group"], told["user_id"])
        self._coupons = Coupons(self.client, benefits_of(told["benefits"]))

    def close(self) -> None:
        """Give back the connections."""
        self.client.close()

    def check(self) -> list[Problem]:
        """Ask once for members, grades, trades and refunds: each may be in a permission package of its own."""
        problems = self._session.problems()
        if any(problem.code == Act.SESSION for problem in problems):
            return problems
        probes: tuple[Callable[[], object], ...] = (
            lambda: self._members.probe(),
            lambda: self._grades.read(attempts=1),
            lambda: self._trades.probe(),
            lambda: self._refunds.probe(),
        )
        for probe in probes:
            try:
                probe()
            except AdapterError as error:
                problems.append(Problem(error.code, error.message, error.hint))
                if error.code != Act.PERMISSION:
                    break
        return problems

    def soon(self, now: datetime) -> list[Problem]:
        """See the contract: that the shop's agreement ends."""
        return Session(self.values, now.timestamp, lambda: None).problems()

    def shop_info(self) -> ShopInfo:
        """The name came with the session; currency and zone are the same for all of Taobao."""
        return ShopInfo(self.values["seller_nick"], CURRENCY, ZONE)

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        """See the contract."""
        state: State = json.loads(cursor) if cursor else {}
        walks: dict[Stream, Callable[[State], Iterator[Page]]] = {
            Stream.MEMBERS: self._members.pages,
            Stream.ORDERS: self._trades.pages,
            Stream.REFUNDS: self._refunds.pages,
        }
        return walks[stream](state)

    def parse(self, stream: Stream, raw: str) -> Record:
        """See the contract."""
        data = msgspec.Raw(raw.encode())
        if stream is Stream.MEMBERS:
            return self._mapper.member(data)
        if stream is Stream.ORDERS:
            return self._mapper.order(data)
        refund = self._mapper.refund(data)
        if refund is None:
            raise MalformedResponse(phrase("No money has been given back."), adapter=self.name, path="$.status")
        return refund

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        """One member, order or refund as it is now; None for what is gone, and for a refund that was not made."""
        if stream is Stream.MEMBERS:
            return self._members.one(external_id)
        if stream is Stream.ORDERS:
            return self._trades.one(external_id)
        return self._refunds.one(external_id) if stream is Stream.REFUNDS else None

    def count(self, stream: Stream) -> int | None:
        """Members; orders are told for three months alone, which says nothing of how many there are."""
        return self._members.count() if stream is Stream.MEMBERS else None

    def subscribe(self, address: str) -> list[Problem]:
        """Switch the shop's messages on; they are fetched, so `address` is not used."""
        del address
        self._messages.permit()
        return []

    def unsubscribe(self, address: str) -> None:
        """Switch them off."""
        del address
        self._messages.cancel(self.values["seller_nick"])

    def poll(self, most: int) -> list[StoreEvent]:
        """See the contract; messages of the app's other shops come too, each with its `reference`."""
        return self._messages.fetch(most)

    def confirm(self, events: Iterable[StoreEvent]) -> None:
        """See the contract."""
        self._messages.confirm(events)

    def tier_allowance(self) -> Allowance | None:
        """So many as the settings say, by the day in China: then the day's calls are counted anew."""
        a_day = self.values["grades_a_day"]
        return Allowance(a_day, ZONE) if a_day > 0 else None

    def check_tiers(self) -> list[Problem]:
        """Whether grades may be written; see the contract."""
        return self._grades.check()

    def write_tier(self, reference: str, mark: TierMark) -> datetime | None:
        """See the contract; Taobao tells no time of the change."""
        self._grades.write(reference, mark)
        return None

    def grades(self) -> list[StoreGrade]:
        """See the contract."""
        return self._grades.told()

    def set_grades(self, wanted: Sequence[StoreGrade]) -> None:
        """See the contract."""
        self._grades.set(wanted)

    def write_tags(self, reference: str, add: Collection[str], remove: Collection[str]) -> None:
        """See the contract; tags are groups of members."""
        try:
            self._groups.write(reference, add, remove)
        except PermanentError as error:
            if self._members.row(reference, attempts=1) is not None:
                raise
            raise PermanentError(
                phrase("This account is no longer in the store."),
                code="gone",
                adapter=self.name,
                operation="write_tags",
            ) from error

    def create_coupons(self, order: CouponOrder) -> list[CouponMade]:
        """See the contract."""
        return self._coupons.create(order)
