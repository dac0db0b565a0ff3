"""By which channel a member may be reached, asked in SQL: address, consent, no suppression. `gate.py` asks the same in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import literal_column

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.registry import channel_class, is_channel
from crm_plugin.records import ConsentState
from crm_plugin.rules.triggers import BIRTHDAY
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.caps import exempt
from crm_plugin.touchpoints.cases import concerns, conditions
from crm_plugin.touchpoints.dial import ONLY_BIRTHDAY
from crm_plugin.touchpoints.greetings import greeted_sql
from crm_plugin.touchpoints.holdout import held_out_sql
from crm_plugin.touchpoints.journey import MARKETING, WEBHOOK, Journey
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.states import Reason

TRUE = "1 = 1"
# Where a channel's address stands, and under whose consent it is used: a note is mailed by the store.
_ADDRESS = {
    "email": "m.email",
    "sms": "m.phone",
    "inapp": "COALESCE(m.external_id, '')",
    "note": "m.email",
    WEBHOOK: f"'{WEBHOOK}'",
}
CONSENT_CHANNEL = {"email": "email", "sms": "sms", "inapp": "inapp", "note": "email", WEBHOOK: WEBHOOK}


def by_account(adapter: str) -> bool:
    """Whether a sender reaches members by their account in the store, and knows no address of theirs."""
    return is_channel(adapter) and Capability.NEEDS_ACCOUNT in channel_class(adapter).capabilities


def first(reached: Any, channels: Sequence[tuple[str, str]], value: Any) -> str:
    """The value of the first channel that is open, else empty."""
    if not channels:
        return "''"
    cases = " ".join(f"WHEN {is_open(name)} THEN {value(name, adapter)}" for name, adapter in channels)
    return f"CASE {cases} ELSE '' END"


def is_open(name: str) -> str:
    """SQL over `reached`: whether the channel may be used."""
    return f"(reached.address_{name} <> '' AND reached.agreed_{name} AND NOT reached.blocked_{name})"


def flags(journey: Journey, channels: Sequence[tuple[str, str]]) -> list[Any]:
    """For each channel: the address, whether the member agreed, and whether the address is suppressed; `is_open` puts them together."""
    found: list[Any] = []
    for name, adapter in channels:
        address = _ADDRESS["inapp" if by_account(adapter) else name]
        agreed = _agreed(journey, CONSENT_CHANNEL[name], name == "inapp")
        blocked = (
            "EXISTS (SELECT 1 FROM suppressions AS s WHERE s.shop_id = m.shop_id "  # noqa: S608
            f"AND s.channel = '{CONSENT_CHANNEL[name]}' AND s.address = {address})"
        )
        found += [
            literal_column(address).label(f"address_{name}"),
            literal_column(f"({agreed})").label(f"agreed_{name}"),
            literal_column(f"({blocked})").label(f"blocked_{name}"),
        ]
    return found


def refusals(shop: Shop, journey: Journey) -> list[tuple[str, Reason]]:
    """Why somebody who can be reached is left out, the first that holds: SQL over `reached`, one row a member and an occasion.

    None of it concerns a message about the member's own order.
    """
    if exempt(journey):
        return []
    unwanted = "" if journey.trigger.type == BIRTHDAY else f"d.frequency = '{ONLY_BIRTHDAY}' OR "
    dial = (
        # Asked once a statement: in most shops nobody ever turned one.
        f"EXISTS (SELECT 1 FROM member_dials AS a WHERE a.shop_id = {shop.shop_id}) "  # noqa: S608
        f"AND EXISTS (SELECT 1 FROM member_dials AS d WHERE d.shop_id = {shop.shop_id} AND d.member_id = reached.member_id "
        f"AND ({unwanted}d.snooze_until >= reached.valid_until))"
    )
    found = [(dial, Reason.MEMBER_DIAL)]
    if journey.trigger.type == BIRTHDAY:
        found.append((greeted_sql(shop, journey), Reason.GREETED))
    if concerns(journey):
        cases = conditions(shop.shop_id, policy_of(shop).cases, "reached.member_id")
        found = [*((condition, Reason.OPEN_CASE) for _, condition in cases), *found]
    # Last: those who are held out are to be compared with those who would get it.
    held_out = held_out_sql(shop.shop_id, journey, "reached.member_id")
    return [*found, *([(held_out, Reason.HOLDOUT)] if held_out else [])]


def _agreed(journey: Journey, channel: str, own_ground: bool) -> str:
    """Whether the member's consent covers the journey.

    Marketing needs a yes for its topic or for all marketing, and no refusal of either. A message about the member's own order
    (transactional) and a card on the shop's own pages need no yes, but a refusal holds.
    """

    def said(state: ConsentState, *topics: str) -> str:
        named = ", ".join(f"'{topic}'" for topic in dict.fromkeys(topics))
        return (
            "EXISTS (SELECT 1 FROM member_consents AS c WHERE c.shop_id = m.shop_id AND c.member_id = m.member_id "  # noqa: S608
            f"AND c.channel = '{channel}' AND c.topic IN ({named}) AND c.state = '{state}')"
        )

    if journey.kind == "transactional":
        return f"NOT {said(ConsentState.WITHDRAWN, journey.topic)}" if journey.topic != MARKETING else TRUE
    refused = f"NOT {said(ConsentState.WITHDRAWN, MARKETING, journey.topic)}"
    if own_ground:
        return refused
    granted = said(ConsentState.GRANTED, MARKETING, journey.topic)
    # There is one last word on each topic: of one topic alone, a yes is no refusal.
    return granted if journey.topic == MARKETING else f"{granted} AND {refused}"
