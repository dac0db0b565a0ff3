"""What belongs to settling a claimed touchpoint: how the attempt ended, and what it taught about the address."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, update

from crm_plugin.phrases import cut
from crm_plugin.records import ConsentState, SendResult
from crm_plugin.store import attempts, consent
from crm_plugin.touchpoints.reach import CONSENT_CHANNEL
from crm_plugin.touchpoints.states import State


def end_attempt(
    connection: Connection,
    row: Row[Any],
    number: int,
    state: State,
    code: str,
    detail: str,
    result: SendResult | None,
    now: datetime,
) -> None:
    """Note how an attempt ended."""
    a = attempts.c
    connection.execute(
        update(attempts)
        .where(a.shop_id == row.shop_id, a.touchpoint_id == row.touchpoint_id, a.attempt_no == number)
        .values(
            finished_at=now,
            outcome=state.value,
            error_code=code,
            error=cut(detail, 500),
            parts=result.parts if result else None,
        )
    )


def learn(connection: Connection, row: Row[Any], opted_out: bool, now: datetime) -> None:
    """The provider knows that this address is dead, or that its holder refuses."""
    channel = CONSENT_CHANNEL[row.channel]
    reason = "opted_out" if opted_out else "refused"
    consent.suppress(connection, row.shop_id, channel, row.address, reason=reason, at=now, source=row.adapter)
    if opted_out:
        consent.record(
            connection,
            row.shop_id,
            row.member_id,
            channel=channel,
            topic="marketing",
            state=ConsentState.WITHDRAWN,
            at=now,
            source=row.adapter,
            recorded_at=now,
        )
