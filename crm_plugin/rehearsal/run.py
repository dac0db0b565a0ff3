"""Playing it: what came is let in, a round is taken, the clock goes on to the next instant at which something may happen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import select

from crm_plugin.clock import FixedClock, local_day
from crm_plugin.rehearsal.arrivals import Arrivals
from crm_plugin.rehearsal.ask import Ask, check
from crm_plugin.rehearsal.result import Played, Result, collect
from crm_plugin.rehearsal.scratch import copied
from crm_plugin.rehearsal.stage import known, prepare
from crm_plugin.rehearsal.ticks import Ticks
from crm_plugin.rehearsal.ways import Paper
from crm_plugin.rounds import Progress, TickReport, tick, told_of
from crm_plugin.runtime import Runtime
from crm_plugin.store import touchpoints
from crm_plugin.store.secrets import SecretBox, new_key
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import pull
from crm_plugin.touchpoints import senders
from crm_plugin.touchpoints.states import WAITING

_WAITING = [state.value for state in WAITING]
# What goes before the span begins is played too; just before it, so that an instant on its edge belongs to it.
_INSTANT = timedelta(microseconds=1)
# Where links lead while nobody has said it: marketing by mail needs one to unsubscribe by.
_SOMEWHERE = "https://crm.example"


def rehearse(runtime: Runtime, shop: Shop, ask: Ask, *, progress: Progress | None = None) -> Result:
    """Play what is asked for on a copy; nothing in the shop's own database changes, and nothing is sent.

    Raises: InvalidInput for what cannot be rehearsed, NotFound for a journey that is not there; whatever `progress` raises.
    """
    now = runtime.clock.now()
    check(ask, shop, now)
    with runtime.db.read() as connection:
        ask = known(connection, shop, ask)

    def note(what: str, done: int, total: int | None = None) -> None:
        if progress is not None:
            progress(pull.Progress(what, done, total))

    if ask.part_price is None:
        ask = replace(ask, part_price=senders.part_price(runtime.db, runtime.box, shop))
    with copied(runtime.db, shop.shop_id, note) as scratch:
        begin, _ = ask.span(shop)
        # What of today is over was as it was: coming days begin now.
        start = begin if ask.first < local_day(now, shop.timezone) else now
        staged, arrivals = prepare(scratch, shop, ask, start, now)
        config = runtime.config
        if not config.public_url:
            config = replace(config, public_url=_SOMEWHERE)
        stand_in = Runtime(config, scratch, SecretBox(new_key()), FixedClock(start))
        played = _Play(stand_in, staged, ask, arrivals, note).play(start)
        played.knows_address = bool(runtime.config.public_url)
        played.unknown = () if arrivals is None else arrivals.unknown
        return collect(scratch, staged, ask, played, now)


class _Play:
    """One rehearsal under way."""

    def __init__(
        self,
        runtime: Runtime,
        shop: Shop,
        ask: Ask,
        arrivals: Arrivals | None,
        note: Callable[[str, int, int | None], None],
    ) -> None:
        self._runtime, self._shop, self._ask, self._arrivals, self._note = runtime, shop, ask, arrivals, note
        self._ways = Paper(every=ask.every_text, members=ask.member_ids).ways()
        self._played = Played()
        self._waited: defaultdict[str, set[int]] = defaultdict(set)

    def play(self, start: datetime) -> Played:
        """Round after round to the end."""
        ask, shop = self._ask, self._shop
        begin, end = ask.span(shop)
        ticks = Ticks(self._runtime.db, shop, until=end, pause=ask.pause, arrivals=self._arrivals, outages=ask.outages)
        zone = shop.timezone
        today = local_day(start, zone)
        days = (ask.last - today).days + 1
        at = ticks.after(start - _INSTANT)
        while at is not None:
            self._note("days", (local_day(at, zone) - today).days, days)
            self._round(at, counted=at >= begin)
            at = ticks.after(at)
        self._note("days", days, days)
        self._played.waited = {reason: frozenset(ids) for reason, ids in self._waited.items()}
        return self._played

    def _round(self, at: datetime, *, counted: bool) -> None:
        clock = self._runtime.clock
        assert isinstance(clock, FixedClock)
        clock.at = at
        if self._arrivals is not None:
            self._played.arrivals += self._arrivals.let_in(self._runtime.db, at)
        report = tick(self._runtime, self._shop, at, ways=self._ways)
        self._played.rounds += 1
        self._keep_problems(report)
        if counted:
            self._keep_figures(report)

    def _keep_problems(self, report: TickReport) -> None:
        told = {key: str(problem) for key, problem in report.plan.get("problems", {}).items()}
        told |= {step: told_of({step: error}) for step, error in report.errors.items()}
        for key, problem in told.items():
            self._played.problems.setdefault(key, problem)

    def _keep_figures(self, report: TickReport) -> None:
        played = self._played
        if report.tiers is not None:
            changed = int(report.tiers["changed"])
            # What today's own run finds is so already, whatever the days to come bring.
            if self._arrivals is None and played.rounds == 1:
                played.levels_today += changed
            else:
                played.levels += changed
        for key, moved in report.segments.items():
            came, left = played.segments.get(key, (0, 0))
            played.segments[key] = came + moved["entered"], left + moved["left"]
        states = report.dispatch.get("states", {})
        if any(states.get(state) for state in _WAITING):
            self._keep_waits(self._runtime.db, report.at)

    def _keep_waits(self, db: Database, at: datetime) -> None:
        """Which messages were put off in this round, and why."""
        t = touchpoints.c
        query = select(t.touchpoint_id, t.journey_key, t.reason).where(
            t.shop_id == self._shop.shop_id,
            t.state.in_(_WAITING),
            t.next_try_at > at,
            t.updated_at == at,
            t.reason != "",
        )
        with db.read() as connection:
            for row in connection.execute(query):
                if self._ask.only in ("", row.journey_key):
                    self._waited[row.reason].add(row.touchpoint_id)
