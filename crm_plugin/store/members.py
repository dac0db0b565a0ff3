"""Members, how they are found, and what they allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    false,
    select,
    text,
)

from crm_plugin.birthdays import LUNAR
from crm_plugin.store import bulk
from crm_plugin.store.base import Instant, Json, LocalDay, belongs_to, from_micros, id_key, metadata, shop_key
from crm_plugin.store.indexes import beginning, partial_index

_HAS_BIRTHDAY = text("birth_md IS NOT NULL")
_GONE = text("state <> 'active'")
_HAS_YEAR = text("birth_year IS NOT NULL")

# One row: a customer we know; guests count. `zone` is the zone their days are computed in (own, state or country, phone, else the shop's),
# also a place of several zones (`places.py`), and never empty; `timezone` is only what the platform said. `birth_md` is the
# birthday as one number, solar or lunar (`birthdays.py`): month*100+day, day 0 when only the month is known, 10000 more for the Chinese
# lunisolar calendar and 30000 more for a leap month there. `birth_year` is a year of the same calendar.
# `changed_at` moves with every change that a trigger may depend on (birthday, zone, the day of joining), `touched_at` with every change of
# the member, tags and a merge included: by it a rule knows whom to ask again. `fingerprint` skips unchanged records.
members = Table(
    "members",
    metadata,
    shop_key(),
    id_key("member_id"),
    Column("external_id", Text),
    Column("state", Text, nullable=False, default="active"),
    Column("email", Text, nullable=False, default=""),
    Column("phone", Text, nullable=False, default=""),
    Column("first_name", Text, nullable=False, default=""),
    Column("last_name", Text, nullable=False, default=""),
    Column("locale", Text, nullable=False, default=""),
    Column("timezone", Text, nullable=False, default=""),
    Column("zone", Text, nullable=False),
    Column("country", Text, nullable=False, default=""),
    Column("region", Text, nullable=False, default=""),
    Column("birth_year", Integer),
    Column("birth_md", Integer),
    Column("joined_at", Instant),
    Column("joined_on", LocalDay),
    Column("attributes", Json, nullable=False, default=dict),
    Column("updated_at", Instant),
    Column("first_seen_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("touched_at", Instant, nullable=False, default=from_micros(0), server_default="0"),
    Column("fingerprint", Text, nullable=False, default=""),
    UniqueConstraint("shop_id", "external_id"),
    belongs_to("shops"),
    partial_index("ix_members_birthday", "shop_id", "birth_md", "zone", where=_HAS_BIRTHDAY),
    partial_index("ix_members_birth_year", "shop_id", "birth_year", where=_HAS_YEAR),
    Index("ix_members_changed", "shop_id", "changed_at"),
    Index("ix_members_touched", "shop_id", "touched_at"),
    Index("ix_members_zone", "shop_id", "zone"),
    Index("ix_members_joined", "shop_id", "joined_on"),
    partial_index("ix_members_gone", "shop_id", "member_id", where=_GONE),
)

# By these a list finds who is called so, whatever the case.
# Whoever has no name is left out, which also keeps SQLite from walking all members of a shop in the order of their names.
for _name in ("first_name", "last_name"):
    partial_index(
        f"ix_members_{_name}",
        members.c.shop_id,
        beginning(members.c[_name]),
        where=text(f"{_name} <> ''"),
    )

# The kind of identity that holds our id of a guest who became one with an account.
FORMER = "former"

# One row: an address or id by which a member is found. `kind` is email (lower-cased), phone (E.164), account, guest or former.
# Several members may hold one value (families share a phone); who is meant then is `sync/identity.py`'s rule. `rank` 0 is the account's
# own address, 1 a billing address, so that the stronger claim wins.
identities = Table(
    "identities",
    metadata,
    shop_key(),
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("rank", Integer, nullable=False, default=0),
    belongs_to("members", "member_id"),
    Index("ix_identities_member", "shop_id", "member_id"),
)

# One row: one tag of one member; `own` is one that a journey gave, which a store that does not know of it cannot take away.
member_tags = Table(
    "member_tags",
    metadata,
    shop_key(),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("tag", Text, primary_key=True),
    Column("own", Boolean, nullable=False, default=False, server_default=false()),
    belongs_to("members", "member_id"),
    Index("ix_member_tags_tag", "shop_id", "tag", "member_id"),
)

# One row: what we keep counted per member, changed in the transaction of the order that changes it. Money is in the shop's currency;
# `unconverted_orders` counts orders in a currency without an exchange rate, which are in no money sum. `spent_minor` is net of refunds.
# A member without a counted order or refund may have no row: readers use an outer join and coalesce. `level_key` is the level held in
# the programme `main`, as `member_tiers` has it (program.py keeps the two in step): what earns a level and what is held are read as one
# table, and SQLite keeps it in the order of its key, so that all of a shop is one stretch of the file.
member_facts = Table(
    "member_facts",
    metadata,
    shop_key(),
    id_key("member_id"),
    Column("orders_count", Integer, nullable=False, default=0),
    Column("refunds_count", Integer, nullable=False, default=0),
    Column("items_milli", BigInteger, nullable=False, default=0),
    Column("gross_minor", BigInteger, nullable=False, default=0),
    Column("refunded_minor", BigInteger, nullable=False, default=0),
    Column("spent_minor", BigInteger, nullable=False, default=0),
    Column("discount_minor", BigInteger, nullable=False, default=0),
    Column("cost_minor", BigInteger, nullable=False, default=0),
    Column("unconverted_orders", Integer, nullable=False, default=0),
    Column("first_order_at", Instant),
    Column("last_order_at", Instant),
    Column("first_order_on", LocalDay),
    Column("last_order_on", LocalDay),
    Column("changed_at", Instant, nullable=False),
    Column("level_key", Text, nullable=False, server_default=""),
    belongs_to("members", "member_id"),
    Index("ix_member_facts_last_order", "shop_id", "last_order_on"),
    Index("ix_member_facts_first_order", "shop_id", "first_order_on"),
    Index("ix_member_facts_changed", "shop_id", "changed_at"),
    sqlite_with_rowid=False,
)

# Whole days of the member's own rhythm, and who has one, both as the index below has them word for word: by it those are found who become
# late at a pace of their own.
PACE = "((last_order_on - first_order_on) / (orders_count - 1))"
HAS_PACE = "orders_count > 1 AND last_order_on > first_order_on"
partial_index(
    "ix_member_facts_pace",
    member_facts.c.shop_id,
    text(PACE),
    member_facts.c.last_order_on,
    where=text(HAS_PACE),
)

# One row: a statement of consent, never changed or deleted. The newest per (member, channel, topic) decides.
consents = Table(
    "consents",
    metadata,
    shop_key(),
    id_key("consent_id"),
    Column("member_id", BigInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("source", Text, nullable=False, default=""),
    Column("wording", Text, nullable=False, default=""),
    Column("proof", Json, nullable=False, default=dict),
    Column("recorded_at", Instant, nullable=False),
    belongs_to("members", "member_id"),
    Index("ix_consents_member", "shop_id", "member_id"),
)

# One row: what the consent log comes to now; kept in the same transaction as the log. `changed_at` is when it was written here.
member_consents = Table(
    "member_consents",
    metadata,
    shop_key(),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("channel", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("source", Text, nullable=False, default=""),
    Column("changed_at", Instant, nullable=False, default=from_micros(0), server_default="0"),
    belongs_to("members", "member_id"),
    Index("ix_member_consents_changed", "shop_id", "changed_at"),
)

# One row: an address that must not be written to on a channel, with the reason; kept for good. `recorded_at` is when it was written here.
suppressions = Table(
    "suppressions",
    metadata,
    shop_key(),
    Column("channel", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("source", Text, nullable=False, default=""),
    Column("recorded_at", Instant, nullable=False, default=from_micros(0), server_default="0"),
    belongs_to("shops"),
    Index("ix_suppressions_recorded", "shop_id", "recorded_at"),
)


def lock(connection: Connection, shop_id: int) -> None:
    """One writer of a shop's members, orders and levels at a time, until the end of the transaction. SQLite has but one writer anyway."""
    if connection.dialect.name == "postgresql":
        bulk.execute(connection, "SELECT pg_advisory_xact_lock(?)", (shop_id,))


# Each step asks the index for the next name, so that many members of few zones cost as much as few.
_ZONES = text(
    "WITH RECURSIVE z(zone) AS (SELECT min(m.zone) FROM members AS m WHERE m.shop_id = :shop_id UNION ALL "
    "SELECT (SELECT min(m.zone) FROM members AS m WHERE m.shop_id = :shop_id AND m.zone > z.zone) FROM z WHERE z.zone IS NOT NULL) "
    "SELECT zone, EXISTS (SELECT 1 FROM members AS l WHERE l.shop_id = :shop_id AND l.birth_md >= :lunar) AS lunar "
    "FROM z WHERE zone IS NOT NULL"
)


def zones_of(connection: Connection, shop_id: int) -> frozenset[str]:
    """The zones that the shop's members live in."""
    return calendar_of(connection, shop_id)[0]


def calendar_of(connection: Connection, shop_id: int) -> tuple[frozenset[str], bool]:
    """The zones that the shop's members live in, and whether any of their birthdays is one of the lunar calendar."""
    rows = connection.execute(_ZONES, {"shop_id": shop_id, "lunar": LUNAR}).all()
    return frozenset(row.zone for row in rows), any(row.lunar for row in rows)


# Han characters: names written in them stand without a space, the family name first.
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")


def names_of(connection: Connection, shop_id: int, ids: Iterable[int]) -> dict[int, str]:
    """What to call these members: by name, else address, else the store's id."""
    m = members.c
    query = select(m.member_id, m.first_name, m.last_name, m.email, m.phone, m.external_id)
    rows = connection.execute(query.where(m.shop_id == shop_id, m.member_id.in_(sorted(set(ids)))))
    return {
        row.member_id: full_name(row.first_name, row.last_name)
        or row.email
        or row.phone
        or f"#{row.external_id or row.member_id}"
        for row in rows
    }


def full_name(first: str, last: str) -> str:
    """A member's name as their own writing has it; empty when it is not known."""
    if _HAN.search(last or first):
        return f"{last}{first}".replace(" ", "")
    return " ".join(f"{first} {last}".split())


def present_id(connection: Connection, shop_id: int, member_id: int) -> int | None:
    """Who an id from an old link is now: itself, the account that a guest has become, or None when that member is gone."""
    own = select(members.c.member_id).where(members.c.shop_id == shop_id, members.c.member_id == member_id)
    if connection.execute(own).scalar() is not None:
        return member_id
    became = select(identities.c.member_id).where(
        identities.c.shop_id == shop_id, identities.c.kind == FORMER, identities.c.value == str(member_id)
    )
    return connection.execute(became).scalar()
