"""What a page shows of a journey of several steps: the outline with its counts, its versions, what publishing would refuse."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from crm_plugin.rules.called import called
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import publishing
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps.tally import tally
from crm_plugin.touchpoints.versions import versions
from crm_plugin.web import step_words
from crm_plugin.web.journey_edit import faults, is_staged
from crm_plugin.web.step_texts import texts_of
from crm_plugin.web.step_words import Outline

COUNTED = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Standing:
    """One version that members are inside on."""

    version: int
    published_at: datetime
    count: int
    live: bool


def look(connection: Connection, shop: Shop, live: Journey, shown: Journey, now: datetime) -> dict[str, Any]:
    """What templates ask about steps; `shown` is the journey as it is edited, `live` as it runs."""
    found: dict[str, Any] = {"staged": is_staged(live), "faults": [], "lines": (), "standing": []}
    if not is_staged(live):
        return found
    there = texts_of(connection, shop, shown.flow.sends)
    outline = Outline(called(connection, shop), there.begins, tally(connection, shop, live.key, now - COUNTED))
    return found | {
        "lines": outline.lines(shown.flow.steps),
        "counted_days": COUNTED.days,
        "left_words": step_words.left_words,
        "arm_words": step_words.arm_words,
        "step_texts": {step.key: there.of(step) for step in shown.flow.sends},
        "faults": faults(connection, shop, shown, now),
        "standing": standing(connection, shop, live),
    }


def standing(connection: Connection, shop: Shop, journey: Journey) -> list[Standing]:
    """The version that is live, and every older one that somebody is inside on; the newest first."""
    counts: dict[int, int] = defaultdict(int)
    for one in publishing.inside(connection, shop, journey.key):
        counts[one.version] += one.count
    known = versions(connection, shop.shop_id, journey, {journey.version, *counts})
    return [
        Standing(number, version.published_at, counts[number], number == journey.version)
        for number, version in sorted(known.items(), reverse=True)
    ]
