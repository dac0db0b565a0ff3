"""Rehearsing: a year of ten journeys, against only inserting the same touchpoints and claiming and settling each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import func, insert, select, update

from benchmarks import data
from benchmarks.harness import Options, Result, benchmark, seconds
from benchmarks.sending import claim_and_settle
from crm_plugin.clock import FixedClock, local_day
from crm_plugin.config import Config
from crm_plugin.ids import new_ids
from crm_plugin.rehearsal import Ask, rehearse
from crm_plugin.rehearsal import result as rehearsed
from crm_plugin.runtime import Runtime
from crm_plugin.store import connections, consents, journeys, members, orders, touchpoints
from crm_plugin.store.base import to_micros
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.pull import Progress
from crm_plugin.touchpoints import program

_YEAR = timedelta(days=365)
# Of a shop of a few members no year is played: what a round costs by itself would be all that is seen.
_WEEK = timedelta(days=7)
_FEW = 1_000
_SAMPLE = 5_000
# The shop whose year has to be over within so many seconds, all its messages at no less than this share of the bare writing of as many.
_MEMBERS, _LONGEST, _RATE = 100_000, 1_800.0, 0.15
_TEXT = {
    "email": {"en": {"subject": "Hello {{ member.name }}", "text": "Hello {{ member.name }}! {{ unsubscribe_url }}"}}
}
# Three of each, and one more: before and after the birthday, pauses, days after an order.
_JOURNEYS = {
    **{f"birthday-{n}": {"type": "birthday", "days": days} for n, days in enumerate((-7, 0, 7))},
    **{f"lapse-{n}": {"type": "lapse", "days": days} for n, days in enumerate((30, 60, 120))},
    **{f"after-{n}": {"type": "post_purchase", "days": days} for n, days in enumerate((2, 7, 14, 40))},
}


@benchmark("rehearsal.year")
def year(options: Options) -> Iterator[Result]:
    """The past year of a whole shop: copied, taken back, and played day by day."""
    with data.stocked(options.members, options.seed) as (database, shop):
        _set_up(database, shop)
        runtime = Runtime(
            Config("", Path(), public_url="https://crm.example"),
            database,
            SecretBox(Fernet.generate_key()),
            FixedClock(data.END),
        )
        last = local_day(data.END, shop.timezone) - timedelta(days=1)
        span = _YEAR if options.members >= _FEW else _WEEK
        told = _Telling(options)
        ask = Ask(last - span + timedelta(days=1), last)
        played: list[rehearsed.Result] = []
        took = seconds(lambda: played.append(rehearse(runtime, shop, ask, progress=told.hear)))
        (seen,) = played
        assert not seen.problems, seen.problems
        raw = _raw(database, shop)
    detail = {
        "seconds": round(took, 1),
        "messages": seen.messages,
        "held_back": seen.held_back,
        "rounds": seen.rounds,
        **told.marks,
    }
    # In a smaller shop the same rounds carry fewer messages, a larger one has no such budget.
    is_judged = options.members == _MEMBERS
    yield Result(
        "rehearsal: a year of ten journeys",
        took,
        _LONGEST,
        "s",
        1.0 if is_judged else None,
        False,
        "half an hour",
        detail,
    )
    yield Result(
        "rehearsal: messages of the year",
        seen.messages / took,
        raw,
        "messages/s",
        _RATE if is_judged else None,
        True,
        "inserted, claimed and settled alone",
        detail,
    )


class _Telling:
    """Says each month that is over, and keeps when the days began."""

    def __init__(self, options: Options) -> None:
        self._options, self._begun, self._said = options, time.perf_counter(), -1
        self.marks: dict[str, float] = {}

    def hear(self, told: Progress) -> None:
        if told.stream != "days":
            return
        self.marks.setdefault("until_first_day_s", round(time.perf_counter() - self._begun, 1))
        if told.done // 30 > self._said:
            self._said = told.done // 30
            self._options.say(f"day {told.done} of {told.total}, {time.perf_counter() - self._begun:,.0f} s")


def _set_up(database: Database, shop: Shop) -> None:
    """Ten journeys on since long ago, a sender, and rows that say they came when they happened."""
    long_ago = data.END - timedelta(days=1_200)
    listed = [
        {"key": key, "trigger": trigger, "channels": ["email"], "validity_days": 3}
        for key, trigger in _JOURNEYS.items()
    ]
    with database.write() as connection:
        row = {
            "adapter": "smtp",
            "channel": "email",
            "settings": b"",
            "enabled": True,
            "status": "ok",
            "status_detail": "",
        }
        connection.execute(insert(connections).values(shop_id=shop.shop_id, updated_at=long_ago, **row))
        program.load(connection, shop, {"journeys": listed, "templates": dict.fromkeys(_JOURNEYS, _TEXT)}, long_ago)
        connection.execute(update(journeys).values(enabled=True, enabled_at=long_ago, planned_through=data.END))
        connection.execute(update(orders).values(first_seen_at=orders.c.placed_at))
        connection.execute(
            update(members).values(first_seen_at=func.coalesce(members.c.joined_at, to_micros(long_ago)))
        )
        connection.execute(update(consents).values(recorded_at=consents.c.at))


def _raw(database: Database, shop: Shop) -> float:
    """Touchpoints a second, only inserted, claimed and settled, one transaction for each as it must be."""
    with database.read() as connection:
        ids = list(connection.execute(select(members.c.member_id).limit(_SAMPLE)).scalars())
    at = data.END
    plain: dict[str, Any] = {
        "shop_id": shop.shop_id, "journey_key": "raw", "step": 0, "occasion": "1", "state": "planned", "channel": "email",
        "adapter": "smtp", "address": "a@b.test", "occasion_on": at.date(), "due_at": at, "next_try_at": at,
        "valid_until": at + timedelta(days=3), "planned_at": at, "updated_at": at,
    }  # fmt: skip
    rows = [{**plain, "touchpoint_id": new, "member_id": one} for new, one in zip(new_ids(len(ids)), ids, strict=True)]

    def work() -> None:
        with database.write() as connection:
            connection.execute(insert(touchpoints), rows)
        claim_and_settle(database, shop, at)

    return len(ids) / seconds(work)
