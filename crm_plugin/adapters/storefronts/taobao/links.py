"""Orders whose buyer has no `ouid` yet: kept as a guest's, and given to the member once Taobao knows one.

The app's own id of the buyer (`buyer_open_uid`) stands on every order. What an order with both ids tells is used at once; for the others
Taobao is asked once a day, by that id, whether the buyer is a member now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from crm_plugin.adapters.raw import read_or_none
from crm_plugin.adapters.storefronts.taobao.client import TopClient
from crm_plugin.adapters.storefronts.taobao.paging import State
from crm_plugin.adapters.storefronts.taobao.payloads import MEMBER
from crm_plugin.records import OrderRecord, Page, Stream

# How many orders without a member are looked after; the oldest go first.
MOST = 500
SEARCH = "taobao.crm.members.search"
_DAY_SECONDS = 24 * 3600.0
# How many buyers are asked for with one page.
_AT_ONCE = 20


@dataclass
class Links:
    """What is known of buyers within one walk. The cursor holds `unlinked`, order by order the buyer's id, and `asked_at`."""

    client: TopClient
    reread: Callable[[str], OrderRecord | None]
    known: dict[str, str] = field(default_factory=dict)

    def take(self, orders: Iterable[OrderRecord], state: State) -> Iterator[OrderRecord]:
        """The orders, each with its member where that is known; the others are remembered."""
        told = list(orders)
        for order in told:
            if order.member_external_id and (buyer := _buyer(order)):
                self.known[buyer] = order.member_external_id
        unlinked: dict[str, str] = state.setdefault("unlinked", {})
        state.setdefault("asked_at", self.client.clock())
        for order in told:
            buyer = _buyer(order)
            if order.member_external_id or not buyer:
                unlinked.pop(order.external_id, None)
                yield order
            elif buyer in self.known:
                unlinked.pop(order.external_id, None)
                yield _given(order, self.known[buyer])
            else:
                unlinked[order.external_id] = buyer
                yield order
        for tid in list(unlinked)[:-MOST]:
            del unlinked[tid]

    def is_due(self, state: State) -> bool:
        """Whether there is anything to ask again now."""
        unlinked: dict[str, str] = state.get("unlinked", {})
        if not unlinked:
            return False
        is_day = self.client.clock() - state.get("asked_at", 0.0) >= _DAY_SECONDS
        return is_day or "asking" in state or any(buyer in self.known for buyer in unlinked.values())

    def pages(self, state: State) -> Iterator[Page]:
        """Orders of buyers who are members now; the last page ends the walk."""
        unlinked: dict[str, str] = state["unlinked"]
        if "asking" not in state:
            is_day = self.client.clock() - state["asked_at"] >= _DAY_SECONDS
            state["asking"] = sorted({buyer for buyer in unlinked.values() if is_day or buyer in self.known})
            if is_day:
                state["asked_at"] = self.client.clock()
        while True:
            now, state["asking"] = state["asking"][:_AT_ONCE], state["asking"][_AT_ONCE:]
            members = {buyer: member for buyer in now if (member := self.known.get(buyer) or self._member(buyer))}
            records = list(self._of(members, unlinked))
            last = not state["asking"]
            if last:
                del state["asking"]
            yield Page(Stream.ORDERS, tuple(records), msgspec.json.encode(state).decode(), last=last)
            if last:
                return

    def _of(self, members: dict[str, str], unlinked: dict[str, str]) -> Iterator[OrderRecord]:
        for tid, buyer in list(unlinked.items()):
            if buyer in members:
                del unlinked[tid]
                if (order := self.reread(tid)) is not None:
                    yield _given(order, order.member_external_id or members[buyer])

    def _member(self, buyer: str) -> str:
        answer = self.client.call(SEARCH, {"open_uid": buyer, "current_page": 1, "page_size": 1})
        found = (read_or_none(MEMBER, raw) for raw in answer.rows("members", "crm_member"))
        return next((member.ouid for member in found if member is not None), "")


def _buyer(order: OrderRecord) -> str:
    return str(order.attributes.get("buyer_open_uid", ""))


def _given(order: OrderRecord, member: str) -> OrderRecord:
    return msgspec.structs.replace(order, member_external_id=member)
