"""What a merchant may do about one message: send it again, say what became of it, take it back.

Each act is one conditional UPDATE: it goes through only while the touchpoint is still in a state that allows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, update

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.phrases import Phrase, phrase
from crm_plugin.store import attempts, audit, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.caps import may_have_left
from crm_plugin.touchpoints.states import WAITING, Reason, State, may_go

# What is sent again by the merchant's word has at least this long to leave.
SECOND_CHANCE = timedelta(days=1)
# Each act with the states it may be done in.
ACTS: dict[str, tuple[State, ...]] = {
    "send_again": (State.FAILED, State.UNCONFIRMED),
    "settle": (State.UNCONFIRMED,),
    "cancel": WAITING,
}


def send_again(connection: Connection, shop: Shop, touchpoint_id: int, now: datetime, actor: str) -> None:
    """Plan a message anew that failed or whose outcome is unknown; the guards are asked again when it is sent.

    The key stays the same, so it is still the same contact. Raises: NotFound, InvalidInput naming the present state.
    """
    present = _present(connection, shop, touchpoint_id)
    values = {
        "next_try_at": now,
        "valid_until": max(present.valid_until, now + SECOND_CHANCE),
        "settled_at": None,
    }
    _act(connection, present, "send_again", State.PLANNED, "", values, now, actor)
    if present.state == State.FAILED.value:
        # By now it is known that none of its attempts left, so it takes no room while it waits.
        tried = (attempts.c.shop_id == shop.shop_id) & (attempts.c.touchpoint_id == touchpoint_id)
        connection.execute(update(attempts).where(tried, may_have_left()).values(outcome=State.FAILED.value))


def settle(connection: Connection, shop: Shop, touchpoint_id: int, sent: bool, now: datetime, actor: str) -> None:
    """The merchant has looked: a message of unknown outcome was sent, or was not.

    Raises: NotFound, InvalidInput naming the present state.
    """
    present = _present(connection, shop, touchpoint_id)
    to = State.ACCEPTED if sent else State.FAILED
    values = {"settled_at": now, "accepted_at": now if sent else None}
    _act(connection, present, "settle", to, Reason.BY_MERCHANT, values, now, actor)


def cancel(connection: Connection, shop: Shop, touchpoint_id: int, now: datetime, actor: str) -> None:
    """Take back a message that still waits. Raises: NotFound, InvalidInput naming the present state."""
    present = _present(connection, shop, touchpoint_id)
    _act(connection, present, "cancel", State.CANCELLED, Reason.BY_MERCHANT, {"settled_at": now}, now, actor)


def _present(connection: Connection, shop: Shop, touchpoint_id: int) -> Row[Any]:
    columns = touchpoints.c
    row = connection.execute(
        select(touchpoints)
        .where(columns.shop_id == shop.shop_id, columns.touchpoint_id == touchpoint_id)
        .with_for_update()
    ).first()
    if row is None:
        raise not_found(touchpoint_id)
    return row


def _either(words: list[Phrase]) -> Phrase:
    first, *others = words
    for other in others:
        first = phrase("%(one)s or %(other)s", one=first, other=other)
    return first


# What its errors call a state.
_WORDS = {
    State.PLANNED: phrase("planned"),
    State.IN_FLIGHT: phrase("in flight"),
    State.RETRY_WAIT: phrase("retry wait"),
    State.ACCEPTED: phrase("accepted"),
    State.DELIVERED: phrase("delivered"),
    State.BOUNCED: phrase("bounced"),
    State.COMPLAINED: phrase("complained"),
    State.UNCONFIRMED: phrase("unconfirmed"),
    State.FAILED: phrase("failed"),
    State.SKIPPED: phrase("skipped"),
    State.MISSED: phrase("missed"),
    State.CANCELLED: phrase("cancelled"),
}


def _act(
    connection: Connection,
    present: Row[Any],
    act: str,
    to: State,
    reason: str,
    values: Mapping[str, Any],
    now: datetime,
    actor: str,
) -> None:
    if present.state not in ACTS[act] or not may_go(present.state, to):
        raise InvalidInput(
            phrase("This message is %(state)s now.", state=_WORDS[State(present.state)]),
            field="state",
            hint=phrase(
                "Only one that is %(states)s can be changed so.", states=_either([_WORDS[one] for one in ACTS[act]])
            ),
        )
    columns = touchpoints.c
    changed = connection.execute(
        update(touchpoints)
        .where(
            columns.shop_id == present.shop_id,
            columns.touchpoint_id == present.touchpoint_id,
            columns.state == present.state,
        )
        .values(
            state=to.value,
            reason=str(reason),
            reason_detail="",
            claimed_until=None,
            fence=columns.fence + 1,
            updated_at=now,
            **values,
        )
    )
    if changed.rowcount != 1:
        raise InvalidInput(phrase("This message has just changed."), field="state", hint=phrase("Look at it again."))
    detail = {"touchpoint": str(present.touchpoint_id), "from": present.state, "to": to.value}
    audit.note(connection, present.shop_id, actor, f"touchpoint.{act}", detail, now)


def not_found(touchpoint_id: int) -> NotFound:
    """The error for an id that is none of this shop's."""
    return NotFound(
        phrase("There is no message %(touchpoint_id)s in this shop.", touchpoint_id=touchpoint_id),
        hint=phrase("See the outbox for those there are."),
    )
