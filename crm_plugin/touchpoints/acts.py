"""What a merchant may do about a message, or about all of a kind: send it again, say what became of it, take it back.

Each act is one conditional UPDATE: it goes through only while the touchpoints are still in a state that allows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, literal, select, update

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.phrases import Phrase, phrase
from crm_plugin.store import attempts, audit, touchpoints
from crm_plugin.store.base import Instant
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.caps import may_have_left
from crm_plugin.touchpoints.states import WAITING, Reason, State, may_go

# What is sent again by the merchant's word has at least this long to leave.
SECOND_CHANCE = timedelta(days=1)
# As many of a kind are changed at once.
MOST_AT_ONCE = 5000
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


def send_again_all(connection: Connection, shop: Shop, reason: str, now: datetime, actor: str) -> int:
    """Plan anew what failed for one reason, at most `MOST_AT_ONCE`, the oldest first; answers how many. Those in doubt are none of them."""
    t = touchpoints.c
    chance = now + SECOND_CHANCE
    values = {
        "next_try_at": now,
        "valid_until": case((t.valid_until < chance, literal(chance, Instant)), else_=t.valid_until),
        "settled_at": None,
    }
    # Said twice for the planner: only so does it know that the index of those with a reason will do.
    mine = (t.reason == reason) & (t.reason != "")
    some = _act_on_all(connection, shop, State.FAILED, State.PLANNED, mine, "", values, now)
    tried = (attempts.c.shop_id == shop.shop_id) & attempts.c.touchpoint_id.in_(some)
    connection.execute(update(attempts).where(tried, may_have_left()).values(outcome=State.FAILED.value))
    _note_all(connection, shop, "send_again", {"reason": reason, "count": len(some)}, now, actor)
    return len(some)


def settle_all(connection: Connection, shop: Shop, sent: bool, now: datetime, actor: str) -> int:
    """The merchant has looked: all messages of unknown outcome, at most `MOST_AT_ONCE`, were sent, or were not; answers how many."""
    to = State.ACCEPTED if sent else State.FAILED
    values = {"settled_at": now, "accepted_at": now if sent else None}
    every = touchpoints.c.touchpoint_id > 0
    some = _act_on_all(connection, shop, State.UNCONFIRMED, to, every, Reason.BY_MERCHANT, values, now)
    _note_all(connection, shop, "settle", {"to": to.value, "count": len(some)}, now, actor)
    return len(some)


def failed_reasons(connection: Connection, shop_id: int) -> dict[str, int]:
    """How many messages failed for each reason, most first."""
    t = touchpoints.c
    query = select(t.reason, func.count()).where(t.shop_id == shop_id, t.state == State.FAILED.value).group_by(t.reason)
    found: dict[str, int] = {reason: count for reason, count in connection.execute(query)}  # noqa: C416
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _act_on_all(
    connection: Connection,
    shop: Shop,
    present: State,
    to: State,
    which: ColumnElement[bool],
    reason: str,
    values: Mapping[str, Any],
    now: datetime,
) -> list[int]:
    """Change all of one state that are meant; answers those that were."""
    assert may_go(present, to)
    t = touchpoints.c
    mine = (t.shop_id == shop.shop_id) & (t.state == present.value)
    query = select(t.touchpoint_id).where(mine, which).order_by(t.touchpoint_id).limit(MOST_AT_ONCE).with_for_update()
    some = list(connection.execute(query).scalars())
    told = {"state": to.value, "reason": str(reason), "reason_detail": "", "claimed_until": None, "updated_at": now}
    changed = (
        update(touchpoints)
        .where(mine, t.touchpoint_id.in_(some))
        .values(**told, **values, fence=t.fence + 1)
        .returning(t.touchpoint_id)
    )
    return sorted(connection.execute(changed).scalars()) if some else []


def _note_all(
    connection: Connection, shop: Shop, act: str, detail: Mapping[str, Any], now: datetime, actor: str
) -> None:
    if detail["count"]:
        audit.note(connection, shop.shop_id, actor, f"touchpoint.{act}_all", detail, now)


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
