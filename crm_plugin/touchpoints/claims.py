"""Taking touchpoints for sending.

Only what changed in the UPDATE is ours. Once the lease has run out another may take it, with a new fence, and our claim is worth nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, select, update

from crm_plugin.store import attempts, touchpoint_contents, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.states import WAITING, State

LEASE = timedelta(minutes=10)
_WAITING = [state.value for state in WAITING]


def mine(row: Row[Any]) -> ColumnElement[bool]:
    """Whether the touchpoint is still in flight under the claim that `row` was read with."""
    t = touchpoints.c
    own: ColumnElement[bool] = (
        (t.shop_id == row.shop_id)
        & (t.touchpoint_id == row.touchpoint_id)
        & (t.fence == row.fence)
        & (t.state == State.IN_FLIGHT.value)
    )
    return own


def claim(db: Database, shop_id: int, now: datetime, count: int, *, resting: Collection[str]) -> Sequence[Row[Any]]:
    """Take at most `count` touchpoints that are due, those of resting senders left out; the first due comes first."""
    t = touchpoints.c
    due = (
        select(t.touchpoint_id)
        .where(t.shop_id == shop_id, t.state.in_(_WAITING), t.next_try_at <= now, t.adapter.not_in(sorted(resting)))
        .order_by(t.next_try_at, t.touchpoint_id)
        .limit(count)
        .with_for_update(skip_locked=True)
        # Named, so that it is looked up once: PostgreSQL may ask a plain subquery again for each row, and then takes more than `count`.
        .cte("due")
    )
    with db.write() as connection:
        claimed = (
            update(touchpoints)
            .where(t.shop_id == shop_id, t.touchpoint_id.in_(select(due.c.touchpoint_id)))
            .where(t.state.in_(_WAITING))
            .values(state=State.IN_FLIGHT.value, claimed_until=now + LEASE, fence=t.fence + 1, updated_at=now)
            .returning(*touchpoints.columns)
        )
        return sorted(connection.execute(claimed).all(), key=lambda row: (row.due_at, row.touchpoint_id))


def release(db: Database, rows: Sequence[Row[Any]], now: datetime) -> None:
    """Give back what was claimed and not begun, as it was."""
    with db.write() as connection:
        for row in rows:
            state = State.RETRY_WAIT if row.attempts else State.PLANNED
            values = {"state": state.value, "claimed_until": None, "updated_at": now}
            connection.execute(update(touchpoints).where(mine(row)).values(**values))


def begin(db: Database, row: Row[Any], made: Rendered, now: datetime) -> bool:
    """Note the attempt and the very text before anything leaves; False when another worker has taken the row."""
    with db.write() as connection:
        held = connection.execute(
            update(touchpoints)
            .where(mine(row))
            .values(
                attempts=touchpoints.c.attempts + 1,
                claimed_until=now + LEASE,
                # What is told from here on is about this attempt, not about the one before.
                provider_message_id=None,
                updated_at=now,
            )
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
                rendered_at=now,
            )
        )
        connection.execute(
            attempts.insert().values(
                **ids, attempt_no=row.attempts + 1, adapter=row.adapter, started_at=now, outcome=""
            )
        )
    return True
