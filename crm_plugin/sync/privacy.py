"""What a customer may ask for by law: all that is kept of them, handed to the merchant; and that nothing of them stays.

Who is meant is found once, when it is asked, by the account, else by the address of a guest. What is erased: names, addresses, birthday,
everything told about the person, what was written to them to the letter. What stays names nobody: orders with their sums, that a message
went and when, and addresses that must not be written to, for a refusal outlives its person's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from crm_plugin.ids import new_id
from crm_plugin.store import (
    attempts,
    audit,
    checkouts,
    delivery_events,
    enrolments,
    identities,
    inapp_messages,
    member_consents,
    member_dates,
    member_events,
    member_tags,
    members,
    metadata,
    orders,
    privacy_requests,
    problems,
    store_writes,
    tasks,
    touchpoint_contents,
    touchpoints,
)
from crm_plugin.store import consents as consent_log
from crm_plugin.store.members import lock
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.addresses import email_key, phone_key

EXPORT, ERASE = "export", "erase"
ERASED = "erased"
# By the laws of Europe, and by the rules of the platforms.
_TERM = timedelta(days=30)
_WAITING = ("planned", "retry_wait")
_AT_ONCE = 500


def ask(
    connection: Connection,
    shop: Shop,
    kind: str,
    external_id: str,
    told: Mapping[str, Any],
    actor: str,
    now: datetime,
) -> int:
    """Note what is asked for a person, named by the account's id, or by `email`, `phone` and `orders` (the platform's ids) in `told`.

    Erasing is done at once, in this transaction; an export waits for the merchant. Returns: the request's id.
    """
    lock(connection, shop.shop_id)
    whose = _meant(connection, shop, external_id, told)
    request_id = new_id()
    connection.execute(
        insert(privacy_requests).values(
            shop_id=shop.shop_id,
            request_id=request_id,
            kind=kind,
            actor=actor,
            # Of one who is to be forgotten not even the question stays.
            told={} if kind == ERASE else {"external_id": external_id, **_plain(told)},
            member_ids=whose,
            asked_at=now,
            due_at=now + _TERM,
            done_at=now if kind == ERASE else None,
        )
    )
    if kind == ERASE:
        for member_id in whose:
            erase(connection, shop, member_id, now)
    audit.note(connection, shop.shop_id, actor, f"privacy.{kind}", {"members": whose}, now)
    return request_id


def _plain(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: told[key] for key in ("email", "phone", "orders") if told.get(key)}


def _meant(connection: Connection, shop: Shop, external_id: str, told: Mapping[str, Any]) -> list[int]:
    """Ids of the members who are meant. An address alone never means an account that was not named."""
    m, i, o = members.c, identities.c, orders.c
    found: set[int] = set()
    if external_id:
        own = select(m.member_id).where(m.shop_id == shop.shop_id, m.external_id == external_id)
        found |= set(connection.execute(own).scalars())
        earlier = select(i.member_id).where(i.shop_id == shop.shop_id, i.kind == "account", i.value == external_id)
        found |= set(connection.execute(earlier).scalars())
    values = {("email", email_key(str(told.get("email", "")))), ("phone", phone_key(str(told.get("phone", "")), ""))}
    for kind, value in values:
        if value:
            guests = (
                select(i.member_id)
                .join(members, (m.shop_id == i.shop_id) & (m.member_id == i.member_id))
                .where(i.shop_id == shop.shop_id, i.kind == kind, i.value == value, m.external_id.is_(None))
            )
            found |= set(connection.execute(guests).scalars())
    named = [str(name) for name in told.get("orders", ())]
    for at in range(0, len(named), _AT_ONCE):
        buyers = (
            select(o.member_id)
            .join(members, (m.shop_id == o.shop_id) & (m.member_id == o.member_id))
            .where(o.shop_id == shop.shop_id, o.external_id.in_(named[at : at + _AT_ONCE]), m.external_id.is_(None))
        )
        found |= set(connection.execute(buyers).scalars())
    return sorted(found)


def erase(connection: Connection, shop: Shop, member_id: int, now: datetime) -> None:
    """Forget one member; done twice it is as done once."""

    def own(table: Table) -> tuple[Any, Any]:
        return table.c.shop_id == shop.shop_id, table.c.member_id == member_id

    t = touchpoints.c
    messages = select(t.touchpoint_id).where(*own(touchpoints))
    _forget_problems(connection, shop, member_id)
    words = touchpoint_contents.c
    connection.execute(
        delete(touchpoint_contents).where(words.shop_id == shop.shop_id, words.touchpoint_id.in_(messages))
    )
    # Providers repeat the address in what they refuse.
    connection.execute(
        update(attempts)
        .where(attempts.c.shop_id == shop.shop_id, attempts.c.touchpoint_id.in_(messages))
        .values(error="")
    )
    connection.execute(
        update(delivery_events)
        .where(delivery_events.c.shop_id == shop.shop_id, delivery_events.c.touchpoint_id.in_(messages))
        .values(raw={}, reason="")
    )
    waits = update(touchpoints).where(*own(touchpoints), t.state.in_(_WAITING))
    connection.execute(waits.values(state="cancelled", reason="member_gone", settled_at=now, updated_at=now))
    connection.execute(update(touchpoints).where(*own(touchpoints)).values(address="", reason_detail=""))
    connection.execute(
        update(enrolments)
        .where(*own(enrolments), enrolments.c.state == "active")
        .values(state="ended", end_reason="member_gone", ended_at=now, updated_at=now)
    )
    gone = (identities, member_tags, member_consents, inapp_messages, member_dates, tasks, checkouts, store_writes)
    for table in gone:
        connection.execute(delete(table).where(*own(table)))
    connection.execute(
        update(member_events).where(*own(member_events)).values(payload={}, subject=_blank(member_events))
    )
    connection.execute(update(consent_log).where(*own(consent_log)).values(proof={}))
    connection.execute(update(orders).where(*own(orders)).values(attributes={}, fingerprint=""))
    connection.execute(
        update(members)
        .where(*own(members))
        .values(
            external_id=None,
            state=ERASED,
            email="",
            phone="",
            first_name="",
            last_name="",
            locale="",
            timezone="",
            zone=shop.timezone,
            country="",
            region="",
            birth_year=None,
            birth_md=None,
            attributes={},
            fingerprint="",
            changed_at=now,
            touched_at=now,
        )
    )


def _blank(table: Table) -> Any:
    """What tells rows of one kind apart without naming anybody."""
    return table.c.event_id.cast(table.c.subject.type)


def _forget_problems(connection: Connection, shop: Shop, member_id: int) -> None:
    """Raw texts of the member and of their orders."""
    m, o, p = members.c, orders.c, problems.c
    account = select(m.external_id).where(m.shop_id == shop.shop_id, m.member_id == member_id)
    bought = select(o.external_id).where(o.shop_id == shop.shop_id, o.member_id == member_id)
    for streams, names in ((("members",), account), (("orders", "refunds", "checkouts"), bought)):
        own = (p.shop_id == shop.shop_id, p.stream.in_(streams), p.external_id.in_(names))
        connection.execute(delete(problems).where(*own))


def exported(connection: Connection, shop: Shop, member_ids: Iterable[int]) -> dict[str, Any]:
    """All that is kept of these members, table by table, as it stands: for the merchant to hand on.

    Rows that name a member, and those that hang on such a row by a foreign key: a new table comes along by itself.
    """
    found: dict[str, Any] = {}
    ids = sorted(member_ids)
    for table in metadata.sorted_tables:
        if "member_id" in table.c:
            _put(found, table, connection.execute(select(table).where(_own(table, shop, ids))))
        elif (hangs := _hangs_on(table)) is not None:
            key, owner = hangs
            of_theirs = select(owner.c[key]).where(_own(owner, shop, ids))
            own = (table.c.shop_id == shop.shop_id, table.c[key].in_(of_theirs))
            _put(found, table, connection.execute(select(table).where(*own)))
    return {"shop": shop.name, "members": ids, "tables": found}


def _hangs_on(table: Table) -> tuple[str, Table] | None:
    """By which column a table's rows belong to rows that name a member, and those of which table."""
    for key in table.foreign_key_constraints:
        if "member_id" in key.referred_table.c and len(key.column_keys) == 2:
            return key.column_keys[1], key.referred_table
    return None


def _own(table: Table, shop: Shop, ids: list[int]) -> Any:
    return (table.c.shop_id == shop.shop_id) & table.c.member_id.in_(ids)


def _put(found: dict[str, Any], table: Table, rows: Iterable[Any]) -> None:
    told = [
        {key: value for key, value in row._mapping.items() if key not in ("shop_id", "fingerprint")} for row in rows
    ]
    if told:
        found[table.name] = told


def hand_over(db: Database, shop: Shop, request_id: int, now: datetime) -> dict[str, Any]:
    """The export that was asked for; the request is done with it. An empty one says that nothing is kept of that person."""
    r = privacy_requests.c
    with db.write() as connection:
        row = connection.execute(
            select(privacy_requests).where(r.shop_id == shop.shop_id, r.request_id == request_id, r.kind == EXPORT)
        ).one()
        connection.execute(
            update(privacy_requests)
            .where(r.shop_id == shop.shop_id, r.request_id == request_id, r.done_at.is_(None))
            .values(done_at=now)
        )
        return exported(connection, shop, row.member_ids)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked; `who` names the person as they were told, for one who is not erased. `due_at` is the last day of the law."""

    request_id: int
    kind: str
    who: str
    members: int
    asked_at: datetime
    due_at: datetime
    done_at: datetime | None


def requests_of(connection: Connection, shop: Shop, most: int = 50) -> list[Request]:
    """What was asked lately, what still waits first."""
    r = privacy_requests.c
    query = (
        select(privacy_requests).where(r.shop_id == shop.shop_id).order_by(r.asked_at.desc(), r.request_id).limit(most)
    )
    found = [
        Request(
            row.request_id,
            row.kind,
            str(row.told.get("email") or row.told.get("phone") or row.told.get("external_id") or ""),
            len(row.member_ids),
            row.asked_at,
            row.due_at,
            row.done_at,
        )
        for row in connection.execute(query)
    ]
    return sorted(found, key=lambda one: one.done_at is not None)


def member_of(connection: Connection, shop: Shop, member_id: int) -> dict[str, str]:
    """How a member is named in a request of theirs: by account, else by address."""
    m = members.c
    row = connection.execute(select(members).where(m.shop_id == shop.shop_id, m.member_id == member_id)).one()
    return {"external_id": row.external_id or "", "email": row.email, "phone": row.phone}
