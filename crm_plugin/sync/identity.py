"""Who is meant: the members one page speaks of, found, made, changed, and written once.

The rule, in words:
- An account is found by its id. A new account takes over the guest who holds its e-mail (or, when it has no e-mail, the one guest
  who holds its phone), with all their orders. Two accounts are never made one.
- An order of an account belongs to it, also when the account itself is not known yet: it is then made from what the order tells.
- A guest's order belongs to the holder of its e-mail: an account's own address before an earlier or billing one, then the member
  known longest. Only without an e-mail the phone is asked, and only when exactly one member holds it: families share phones.
- A guest nobody is found for becomes a member of their own; one who left neither e-mail nor phone is nobody, and the order has no member.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_plugin.ids import new_id
from crm_plugin.records import ConsentRecord, MemberRecord, OrderRecord
from crm_plugin.store import bulk, consent, identities, member_tags, members
from crm_plugin.store.base import to_json, to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.addresses import email_key, member_zone, phone_key
from crm_plugin.sync.merge import merge
from crm_plugin.sync.values import Days, fingerprint, micros
from crm_plugin.sync.written import Written, is_older

OWN, FORMER = 0, 1

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
    "birth_year",
    "birth_md",
    "joined_at",
    "joined_on",
    "attributes",
    "updated_at",
    "first_seen_at",
    "changed_at",
    "fingerprint",
)
_MARKS = "{marks}"
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM members WHERE shop_id = ? AND "  # noqa: S608


@dataclass(slots=True)
class Member:
    """One row of `members`, as stored, with what is to be written of it."""

    values: dict[str, Any]
    is_new: bool = False
    dirty: bool = False

    @property
    def member_id(self) -> int:
        return int(self.values["member_id"])

    @property
    def is_account(self) -> bool:
        return self.values["external_id"] is not None

    def put(self, **changes: Any) -> bool:
        """Set values; answers whether any of them differs."""
        differs = [name for name, value in changes.items() if self.values[name] != value]
        for name in differs:
            self.values[name] = changes[name]
        self.dirty |= bool(differs)
        return bool(differs)

    def row(self) -> tuple[Any, ...]:
        return tuple(self.values[name] for name in COLUMNS)


class MemberBook:
    """The members of one page. `load…` reads all that may be meant, `account`/`for_order` decide, `write` writes once."""

    def __init__(self, connection: Connection, shop: Shop, now: datetime) -> None:
        self._connection = connection
        self._shop = shop
        self._now = now
        self._at = to_micros(now)
        self._days = Days(shop)
        self._members: dict[int, Member] = {}
        self._accounts: dict[str, Member] = {}
        # By kind and value: the members that hold it, with the rank of their claim.
        self._claims: dict[str, defaultdict[str, dict[int, int]]] = {
            kind: defaultdict(dict) for kind in ("email", "phone", "guest")
        }
        self._new_claims: dict[tuple[str, str, int], int] = {}
        self._tags: dict[int, tuple[str, ...]] = {}
        self._statements: list[consent.Statement] = []
        self._merges: list[tuple[int, int]] = []
        self.counts = Written()

    # Reading.

    def load_accounts(self, records: Iterable[MemberRecord]) -> None:
        """Read what a page of accounts may touch: the accounts themselves and whoever holds their addresses."""
        told = list(records)
        self._load_by_external(record.external_id for record in told)
        emails = {email_key(address) for record in told for address in (record.email, *record.other_emails)}
        phones = {phone_key(record.phone, record.country) for record in told if not email_key(record.email)}
        self._load_claims(emails, phones, ())

    def load_for_orders(
        self, orders: Iterable[OrderRecord], others: Iterable[str] = (), held: Iterable[int] = ()
    ) -> None:
        """Read whoever a page of orders may mean; `others` are further accounts, `held` members that stored orders have."""
        told = list(orders)
        self._load_by_external({order.member_external_id for order in told} | set(others))
        guests = [order for order in told if not order.member_external_id]
        emails = {email_key(order.contact.email) for order in told if order.contact}
        phones = {
            phone_key(order.contact.phone, order.contact.country)
            for order in told
            if order.contact and not email_key(order.contact.email)
        }
        self._load_claims(emails, phones, [order.external_id for order in guests])
        self._load_members(held)

    def _load_by_external(self, external_ids: Iterable[str]) -> None:
        wanted = {value for value in external_ids if value} - self._accounts.keys()
        self._take_rows(
            bulk.select_in(self._connection, f"{_SELECT}external_id IN ({_MARKS})", (self._shop.shop_id,), wanted)
        )

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
        wanted = {value for value in member_ids if value} - self._members.keys()
        self._take_rows(
            bulk.select_in(self._connection, f"{_SELECT}member_id IN ({_MARKS})", (self._shop.shop_id,), wanted)
        )

    def _take_rows(self, rows: Iterable[tuple[Any, ...]]) -> None:
        for row in rows:
            member = Member(dict(zip(COLUMNS, row, strict=True)))
            self._members[member.member_id] = member
            if member.is_account:
                self._accounts[member.values["external_id"]] = member

    # Deciding.

    def take_account(self, record: MemberRecord) -> Member:
        """Bring an account to what the record says; a record no newer than what is stored changes nothing."""
        mark = fingerprint(record)
        member = self._accounts.get(record.external_id)
        if member is not None:
            if member.values["fingerprint"] == mark:
                self.counts.same += 1
                return member
            if is_older(record.updated_at, member.values["updated_at"]):
                self.counts.stale += 1
                return member
        if record.deleted:
            return self._remove(record, member, mark)
        # A row made from an order before its account was seen has no fingerprint yet: to the merchant it is new.
        known = member is not None and member.values["fingerprint"] != ""
        if member is None:
            member = self._guest_for(record) or self._make(record.external_id)
            member.put(external_id=record.external_id)
            self._accounts[record.external_id] = member
        self._claim("account", record.external_id, member, OWN)
        self._describe(member, record, mark)
        self._take_over_guests(member, record)
        self.counts.changed += known
        self.counts.new += not known
        return member

    def for_order(self, order: OrderRecord, held: int | None) -> Member | None:
        """Whose order it is; `held` is the member the stored order has. None for a guest who left nothing."""
        contact = order.contact
        if order.member_external_id:
            member = self._accounts.get(order.member_external_id)
            if member is None:
                member = self._make(order.member_external_id)
                self._accounts[order.member_external_id] = member
                self._claim("account", order.member_external_id, member, OWN)
                if contact is not None:
                    self._describe(member, contact, "")
            elif contact is not None:
                self._fill(member, contact)
        else:
            member = self._guest_of(order, contact, held)
        if member is not None and contact is not None:
            self._say(member, contact.consents)
        return member

    def by_account(self, external_id: str) -> Member | None:
        """The account of that id, made bare when it is not known yet; None without an id."""
        if not external_id:
            return None
        member = self._accounts.get(external_id)
        if member is None:
            member = self._accounts[external_id] = self._make(external_id)
            self._claim("account", external_id, member, OWN)
        return member

    def _guest_of(self, order: OrderRecord, contact: MemberRecord | None, held: int | None) -> Member | None:
        if contact is None:
            return self._members.get(held) if held else None
        email = email_key(contact.email)
        phone = phone_key(contact.phone, contact.country)
        if not email and not phone:
            return self._members.get(held) if held else None
        found = self._alone(order) or (self._holder(email) if email else self._only_holder(phone))
        if found is None:
            found = self._make(None)
            self._describe(found, contact, "", at=order.updated_at or order.placed_at)
            if not email:
                # Nothing but a phone that others may come to share: this order finds its own member again.
                self._claim("guest", order.external_id, found, OWN)
        elif found.is_account:
            self._fill(found, contact)
        elif not is_older(order.updated_at or order.placed_at, found.values["updated_at"]):
            self._describe(found, contact, "", at=order.updated_at or order.placed_at)
        return found

    def _alone(self, order: OrderRecord) -> Member | None:
        held = self._claims["guest"].get(order.external_id)
        return self._members.get(next(iter(held))) if held else None

    def _holder(self, email: str) -> Member | None:
        candidates = [
            (rank, not self._members[member_id].is_account, member_id)
            for member_id, rank in self._claims["email"].get(email, {}).items()
            if self._members[member_id].values["state"] == "active"
        ]
        return self._members[min(candidates)[2]] if candidates else None

    def _only_holder(self, phone: str) -> Member | None:
        holders = [
            member_id
            for member_id in self._claims["phone"].get(phone, {})
            if self._members[member_id].values["state"] == "active"
        ]
        return self._members[holders[0]] if len(holders) == 1 else None

    def _guest_for(self, record: MemberRecord) -> Member | None:
        email = email_key(record.email)
        if email:
            guests = [m for m in self._claims["email"].get(email, {}) if not self._members[m].is_account]
            return self._members[min(guests)] if guests else None
        holder = self._only_holder(phone_key(record.phone, record.country))
        return holder if holder is not None and not holder.is_account else None

    def _take_over_guests(self, member: Member, record: MemberRecord) -> None:
        for guest_id in sorted(self._claims["email"].get(email_key(record.email), {})):
            guest = self._members[guest_id]
            if (
                guest_id != member.member_id
                and not guest.is_account
                and (guest_id, member.member_id) not in self._merges
            ):
                self._merges.append((guest_id, member.member_id))

    def _remove(self, record: MemberRecord, member: Member | None, mark: str) -> Member:
        if member is None:
            member = self._make(record.external_id)
            self._accounts[record.external_id] = member
        member.put(state="deleted", updated_at=micros(record.updated_at), fingerprint=mark, changed_at=self._at)
        self.counts.removed += 1
        return member

    # Changing.

    def _make(self, external_id: str | None) -> Member:
        values: dict[str, Any] = dict.fromkeys(COLUMNS)
        values |= dict.fromkeys(("email", "phone", "first_name", "last_name", "locale", "timezone", "country"), "")
        values |= {
            "shop_id": self._shop.shop_id,
            "member_id": new_id(),
            "external_id": external_id,
            "state": "active",
            "zone": self._shop.timezone,
            "attributes": "{}",
            "first_seen_at": self._at,
            "changed_at": self._at,
            "fingerprint": "",
        }
        member = Member(values, is_new=True)
        self._members[member.member_id] = member
        return member

    def _describe(self, member: Member, told: MemberRecord, mark: str, at: datetime | None = None) -> None:
        """All that a record tells of its own person. Names, language, country and birthday stay when it tells none."""
        values = member.values
        email = email_key(told.email)
        country = told.country.upper() or values["country"]
        phone = phone_key(told.phone, country)
        if values["email"] and values["email"] != email:
            self._claim("email", values["email"], member, FORMER, weaken=True)
        changes: dict[str, Any] = {
            "state": "active",
            "email": email,
            "phone": phone,
            "first_name": told.first_name or values["first_name"],
            "last_name": told.last_name or values["last_name"],
            "locale": told.locale or values["locale"],
            "timezone": told.timezone or values["timezone"],
            "country": country,
            "joined_at": values["joined_at"],
            "joined_on": values["joined_on"],
            "updated_at": micros(told.updated_at or at) or values["updated_at"],
        }
        if told.joined_at is not None:
            changes |= {"joined_at": micros(told.joined_at), "joined_on": self._days.of(told.joined_at)}
        if told.attributes:
            changes["attributes"] = to_json(told.attributes)
        if mark:
            changes["fingerprint"] = mark
        member.put(**changes)
        self._place(member, told)
        for address, rank in ((email, OWN), *((email_key(other), FORMER) for other in told.other_emails)):
            if address:
                self._claim("email", address, member, rank)
        if phone:
            self._claim("phone", phone, member, OWN)
        if told.tags is not None:
            self._tags[member.member_id] = told.tags
        if mark:
            self._say(member, told.consents)

    def _fill(self, member: Member, contact: MemberRecord) -> None:
        """What an order tells of an account that the account does not; e-mail and phone are the account's own to tell."""
        told = {
            "first_name": contact.first_name,
            "last_name": contact.last_name,
            "locale": contact.locale,
            "country": contact.country.upper(),
        }
        member.put(**{name: value for name, value in told.items() if value and not member.values[name]})
        self._place(member, contact, only_missing=True)

    def _place(self, member: Member, told: MemberRecord, only_missing: bool = False) -> None:
        """Birthday and zone; `changed_at` moves with either, for triggers depend on both."""
        moved = False
        if told.birth_month is not None and not (only_missing and member.values["birth_md"] is not None):
            moved = member.put(birth_md=told.birth_month * 100 + (told.birth_day or 0), birth_year=told.birth_year)
        values = member.values
        zone = member_zone(values["timezone"], values["phone"], values["country"], self._shop.timezone)
        moved = member.put(zone=zone) or moved
        if moved:
            member.put(changed_at=self._at)

    def _claim(self, kind: str, value: str, member: Member, rank: int, weaken: bool = False) -> None:
        if kind != "account":
            holders = self._claims[kind][value]
            if not weaken and holders.get(member.member_id, 9) <= rank:
                return
            holders[member.member_id] = rank
        elif not (member.is_new or member.dirty):
            return
        self._new_claims[kind, value, member.member_id] = rank

    def _say(self, member: Member, told: tuple[ConsentRecord, ...]) -> None:
        for said in told:
            self._statements.append(
                consent.Statement(
                    member.member_id,
                    said.channel,
                    said.topic,
                    said.state,
                    said.at,
                    said.source,
                    said.wording,
                    said.proof,
                )
            )

    # Writing.

    def write(self) -> None:
        """Write new and changed members, their identities, tags and consents, then make guests one with their accounts."""
        connection, shop_id = self._connection, self._shop.shop_id
        new = [member.row() for member in self._members.values() if member.is_new]
        bulk.insert_rows(connection, members, COLUMNS, new)
        changed = [member for member in self._members.values() if member.dirty and not member.is_new]
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
        self._write_tags()
        consent.record_all(connection, shop_id, self._statements, self._now)
        self._statements.clear()
        for guest, account in self._merges:
            merge(connection, shop_id, guest, account, self._now)
        self._merges.clear()

    def _write_tags(self) -> None:
        if not self._tags:
            return
        sql = "SELECT member_id, tag FROM member_tags WHERE shop_id = ? AND member_id IN ({marks})"
        present: defaultdict[int, set[str]] = defaultdict(set)
        for member_id, tag in bulk.select_in(self._connection, sql, (self._shop.shop_id,), self._tags):
            present[member_id].add(tag)
        added = []
        for member_id, tags in self._tags.items():
            wanted = {tag for tag in tags if tag}
            added += [(self._shop.shop_id, member_id, tag) for tag in sorted(wanted - present[member_id])]
            gone = present[member_id] - wanted
            bulk.execute_in(
                self._connection,
                "DELETE FROM member_tags WHERE shop_id = ? AND member_id = ? AND tag IN ({marks})",
                (self._shop.shop_id, member_id),
                gone,
            )
        bulk.insert_rows(self._connection, member_tags, ("shop_id", "member_id", "tag"), added)
        self._tags.clear()
