"""One member in plain lines, as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from crm_plugin.analytics.profile import LevelView, Profile
from crm_plugin.analytics.timeline import Contacted, Event, Joined, Ordered, Refunded, Said, TermChanged, TierChanged
from crm_plugin.birthdays import birthday_of
from crm_plugin.money import to_major
from crm_plugin.places import place_of
from crm_plugin.rules.windows import PROGRAM


def lines(member: Profile) -> Iterator[str]:
    """Everything that is known of the member, the most important first."""
    ids = [f"our id {member.member_id}", f"the store's id {member.external_id}" if member.external_id else "a guest"]
    yield f"{member.name or member.email or member.phone or 'A member without a name'} ({', '.join(ids)}, {member.state})"
    known = (member.email, member.phone, member.country, member.locale, _zone(member.zone), _birthday(member))
    yield f"  {' · '.join(part for part in known if part)}"
    if member.tags:
        yield f"  Tags: {', '.join(member.tags)}"
    for key, value in member.attributes.items():
        yield f"  {key}: {value}"
    yield from _worth(member)
    yield from _tier(member)
    yield "Allowed:"
    for one in member.permissions:
        yield f"  {one.channel}, {one.topic}: {one.state} since {_day(one.at)} ({one.source or 'unknown source'})"
    if not member.permissions:
        yield "  nothing was ever said"
    for blocked in member.suppressions:
        yield f"  {blocked.address} is never written to by {blocked.channel}: {blocked.reason} since {_day(blocked.at)}"
    if member.upcoming:
        yield "To come:"
        yield from (f"  {_minute(one.at)} {_event(one)}" for one in member.upcoming)
    yield "What happened:"
    yield from (f"  {_minute(one.at)} {_event(one)}" for one in member.timeline)
    if not member.timeline:
        yield "  nothing that we know of"


def _zone(name: str) -> str:
    place = "-".join(part for part in place_of(name) if part)
    return f"any zone of {place}" if place else name


def _birthday(member: Profile) -> str:
    if member.birth_md is None:
        return ""
    born = birthday_of(member.birth_md)
    year = str(member.birth_year) if member.birth_year else "-"
    lunar = " by the lunar calendar" if born.lunar else ""
    return f"born {year}-{born.month_and_day}{lunar}"


def _worth(member: Profile) -> Iterator[str]:
    facts = member.facts
    spent = _money(facts.spent_minor, member.currency)
    back = f", {_money(facts.refunded_minor, member.currency)} given back" if facts.refunded_minor else ""
    days = f", {facts.first_order_on} to {facts.last_order_on}" if facts.orders else ""
    yield f"Worth: {facts.orders} orders, {spent}{back}{days}"


def _tier(member: Profile) -> Iterator[str]:
    tier = member.tier
    yield f"Tier: {tier.key} since {tier.since_on}" if tier.key else "Tier: none"
    if tier.level is not None:
        yield from _conditions(tier.level)
    if tier.next is not None:
        yield f"  Next, {tier.next.key}:"
        yield from _conditions(tier.next)
    for program, held in tier.others.items():
        yield f"Tier of {program}: {held.level} since {held.since_on}"


def _conditions(level: LevelView) -> Iterator[str]:
    for leaf in level.explanation.leaves:
        value = "unknown" if leaf.value is None else leaf.value
        yield f"    {'+' if leaf.truth else '-'} {leaf.text}" + ("" if isinstance(value, bool) else f" (is {value})")


def _event(event: Event) -> str:
    match event:
        case Joined():
            return "joined the store"
        case Ordered():
            titles = ", ".join(line.title for line in event.lines[:3]) + (" ..." if len(event.lines) > 3 else "")
            return (
                f"order {event.number}, {event.status}: {_money(event.total_minor, event.currency)}, {titles}".rstrip(
                    ", "
                )
            )
        case Refunded():
            reason = f" ({event.reason})" if event.reason else ""
            return f"refund of {_money(event.amount_minor, event.currency)} on order {event.order_number}{reason}"
        case TierChanged():
            moved = f"{event.from_level or 'none'} to {event.to_level or 'none'}"
            return f"{_programme(event.program)} {moved}: {event.reason.get('rule', '')}".rstrip(": ")
        case TermChanged():
            return f"{_programme(event.program)} {event.level}: {event.what}"
        case Contacted():
            why = f", {event.reason}" if event.reason else ""
            return f"{event.journey_key} by {event.channel}: {event.state}{why} {event.subject}".rstrip()
        case Said():
            return f"{event.channel}, {event.topic}: {event.state} ({event.source or 'unknown source'})"


def _programme(program: str) -> str:
    return "tier" if program == PROGRAM else f"tier of {program}"


def _money(minor: int, currency: str) -> str:
    amount: Decimal = to_major(minor, currency)
    return f"{amount:,} {currency}"


def _day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d")


def _minute(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%MZ")
