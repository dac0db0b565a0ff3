"""When what was planned for later may leave: the first instant that the shop's hours, its days of rest and the law of the place leave open.

The planner counts the shop's hours in each zone. What depends on more than the zone (a channel's own hours, Sundays and holidays, the law
for text messages by state and number) is asked here once for each place that a round planned something for, by the same function as just
before sending, and written with one statement. So what waits says when it will go. It is asked again when it is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from crm_plugin.store.base import from_micros, to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.caps import exempt
from crm_plugin.touchpoints.journey import WEBHOOK
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.quiet import Rest, open_after
from crm_plugin.touchpoints.states import Reason, State
from crm_plugin.touchpoints.versions import voices

# What decides about the hours: of a number its country and area code, and that for text messages alone.
_PLACE = {
    "channel": "t.channel",
    "journey_key": "t.journey_key",
    "journey_version": "COALESCE(t.journey_version, 0)",
    "step": "t.step",
    "next_try_at": "t.next_try_at",
    "zone": "m.zone",
    "timezone": "m.timezone",
    "country": "m.country",
    "region": "m.region",
    "phone": "CASE WHEN t.channel = 'sms' THEN substr(m.phone, 1, 5) ELSE '' END",
}
_NUMBERS = ("journey_version", "step", "next_try_at", "later")
_NEW = (
    f"t.shop_id = :shop_id AND t.state = '{State.PLANNED}' AND t.next_try_at > :now AND t.planned_at = :now "
    "AND t.channel NOT IN ('inapp', :webhook) AND m.shop_id = t.shop_id AND m.member_id = t.member_id"
)
_PLACES = text(
    f"SELECT DISTINCT {', '.join(f'{sql} AS {name}' for name, sql in _PLACE.items())} "  # noqa: S608
    f"FROM touchpoints AS t CROSS JOIN members AS m WHERE {_NEW}"
)


def put_off(db: Database, shop: Shop, now: datetime) -> int:
    """Let what this round planned for later wait until it may leave; how many were moved. What never may is left to the guards."""
    binds = {"shop_id": shop.shop_id, "now": to_micros(now), "webhook": WEBHOOK}
    with db.read() as connection:
        places = connection.execute(_PLACES, binds).all()
        if not places or not _asks_more(shop, places):
            return 0
        moved = list(_later(connection, shop, places))
    if not moved:
        return 0
    with db.write() as connection:
        told = {"groups": json.dumps(moved, separators=(",", ":")), "reason": Reason.QUIET_HOURS.value}
        # SQLite's driver counts no rows of a statement that begins with WITH.
        return sum(1 for _ in connection.execute(_move(db.is_sqlite), {**binds, **told}))


def _asks_more(shop: Shop, places: Sequence[Row[Any]]) -> bool:
    """Whether anything but the zone decides."""
    return policy_of(shop).rest != Rest() or any(one.channel == "sms" for one in places)


def _later(connection: Connection, shop: Shop, places: Sequence[Row[Any]]) -> Iterator[list[Any]]:
    policy, known = policy_of(shop), voices(connection, shop.shop_id, places)
    for one in places:
        at = from_micros(one.next_try_at)
        marketing = not exempt(known.of(one))
        found = open_after(one, one.channel, policy.quiet, policy.rest, at, policy.zone, marketing=marketing)
        if found is not None and found > at:
            yield [*one, to_micros(found)]


def _move(is_sqlite: bool) -> Any:
    """Moves all by their places; nothing past its window, which the guards let go. One row for each that was moved.

    The places are unpacked once, and last in the join: so SQLite looks them up by an index, and does not go through all for each message.
    """
    names = [*_PLACE, "later"]
    kinds = {name: "BIGINT" if name in _NUMBERS else "TEXT" for name in names}
    if is_sqlite:
        picked = [f"CAST(json_extract(value, '$[{n}]') AS {kinds[name]}) AS {name}" for n, name in enumerate(names)]
        source = f"SELECT {', '.join(picked)} FROM json_each(:groups)"  # noqa: S608
    else:
        picked = [f"CAST(value ->> {n} AS {kinds[name]}) AS {name}" for n, name in enumerate(names)]
        source = f"SELECT {', '.join(picked)} FROM jsonb_array_elements(CAST(:groups AS jsonb)) AS listed(value)"  # noqa: S608
    same = " AND ".join(f"{sql} = g.{name}" for name, sql in _PLACE.items())
    return text(
        f"WITH g AS MATERIALIZED ({source}) UPDATE touchpoints AS t "  # noqa: S608
        "SET next_try_at = g.later, reason = :reason, updated_at = :now FROM members AS m CROSS JOIN g "
        f"WHERE {_NEW} AND {same} AND t.valid_until > g.later RETURNING touchpoint_id"
    )
