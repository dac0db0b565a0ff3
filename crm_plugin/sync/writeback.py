"""Writing levels into the store: claim with a lease, commit, call, settle, commit.

Killed at any instant it goes on: before the call nothing has happened, after it the same mark is written once more, which changes nothing.
What passes by itself is tried again and again, ever more seldom; what concerns one account alone is kept with it and shown; what the
merchant has to put right stops the shop's writing with one notice, and once an hour the store is asked whether that has been done.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import ActionRequired, AdapterError, PermanentError, TransientError
from crm_plugin.phrases import cut, joined, phrase
from crm_plugin.records import TierMark, TierWrite, TierWritten
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.store.writebacks import MarkReason, MarkState, is_due, rest, stop, switch_of
from crm_plugin.sync.allowance import Left
from crm_plugin.sync.mark_claims import Outcome, accounts, claim, recover, settle, titles

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=6)
# However long a store asks to be left alone, it is asked again within a day.
LONGEST_REST = timedelta(days=1)
# A store that fails this often in a row is left alone for the rest of the run.
MOST_FAILURES = 3
PROBE = timedelta(hours=1)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class WritebackReport:
    """What became of the marks of one run, by state; `recovered` had been left by a worker, `stopped` says what the merchant must do."""

    states: Counter[str] = field(default_factory=Counter)
    recovered: int = 0
    calls: int = 0
    stopped: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "states": dict(sorted(self.states.items())),
            "recovered": self.recovered,
            "calls": self.calls,
            "stopped": self.stopped,
        }


def write_shop(
    db: Database,
    shop: Shop,
    storefront: StorefrontAdapter,
    now: datetime,
    *,
    clock: Callable[[], datetime] | None = None,
    progress: Callable[[int], None] | None = None,
) -> WritebackReport:
    """Write what is due, until nothing is or the store fails. A shop that is off, rests or waits for its merchant is left alone.

    The run stays at `now` unless a `clock` is given. `progress` hears before each call how many are done; what it raises ends the run.
    """
    run = _Run(db, shop, storefront, clock or (lambda: now), progress)
    if run.may_write():
        run.report.recovered = recover(db, shop.shop_id, now)
        while run.goes_on() and (most := run.most()):
            rows = claim(db, shop.shop_id, run.now(), most)
            if not rows:
                break
            run.write(rows)
    return run.report


class _Run:
    """One run of one shop."""

    def __init__(
        self,
        db: Database,
        shop: Shop,
        storefront: StorefrontAdapter,
        clock: Callable[[], datetime],
        progress: Callable[[int], None] | None,
    ) -> None:
        self._db = db
        self._shop = shop
        self._storefront = storefront
        self._progress = progress
        self._failures = 0
        self._over = False
        self._left = Left(db, shop.shop_id, storefront.tier_allowance())
        self.now = clock
        self.report = WritebackReport()
        with db.read() as connection:
            self._titles = titles(connection, shop.shop_id, shop.locale)

    def may_write(self) -> bool:
        """Whether the shop's switch lets us. One that stopped for its merchant is probed once an hour."""
        now = self.now()
        with self._db.read() as connection:
            switch = switch_of(connection, self._shop.shop_id)
        if not switch.enabled or not self._storefront.holds_tiers() or switch.rests(now):
            self.report.stopped = switch.detail if switch.stopped_at else ""
            return False
        if switch.stopped_at is None:
            return True
        wrong = next((one for one in self._storefront.check_tiers() if one.severity is Severity.ERROR), None)
        if wrong is None:
            self._rest(None)
            return True
        self._stop(joined(wrong.message, wrong.hint))
        return False

    def goes_on(self) -> bool:
        """Whether another call may be made; the turn may end here."""
        if not self._over and self._progress is not None:
            self._progress(self.report.states.total())
        return not self._over

    def most(self) -> int:
        """How many marks to take next; 0 once the day's are used up, and then the store rests until the next day where any wait."""
        now, at_once = self.now(), self._storefront.tiers_at_once
        left = self._left.at(now)
        if left == 0:
            with self._db.read() as connection:
                waits = is_due(connection, self._shop.shop_id, now)
            if waits:
                self._rest(self._left.until, phrase("As many levels were written as may be in one day."))
            return 0
        return at_once if left is None else min(at_once, left)

    def write(self, rows: Sequence[Row[Any]]) -> None:
        """Write what was claimed and settle it."""
        with self._db.read() as connection:
            known = accounts(connection, self._shop.shop_id, (row.member_id for row in rows))
        outcomes, ready, writes = [], [], []
        for row in rows:
            reference, is_there = known.get(row.member_id, (None, False))
            if reference is None or not is_there:
                reason = MarkReason.GUEST if reference is None else MarkReason.GONE
                outcomes.append(Outcome(row, MarkState.IMPOSSIBLE, reason=reason))
                continue
            ready.append(row)
            writes.append(TierWrite(reference, self._mark(row)))
        if writes:
            written = self._call(writes)
            outcomes += [self._outcome(row, one) for row, one in zip(ready, written, strict=True)]
        settle(self._db, self._shop.shop_id, outcomes, self.now())
        self.report.states.update(one.state.value for one in outcomes)

    def _mark(self, row: Row[Any]) -> TierMark:
        level = row.wanted_level
        title, rank = self._titles.get((row.program_key, level), (level, -1))
        return TierMark(row.program_key, level, title, rank)

    def _call(self, writes: Sequence[TierWrite]) -> list[TierWritten]:
        """Call the store; whatever goes wrong becomes the answer of each."""
        self.report.calls += 1
        self._left.take(len(writes))
        error: AdapterError
        try:
            written = self._storefront.write_tiers(writes)
            if len(written) == len(writes):
                self._heard([one.error for one in written])
                return written
            error = TransientError(phrase("The store answered for other accounts than asked."))
        except AdapterError as raised:
            error = raised
        except Exception as raised:
            # An error nobody foresaw must not stop the others for good; the mark may have been written, and is written again.
            _log.exception("writing levels of %s", self._shop.name)
            what = type(raised).__name__
            error = TransientError(phrase("Something went wrong: %(what)s", what=what))
        self._heard([error])
        return [TierWritten(write.reference, error=error) for write in writes]

    def _heard(self, errors: Sequence[AdapterError | None]) -> None:
        """What the answer means for the calls after it."""
        stopped = next((one for one in errors if isinstance(one, ActionRequired)), None)
        passing = next((one for one in errors if one is not None and _passes(one)), None)
        if stopped is not None:
            self._stop(str(stopped))
        elif passing is None:
            self._failures = 0
        else:
            self._failures += 1
            asked = passing.retry_after if isinstance(passing, TransientError) else None
            if asked:
                self._rest(self.now() + min(timedelta(seconds=asked), LONGEST_REST), cut(str(passing), 500))
            self._over |= bool(asked) or self._failures >= MOST_FAILURES

    def _outcome(self, row: Row[Any], done: TierWritten) -> Outcome:
        error = done.error
        if error is None:
            return Outcome(row, MarkState.WRITTEN, row.wanted_level, done.changed_at)
        detail = cut(str(error), 500)
        if isinstance(error, ActionRequired):
            return Outcome(row, MarkState.WAITING, attempts=row.attempts)
        if error.code == "gone":
            return Outcome(row, MarkState.IMPOSSIBLE, reason=MarkReason.GONE, detail=detail)
        if isinstance(error, PermanentError):
            return Outcome(row, MarkState.FAILED, reason=MarkReason.REFUSED, detail=detail, attempts=row.attempts + 1)
        pause = min(FIRST_PAUSE * 4 ** min(row.attempts, 6), LONGEST_PAUSE)
        return Outcome(
            row,
            MarkState.WAITING,
            reason=MarkReason.TRANSIENT,
            detail=detail,
            attempts=row.attempts + 1,
            next_try_at=self.now() + pause,
        )

    def _stop(self, detail: str) -> None:
        self._over = True
        self.report.stopped = detail
        with self._db.write() as connection:
            stop(connection, self._shop.shop_id, detail, self.now(), self.now() + PROBE)

    def _rest(self, until: datetime | None, why: str = "") -> None:
        with self._db.write() as connection:
            rest(connection, self._shop.shop_id, until, self.now(), why)


def _passes(error: AdapterError) -> bool:
    """Whether it is worth trying again; what breaks the store's own contract may be mended by its next update."""
    return not isinstance(error, (PermanentError, ActionRequired))
