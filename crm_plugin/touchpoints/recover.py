"""What a round begins with: what a crashed worker left is settled once its lease has run out, and what waited too long is let go."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, literal, select, update

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.registry import channel_class
from crm_plugin.errors import ConfigError
from crm_plugin.store import attempts, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import glance
from crm_plugin.touchpoints.states import BY_INDEX, Reason, State

_KEEPS = [Reason.FREQUENCY_CAP.value, Reason.MEMBER_DIAL.value, Reason.BLAST_RADIUS.value]


def recover_shop(db: Database, shop: Shop, now: datetime) -> dict[str, int]:
    """Settle what a worker left behind: back to waiting where nothing had left, else unconfirmed (or again, where a key protects).

    Returns: state → how many came to it.
    """
    if glance.nothing(db, glance.LOST, shop.shop_id, now):
        return {}
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
            if not row.called:
                state = State.PLANNED
            else:
                state = State.RETRY_WAIT if _knows_its_keys(row.adapter) else State.UNCONFIRMED
            if _settle(connection, shop.shop_id, row, state, now):
                left[state.value] += 1
    return dict(left)


def _settle(connection: Connection, shop_id: int, row: Row[Any], state: State, now: datetime) -> bool:
    """Take a touchpoint and its attempt out of the dead worker's hands; False where somebody else did meanwhile."""
    t, a = touchpoints.c, attempts.c
    done = connection.execute(
        update(touchpoints)
        .where(
            t.shop_id == shop_id,
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
        return False
    connection.execute(
        update(attempts)
        .where(a.shop_id == shop_id, a.touchpoint_id == row.touchpoint_id, a.outcome == "")
        .values(outcome=state.value, error_code=Reason.CRASHED.value, finished_at=now)
    )
    return True


def _knows_its_keys(adapter: str) -> bool:
    """Whether the sender takes a message of the same key once; of one that is not installed any more nobody can say."""
    try:
        return Capability.IDEMPOTENCY_KEY in channel_class(adapter).capabilities
    except ConfigError:
        return False


def miss_shop(db: Database, shop: Shop, now: datetime) -> int:
    """Let go of what waited past its window, also for a sender that is paused or off: an old message is never sent late.

    Returns: how many were missed.
    """
    if glance.nothing(db, glance.OVER, shop.shop_id, now):
        return 0
    t = touchpoints.c
    with db.write() as connection:
        missed = connection.execute(
            update(touchpoints)
            .where(
                t.shop_id == shop.shop_id,
                t.state.in_(BY_INDEX),
                t.next_try_at <= now,
                t.valid_until <= now,
            )
            .values(
                state=State.MISSED.value,
                # What kept it to the end is why it was missed.
                reason=case((t.reason.in_(_KEEPS), t.reason), else_=Reason.WINDOW_OVER.value),
                settled_at=now,
                updated_at=now,
            )
        )
    return int(missed.rowcount)
