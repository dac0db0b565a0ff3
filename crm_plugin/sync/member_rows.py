"""Rows of members and of what they are found by: read once for a page, held while it is decided whom it means, written once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_plugin.ids import new_id, new_ids
from crm_plugin.store import bulk, consent, identities, member_events, member_tags, members, writebacks
from crm_plugin.store.base import to_json, to_micros
from crm_plugin.store.events import MOVED
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.merge import merge
from crm_plugin.sync.values import Days

OWN, OTHER = 0, 1

COLUMNS = (
    "shop_id",
    "member_id",
    "external_id",
    "state",
    "email",
    "phone",
    "first_name",
    "last_name",
    "locale",
    "timezone",
    "zone",
    "country",
    "region",
    "birth_year",
    "birth_md",
    "joined_at",
    "joined_on",
    "attributes",
    "updated_at",
    "first_seen_at",
    "changed_at",
    "touched_at",
    "fingerprint",
)
_BLANK: dict[str, Any] = {
    **dict.fromkeys(COLUMNS),
    **dict.fromkeys(
        ("email", "phone", "first_name", "last_name", "locale", "timezone", "country", "region", "fingerprint"), ""
    ),
    "state": "active",
    "attributes": "{}",
}
_MOVE = ("shop_id", "event_id", "kind", "member_id", "subject", "at", "on_day", "payload", "recorded_at")
_MOVE_KEY = ("shop_id", "kind", "member_id", "subject")
_MARKS = "{marks}"
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM members WHERE shop_id = ? AND "  # noqa: S608


class Member:
    """One row of `members`, as stored, with what is to be written of it. Most are only pointed at, so names come when asked for."""

    __slots__ = ("_row", "_values", "dirty", "is_account", "is_new", "member_id")

    def __init__(self, row: bulk.Row, *, is_new: bool = False) -> None:
        # Its first three columns when it is only pointed at.
        self._row = row
        self._values: dict[str, Any] | None = None
        self.member_id: int = row[1]
        self.is_account = row[2] is not None
        self.is_new = is_new
        self.dirty = False

    @property
    def is_whole(self) -> bool:
        """Whether more is known of it than which member it is."""
        return len(self._row) == len(COLUMNS)

    @property
    def values(self) -> dict[str, Any]:
        """The row by name."""
        if self._values is None:
            self._values = dict(zip(COLUMNS, self._row, strict=True))
        return self._values

    def put(self, **changes: Any) -> bool:
        """Set values; answers whether any of them differs."""
        values, differs = self.values, False
        for name, value in changes.items():
            if values[name] != value:
                values[name] = value
                differs = True
        self.dirty |= differs
        return differs

    @classmethod
    def made(cls, values: dict[str, Any]) -> Member:
        """A new one; `values` are all of `COLUMNS`, in their order."""
        member = cls(tuple(values.values()), is_new=True)
        member._values = values
        return member

    def become_account(self, external_id: str) -> None:
        """From now on the store's account of that id."""
        self.put(external_id=external_id)
        self.is_account = True

    def row(self) -> bulk.Row:
        """The row as it is to be written."""
        return tuple(self.values.values())


class MemberRows:
    """All members that a page may mean, by id, by account and by address; what is put into them is written by `write`."""

    def __init__(self, connection: Connection, shop: Shop, now: datetime) -> None:
        self._connection = connection
        self._shop = shop
        self._now = now
        self._at = to_micros(now)
        self._members: dict[int, Member] = {}
        self._accounts: dict[str, Member] = {}
        # By kind and value: the members that hold it, with the rank of their claim.
        self._claims: dict[str, defaultdict[str, dict[int, int]]] = {
            kind: defaultdict(dict) for kind in ("email", "phone", "guest")
        }
        self._new_claims: dict[tuple[str, str, int], int] = {}
        self._later: set[int] = set()
        self._tags: dict[int, tuple[str, ...]] = {}
        self._statements: list[consent.Statement] = []
        # Members whose country or state is another than before: from where, where to, when.
        self._moves: dict[int, tuple[str, str, datetime]] = {}
        # Guests that become one with an account, once all is written.
        self._merges: dict[int, int] = {}
        # Guests whose own row became an account's.
        self._became: list[int] = []

    # Reading.

    def _load_by_external(self, external_ids: Iterable[str]) -> None:
        wanted = {value for value in external_ids if value} - self._accounts.keys()
        self._take_rows(
            bulk.select_in(self._connection, f"{_SELECT}external_id IN ({_MARKS})", (self._shop.shop_id,), wanted)
        )

    def _point_at(self, external_ids: Iterable[str]) -> None:
        """Accounts of which no more is asked than which member they are; a whole row costs twice as much."""
        wanted = {value for value in external_ids if value} - self._accounts.keys()
        sql = f"SELECT shop_id, member_id, external_id FROM members WHERE shop_id = ? AND external_id IN ({_MARKS})"  # noqa: S608
        self._take_rows(bulk.select_in(self._connection, sql, (self._shop.shop_id,), wanted))

    def _load_claims(self, emails: Iterable[str], phones: Iterable[str], guests: Iterable[str]) -> None:
        sql = "SELECT value, member_id, rank FROM identities WHERE shop_id = ? AND kind = ? AND value IN ({marks})"
        meant: set[int] = set()
        for kind, values in (("email", emails), ("phone", phones), ("guest", guests)):
            wanted = {value for value in values if value}
            for value, member_id, rank in bulk.select_in(self._connection, sql, (self._shop.shop_id, kind), wanted):
                self._claims[kind][value][member_id] = rank
                meant.add(member_id)
        self._load_members(meant)

    def _load_members(self, member_ids: Iterable[int]) -> None:
        known = self._members
        wanted = {value for value in member_ids if value and (value not in known or not known[value].is_whole)}
        self._take_rows(
            bulk.select_in(self._connection, f"{_SELECT}member_id IN ({_MARKS})", (self._shop.shop_id,), wanted)
        )

    def _take_rows(self, rows: Iterable[bulk.Row]) -> None:
        for row in rows:
            member = self._members[row[1]] = Member(row)
            if member.is_account:
                self._accounts[row[2]] = member

    # Changing.

    def _make(self, external_id: str | None) -> Member:
        member = Member.made(
            _BLANK
            | {
                "shop_id": self._shop.shop_id,
                "member_id": new_id(),
                "external_id": external_id,
                "zone": self._shop.timezone,
                "first_seen_at": self._at,
                "changed_at": self._at,
                "touched_at": self._at,
            }
        )
        self._members[member.member_id] = member
        if external_id is not None:
            self._accounts[external_id] = member
            self._claim("account", external_id, member, OWN)
        return member

    def _true_at(self, member: Member, at: int | None) -> None:
        """Note that all of an account was still true at a later instant; nothing has happened to it by that."""
        if at is not None and at > (member.values["updated_at"] or 0):
            member.values["updated_at"] = at
            self._later.add(member.member_id)

    def _claim(self, kind: str, value: str, member: Member, rank: int, weaken: bool = False) -> None:
        if kind != "account":
            holders = self._claims[kind][value]
            if not weaken and holders.get(member.member_id, 9) <= rank:
                return
            holders[member.member_id] = rank
        elif not (member.is_new or member.dirty):
            return
        self._new_claims[kind, value, member.member_id] = rank

    # Writing.

    def write(self) -> None:
        """Write new and changed members, their identities, tags and consents, then make guests one with their accounts."""
        connection, shop_id = self._connection, self._shop.shop_id
        new = [member.row() for member in self._members.values() if member.is_new]
        bulk.insert_rows(connection, members, COLUMNS, new)
        tagged = self._write_tags()
        changed = [
            member
            for member in self._members.values()
            if not member.is_new and (member.dirty or member.member_id in tagged)
        ]
        for member in changed:
            member.put(touched_at=self._at)
        written = {member.member_id for member in changed}
        changed += [self._members[one] for one in sorted(self._later - written) if not self._members[one].is_new]
        self._later.clear()
        columns = (*COLUMNS[2:], "shop_id", "member_id")
        bulk.update_rows(
            connection,
            members,
            columns,
            ("shop_id", "member_id"),
            [tuple(member.values[name] for name in columns) for member in changed],
        )
        for member in self._members.values():
            member.is_new = member.dirty = False
        rows = sorted((shop_id, kind, value, holder, rank) for (kind, value, holder), rank in self._new_claims.items())
        bulk.upsert_rows(
            connection,
            identities,
            ("shop_id", "kind", "value", "member_id", "rank"),
            ("shop_id", "kind", "value", "member_id"),
            "rank = excluded.rank",
            rows,
        )
        self._new_claims.clear()
        consent.record_all(connection, shop_id, self._statements, self._now)
        self._statements.clear()
        self._write_moves()
        writebacks.reconsider(connection, shop_id, self._became, self._now)
        self._became.clear()
        for guest, account in self._merges.items():
            merge(connection, self._shop, guest, account, self._now)
        self._merges.clear()

    def _write_moves(self) -> None:
        """Note who has moved, once a day: two sources that contradict one another are no moves."""
        if not self._moves:
            return
        days, shop_id = Days(self._shop), self._shop.shop_id
        rows = [
            (
                *(shop_id, event_id, MOVED, member_id, at.date().isoformat()),
                *(to_micros(at), days.of(at), to_json({"from": before, "to": after}), self._at),
            )
            for event_id, (member_id, (before, after, at)) in zip(
                new_ids(len(self._moves)), self._moves.items(), strict=True
            )
        ]
        bulk.upsert_rows(self._connection, member_events, _MOVE, _MOVE_KEY, "", rows)
        self._moves.clear()

    def _write_tags(self) -> set[int]:
        """Bring the tags to what was told; answers whose have changed."""
        if not self._tags:
            return set()
        sql = "SELECT member_id, tag, own FROM member_tags WHERE shop_id = ? AND member_id IN ({marks})"
        present: defaultdict[int, set[str]] = defaultdict(set)
        ours: defaultdict[int, set[str]] = defaultdict(set)
        for member_id, tag, own in bulk.select_in(self._connection, sql, (self._shop.shop_id,), self._tags):
            present[member_id].add(tag)
            if own:
                ours[member_id].add(tag)
        added, touched = [], set()
        for member_id, tags in self._tags.items():
            # A tag that a journey gave is not the store's to take away.
            wanted = {tag for tag in tags if tag} | ours[member_id]
            added += [(self._shop.shop_id, member_id, tag) for tag in sorted(wanted - present[member_id])]
            gone = present[member_id] - wanted
            if present[member_id] != wanted:
                touched.add(member_id)
            bulk.execute_in(
                self._connection,
                "DELETE FROM member_tags WHERE shop_id = ? AND member_id = ? AND tag IN ({marks})",
                (self._shop.shop_id, member_id),
                gone,
            )
        bulk.insert_rows(self._connection, member_tags, ("shop_id", "member_id", "tag"), added)
        self._tags.clear()
        return touched
