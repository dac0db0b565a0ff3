"""Sending: claim with a lease, commit, guards again, render, note the attempts of a group, commit, call, settle, commit.

What a crash can do, by where it strikes: before the attempt is noted nothing has left, and the row goes back to waiting. After it the
message may have left: the row becomes unconfirmed and is shown, unless the provider deduplicates by key (`recover.py`). A group is what is
called for in a moment (`calling.Pace`), so that is as much as can become doubtful at once. Nothing here sends a second time what may have
been sent, and nothing is forgotten, for the rows are the truth.

To a sender that takes several at a time a group is topped up before its last message has ended: what has ended is settled and the next ones
are noted in one transaction, and no more stand noted than before.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError

from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.errors import (
    ActionRequired,
    ConfigError,
    MalformedResponse,
    NotFound,
    OptedOut,
    OutcomeUnknown,
    PermanentError,
    RecipientRefused,
    RenderError,
    TransientError,
)
from crm_plugin.phrases import phrase
from crm_plugin.records import Message
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database, is_away
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch as batches
from crm_plugin.touchpoints import claims, health, links, senders
from crm_plugin.touchpoints.calling import Called, Line, Pace, Ready
from crm_plugin.touchpoints.compose import compose
from crm_plugin.touchpoints.gate import judge
from crm_plugin.touchpoints.policy import Policy, policy_of
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.settling import Outcome, begin, patiently, settle
from crm_plugin.touchpoints.states import Reason, State

# So many are taken together at first, and more where as many leave in a moment: what is read for them is read in as many statements.
CLAIM, MOST_CLAIM = 100, 500
_MOMENT_SECONDS = 2.0
# What was read of members and consents is read again when sending takes longer than this.
FRESH = timedelta(seconds=30)
# Between the guards and a call there is never more than this; what is left of the group then is looked at again.
FRESH_GROUP = timedelta(seconds=5)
MOST_ATTEMPTS = 6
# A sender that fails this often in a row is left alone for the rest of the round.
MOST_FAILURES = 3
LONGEST_PAUSE = timedelta(days=1)
_FIRST_PAUSE = timedelta(minutes=2)
# Messages that failed together are not all tried again at one instant.
_JITTER = 0.1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ways:
    """How a message is made, and how the sender that takes it is opened; a rehearsal has its own.

    `take` may take a message that is ready in place of the sender, and then settles its row by the end of the round. With `counted` mails
    get the links by which openings and clicks are counted.
    """

    compose: Callable[..., tuple[Message, Rendered]] = compose
    open_channel: Callable[..., ChannelAdapter] = senders.open_channel
    take: Callable[[Database, Row[Any], Message, datetime], bool] = lambda _db, _row, _message, _now: False
    counted: bool = False


LIVE = Ways(counted=True)


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
        self._box = box
        self._shop = shop
        self._clock = clock
        self._now = self._claimed_at = clock()
        self._progress = progress
        self._ways = ways
        self._public_url = public_url.rstrip("/")
        self._policy: Policy = policy_of(shop)
        self._channels: dict[str, ChannelAdapter] = {}
        self._lines: dict[str, Line] = {}
        self._place = claims.Place()
        self._pace = Pace()
        self._failures: Counter[str] = Counter()
        # Of a sender that calls many others: who has failed, and until when they are left alone.
        self._away: dict[tuple[str, str], datetime] = {}
        # What has ended and is not written yet.
        self._ended: list[Outcome] = []
        # What was made ready while others were called for; None for what has ended instead.
        self._ahead: dict[int, Ready | None] = {}
        # Senders of which as many have been noted as they allow in this minute.
        self._spent: set[str] = set()
        with db.read() as connection:
            self._resting = self._who_rests(connection)
            self._recovering = health.recovering(connection, shop.shop_id)
        self.report = DispatchReport()

    def close(self) -> None:
        for line in self._lines.values():
            line.close()
        for channel in self._channels.values():
            channel.close()

    def claim(self, count: int) -> Sequence[Row[Any]]:
        """Take due rows for ourselves."""
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
            resting=self._resting,
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
        with self._db.read() as connection:
            self._resting |= self._who_rests(connection)
            return batches.load(connection, self._shop, list(rows), self._now)

    def _who_rests(self, connection: Connection) -> set[str]:
        """Senders that wait for the merchant or are off, and those that are left alone for a while."""
        shop_id = self._shop.shop_id
        return senders.resting(connection, shop_id) | set(health.resting(connection, shop_id, self._now))

    def _send_group(self, group: Sequence[Row[Any]], known: batches.Batch, later: deque[Row[Any]]) -> list[Row[Any]]:
        """Send a group, and of the `later` ones as many as can be added to it; answers those of it whose turn did not come.

        What ends the round early gives back those and the later ones.
        """
        waiting: dict[str, deque[Ready]] = {}
        self._spent.clear()
        ready = self._made_ready(group, known)
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
        self._resting |= self._spent
        self._write_or_give_up(waiting, later)
        self._pace.end()
        return self._take_back(waiting)

    def _made_ready(self, group: Iterable[Row[Any]], known: batches.Batch) -> list[Ready]:
        """The messages of a group, those that were made ahead among them."""
        made = []
        for row in group:
            ahead = row.touchpoint_id in self._ahead
            ready = self._ahead.pop(row.touchpoint_id) if ahead else self._ready(row, known)
            if ready is not None and not (self._is_fresh(ready, FRESH_GROUP / 2) and row.adapter not in self._resting):
                ready = self._ready(row, known)
            if ready is not None:
                made.append(ready)
        return made

    def _is_fresh(self, ready: Ready, within: timedelta) -> bool:
        return ready.asked_at <= self._now <= ready.asked_at + within

    def _make_ahead(self, later: deque[Row[Any]], known: batches.Batch) -> Callable[[], bool]:
        """Make the next group ready, one message a call, while this one is called for; False when that is done."""

        def make_one() -> bool:
            coming = islice(later, self._pace.size)
            row = next((one for one in coming if one.touchpoint_id not in self._ahead), None)
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
            try:
                self._note(self._made_ready(group, known), waiting)
            except DBAPIError as error:
                if not is_away(error):
                    raise
                # What became of others is waited for; whether these were noted nobody knows, but that none has left.
                self._write()
                back = self._take_back(waiting)
                waiting[adapter].clear()
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
        for adapter, some in waiting.items():
            left = list(some)
            if left and left[0].channel.most_a_minute > 0:
                health.give_back(self._db, self._shop.shop_id, adapter, len(left))
        rows = [one.row for some in waiting.values() for one in some]
        patiently(lambda: claims.take_back(self._db, rows, self._now))
        return rows

    def _may_go_on(self) -> Callable[[Ready], bool]:
        """Whether the next call may be made: what the guards of its message have seen is fresh, and the sender well."""
        first = True

        def may_go_on(ready: Ready) -> bool:
            nonlocal first
            if not first:
                self._hear()
            first = False
            return self._is_fresh(ready, FRESH_GROUP) and ready.row.adapter not in self._resting

        return may_go_on

    def _line(self, adapter: str, channel: ChannelAdapter) -> Line:
        if adapter not in self._lines:
            self._lines[adapter] = Line(channel)
        return self._lines[adapter]

    def _ready(self, row: Row[Any], known: batches.Batch) -> Ready | None:
        """The message that is to leave now; None when the row has been settled instead."""
        try:
            ready = self._prepare(row, known)
            if ready is not None and self._ways.take(self._db, row, ready.message, self._now):
                self.report.note(State.ACCEPTED.value)
                return None
        except Exception as error:
            # One row must not stop the others; what it was about is kept with it.
            _log.exception("touchpoint %s failed", row.touchpoint_id)
            self._end(row, State.FAILED, Reason.ERROR, type(error).__name__)
            return None
        return ready

    def _prepare(self, row: Row[Any], known: batches.Batch) -> Ready | None:
        """Everything before the message can leave; None when the row has been settled instead."""
        if row.adapter in self._resting:
            self._end(row, State.PLANNED, Reason.SENDER_PAUSED)
            return None
        if (until := self._away_until(row)) is not None:
            self._end(row, State.PLANNED, Reason.SENDER_PAUSED, next_try_at=until)
            return None
        verdict = judge(row, known, self._policy, self._now)
        if verdict.state is not None:
            self._end(row, verdict.state, verdict.reason, verdict.detail, next_try_at=verdict.again_at)
            return None
        spoken = known.journey_of(row)
        marketing = spoken is not None and spoken.kind == "marketing"
        if marketing and row.capped_at is None:
            # It was taken as one that does not count, and the journey has been edited since: it is taken anew.
            self._end(row, State.PLANNED, Reason.FREQUENCY_CAP, next_try_at=self._now)
            return None
        if marketing and row.channel in ("email", "note") and not self._public_url:
            # Without an address of ours there is no link to unsubscribe, and no marketing that is mailed without that.
            again = self._now + timedelta(hours=1)
            self._end(row, State.PLANNED, Reason.NO_PUBLIC_URL, phrase("Set CRM_PUBLIC_URL."), next_try_at=again)
            return None
        try:
            message, made = self._ways.compose(row, known, self._shop, self._policy, self._box, self._public_url)
        except RenderError as error:
            self._end(row, State.FAILED, Reason(error.code), str(error))
            return None
        try:
            channel = self._open(row.adapter)
        except (NotFound, ConfigError) as error:
            self._rest(row, str(error))
            return None
        if self._ways.counted and self._public_url and links.counts(message, channel):
            about = row.shop_id, row.touchpoint_id
            message = links.counted(message, self._policy.tracking, self._box, self._public_url, *about)
        return Ready(row, channel, message, made, self._now)

    def _away_until(self, row: Row[Any]) -> datetime | None:
        """Until when those who are called for this message are left alone in this round; None where nobody of them has failed in it."""
        if not self._away or row.adapter not in self._channels:
            return None
        until = self._away.get((row.adapter, self._channels[row.adapter].whose(row.address)))
        return until if until is not None and until > self._now else None

    def _open(self, adapter: str) -> ChannelAdapter:
        if adapter not in self._channels:
            self._channels[adapter] = self._ways.open_channel(
                self._db, self._box, self._shop, adapter, self._now, public_url=self._public_url
            )
        return self._channels[adapter]

    def _note_call(self, called: Called) -> None:
        """What a call that has ended means for its touchpoint."""
        self._now = max(self._now, self._clock())
        row, error = called.ready.row, called.error
        number = row.attempts + 1
        match error:
            case None:
                self._end(row, State.ACCEPTED, attempt=number, result=called.result)
                self._is_well(row.adapter)
            case OptedOut():
                self._end(row, State.FAILED, Reason.OPTED_OUT, str(error), attempt=number, opted_out=True)
            case RecipientRefused():
                self._end(row, State.FAILED, Reason.REFUSED, str(error), attempt=number, dead=error.suppress)
            case TransientError():
                self._later(called.ready, error, number)
            case OutcomeUnknown() | MalformedResponse():
                self._end(row, State.UNCONFIRMED, Reason.OUTCOME_UNKNOWN, str(error), attempt=number)
            case ActionRequired() | ConfigError():
                self._rest(row, str(error), attempt=number)
            case PermanentError():
                self._end(row, State.FAILED, Reason.PERMANENT, str(error), attempt=number)
            case _:
                # An error nobody foresaw may have come after the message left: it is shown, never sent again by itself.
                _log.error("sending touchpoint %s", row.touchpoint_id, exc_info=error)
                self._end(row, State.UNCONFIRMED, Reason.ERROR, type(error).__name__, attempt=number)

    def _is_well(self, adapter: str) -> None:
        self._failures[adapter] = 0
        if adapter in self._recovering:
            self._recovering.discard(adapter)
            self._tell(lambda connection: health.well(connection, self._shop.shop_id, adapter))

    def _later(self, ready: Ready, error: TransientError, number: int) -> None:
        row, asked = ready.row, None
        if error.retry_after is not None and error.retry_after > 0:
            # Whatever the other side asks for, within a day it is asked again.
            asked = timedelta(seconds=min(error.retry_after, LONGEST_PAUSE.total_seconds()))
        if number >= MOST_ATTEMPTS:
            self._end(row, State.FAILED, Reason.TOO_MANY_TRIES, str(error), attempt=number)
        else:
            pause = asked or _FIRST_PAUSE * 4 ** (number - 1) * random.uniform(1 - _JITTER, 1 + _JITTER)
            again_at = self._now + pause
            self._end(row, State.RETRY_WAIT, Reason.TRANSIENT, str(error), attempt=number, next_try_at=again_at)
        if whose := ready.channel.whose(row.address):
            self._away[row.adapter, whose] = self._now + (asked or _FIRST_PAUSE)
        else:
            self._leave_alone(row.adapter, str(error), asked)

    def _leave_alone(self, adapter: str, why: str, asked: timedelta | None) -> None:
        """A sender that names a pause has it; one that fails again and again, or at once after a rest, is left alone too."""
        self._failures[adapter] += 1
        if asked is None and self._failures[adapter] < MOST_FAILURES and adapter not in self._recovering:
            return
        if adapter not in self._resting:
            self._resting.add(adapter)
            about = (self._shop.shop_id, adapter, self._now, why, asked)
            self._tell(lambda connection: health.rest(connection, *about))

    def _rest(self, row: Row[Any], detail: str, attempt: int | None = None) -> None:
        """The merchant must act: the sender pauses, its messages wait within their validity."""
        self._resting.add(row.adapter)
        self._end(row, State.PLANNED, Reason.SENDER_PAUSED, detail, attempt=attempt)
        self._tell(lambda connection: senders.pause(connection, row.shop_id, row.adapter, detail, self._now))

    def _tell(self, how: Callable[[Connection], object]) -> None:
        """Write how a sender fares. A database that is away forgets it: what calls came to matters more, and the next round sees it too."""
        try:
            with self._db.write() as connection:
                how(connection)
        except DBAPIError as error:
            if not is_away(error):
                raise
            _log.warning("how a sender fares was not written: %s", type(error.orig).__name__)

    def _end(self, row: Row[Any], state: State, reason: str = "", detail: str = "", **more: Any) -> None:
        """Note what became of it; it is written with the rest of its group."""
        self._ended.append(Outcome(row, state, self._now, reason, detail, **more))

    def _write(self) -> None:
        """Write what has ended, if it is still ours."""
        ended, self._ended = self._ended, []
        self._report(settle(self._db, ended))

    def _report(self, written: Iterable[Outcome]) -> None:
        for one in written:
            self.report.note(one.state.value, str(one.reason))
