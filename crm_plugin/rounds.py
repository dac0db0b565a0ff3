"""One round of one shop, whoever asks for it: the clock of a live shop, a command, or a rehearsal over a copy."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from crm_plugin.clock import local_day
from crm_plugin.errors import CrmError
from crm_plugin.phrases import phrase
from crm_plugin.rules import cadences, kept, segments, tiers
from crm_plugin.rules.trigger_rhythm import COUNTED_FOR
from crm_plugin.runtime import Runtime
from crm_plugin.store import runs
from crm_plugin.store.runs import Run
from crm_plugin.store.session import is_away
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import pull, zones
from crm_plugin.touchpoints import openings, radius, wave_figures
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.inquiry import inquire_shop
from crm_plugin.touchpoints.intake import match_early
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.polling import poll_shop
from crm_plugin.touchpoints.readying import LIVE, Ways
from crm_plugin.touchpoints.recover import miss_shop, recover_shop

_log = logging.getLogger(__name__)
Progress = Callable[[pull.Progress], None]
# The mark under which the daily run of the levels is kept.
TIERS = "tiers"
# And the look at what a day will bring.
FORECASTS = "forecasts"
CADENCES = "cadences"


class Stopped(Exception):
    """Raised by a progress callback between two steps of a job: the process is ending, what is written is kept."""


class TurnOver(Exception):
    """Raised between two messages when the turn is over; `done` were settled in it, those after them wait as before."""

    def __init__(self, done: int) -> None:
        super().__init__(done)
        self.done = done


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one round did.

    `recovered` are messages whose end was learned late; `tiers` is None when the levels were looked at that day already. `segments` are
    those that somebody came into or left; `zones` counts members whose zone is unknown here and who were given the next one. `held` are
    journeys with many messages at once, by what became of them. `errors` holds what went wrong by step; the steps after it were taken all
    the same.
    """

    at: datetime
    recovered: dict[str, int] = field(default_factory=dict)
    tiers: dict[str, Any] | None = None
    segments: dict[str, Any] = field(default_factory=dict)
    zones: int = 0
    plan: dict[str, Any] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    dispatch: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "at": self.at.isoformat()}


def tick(
    runtime: Runtime,
    shop: Shop,
    at: datetime,
    *,
    live: bool = False,
    progress: Progress | None = None,
    ways: Ways = LIVE,
) -> TickReport:
    """One round: settle what a crash left, levels once a local day, plan what has fallen due, send what may leave.

    A step that goes wrong is told in the report and does not keep the others from theirs. `live` lets time go on while messages are sent;
    else the round stays at `at`. `ways` is how messages are made and leave.
    Raises: DBAPIError, or the pool's TimeoutError, when the database is away, for then no step can do anything.
    """
    report = TickReport(at)
    db, errors = runtime.db, report.errors
    with _step(shop, "recover", errors):
        report.recovered.update(recover_shop(db, shop, at))
    with _step(shop, "missed", errors):
        if missed := miss_shop(db, shop, at):
            report.recovered["missed"] = missed
    with _step(shop, "events", errors):
        report.recovered.update(Counter(report.recovered) + Counter(match_early(db, shop, at)))
    with _step(shop, "inquiry", errors):
        found = inquire_shop(db, runtime.box, shop, at, ways.open_channel)
        report.recovered.update(Counter(report.recovered) + Counter(found))
    with _step(shop, "poll", errors):
        told = poll_shop(db, runtime.box, shop, at, ways.open_channel)
        report.recovered.update(Counter(report.recovered) + Counter(told))
    with _step(shop, "tiers", errors):
        report = replace(report, tiers=daily_tiers(runtime, shop, at))
    with _step(shop, "segments", errors):
        report.segments.update(keep_segments(runtime, shop, at, errors))
    with _step(shop, "cadences", errors):
        daily_cadences(runtime, shop, at)
    with _step(shop, "zones", errors):
        report = replace(report, zones=zones.replace_unknown(db, shop, at))
    with _step(shop, "plan", errors):
        report.plan.update(plan_shop(db, shop, at).as_dict())
        if report.plan["planned"]:
            openings.put_off(db, shop, at)
    with _step(shop, "radius", errors):
        forecasts_of_today(runtime, shop, at)
        report.held.update(radius.look(db, shop, at))
    with _step(shop, "dispatch", errors):
        report.dispatch.update(_dispatch(runtime, shop, at, live=live, progress=progress, ways=ways))
    return report


def _dispatch(
    runtime: Runtime, shop: Shop, at: datetime, *, live: bool, progress: Progress | None, ways: Ways
) -> dict[str, Any]:
    """What became of what was due; when the turn ended before that, only how many messages were settled in it."""
    try:
        sent = dispatch_shop(
            runtime.db,
            runtime.box,
            shop,
            at,
            public_url=runtime.config.public_url,
            clock=runtime.clock.now if live else None,
            progress=None if progress is None else lambda done: progress(pull.Progress("messages", done, None)),
            ways=ways,
        )
    except TurnOver as over:
        return {"settled": over.done, "turn_over": True}
    return sent.as_dict()


@contextmanager
def _step(shop: Shop, name: str, errors: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except (Stopped, PoolTimeout):
        raise
    except CrmError as error:
        _log.warning("%s of %s: %s", name, shop.name, error)
        errors[name] = str(error)
    except Exception as error:
        if isinstance(error, DBAPIError) and is_away(error):
            # No other step could do anything either.
            raise
        _log.exception("%s of %s", name, shop.name)
        errors[name] = f"{type(error).__name__}: {error}"[:500]


def told_of(errors: Mapping[str, str]) -> str:
    """The errors of a round's steps as one text; empty without any."""
    told = ""
    for step, error in errors.items():
        one = phrase("%(place)s: %(what)s", place=_STEPS.get(step, step), what=error)
        told = phrase("%(one)s; %(next)s", one=told, next=one) if told else one
    return told


# The steps of a round as its errors name them.
_STEPS = {
    "recover": phrase("recover"),
    "missed": phrase("missed"),
    "events": phrase("events"),
    "tiers": phrase("tiers"),
    "segments": phrase("segments"),
    "cadences": phrase("cadences"),
    "zones": phrase("zones"),
    "plan": phrase("plan"),
    "radius": phrase("many at once"),
    "dispatch": phrase("dispatch"),
}


def daily_tiers(runtime: Runtime, shop: Shop, at: datetime) -> dict[str, Any] | None:
    """Bring everybody to the level earned, once for each day in the shop's zone; None when that was done.

    A round for a day that is still to come says nothing of the days before it.
    """
    day = local_day(at, shop.timezone)
    today = local_day(runtime.clock.now(), shop.timezone)
    with runtime.db.read() as connection:
        before = runs.last(connection, shop.shop_id, TIERS)
    if before is not None and day.isoformat() <= before.through <= max(day, today).isoformat():
        return None
    report = tiers.apply(runtime.db, shop, as_of=day, now=at, daily=True).as_dict()
    with runtime.db.write() as connection:
        runs.keep(connection, shop.shop_id, Run(TIERS, at, at, runs.plain(report), "", day.isoformat()))
    return report


def daily_cadences(runtime: Runtime, shop: Shop, at: datetime) -> None:
    """Count how long products and pauses last, once for each day in the shop's zone, where a journey that is on goes by it."""
    day = local_day(at, shop.timezone)
    with runtime.db.read() as connection:
        going = [
            one for one in all_journeys(connection, shop.shop_id) if one.enabled and one.trigger.type in COUNTED_FOR
        ]
        before = runs.last(connection, shop.shop_id, CADENCES)
    if not going or (before is not None and day.isoformat() <= before.through):
        return
    found = cadences.count(runtime.db, shop, at)
    with runtime.db.write() as connection:
        runs.keep(connection, shop.shop_id, Run(CADENCES, at, at, found.as_dict(), "", day.isoformat()))


def forecasts_of_today(runtime: Runtime, shop: Shop, at: datetime) -> None:
    """Look up what the journeys will plan today, once for each day in the shop's zone."""
    day = local_day(at, shop.timezone)
    with runtime.db.read() as connection:
        before = runs.last(connection, shop.shop_id, FORECASTS)
    if before is None or day.isoformat() > before.through:
        count = wave_figures.note_forecasts(runtime.db, shop, day)
        with runtime.db.write() as connection:
            runs.keep(connection, shop.shop_id, Run(FORECASTS, at, at, {"journeys": count}, "", day.isoformat()))


def keep_segments(runtime: Runtime, shop: Shop, at: datetime, errors: dict[str, str]) -> dict[str, Any]:
    """Bring the lists of all segments up to date; who came and went by segment. A rule that cannot be asked is told of in `errors`."""
    with runtime.db.read() as connection:
        if not segments.list(connection, shop.shop_id):
            return {}
    with runtime.db.write() as connection:
        report = kept.keep(connection, shop, at)
    for key, problem in report.problems.items():
        errors["segments"] = phrase("The segment %(key)s cannot be asked: %(problem)s", key=key, problem=problem)
    return {key: asdict(one) for key, one in report.turnover.items()}
