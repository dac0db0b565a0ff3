"""How many are at each step of a journey, how many have passed it, and how many left it there and why; three statements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, func, select

from crm_plugin.store import enrolment_events, enrolments
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.steps import ending


@dataclass(frozen=True, slots=True)
class Tally:
    """Of one step, over all versions: who stands at it now; how often it was done; who left there, by reason."""

    inside: int = 0
    done: int = 0
    left: Mapping[str, int] = field(default_factory=dict)


def tally(connection: Connection, shop: Shop, key: str, since: datetime) -> dict[str, Tally]:
    """By step key, of those who are inside and of those whose stay ended after `since`."""
    e, v = enrolments.c, enrolment_events.c
    mine = (e.shop_id == shop.shop_id, e.journey_key == key)
    active, ended = e.state == ending.ACTIVE, (e.state == ending.ENDED) & (e.ended_at >= since)
    standing = select(e.step_key, func.count()).where(*mine, active).group_by(e.step_key)
    inside = {step: int(count) for step, count in connection.execute(standing)}
    done: dict[str, int] = {}
    left: dict[str, dict[str, int]] = {}
    for which in (active, ended):
        told = (
            select(v.step_key, v.what, v.reason, func.count())
            .join_from(enrolments, enrolment_events, (v.shop_id == e.shop_id) & (v.enrolment_id == e.enrolment_id))
            .where(*mine, which, v.what.in_([ending.DONE, ending.ENDED]))
            .group_by(v.step_key, v.what, v.reason)
        )
        for step, what, reason, count in connection.execute(told):
            if what == ending.DONE or reason == ending.DONE:
                done[step] = done.get(step, 0) + count
            else:
                at = left.setdefault(step, {})
                at[reason] = at.get(reason, 0) + count
    steps = inside.keys() | done.keys() | left.keys()
    return {step: Tally(inside.get(step, 0), done.get(step, 0), left.get(step, {})) for step in sorted(steps)}
