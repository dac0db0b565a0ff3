"""What a rehearsal is asked: which journey, over which days, as if what were so. Checked before anything is copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from crm_plugin.clock import at_local, local_day
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journey import CHANNELS, Draft

USUAL_DAYS = 30
LONGEST_DAYS = 366
FARTHEST = timedelta(days=5 * 366)
# A round an hour up to this many days where much comes; over more, one every six hours and whenever something falls due.
FINE_DAYS = 62


@dataclass(frozen=True, slots=True)
class Ask:
    """A rehearsal of a whole book of journeys, or of one as if it had been on all the time.

    `first` and `last` are local days of the shop, both counted. `draft` stands for its journey as it is saved, `settings` for the shop's,
    key by key. With `all_channels` every channel has a sender. `outages` are spans without a round. `part_price` is what one part of a text
    message costs in the shop's currency, None as its sender's settings say; `per_hour` how many messages of a channel its sender takes.
    """

    first: date
    last: date
    journey: str = ""
    # That of a `journey` which has one is played unasked.
    draft: Draft | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    member_ids: tuple[int, ...] = ()
    all_channels: bool = False
    every_text: bool = False
    outages: Sequence[tuple[datetime, datetime]] = ()
    part_price: Decimal | None = None
    per_hour: Mapping[str, int] = field(default_factory=dict)

    @property
    def only(self) -> str:
        """The one journey that is asked for; empty for all."""
        return self.draft.key if self.draft is not None else self.journey

    @property
    def pause(self) -> timedelta:
        """How long there is between two rounds where nothing falls due."""
        return timedelta(hours=1 if (self.last - self.first).days < FINE_DAYS else 6)

    def span(self, shop: Shop) -> tuple[datetime, datetime]:
        """From the first local midnight to the last, half open."""
        return (
            at_local(self.first, time(), shop.timezone),
            at_local(self.last + timedelta(days=1), time(), shop.timezone),
        )


def days_of(today: date, first: date | None, last: date | None) -> tuple[date, date]:
    """First and last day, as far as they were told: from today on, `USUAL_DAYS` in all, or of days that are over up to yesterday."""
    begins = first or min(today, last or today)
    if last is not None:
        return begins, last
    usual = begins + timedelta(days=USUAL_DAYS - 1)
    return begins, usual if begins >= today else min(usual, today - timedelta(days=1))


def read_day(told: str, field: str) -> date:
    """A day as a person writes it. Raises: InvalidInput naming the field."""
    try:
        return date.fromisoformat(told)
    except ValueError as error:
        raise InvalidInput(
            phrase("%(value)r is not a day.", value=told), field=field, hint=phrase("Write it as 2026-11-24.")
        ) from error


def check(ask: Ask, shop: Shop, now: datetime) -> None:
    """Refuse what cannot be rehearsed. Raises: InvalidInput saying what to do."""
    if ask.last < ask.first:
        raise InvalidInput(
            phrase("The rehearsal ends before it begins: %(first)s to %(last)s.", first=ask.first, last=ask.last),
            field="to",
            hint=phrase("Name the earlier day first."),
        )
    if (ask.last - ask.first).days >= LONGEST_DAYS:
        raise InvalidInput(
            phrase("%(days)s days are too many.", days=(ask.last - ask.first).days + 1),
            field="to",
            hint=phrase("A rehearsal takes at most %(most)s days.", most=LONGEST_DAYS),
        )
    today = local_day(now, shop.timezone)
    if abs(ask.first - today) > FARTHEST or ask.last - today > timedelta(days=LONGEST_DAYS):
        raise InvalidInput(
            phrase("%(first)s to %(last)s is too far from today.", first=ask.first, last=ask.last),
            field="from",
            hint=phrase("At most five years back, and one year ahead."),
        )
    if ask.part_price is not None and not (ask.part_price.is_finite() and 0 <= ask.part_price <= 1_000):
        raise InvalidInput(
            phrase("A part of a text message cannot cost %(price)s.", price=ask.part_price),
            field="sms_price",
            hint=phrase("Give what one part costs in %(currency)s, such as 0.05.", currency=shop.currency),
        )
    for channel, rate in ask.per_hour.items():
        if channel not in CHANNELS or not 1 <= rate <= 100_000_000:
            raise InvalidInput(
                phrase("%(channel)s=%(rate)s is no rate.", channel=channel, rate=rate),
                field="rate",
                hint=phrase("Give messages an hour for one of: %(names)s.", names=list(CHANNELS)),
            )
    for begins, ends in ask.outages:
        if ends <= begins:
            raise InvalidInput(
                phrase("An outage ends before it begins."),
                field="outage",
                hint=phrase("Name the earlier instant first."),
            )
