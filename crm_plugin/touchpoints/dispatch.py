"""Sending: claim with a lease, commit, guards again, render, note the attempts of a group, commit, call, settle, commit.

What a crash can do, by where it strikes: before the attempt is noted nothing has left, and the row goes back to waiting. After it the
message may have left: the row becomes unconfirmed and is shown, unless the provider deduplicates by key (`recover.py`). A group is what is
called for in a moment (`calling.Pace`), so that is as much as can become doubtful at once. Nothing here sends a second time what may have
been sent, and nothing is forgotten, for the rows are the truth.

To a sender that takes several at a time a group is topped up before its last message has ended: what has ended is settled and the next ones
are noted in one transaction, and no more stand noted than before.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError

from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database, is_away
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch as batches
from crm_plugin.touchpoints import claims, health
from crm_plugin.touchpoints.calling import Called, Line, Pace, Ready
from crm_plugin.touchpoints.ended import outcome_of
from crm_plugin.touchpoints.faring import Faring
from crm_plugin.touchpoints.policy import Policy, policy_of
from crm_plugin.touchpoints.readying import LIVE, Readying, Ways
from crm_plugin.touchpoints.settling import Outcome, begin, patiently, settle
from crm_plugin.touchpoints.states import State

# So many are taken together at first, and more where as many leave in a moment: what is read for them is read in as many statements.
CLAIM, MOST_CLAIM = 100, 500
_MOMENT_SECONDS = 2.0
# What was read of members and consents is read again when sending takes longer than this.
FRESH = timedelta(seconds=30)
# Between the guards and a call there is never more than this; what is left of the group then is looked at again.
FRESH_GROUP = timedelta(seconds=5)
# A clock that is put back once costs a round as much as another claim. One that keeps going back would never let it end.
_MOST_PUT_BACK = 3


@dataclass(slots=True)
class DispatchReport:
    """What became of the touchpoints of one round: by state, and by reason where there is one."""

    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def note(self, state: str, reason: str = "") -> None:
        self.states[state] += 1
        if reason:
            self.reasons[reason] += 1

    @property
    def total(self) -> int:
        """How many touchpoints were settled, in whatever way."""
        return self.states.total()

    def as_dict(self) -> dict[str, Any]:
        return {"states": dict(self.states), "reasons": dict(self.reasons)}


def dispatch_shop(
    db: Database,
    box: SecretBox,
    shop: Shop,
    now: datetime,
    *,
    limit: int | None = None,
    public_url: str = "",
    clock: Callable[[], datetime] | None = None,
    progress: Callable[[int], None] | None = None,
    ways: Ways = LIVE,
) -> DispatchReport:
    """Send what is due, at most `limit`. Senders that wait for the merchant or are off are left out; their messages wait with them.

    A round stays at `now` unless a `clock` is given: a long one must see the night fall. `progress` hears before each message how many are
    done; what it raises ends the round, and what had been taken for it waits again.
    """
    round_ = _Round(db, box, shop, clock or (lambda: now), public_url, progress, ways)
    try:
        left, size = limit, CLAIM
        while left is None or left > 0:
            began = time.monotonic()
            rows = round_.claim(size if left is None else min(size, left))
            if not rows:
                break
            round_.send(rows)
            left = None if left is None else left - len(rows)
            size = min(size * 2, MOST_CLAIM) if time.monotonic() - began < _MOMENT_SECONDS else CLAIM
    finally:
        round_.close()
    return round_.report


class _Round:
    """One round of one shop."""

    def __init__(
        self,
        db: Database,
        box: SecretBox,
        shop: Shop,
        clock: Callable[[], datetime],
        public_url: str,
        progress: Callable[[int], None] | None,
        ways: Ways,
    ) -> None:
        self._db = db
        self._shop = shop
        self._clock = clock
        self._now = self._claimed_at = clock()
        self._progress = progress
        self._policy: Policy = policy_of(shop)
        self._faring = Faring(db, shop.shop_id)
        self._readying = Readying(db, box, shop, self._policy, public_url, ways, self._faring)
        self._lines: dict[str, Line] = {}
        self._place = claims.Place()
        self._pace = Pace()
        # What has ended and is not written yet.
        self._ended: list[Outcome] = []
        # What was made ready while others were called for; None for what has ended instead.
        self._ahead: dict[int, Ready | None] = {}
        # Senders of which as many have been noted as they allow in this minute.
        self._spent: set[str] = set()
        # How often the clock was put back amid what had been claimed.
        self._put_back = 0
        with db.read() as connection:
            self._faring.begin(connection, self._now)
        self.report = DispatchReport()

    def close(self) -> None:
        for line in self._lines.values():
            line.close()
        self._readying.close()

    def claim(self, count: int) -> Sequence[Row[Any]]:
        """Take due rows for ourselves; none any more where the clock does not stop going back."""
        if self._put_back > _MOST_PUT_BACK:
            return []
        self._now = self._clock()
        self._claimed_at = self._now
        rows = self._claim(count)
        if not rows and self._place.after is not None:
            # What waits again, was taken back or became due meanwhile may stand before: the round ends when nothing at all is left.
            self._place.reset()
            rows = self._claim(count)
        return rows

    def _claim(self, count: int) -> Sequence[Row[Any]]:
        return claims.claim(
            self._db,
            self._shop.shop_id,
            self._now,
            count,
            resting=self._faring.resting,
            limits=self._policy.limits,
            place=self._place,
            told=self.report.note,
        )

    def send(self, rows: Sequence[Row[Any]]) -> None:
        """Send what was claimed, a group at a time. Whatever ends the round early, those not begun yet wait again at once."""
        left = deque(rows)
        # What was taken anew has another fence.
        self._ahead.clear()
        known = self._read(left)
        while left:
            try:
                self._hear()
                if self._is_stale():
                    known = self._read(left)
            except BaseException:
                claims.release(self._db, left, self._now)
                raise
            if self._now < self._claimed_at:
                # The clock was put back: by what it says now, somebody may have had enough already. They are taken anew.
                claims.release(self._db, left, self._now)
                self._put_back += 1
                return
            self._pace_begins()
            group = [left.popleft() for _ in range(min(self._pace.size, len(left)))]
            left.extendleft(reversed(self._send_group(group, known, left)))

    def _pace_begins(self) -> None:
        self._pace.begin(max((line.at_once for line in self._lines.values()), default=1))

    def _is_stale(self) -> bool:
        """Whether what was read of members is to be read again."""
        return self._now - self._read_at > FRESH

    def _hear(self) -> None:
        """Tell how far it is, which may end the round, and see what time it is."""
        if self._progress is not None:
            self._progress(self.report.total + len(self._ended))
        self._now = self._clock()

    def _read(self, rows: Collection[Row[Any]]) -> batches.Batch:
        self._read_at = self._now
        # What was made ready by what was known before is made anew.
        self._ahead = {number: None for number, ready in self._ahead.items() if ready is None}
        with self._db.read() as connection:
            self._faring.read(connection, self._now)
            return batches.load(connection, self._shop, list(rows), self._now)

    def _send_group(self, group: Sequence[Row[Any]], known: batches.Batch, later: deque[Row[Any]]) -> list[Row[Any]]:
        """Send a group, and of the `later` ones as many as can be added to it; answers those of it whose turn did not come.

        What ends the round early gives back those and the later ones.
        """
        waiting: dict[str, deque[Ready]] = {}
        self._spent.clear()
        try:
            ready = self._made_ready(group, known)
        except BaseException:
            claims.release(self._db, [*group, *later], self._now)
            raise
        try:
            self._note(ready, waiting)
            # From here on messages may have left: an error of the database stops the round and leaves the rows to recovery.
            for adapter, some in waiting.items():
                if some:
                    line = self._line(adapter, some[0].channel)
                    ahead, more = self._make_ahead(later, known), self._top_up(adapter, waiting, later, known)
                    line.call(some, self._may_go_on(), self._note_call, ahead, more)
        except BaseException:
            self._write_or_give_up(waiting, later)
            self._give_up(waiting, later)
            raise
        self._faring.resting |= self._spent
        self._write_or_give_up(waiting, later)
        self._pace.end()
        return self._take_back(waiting)

    def _made_ready(self, group: Iterable[Row[Any]], known: batches.Batch) -> list[Ready]:
        """The messages of a group, those that were made ahead among them."""
        made = []
        for row in group:
            ahead = row.touchpoint_id in self._ahead
            ready = self._ahead.pop(row.touchpoint_id) if ahead else self._ready(row, known)
            if ready is not None and not (
                self._is_fresh(ready, FRESH_GROUP / 2) and row.adapter not in self._faring.resting
            ):
                ready = self._ready(row, known)
            if ready is not None:
                made.append(ready)
        return made

    def _is_fresh(self, ready: Ready, within: timedelta) -> bool:
        return ready.asked_at <= self._now <= ready.asked_at + within

    def _make_ahead(self, later: deque[Row[Any]], known: batches.Batch) -> Callable[[], bool]:
        """Make the next group ready, one message a call, while this one is called for; False when that is done."""

        def make_one() -> bool:
            made = len(self._ahead)
            if made >= min(self._pace.size, len(later)):
                return False
            # Those that are made stand first, but for some that were put back before them.
            row = next((one for one in islice(later, made, None) if one.touchpoint_id not in self._ahead), None)
            if row is not None:
                self._ahead[row.touchpoint_id] = self._ready(row, known)
            return row is not None

        return make_one

    def _top_up(
        self, adapter: str, waiting: dict[str, deque[Ready]], later: deque[Row[Any]], known: batches.Batch
    ) -> Callable[[int], bool]:
        """Add the next ones of the same sender once half of a group has ended; False where they wait for a group of their own."""

        def top_up(under_way: int) -> bool:
            if not later or under_way > self._pace.size // 2 or adapter in self._spent or any(waiting.values()):
                return False
            if self._is_stale() or self._now < self._claimed_at:
                return False
            self._pace.end()
            self._pace_begins()
            coming = islice(later, max(self._pace.size - under_way, 0))
            group = list(takewhile(lambda row: row.adapter == adapter, coming))
            if not group:
                return False
            back: list[Row[Any]] = []
            ready = self._made_ready(group, known)
            try:
                self._note(ready, waiting)
            except DBAPIError as error:
                if not is_away(error):
                    raise
                # What became of others is waited for; whether these were noted nobody knows, but that none has left.
                self._write()
                self._take_back(waiting)
                waiting[adapter].clear()
                back = [one.row for one in ready]
            for _ in group:
                later.popleft()
            later.extendleft(reversed(back))
            return not back

        return top_up

    def _note(self, ready: Sequence[Ready], waiting: dict[str, deque[Ready]]) -> None:
        """Note the attempts of those that may leave now, together with what has ended; they wait to be called for then.

        They stand among what waits before they are noted, so that whatever ends the round meanwhile takes them back.
        """
        some = self._within_rates(ready)
        if not some:
            self._write()
            return
        for one in some:
            waiting.setdefault(one.row.adapter, deque()).append(one)
        ours, written = begin(self._db, [(one.row, one.made) for one in some], self._now, self._ended)
        self._ended = []
        self._report(written)
        for one in some:
            if one.row.touchpoint_id not in ours:
                waiting[one.row.adapter].remove(one)

    def _within_rates(self, ready: Sequence[Ready]) -> list[Ready]:
        """Those that may leave now by what their senders allow a minute; the others wait again.

        The senders of those others rest in this round once what they allow has left.
        """
        found: list[Ready] = []
        for adapter in {one.row.adapter: None for one in ready}:
            some = [one for one in ready if one.row.adapter == adapter]
            most = some[0].channel.most_a_minute
            count = health.allowed(self._db, self._shop.shop_id, adapter, most, len(some), self._now)
            found += some[:count]
            if count < len(some):
                self._spent.add(adapter)
                claims.release(self._db, [one.row for one in some[count:]], self._now)
        return found

    def _write_or_give_up(self, waiting: Mapping[str, Iterable[Ready]], later: Collection[Row[Any]]) -> None:
        """Write what has ended; whoever is interrupted amid that leaves it to recovery, and nothing else."""
        try:
            self._write()
        except (KeyboardInterrupt, SystemExit):
            self._give_up(waiting, later)
            raise

    def _give_up(self, waiting: Mapping[str, Iterable[Ready]], later: Collection[Row[Any]]) -> None:
        """The round ends here: what has not begun waits again at once."""
        claims.release(self._db, [*self._take_back(waiting), *later], self._now)

    def _take_back(self, waiting: Mapping[str, Iterable[Ready]]) -> list[Row[Any]]:
        """Those whose call was not made, as they were before the group began; what a rate allowed for them is free again."""
        rows = [one.row for some in waiting.values() for one in some]
        patiently(lambda: claims.take_back(self._db, rows, self._now))
        for adapter, some in waiting.items():
            left = list(some)
            if left and left[0].channel.most_a_minute > 0:
                health.give_back(self._db, self._shop.shop_id, adapter, len(left))
        return rows

    def _may_go_on(self) -> Callable[[Ready], bool]:
        """Whether the next call may be made: what the guards of its message have seen is fresh, and the sender well."""
        first = True

        def may_go_on(ready: Ready) -> bool:
            nonlocal first
            if first:
                # It has been told how far it is; but noting may have waited for others who write.
                self._now = self._clock()
            else:
                self._hear()
            first = False
            return self._is_fresh(ready, FRESH_GROUP) and ready.row.adapter not in self._faring.resting

        return may_go_on

    def _line(self, adapter: str, channel: ChannelAdapter) -> Line:
        if adapter not in self._lines:
            self._lines[adapter] = Line(channel)
        return self._lines[adapter]

    def _ready(self, row: Row[Any], known: batches.Batch) -> Ready | None:
        """The message that is to leave now; None when the row has been settled instead."""
        made = self._readying.ready(row, known, self._now)
        if isinstance(made, Outcome):
            self._ended.append(made)
            return None
        if made is None:
            self.report.note(State.ACCEPTED.value)
        return made

    def _note_call(self, called: Called) -> None:
        """What has become of a message is written with the rest of its group."""
        self._now = max(self._now, self._clock())
        self._ended.append(outcome_of(called, self._now))
        self._faring.heard(called, self._now)

    def _write(self) -> None:
        """Write what has ended, if it is still ours."""
        ended, self._ended = self._ended, []
        self._report(settle(self._db, ended))

    def _report(self, written: Iterable[Outcome]) -> None:
        for one in written:
            self.report.note(one.state.value, str(one.reason))
