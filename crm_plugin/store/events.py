"""What happened that a journey may speak of, each row written with the change that caused it: steps of orders, events of members, days
that members told, checkouts; and how long products and pauses last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from hashlib import blake2b
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    select,
    text,
    update,
)

from crm_plugin.birthdays import birthday_of, is_birthday
from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.ids import new_id
from crm_plugin.phrases import phrase
from crm_plugin.store.base import Instant, Json, LocalDay, belongs_to, id_key, metadata, shop_key
from crm_plugin.store.indexes import partial_index
from crm_plugin.store.members import members
from crm_plugin.store.tenants import Shop
from crm_plugin.store.upserts import insert_into

# Written by the sync: a member's country or state is another than before.
MOVED = "moved"
_UNFINISHED = text("completed_at IS NULL")

# One row: an order was paid, shipped or delivered (`kind`), kept for what is not long ago. `happened_on` is the day in the shop's zone.
# `seen_at` finds what arrives late: when it was written first, for this day and for the order's present member.
order_events = Table(
    "order_events",
    metadata,
    shop_key(),
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("happened_on", LocalDay, nullable=False),
    Column("seen_at", Instant, nullable=False),
    belongs_to("orders", "order_id"),
    Index("ix_order_events_day", "shop_id", "kind", "happened_on"),
    Index("ix_order_events_seen", "shop_id", "kind", "seen_at"),
)

# One row: something that was raised for a member: a complaint, points or a coupon about to expire, any other kind. `subject` tells one from
# another of the same kind (a ticket, a lot of points), so that raising it again adds nothing. `on_day` is the day it is about: when it
# expires, else when it happened. What was withdrawn is no longer so: nothing is sent about it.
member_events = Table(
    "member_events",
    metadata,
    shop_key(),
    id_key("event_id"),
    Column("kind", Text, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("subject", Text, nullable=False, default=""),
    Column("at", Instant, nullable=False),
    Column("on_day", LocalDay, nullable=False),
    Column("amount_minor", BigInteger),
    Column("payload", Json, nullable=False, default=dict),
    Column("recorded_at", Instant, nullable=False),
    Column("withdrawn_at", Instant),
    UniqueConstraint("shop_id", "kind", "member_id", "subject", name="uq_member_events_subject"),
    belongs_to("members", "member_id"),
    Index("ix_member_events_day", "shop_id", "kind", "on_day"),
    Index("ix_member_events_recorded", "shop_id", "kind", "recorded_at"),
    Index("ix_member_events_member", "shop_id", "member_id", "at"),
)

# One row: a day of the year that a member asked to be reminded of, and whose it is; `month_day` is as in `birthdays.py`.
# `date_id` names the occasion, so it comes back with a person who is named anew (`_date_id`).
member_dates = Table(
    "member_dates",
    metadata,
    shop_key(),
    id_key("date_id"),
    Column("member_id", BigInteger, nullable=False),
    Column("person", Text, nullable=False),
    Column("month_day", Integer, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    UniqueConstraint("shop_id", "member_id", "person", "month_day", name="uq_member_dates_person"),
    belongs_to("members", "member_id"),
    Index("ix_member_dates_day", "shop_id", "month_day"),
    Index("ix_member_dates_recorded", "shop_id", "recorded_at"),
)

# One row: a checkout that was begun. `touched_at` is when the member was last seen at it, `seen_at` when we were told of that. `lines` are
# those of the basket: title, quantity, sku, product. `url` leads back into it.
checkouts = Table(
    "checkouts",
    metadata,
    shop_key(),
    id_key("checkout_id"),
    Column("external_id", Text, nullable=False),
    Column("member_id", BigInteger),
    Column("currency", Text, nullable=False, default=""),
    Column("total_minor", BigInteger, nullable=False, default=0),
    Column("url", Text, nullable=False, default=""),
    Column("lines", Json, nullable=False, default=list),
    Column("started_at", Instant, nullable=False),
    Column("touched_at", Instant, nullable=False),
    Column("touched_on", LocalDay, nullable=False),
    Column("completed_at", Instant),
    Column("seen_at", Instant, nullable=False),
    Column("fingerprint", Text, nullable=False, default=""),
    UniqueConstraint("shop_id", "external_id"),
    belongs_to("shops"),
    belongs_to("members", "member_id"),
    partial_index("ix_checkouts_seen", "shop_id", "seen_at", where=_UNFINISHED),
    partial_index("ix_checkouts_day", "shop_id", "touched_on", where=_UNFINISHED),
    Index("ix_checkouts_member", "shop_id", "member_id"),
)

# One row: how long something lasts until it is bought again, in thousandths of a day, the median of `pairs` purchases that followed one
# another: one piece of a product (kind "sku") or of any of a category ("category", or "shop" for all), or the pause between two orders
# of a member ("orders").
cadences = Table(
    "cadences",
    metadata,
    shop_key(),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("milli_days", BigInteger, nullable=False),
    Column("pairs", Integer, nullable=False),
    Column("counted_at", Instant, nullable=False),
    belongs_to("shops"),
)

# One row: a member's last purchase of a product that is bought again, and the day on which it runs out.
refills = Table(
    "refills",
    metadata,
    shop_key(),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("sku", Text, primary_key=True),
    Column("order_id", BigInteger, nullable=False),
    Column("bought_on", LocalDay, nullable=False),
    Column("quantity", Float, nullable=False),
    Column("expected_on", LocalDay, nullable=False),
    Column("changed_at", Instant, nullable=False),
    belongs_to("members", "member_id"),
    Index("ix_refills_expected", "shop_id", "expected_on"),
    Index("ix_refills_sku", "shop_id", "sku"),
    Index("ix_refills_changed", "shop_id", "changed_at"),
)

_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")


def remember_date(
    connection: Connection, shop: Shop, member_id: int, person: str, month_day: int, now: datetime
) -> bool:
    """Keep a day that a member wants to be reminded of; False when it is kept already.

    Args: month_day: as birthdays are stored (`birthdays.py`), lunar ones too.
    Raises: InvalidInput for no day, or nobody; NotFound for a member who is not there.
    """
    told = birthday_of(month_day)
    if not is_birthday(told) or not told.day:
        raise InvalidInput(
            phrase("%(number)s is no day of the year.", number=month_day),
            field="month_day",
            hint=phrase("Month * 100 + day, such as 1224."),
        )
    if not person.strip() or len(person) > _LONGEST:
        raise InvalidInput(
            phrase("Say whose day it is, in at most %(most)s characters.", most=_LONGEST), field="person"
        )
    _require_member(connection, shop, member_id)
    d = member_dates.c
    row = {"shop_id": shop.shop_id, "member_id": member_id, "person": person.strip(), "month_day": month_day}
    kept = select(d.date_id).where(*(d[name] == value for name, value in row.items()))
    place = 0
    while True:
        made = insert_into(connection, member_dates).values(
            date_id=_date_id(member_id, month_day, place), recorded_at=now, **row
        )
        if connection.execute(made.on_conflict_do_nothing().returning(d.date_id)).first() is not None:
            return True
        if connection.execute(kept).first() is not None:
            return False
        place += 1


def _date_id(member_id: int, month_day: int, place: int) -> int:
    """The id of a member's first, second ... person of a day: whoever is named anew is the same occasion, and reminded of once a year."""
    return int.from_bytes(blake2b(f"{member_id}:{month_day}:{place}".encode(), digest_size=8).digest()) >> 1


def forget_date(connection: Connection, shop: Shop, member_id: int, person: str, month_day: int) -> bool:
    """Remind of that day no more, told as it was kept. False when there is no such day of the member."""
    d = member_dates.c
    own = (d.shop_id == shop.shop_id, d.member_id == member_id, d.person == person.strip(), d.month_day == month_day)
    return bool(connection.execute(member_dates.delete().where(*own)).rowcount)


def _require_member(connection: Connection, shop: Shop, member_id: int) -> None:
    own = (members.c.shop_id == shop.shop_id) & (members.c.member_id == member_id)
    if connection.execute(select(members.c.member_id).where(own)).first() is None:
        raise NotFound(phrase("There is no member %(member_id)s in this shop.", member_id=member_id))


_LONGEST = 80


def raise_event(
    connection: Connection,
    shop: Shop,
    kind: str,
    member_id: int,
    now: datetime,
    *,
    subject: str = "",
    at: datetime | None = None,
    on: date | None = None,
    amount_minor: int | None = None,
    payload: Mapping[str, Any] | None = None,
) -> bool:
    """Note that something happened to a member, in the transaction of what caused it; False when it was noted before.

    What was withdrawn may come again: it is a new event then, in the place of the old one.
    Args: subject: tells one from another of the same kind; at: when it happened, else now; on: the day it is about, such as the one on
        which points expire, else the day it happened in the shop's zone.
    Raises: InvalidInput for a kind that cannot be one; NotFound for a member who is not there.
    """
    if not _KIND.fullmatch(kind):
        raise InvalidInput(
            phrase("%(kind)r cannot be a kind of event.", kind=kind),
            field="kind",
            hint=phrase("Small letters, digits and _."),
        )
    _require_member(connection, shop, member_id)
    happened = at or now
    told: dict[str, Any] = {
        "event_id": new_id(),
        "at": happened,
        "on_day": on or local_day(happened, shop.timezone),
        "amount_minor": amount_minor,
        "payload": dict(payload or {}),
        "recorded_at": now,
        "withdrawn_at": None,
    }
    key = {"shop_id": shop.shop_id, "kind": kind, "member_id": member_id, "subject": subject}
    e = member_events.c
    made = insert_into(connection, member_events).values(**key, **told)
    made = made.on_conflict_do_update(index_elements=list(key), set_=told, where=e.withdrawn_at.is_not(None))
    return connection.execute(made.returning(e.event_id)).first() is not None


def withdraw_event(
    connection: Connection, shop: Shop, kind: str, member_id: int, now: datetime, *, subject: str = ""
) -> bool:
    """Take back what was raised: points were spent, a complaint was settled. False when there is nothing to take back."""
    e = member_events.c
    own = (e.shop_id == shop.shop_id, e.kind == kind, e.member_id == member_id, e.subject == subject)
    done = connection.execute(update(member_events).where(*own, e.withdrawn_at.is_(None)).values(withdrawn_at=now))
    if done.rowcount:
        # Rules that count events ask this member again.
        whose = (members.c.shop_id == shop.shop_id, members.c.member_id == member_id)
        connection.execute(update(members).where(*whose).values(touched_at=now))
    return bool(done.rowcount)


def events_of(connection: Connection, shop_id: int, member_id: int, limit: int) -> list[dict[str, Any]]:
    """What was raised for a member, the newest first."""
    e = member_events.c
    query = select(member_events).where(e.shop_id == shop_id, e.member_id == member_id)
    return [
        {
            "event_id": row.event_id,
            "kind": row.kind,
            "subject": row.subject,
            "at": row.at,
            "on": row.on_day,
            "amount_minor": row.amount_minor,
            "payload": row.payload,
            "withdrawn_at": row.withdrawn_at,
        }
        for row in connection.execute(query.order_by(e.at.desc(), e.event_id.desc()).limit(limit))
    ]
