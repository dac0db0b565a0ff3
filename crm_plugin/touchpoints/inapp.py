"""The in-app inbox: what the in-app channel keeps, and what a storefront reads and marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from crm_plugin.errors import InvalidInput, NotFound, RecipientRefused
from crm_plugin.events import DeliveryEvent, DeliveryEventKind
from crm_plugin.ids import new_id
from crm_plugin.phrases import phrase
from crm_plugin.records import Message
from crm_plugin.store import inapp_messages, members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import event_rows
from crm_plugin.touchpoints.states import State

ADAPTER = "inapp"
MARKS = {"read": "read_at", "click": "clicked_at"}
# What the keys of test messages begin with: they are no touchpoints.
TEST = "test:"
# What a mark tells. Seen in the storefront is the recipient's own word that it arrived.
_KINDS = {
    "read_at": (DeliveryEventKind.DELIVERED, DeliveryEventKind.OPENED),
    "clicked_at": (DeliveryEventKind.CLICKED,),
}


def sink(db: Database, shop_id: int, clock: Callable[[], datetime]) -> Callable[[Message, str], str]:
    """Where `InAppChannel` keeps its messages: one row for each touchpoint, however often it is sent."""

    def keep(message: Message, key: str) -> str:
        columns = inapp_messages.c
        present = select(columns.message_id).where(columns.shop_id == shop_id, columns.touchpoint_key == key)
        try:
            with db.write() as connection:
                found = connection.execute(present).scalar()
                return str(found if found is not None else _insert(connection, shop_id, message, key, clock()))
        except IntegrityError:
            # Another worker kept the same message between our look and our write.
            with db.read() as connection:
                return str(connection.execute(present).scalar_one())

    return keep


def _insert(connection: Connection, shop_id: int, message: Message, key: str, now: datetime) -> int:
    """The id of the new row. Raises: RecipientRefused when the member has no account to read it by."""
    owner = select(members.c.member_id).where(
        members.c.shop_id == shop_id, members.c.external_id == message.member_external_id
    )
    member_id = connection.execute(owner).scalar()
    if member_id is None:
        raise RecipientRefused(
            phrase("The member has no account in the store any more."), adapter=ADAPTER, operation="send"
        )
    message_id = new_id()
    connection.execute(
        inapp_messages.insert().values(
            shop_id=shop_id,
            message_id=message_id,
            touchpoint_key=key,
            member_id=member_id,
            title=message.subject,
            body=message.text,
            url=message.url,
            image_url=message.image_url,
            created_at=now,
            expires_at=message.expires_at,
        )
    )
    return message_id


def messages(
    connection: Connection, shop_id: int, member_id: int, now: datetime, limit: int = 50
) -> list[dict[str, Any]]:
    """A member's messages that have not run out, newest first, as the storefront's script reads them."""
    columns = inapp_messages.c
    query = (
        select(inapp_messages)
        .where(
            columns.shop_id == shop_id,
            columns.member_id == member_id,
            columns.expires_at.is_(None) | (columns.expires_at > now),
        )
        .order_by(columns.created_at.desc(), columns.message_id.desc())
        .limit(limit)
    )
    return [
        {
            "id": str(row.message_id),
            "title": row.title,
            "body": row.body,
            "url": row.url,
            "image_url": row.image_url,
            "created_at": row.created_at.isoformat(),
            "expires_at": row.expires_at.isoformat() if row.expires_at else None,
            "read": row.read_at is not None,
        }
        for row in connection.execute(query)
    ]


def mark(connection: Connection, shop_id: int, member_id: int, message_id: int, what: str, now: datetime) -> None:
    """Note that a message was read or clicked; the first time counts. A click is also a reading.

    Raises: NotFound for a message that is not this member's, InvalidInput for another word.
    """
    if what not in MARKS:
        raise InvalidInput(
            phrase("A message cannot be marked %(what)r.", what=what), field="what", hint=phrase("Use read or click.")
        )
    columns = inapp_messages.c
    mine = (columns.shop_id == shop_id) & (columns.member_id == member_id) & (columns.message_id == message_id)
    row = connection.execute(select(columns.touchpoint_key, columns.read_at, columns.clicked_at).where(mine)).first()
    if row is None:
        raise NotFound(phrase("There is no such message for this member."))
    changes: dict[str, Any] = {}
    if row.read_at is None:
        changes["read_at"] = now
    if what == "click" and row.clicked_at is None:
        changes["clicked_at"] = now
    if not changes:
        return
    connection.execute(update(inapp_messages).where(mine).values(**changes))
    kinds = [kind for column in changes for kind in _KINDS[column]]
    _tell(connection, shop_id, message_id, row.touchpoint_key, kinds, now)


def _tell(
    connection: Connection,
    shop_id: int,
    message_id: int,
    touchpoint_key: str,
    kinds: Sequence[DeliveryEventKind],
    now: datetime,
) -> None:
    """Keep what the member did as delivery events, as a provider would have told it; a test message has no touchpoint."""
    t = touchpoints.c
    sent = (t.shop_id == shop_id) & (t.adapter == ADAPTER) & (t.provider_message_id == str(message_id))
    touchpoint_id = connection.execute(select(t.touchpoint_id).where(sent)).scalar()
    if touchpoint_id is None and touchpoint_key.startswith(TEST):
        return
    for kind in kinds:
        event = DeliveryEvent(f"{message_id}:{kind.value}", str(message_id), kind, now)
        # Seen before the send itself was noted, it finds its touchpoint later (`intake.match_early`).
        event_rows.keep(connection, shop_id, ADAPTER, event, touchpoint_id, now)
    connection.execute(
        update(touchpoints)
        .where(sent, t.state == State.ACCEPTED.value)
        .values(state=State.DELIVERED.value, updated_at=now)
    )
