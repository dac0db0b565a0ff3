"""Making two members one: everything the guest had becomes the account's, and the guest's row goes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from crm_plugin.clock import day_number, local_day
from crm_plugin.ids import new_ids
from crm_plugin.store import bulk, consent, tier_changes, writebacks
from crm_plugin.store.base import to_micros
from crm_plugin.store.members import FORMER
from crm_plugin.store.program import PROGRAM, copy_beside_facts, put_beside_facts
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import facts
from crm_plugin.sync.addresses import member_zone

# Tables in which the same thing may stand for both; the columns beside the member that make it the same.
_SHARED = {
    "identities": ("kind", "value"),
    "member_tags": ("tag",),
    "member_tiers": ("program_key",),
    "tier_entries": ("program_key", "level_key"),
    "tier_invitations": ("program_key", "level_key"),
    "tier_bars": ("program_key",),
    "segment_members": ("segment_key",),
    "member_dials": (),
    "member_events": ("kind", "subject"),
    "member_dates": ("person", "month_day"),
    "refills": ("sku",),
    "touchpoints": ("journey_key", "step", "occasion"),
    "enrolments": ("journey_key", "occasion"),
}
_MOVED = (
    "identities",
    "member_tags",
    "member_tiers",
    "tier_changes",
    "tier_terms",
    "tier_entries",
    "tier_invitations",
    "tier_bars",
    "segment_members",
    "segment_events",
    "member_dials",
    "consents",
    "orders",
    "refunds",
    "member_events",
    "member_dates",
    "checkouts",
    "refills",
    "touchpoints",
    "inapp_messages",
    "enrolments",
    "tasks",
    "coupon_codes",
)
_CHANGED = (
    "shop_id",
    "change_id",
    "program_key",
    "member_id",
    "from_level",
    "to_level",
    "changed_at",
    "as_of",
    "reason",
)
# A touchpoint that has left the planner; nothing may leave again for the same occasion.
_SPENT = "('in_flight', 'accepted', 'delivered', 'bounced', 'complained', 'unconfirmed', 'failed')"


def merge(connection: Connection, shop: Shop, guest: int, account: int, now: datetime) -> None:
    """Move all of the guest to the account. Consent becomes what both logs together come to."""
    shop_id = shop.shop_id
    _settle_touchpoints(connection, shop_id, guest, account)
    _settle_stays(connection, shop_id, guest, account)
    _settle_levels(connection, shop, guest, account, now)
    for table, same in _SHARED.items():
        alike = "".join(f" AND other.{name} = {table}.{name}" for name in same)
        bulk.execute(
            connection,
            f"DELETE FROM {table} WHERE shop_id = ? AND member_id = ? AND EXISTS (SELECT 1 FROM {table} AS other "  # noqa: S608
            f"WHERE other.shop_id = {table}.shop_id AND other.member_id = ?{alike})",
            (shop_id, guest, account),
        )
    for table in _MOVED:
        bulk.execute(
            connection,
            f"UPDATE {table} SET member_id = ? WHERE shop_id = ? AND member_id = ?",  # noqa: S608
            (account, shop_id, guest),
        )
    # Links in messages speak of the guest for years to come; by this they find who the guest has become.
    remember = "INSERT INTO identities (shop_id, kind, value, member_id, rank) VALUES (?, ?, ?, ?, 0)"
    bulk.execute(connection, remember, (shop_id, FORMER, str(guest), account))
    facts.move(connection, shop_id, guest, account, now)
    copy_beside_facts(connection, shop_id, to_micros(now), account)
    writebacks.follow(connection, shop_id, account, now)
    consent.recompute(connection, shop_id, account, now)
    bulk.execute(connection, "DELETE FROM member_consents WHERE shop_id = ? AND member_id = ?", (shop_id, guest))
    _fill_empty(connection, shop, guest, account, now)
    bulk.execute(connection, "DELETE FROM members WHERE shop_id = ? AND member_id = ?", (shop_id, guest))


def _settle_touchpoints(connection: Connection, shop_id: int, guest: int, account: int) -> None:
    """Of two touchpoints for one occasion the one that has left stays: else the account would get it a second time."""
    alike = " AND ".join(f"other.{name} = touchpoints.{name}" for name in _SHARED["touchpoints"])
    bulk.execute(
        connection,
        "DELETE FROM touchpoints WHERE shop_id = ? AND member_id = ? AND state NOT IN "  # noqa: S608
        f"{_SPENT} AND EXISTS (SELECT 1 FROM touchpoints AS other WHERE other.shop_id = touchpoints.shop_id "
        f"AND other.member_id = ? AND other.state IN {_SPENT} AND {alike})",
        (shop_id, account, guest),
    )


def _settle_stays(connection: Connection, shop_id: int, guest: int, account: int) -> None:
    """Of two stays in a journey for one occasion the one further on goes on: else its coupon or task would be given once more.

    What is still to be done for the other one is not done. A code that was handed out stays handed out: somebody may have been told it.
    """
    alike = " AND ".join(f"own.{name} = other.{name}" for name in _SHARED["enrolments"])
    pairs = bulk.execute(
        connection,
        "SELECT own.enrolment_id AS own_id, own.seq AS own_seq, other.enrolment_id AS other_id, other.seq AS other_seq "  # noqa: S608
        f"FROM enrolments AS other JOIN enrolments AS own ON own.shop_id = other.shop_id AND {alike} AND own.member_id = ? "
        "WHERE other.shop_id = ? AND other.member_id = ?",
        (account, shop_id, guest),
    ).all()
    for pair in pairs:
        gone = pair.own_id if pair.other_seq > pair.own_seq else pair.other_id
        todo = "DELETE FROM tasks WHERE shop_id = ? AND enrolment_id = ? AND done_at IS NULL"
        bulk.execute(connection, todo, (shop_id, gone))
        bulk.execute(connection, "DELETE FROM enrolments WHERE shop_id = ? AND enrolment_id = ?", (shop_id, gone))
    if pairs:
        # The stay that goes on may wait for the message of the other, which nobody would take up again.
        anew = "UPDATE touchpoints SET taken_up = FALSE WHERE shop_id = ? AND member_id IN (?, ?) AND step > 0 AND taken_up"
        bulk.execute(connection, anew, (shop_id, guest, account))


def _settle_levels(connection: Connection, shop: Shop, guest: int, account: int, now: datetime) -> None:
    """Who holds no level of a programme by hand holds none of it afterwards either, unless one was given to the account by hand."""
    shop_id, today = shop.shop_id, day_number(local_day(now, shop.timezone))
    given = (
        "EXISTS (SELECT 1 FROM member_tiers AS t WHERE t.shop_id = tier_bars.shop_id AND t.member_id = ? "
        "AND t.program_key = tier_bars.program_key AND t.fixed AND (t.fixed_until IS NULL OR t.fixed_until >= ?))"
    )
    bulk.execute(
        connection,
        "DELETE FROM tier_bars WHERE shop_id = ? AND member_id = ? "  # noqa: S608
        f"AND ((until IS NOT NULL AND until < ?) OR {given})",
        (shop_id, guest, today, account, today),
    )
    barred = "SELECT b.program_key FROM tier_bars AS b WHERE b.shop_id = ? AND b.member_id IN (?, ?) AND (b.until IS NULL OR b.until >= ?)"
    lost = bulk.execute(
        connection,
        "SELECT t.program_key, t.level_key, b.reason, b.actor FROM member_tiers AS t JOIN tier_bars AS b ON b.shop_id = t.shop_id "
        "AND b.program_key = t.program_key AND b.member_id = ? WHERE t.shop_id = ? AND t.member_id = ?",
        (guest, shop_id, account),
    ).all()
    told = [
        (shop_id, change_id, row.program_key, account, row.level_key, "", to_micros(now), today, _by_hand(row))
        for change_id, row in zip(new_ids(len(lost)), lost, strict=True)
    ]
    bulk.insert_rows(connection, tier_changes, _CHANGED, told)
    bulk.execute(
        connection,
        f"DELETE FROM member_tiers WHERE shop_id = ? AND member_id IN (?, ?) AND program_key IN ({barred})",  # noqa: S608
        (shop_id, guest, account, shop_id, guest, account, today),
    )
    if any(row.program_key == PROGRAM for row in lost):
        put_beside_facts(connection, shop_id, [(account, "")], to_micros(now))


def _by_hand(bar: Row[Any]) -> str:
    return json.dumps({"cause": "by_hand", "reason": bar.reason, "by": bar.actor}, ensure_ascii=False)


def _fill_empty(connection: Connection, shop: Shop, guest: int, account: int, now: datetime) -> None:
    """Birthday, names and country that only the guest told; `changed_at` moves with the birthday and the zone of its days."""
    names = ("first_name", "last_name", "country", "region", "locale")
    columns = f"{', '.join(names)}, birth_md, birth_year, timezone, phone, zone"
    sql = f"SELECT {columns} FROM members WHERE shop_id = ? AND member_id = ?"  # noqa: S608
    told = bulk.execute(connection, sql, (shop.shop_id, guest)).one()
    kept = bulk.execute(connection, sql, (shop.shop_id, account)).one()
    changes = {name: value for name, value, own in zip(names, told, kept, strict=False) if value and not own}
    if kept.country not in ("", told.country):
        changes.pop("region", None)
    if told.birth_md is not None and kept.birth_md is None:
        changes |= {"birth_md": told.birth_md, "birth_year": told.birth_year}
    lives = (changes.get(name, getattr(kept, name)) for name in ("country", "region"))
    zone = member_zone(kept.timezone, kept.phone, *lives, shop.timezone)
    if zone != kept.zone:
        changes["zone"] = zone
    if changes.keys() & {"birth_md", "zone"}:
        changes["changed_at"] = to_micros(now)
    # Orders, tags, levels and messages have come to the account, whatever its row says.
    changes["touched_at"] = to_micros(now)
    sets = ", ".join(f"{name} = ?" for name in changes)
    bulk.execute(
        connection,
        f"UPDATE members SET {sets} WHERE shop_id = ? AND member_id = ?",  # noqa: S608
        (*changes.values(), shop.shop_id, account),
    )
