"""Sending: claim with a lease, commit, guards again, render, note the attempt, commit, call, settle, commit.

What a crash can do, by where it strikes: before the attempt is noted nothing has left, and the row goes back to waiting. After it the
message may have left: the row becomes unconfirmed and is shown, unless the provider deduplicates by key. Nothing here sends a second time
what may have been sent, and nothing is forgotten, for the rows are the truth.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, literal, select, update

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.adapters.registry import channel_class
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
from crm_plugin.records import ConsentState, Message, SendResult
from crm_plugin.store import attempts, consent, touchpoint_contents, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch as batches
from crm_plugin.touchpoints import senders
from crm_plugin.touchpoints.compose import compose, key_of
from crm_plugin.touchpoints.gate import judge
from crm_plugin.touchpoints.plan import CONSENT_CHANNEL
from crm_plugin.touchpoints.policy import Policy, policy_of
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.states import WAITING, Reason, State, may_go

CLAIM = 100
LEASE = timedelta(minutes=10)
MOST_ATTEMPTS = 6
# A sender that fails this often in a row is left alone for the rest of the round.
MOST_FAILURES = 3
_FIRST_PAUSE = timedelta(minutes=2)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class DispatchReport:
    """What became of the touchpoints of one round: by state, and by reason where there is one."""

    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def note(self, state: str, reason: str = "") -> None:
        self.states[state] += 1
        if reason:
            self.reasons[reason] += 1

    def as_dict(self) -> dict[str, Any]:
        return {"states": dict(self.states), "reasons": dict(self.reasons)}


def dispatch_shop(
    db: Database, box: SecretBox, shop: Shop, now: datetime, *, limit: int | None = None, public_url: str = ""
) -> DispatchReport:
    """Send what is due, at most `limit`. Senders that wait for the merchant are left out; their messages wait with them."""
    round_ = _Round(db, box, shop, now, public_url)
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

    def __init__(self, db: Database, box: SecretBox, shop: Shop, now: datetime, public_url: str) -> None:
        self._db = db
        self._box = box
        self._shop = shop
        self._now = now
        self._public_url = public_url.rstrip("/")
        self._policy: Policy = policy_of(shop)
        self._channels: dict[str, ChannelAdapter] = {}
        self._failures: Counter[str] = Counter()
        with db.read() as connection:
            self._resting = set(senders.paused(connection, shop.shop_id))
        self.report = DispatchReport()

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def claim(self, count: int) -> Sequence[Row[Any]]:
        """Take due rows for ourselves: only what changed in the UPDATE is ours."""
        t = touchpoints.c
        due = (
            select(t.touchpoint_id)
            .where(
                t.shop_id == self._shop.shop_id,
                t.state.in_([state.value for state in WAITING]),
                t.next_try_at <= self._now,
                t.adapter.not_in(sorted(self._resting)),
            )
            .order_by(t.next_try_at, t.touchpoint_id)
            .limit(count)
            .with_for_update(skip_locked=True)
        )
        with self._db.write() as connection:
            claimed = (
                update(touchpoints)
                .where(t.shop_id == self._shop.shop_id, t.touchpoint_id.in_(due))
                .where(t.state.in_([state.value for state in WAITING]))
                .values(
                    state=State.IN_FLIGHT.value,
                    claimed_until=self._now + LEASE,
                    fence=t.fence + 1,
                    updated_at=self._now,
                )
                .returning(*touchpoints.columns)
            )
            return sorted(connection.execute(claimed).all(), key=lambda row: (row.due_at, row.touchpoint_id))

    def send(self, rows: Sequence[Row[Any]]) -> None:
        with self._db.read() as connection:
            known = batches.load(connection, self._shop, rows, self._now)
        for row in rows:
            try:
                ready = self._prepare(row, known)
            except Exception as error:
                # One row must not stop the others; what it was about is kept with it.
                _log.exception("touchpoint %s failed", row.touchpoint_id)
                self._settle(row, State.FAILED, Reason.ERROR, type(error).__name__)
                continue
            if ready is None:
                continue
            channel, message, made = ready
            # From here on the message may have left: an error of the database stops the round and leaves the row to recovery.
            if self._begin(row, made):
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
        marketing = known.journeys[row.journey_key].kind == "marketing"
        if marketing and row.channel in ("email", "note") and not self._public_url:
            # Without an address of ours there is no link to unsubscribe, and no marketing that is mailed without that.
            again = self._now + timedelta(hours=1)
            self._settle(row, State.PLANNED, Reason.NO_PUBLIC_URL, "Set CRM_PUBLIC_URL.", next_try_at=again)
            return None
        try:
            message, made = compose(row, known, self._shop, self._policy, self._box, self._public_url)
        except RenderError as error:
            self._settle(row, State.FAILED, Reason.RENDER, str(error))
            return None
        try:
            channel = self._open(row.adapter)
        except (NotFound, ConfigError) as error:
            self._rest(row, str(error))
            return None
        return channel, message, made

    def _open(self, adapter: str) -> ChannelAdapter:
        if adapter not in self._channels:
            self._channels[adapter] = senders.open_channel(self._db, self._box, self._shop, adapter, self._now)
        return self._channels[adapter]

    def _begin(self, row: Row[Any], made: Rendered) -> bool:
        """Note the attempt and the very text before anything leaves; False when another worker has taken the row."""
        with self._db.write() as connection:
            mine = self._mine(row)
            held = connection.execute(
                update(touchpoints).where(mine).values(attempts=touchpoints.c.attempts + 1, updated_at=self._now)
            )
            if held.rowcount != 1:
                return False
            ids = {"shop_id": row.shop_id, "touchpoint_id": row.touchpoint_id}
            contents = touchpoint_contents.c
            connection.execute(
                touchpoint_contents.delete().where(
                    contents.shop_id == row.shop_id, contents.touchpoint_id == row.touchpoint_id
                )
            )
            connection.execute(
                touchpoint_contents.insert().values(
                    **ids,
                    locale=made.locale,
                    subject=made.subject,
                    body_text=made.text,
                    body_html=made.html,
                    url=made.url,
                    rendered_at=self._now,
                )
            )
            connection.execute(
                attempts.insert().values(
                    **ids, attempt_no=row.attempts + 1, adapter=row.adapter, started_at=self._now, outcome=""
                )
            )
        return True

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
        pause = timedelta(seconds=error.retry_after) if error.retry_after else _FIRST_PAUSE * 4 ** (number - 1)
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
            "reason_detail": detail[:500],
            "claimed_until": None,
            "updated_at": self._now,
            "next_try_at": next_try_at or row.next_try_at,
            "settled_at": None if waiting else self._now,
        }
        if result is not None:
            values |= {"provider_message_id": result.provider_message_id, "accepted_at": self._now}
        with self._db.write() as connection:
            if connection.execute(update(touchpoints).where(self._mine(row)).values(**values)).rowcount != 1:
                return
            if attempt is not None:
                self._end_attempt(connection, row, attempt, state, str(reason), detail, result)
            if dead or opted_out:
                self._learn(connection, row, opted_out)
        self.report.note(state.value, str(reason))

    def _end_attempt(
        self,
        connection: Connection,
        row: Row[Any],
        number: int,
        state: State,
        code: str,
        detail: str,
        result: SendResult | None,
    ) -> None:
        a = attempts.c
        connection.execute(
            update(attempts)
            .where(a.shop_id == row.shop_id, a.touchpoint_id == row.touchpoint_id, a.attempt_no == number)
            .values(
                finished_at=self._now,
                outcome=state.value,
                error_code=code,
                error=detail[:500],
                parts=result.parts if result else None,
            )
        )

    def _learn(self, connection: Connection, row: Row[Any], opted_out: bool) -> None:
        channel = CONSENT_CHANNEL[row.channel]
        reason = "opted_out" if opted_out else "refused"
        consent.suppress(connection, row.shop_id, channel, row.address, reason=reason, at=self._now, source=row.adapter)
        if opted_out:
            consent.record(
                connection,
                row.shop_id,
                row.member_id,
                channel=channel,
                topic="marketing",
                state=ConsentState.WITHDRAWN,
                at=self._now,
                source=row.adapter,
                recorded_at=self._now,
            )

    def _mine(self, row: Row[Any]) -> Any:
        t = touchpoints.c
        return (
            (t.shop_id == row.shop_id)
            & (t.touchpoint_id == row.touchpoint_id)
            & (t.fence == row.fence)
            & (t.state == State.IN_FLIGHT.value)
        )


def recover_shop(db: Database, shop: Shop, now: datetime) -> dict[str, int]:
    """Settle what a worker left behind: back to waiting where nothing had left, else unconfirmed (or again, where a key protects)."""
    t, a = touchpoints.c, attempts.c
    left: Counter[str] = Counter()
    with db.write() as connection:
        called = (
            select(literal(1))
            .where(a.shop_id == t.shop_id, a.touchpoint_id == t.touchpoint_id, a.outcome == "")
            .exists()
            .label("called")
        )
        lost = connection.execute(
            select(t.touchpoint_id, t.fence, t.adapter, called).where(
                t.shop_id == shop.shop_id, t.state == State.IN_FLIGHT.value, t.claimed_until < now
            )
        ).all()
        for row in lost:
            safe = Capability.IDEMPOTENCY_KEY in channel_class(row.adapter).capabilities
            state = State.PLANNED if not row.called else State.RETRY_WAIT if safe else State.UNCONFIRMED
            done = connection.execute(
                update(touchpoints)
                .where(
                    t.shop_id == shop.shop_id,
                    t.touchpoint_id == row.touchpoint_id,
                    t.fence == row.fence,
                    t.state == State.IN_FLIGHT.value,
                )
                .values(
                    state=state.value,
                    reason=Reason.CRASHED.value,
                    claimed_until=None,
                    fence=t.fence + 1,
                    settled_at=now if state is State.UNCONFIRMED else None,
                    updated_at=now,
                )
            )
            if not done.rowcount:
                continue
            connection.execute(
                update(attempts)
                .where(a.shop_id == shop.shop_id, a.touchpoint_id == row.touchpoint_id, a.outcome == "")
                .values(outcome=state.value, error_code=Reason.CRASHED.value, finished_at=now)
            )
            left[state.value] += 1
    return dict(left)
