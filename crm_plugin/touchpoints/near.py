"""How near to the next level is near, held against what the levels of a programme take."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from statistics import median

from sqlalchemy import Connection

from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules.policies import in_force
from crm_plugin.rules.policy import Policy
from crm_plugin.rules.trigger_events import TIER_NEAR, program_of, within_of
from crm_plugin.rules.trigger_kinds import Trigger
from crm_plugin.store.tenants import Shop

# What counts as near where nobody has said: this part of what a level takes.
_PART = 10


def climbs(policy: Policy) -> list[Decimal]:
    """What each level takes beyond the one before it, as the programme counts (money in major units); empty where rules alone lead up."""
    entries = [Decimal(level.entry) for level in policy.levels if level.entry is not None]
    return [above - below for below, above in pairwise([Decimal(0), *entries])]


def usual(connection: Connection, shop: Shop, program: str, now: datetime) -> int | None:
    """A tenth of what a level in the middle takes, 1 at least; None where nothing can be said."""
    found = climbs(_policy(connection, shop, program, now))
    return _tenth(found) if found else None


def _tenth(found: list[Decimal]) -> int:
    return max(1, int(median(found) / _PART))


def _policy(connection: Connection, shop: Shop, program: str, now: datetime) -> Policy:
    return in_force(connection, shop.shop_id, program, local_day(now, shop.timezone)).policy


def faults(connection: Connection, shop: Shop, trigger: Trigger, now: datetime) -> Iterator[InvalidInput]:
    """Why a journey with that trigger would speak to nobody, or to everybody; nothing while there are no levels yet."""
    if trigger.type != TIER_NEAR:
        return
    program, within = program_of(trigger), within_of(trigger)
    policy = _policy(connection, shop, program, now)
    found = climbs(policy)
    if policy.levels and not found:
        yield InvalidInput(
            phrase(
                "Nobody can say how much is missing to a level of %(program)s: none is earned by a number.",
                program=program,
            ),
            field="trigger",
            hint=phrase("Choose a programme with levels that a number leads to, or another start."),
        )
    elif found and within >= max(found):
        yield InvalidInput(
            phrase(
                "Everybody is within %(within)s of the next level: none takes more than %(most)s.",
                within=within,
                most=format(max(found).normalize(), "f"),
            ),
            field="trigger",
            hint=phrase("%(usual)s would be near.", usual=_tenth(found)),
        )
