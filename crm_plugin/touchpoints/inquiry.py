"""Asking a provider for what nobody knows: whether it took a message whose outcome was never told.

Found, the message is accepted. Not found, it stays unconfirmed, for a list of what was sent may lag behind: only the merchant has it sent
again. Nothing here sends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Row, select, text, update

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.adapters.registry import able
from crm_plugin.errors import CrmError
from crm_plugin.records import Message, SendResult
from crm_plugin.store import attempts, touchpoint_contents, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import event_rows, senders
from crm_plugin.touchpoints.compose import key_of
from crm_plugin.touchpoints.states import State

# The provider's own event mostly comes first; then it is asked, again each hour, for a day.
AFTER = timedelta(minutes=5)
AGAIN = timedelta(hours=1)
UNTIL = timedelta(days=1)
# Of one round: a call may take a minute, and other steps wait for it.
MOST = 5
# Written out as the index has it, or SQLite could not use it.
_IS_DOUBTFUL = text("touchpoints.state = 'unconfirmed'")
_log = logging.getLogger(__name__)


def inquire_shop(
    db: Database,
    box: SecretBox,
    shop: Shop,
    now: datetime,
    open_channel: Callable[..., ChannelAdapter] = senders.open_channel,
) -> dict[str, int]:
    """Ask for messages whose outcome is not known, where the sender can be asked.

    Returns: state → how many came to it.
    """
    settled = 0
    for adapter, rows in groupby(_doubtful(db, shop, now), key=lambda row: row.adapter):
        try:
            channel = open_channel(db, box, shop, adapter, now)
        except CrmError as error:
            _log.warning("%s of %s cannot be asked: %s", adapter, shop.name, error)
            continue
        try:
            for row in rows:
                message = Message(row.channel, row.address, key_of(row), row.body_text)
                settled += _settle(db, row, channel.find(message, since=row.started_at), now)
        except CrmError as error:
            # It is asked again in an hour.
            _log.warning("%s of %s does not tell what it sent: %s", adapter, shop.name, error)
        finally:
            channel.close()
    return {State.ACCEPTED.value: settled} if settled else {}


def _doubtful(db: Database, shop: Shop, now: datetime) -> Sequence[Row[Any]]:
    """What is to be asked for now, by sender, with when its last attempt began; put off first, so that no other worker asks too."""
    t, a, c = touchpoints.c, attempts.c, touchpoint_contents.c
    doubtful = (
        (t.shop_id == shop.shop_id)
        & _IS_DOUBTFUL
        & (t.settled_at <= now - AFTER)
        & (t.settled_at > now - UNTIL)
        & (t.next_try_at <= now)
    )
    with db.read() as connection:
        used = list(connection.execute(select(t.adapter).where(doubtful).distinct()).scalars())
    if not (askable := able(used, Capability.FIND_MESSAGE)):
        return []
    due = doubtful & t.adapter.in_(askable)
    query = (
        select(
            *(t.shop_id, t.touchpoint_id, t.adapter, t.channel, t.address, c.body_text, a.started_at),
            *(t.journey_key, t.member_id, t.step, t.occasion),
        )
        .join(attempts, (a.shop_id == t.shop_id) & (a.touchpoint_id == t.touchpoint_id) & (a.attempt_no == t.attempts))
        .join(touchpoint_contents, (c.shop_id == t.shop_id) & (c.touchpoint_id == t.touchpoint_id))
        .where(due)
        .order_by(t.adapter, t.touchpoint_id)
        .limit(MOST)
    )
    with db.read() as connection:
        found: list[Row[Any]] = list(connection.execute(query))
    if not found:
        return []
    with db.write() as connection:
        taken = connection.execute(
            update(touchpoints)
            .where(due, t.touchpoint_id.in_([row.touchpoint_id for row in found]))
            .values(next_try_at=now + AGAIN)
            .returning(t.touchpoint_id)
        )
        ours = set(taken.scalars())
    return [row for row in found if row.touchpoint_id in ours]


def _settle(db: Database, row: Row[Any], told: Sequence[SendResult], now: datetime) -> bool:
    """Accept the message if one of those that the provider names is no other message of ours; False where nothing is known anew."""
    t = touchpoints.c
    named = [event_rows.told_id(one.provider_message_id) for one in told]
    with db.write() as connection:
        others = select(t.provider_message_id).where(
            t.shop_id == row.shop_id, t.adapter == row.adapter, t.provider_message_id.in_(named)
        )
        known = set(connection.execute(others).scalars())
        mine = next((name for name in named if name not in known), None)
        if mine is None:
            return False
        done = connection.execute(
            update(touchpoints)
            .where(
                t.shop_id == row.shop_id,
                t.touchpoint_id == row.touchpoint_id,
                t.state == State.UNCONFIRMED.value,
            )
            .values(
                state=State.ACCEPTED.value,
                reason="",
                reason_detail="",
                provider_message_id=mine,
                accepted_at=row.started_at,
                settled_at=now,
                updated_at=now,
            )
        )
    return bool(done.rowcount)
