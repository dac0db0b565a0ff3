"""Sending: claim with a lease, commit, guards again, render, note the attempt, commit, call, settle, commit.

What a crash can do, by where it strikes: before the attempt is noted nothing has left, and the row goes back to waiting. After it the
message may have left: the row becomes unconfirmed and is shown, unless the provider deduplicates by key (`recover.py`). Nothing here
sends a second time what may have been sent, and nothing is forgotten, for the rows are the truth.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, update

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
from crm_plugin.phrases import cut, phrase
from crm_plugin.records import Message, SendResult
from crm_plugin.store import touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch as batches
from crm_plugin.touchpoints import claims, senders
from crm_plugin.touchpoints.compose import compose, key_of
from crm_plugin.touchpoints.gate import judge
from crm_plugin.touchpoints.policy import Policy, policy_of
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.settling import end_attempt, learn
from crm_plugin.touchpoints.states import WAITING, Reason, State, may_go

CLAIM = 100
# What was read of members and consents is read again when sending takes longer than this.
FRESH = timedelta(seconds=30)
MOST_ATTEMPTS = 6
# A sender that fails this often in a row is left alone for the rest of the round.
MOST_FAILURES = 3
LONGEST_PAUSE = timedelta(days=1)
_FIRST_PAUSE = timedelta(minutes=2)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ways:
    """How a message is made, and how the sender that takes it is opened; a rehearsal has its own.

    `take` may take a message that is ready in place of the sender, and then settles its row by the end of the round.
    """

    compose: Callable[..., tuple[Message, Rendered]] = compose
    open_channel: Callable[..., ChannelAdapter] = senders.open_channel
    take: Callable[[Database, Row[Any], Message, datetime], bool] = lambda _db, _row, _message, _now: False


LIVE = Ways()


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
        left = limit
        while left is None or left > 0:
            rows = round_.claim(CLAIM if left is None else min(CLAIM, left))
            if not rows:
                break
            round_.send(rows)
            left = None if left is None else left - len(rows)
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
        self._place = claims.Place()
        self._failures: Counter[str] = Counter()
        with db.read() as connection:
            self._resting = senders.resting(connection, shop.shop_id)
        self.report = DispatchReport()

    def close(self) -> None:
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
        """Send what was claimed. Whatever ends the round early, those not begun yet wait again at once."""
        known, read_at = self._read(rows), self._now
        for place, row in enumerate(rows):
            try:
                if self._progress is not None:
                    self._progress(self.report.total)
            except BaseException:
                claims.release(self._db, rows[place:], self._now)
                raise
            self._now = self._clock()
            if self._now < self._claimed_at:
                # The clock was put back: by what it says now, somebody may have had enough already. They are taken anew.
                claims.release(self._db, rows[place:], self._now)
                return
            if self._now - read_at > FRESH:
                known, read_at = self._read(rows[place:]), self._now
            try:
                self._send_one(row, known)
            except (KeyboardInterrupt, SystemExit):
                claims.release(self._db, rows[place + 1 :], self._now)
                raise

    def _read(self, rows: Sequence[Row[Any]]) -> batches.Batch:
        with self._db.read() as connection:
            self._resting |= senders.resting(connection, self._shop.shop_id)
            return batches.load(connection, self._shop, rows, self._now)

    def _send_one(self, row: Row[Any], known: batches.Batch) -> None:
        try:
            ready = self._prepare(row, known)
        except Exception as error:
            # One row must not stop the others; what it was about is kept with it.
            _log.exception("touchpoint %s failed", row.touchpoint_id)
            self._settle(row, State.FAILED, Reason.ERROR, type(error).__name__)
            return
        if ready is None:
            return
        channel, message, made = ready
        if self._ways.take(self._db, row, message, self._now):
            self.report.note(State.ACCEPTED.value)
            return
        # From here on the message may have left: an error of the database stops the round and leaves the row to recovery.
        if claims.begin(self._db, row, made, self._now):
            self._call(row, channel, message)

    def _prepare(self, row: Row[Any], known: batches.Batch) -> tuple[ChannelAdapter, Message, Rendered] | None:
        """Everything before the message can leave; None when the row has been settled instead."""
        if row.adapter in self._resting:
            self._settle(row, State.PLANNED, Reason.SENDER_PAUSED)
            return None
        verdict = judge(row, known, self._policy, self._now)
        if verdict.state is not None:
            self._settle(row, verdict.state, verdict.reason, verdict.detail, next_try_at=verdict.again_at)
            return None
        spoken = known.journey_of(row)
        marketing = spoken is not None and spoken.kind == "marketing"
        if marketing and row.capped_at is None:
            # It was taken as one that does not count, and the journey has been edited since: it is taken anew.
            self._settle(row, State.PLANNED, Reason.FREQUENCY_CAP, next_try_at=self._now)
            return None
        if marketing and row.channel in ("email", "note") and not self._public_url:
            # Without an address of ours there is no link to unsubscribe, and no marketing that is mailed without that.
            again = self._now + timedelta(hours=1)
            self._settle(row, State.PLANNED, Reason.NO_PUBLIC_URL, phrase("Set CRM_PUBLIC_URL."), next_try_at=again)
            return None
        try:
            message, made = self._ways.compose(row, known, self._shop, self._policy, self._box, self._public_url)
        except RenderError as error:
            self._settle(row, State.FAILED, Reason(error.code), str(error))
            return None
        try:
            channel = self._open(row.adapter)
        except (NotFound, ConfigError) as error:
            self._rest(row, str(error))
            return None
        return channel, message, made

    def _open(self, adapter: str) -> ChannelAdapter:
        if adapter not in self._channels:
            self._channels[adapter] = self._ways.open_channel(
                self._db, self._box, self._shop, adapter, self._now, public_url=self._public_url
            )
        return self._channels[adapter]

    def _call(self, row: Row[Any], channel: ChannelAdapter, message: Message) -> None:
        number = row.attempts + 1
        try:
            result = channel.send(message, idempotency_key=key_of(row))
        except OptedOut as error:
            self._settle(row, State.FAILED, Reason.OPTED_OUT, str(error), attempt=number, opted_out=True)
        except RecipientRefused as error:
            self._settle(row, State.FAILED, Reason.REFUSED, str(error), attempt=number, dead=error.suppress)
        except TransientError as error:
            self._later(row, error, number)
        except (OutcomeUnknown, MalformedResponse) as error:
            self._settle(row, State.UNCONFIRMED, Reason.OUTCOME_UNKNOWN, str(error), attempt=number)
        except (ActionRequired, ConfigError) as error:
            self._rest(row, str(error), attempt=number)
        except PermanentError as error:
            self._settle(row, State.FAILED, Reason.PERMANENT, str(error), attempt=number)
        except Exception as error:
            # An error nobody foresaw may have come after the message left: it is shown, never sent again by itself.
            _log.exception("sending touchpoint %s", row.touchpoint_id)
            self._settle(row, State.UNCONFIRMED, Reason.ERROR, type(error).__name__, attempt=number)
        else:
            self._failures[row.adapter] = 0
            self._settle(row, State.ACCEPTED, attempt=number, result=result)

    def _later(self, row: Row[Any], error: TransientError, number: int) -> None:
        self._failures[row.adapter] += 1
        if self._failures[row.adapter] >= MOST_FAILURES:
            self._resting.add(row.adapter)
        if number >= MOST_ATTEMPTS:
            self._settle(row, State.FAILED, Reason.TOO_MANY_TRIES, str(error), attempt=number)
            return
        pause = _FIRST_PAUSE * 4 ** (number - 1)
        if error.retry_after is not None and error.retry_after > 0:
            # Whatever the other side asks for, within a day it is asked again.
            pause = timedelta(seconds=min(error.retry_after, LONGEST_PAUSE.total_seconds()))
        self._settle(row, State.RETRY_WAIT, Reason.TRANSIENT, str(error), attempt=number, next_try_at=self._now + pause)

    def _rest(self, row: Row[Any], detail: str, attempt: int | None = None) -> None:
        """The merchant must act: the sender pauses, its messages wait within their validity."""
        self._resting.add(row.adapter)
        with self._db.write() as connection:
            senders.pause(connection, row.shop_id, row.adapter, detail, self._now)
        self._settle(row, State.PLANNED, Reason.SENDER_PAUSED, detail, attempt=attempt)

    def _settle(
        self,
        row: Row[Any],
        state: State,
        reason: str = "",
        detail: str = "",
        *,
        attempt: int | None = None,
        next_try_at: datetime | None = None,
        result: SendResult | None = None,
        dead: bool = False,
        opted_out: bool = False,
    ) -> None:
        """Write what became of it, if it is still ours, together with what it taught us about the address."""
        if not may_go(State.IN_FLIGHT, state):
            raise ValueError(f"no way leads from in_flight to {state}")
        waiting = state in WAITING
        values: dict[str, Any] = {
            "state": state.value,
            "reason": str(reason),
            "reason_detail": cut(detail, 500),
            "claimed_until": None,
            "updated_at": self._now,
            "next_try_at": next_try_at or row.next_try_at,
            "settled_at": None if waiting else self._now,
        }
        if result is not None:
            values |= {"provider_message_id": result.provider_message_id, "accepted_at": self._now}
        with self._db.write() as connection:
            if connection.execute(update(touchpoints).where(claims.mine(row)).values(**values)).rowcount != 1:
                return
            if attempt is not None:
                end_attempt(connection, row, attempt, state, str(reason), detail, result, self._now)
            if dead or opted_out:
                learn(connection, row, opted_out, self._now)
        self.report.note(state.value, str(reason))
