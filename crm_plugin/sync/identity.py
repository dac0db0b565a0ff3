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

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_plugin.birthdays import Birthday
from crm_plugin.records import ConsentRecord, MemberRecord, OrderRecord
from crm_plugin.store import consent
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.addresses import email_key, letters_of, member_zone, phone_key
from crm_plugin.sync.member_rows import OTHER, OWN, Member, MemberRows
from crm_plugin.sync.values import Days, attributes_json, member_fingerprint, micros
from crm_plugin.sync.written import Written, is_older

_FILLED = ("first_name", "last_name", "locale", "country", "region")


class MemberBook(MemberRows):
    """The members of one page. `load…` reads all that may be meant, `take_account`/`for_order` decide, `write` writes once."""

    def __init__(self, connection: Connection, shop: Shop, now: datetime) -> None:
        super().__init__(connection, shop, now)
        self._days = Days(shop)
        self.counts = Written()

    # What may be meant.

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
        # Of an account that an order describes the row must be known; of others only which member they are.
        described = {order.member_external_id for order in told if order.contact is not None}
        self._load_by_external(described)
        self._point_at({order.member_external_id for order in told}.union(others))
        guests = [order for order in told if not order.member_external_id]
        contacts = [order.contact for order in guests if order.contact is not None]
        emails = {email_key(contact.email) for contact in contacts}
        phones = {phone_key(contact.phone, contact.country) for contact in contacts if not email_key(contact.email)}
        self._load_claims(emails, phones, [order.external_id for order in guests])
        self._load_members(value for value in held if value not in self._members)

    # Deciding.

    def take_account(self, record: MemberRecord) -> Member:
        """Bring an account to what the record says; a record no newer than what is stored changes nothing."""
        mark = member_fingerprint(record)
        member = self._accounts.get(record.external_id)
        if member is not None:
            if member.values["fingerprint"] == mark:
                self.counts.same += 1
                # What was true again later is no news, but what was told of the time between is late from now on.
                self._true_at(member, micros(record.updated_at))
                return member
            if is_older(record.updated_at, member.values["updated_at"]):
                self.counts.stale += 1
                return member
        if record.deleted:
            return self._remove(record, member, mark)
        # A row made from an order before its account was seen has no fingerprint yet: to the merchant it is new.
        known = member is not None and member.values["fingerprint"] != ""
        if member is None:
            member = self._guest_becomes(record) or self._make(record.external_id)
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
        return self._accounts.get(external_id) or self._make(external_id)

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

    def _guest_becomes(self, record: MemberRecord) -> Member | None:
        """The guest whose row the new account takes over."""
        member = self._guest_for(record)
        if member is not None:
            member.become_account(record.external_id)
            self._became.append(member.member_id)
            self._accounts[record.external_id] = member
            self._claim("account", record.external_id, member, OWN)
        return member

    def _guest_for(self, record: MemberRecord) -> Member | None:
        email = email_key(record.email)
        if email:
            return next(iter(self._guests_at(email)), None)
        holder = self._only_holder(phone_key(record.phone, record.country))
        return holder if holder is not None and self._is_free(holder) else None

    def _guests_at(self, email: str) -> list[Member]:
        """Guests who hold this e-mail, the one known longest first; one already given to an account is no longer to be had."""
        held = (self._members[member_id] for member_id in sorted(self._claims["email"].get(email, {})))
        return [member for member in held if self._is_free(member)]

    def _is_free(self, member: Member) -> bool:
        return not member.is_account and member.member_id not in self._merges

    def _take_over_guests(self, member: Member, record: MemberRecord) -> None:
        for guest in self._guests_at(email_key(record.email)):
            self._merges[guest.member_id] = member.member_id

    def _remove(self, record: MemberRecord, member: Member | None, mark: str) -> Member:
        if member is None:
            member = self._make(record.external_id)
        member.put(state="deleted", updated_at=micros(record.updated_at), fingerprint=mark, changed_at=self._at)
        self.counts.removed += 1
        return member

    # Changing.

    def _describe(self, member: Member, told: MemberRecord, mark: str, at: datetime | None = None) -> None:
        """All that a record tells of its own person. Names, language, country and birthday stay when it tells none."""
        values = member.values
        country = told.country or values["country"]
        email, phone = email_key(told.email), phone_key(told.phone, country)
        if not mark:
            # What an order leaves open is not taken back: only an account tells that an address is gone.
            email, phone = email or values["email"], phone or values["phone"]
        if values["email"] and values["email"] != email:
            self._claim("email", values["email"], member, OTHER, weaken=True)
        changes: dict[str, Any] = {
            "state": "active",
            "email": email,
            "phone": phone,
            "first_name": told.first_name or values["first_name"],
            "last_name": told.last_name or values["last_name"],
            "locale": told.locale or values["locale"],
            "timezone": told.timezone or values["timezone"],
            "country": country,
            # A state is one of its country: moved to another, the old one is none any more.
            "region": told.region or (values["region"] if country == values["country"] else ""),
            "joined_at": values["joined_at"],
            "joined_on": values["joined_on"],
            "updated_at": micros(told.updated_at or at) or values["updated_at"],
        }
        if told.joined_at is not None:
            changes |= {"joined_at": micros(told.joined_at), "joined_on": self._days.of(told.joined_at)}
        if told.attributes:
            changes["attributes"] = attributes_json(told.attributes)
        if mark:
            changes["fingerprint"] = mark
        joined_on = values["joined_on"]
        self._note_move(member, changes["country"], changes["region"], told.updated_at or at or self._now)
        member.put(**changes)
        if member.values["joined_on"] != joined_on:
            member.put(changed_at=self._at)
        self._place(member, told)
        for address, rank in ((email, OWN), *((email_key(other), OTHER) for other in told.other_emails)):
            if address:
                self._claim("email", address, member, rank)
        if phone:
            self._claim("phone", phone, member, OWN)
        if told.tags is not None:
            self._tags[member.member_id] = told.tags
        if mark:
            self._say(member, told.consents)

    def _note_move(self, member: Member, country: str, region: str, at: datetime) -> None:
        """Who is seen in another country, or another state of it, has moved; where nothing was known before nothing is told."""
        before, was = member.values["country"].upper(), letters_of(member.values["country"], member.values["region"])
        now, state = country.upper(), letters_of(country, region)
        if not before or (before == now and (not was or not state or was == state)):
            return
        self._moves[member.member_id] = (_place(before, was), _place(now, state), at)

    def _fill(self, member: Member, contact: MemberRecord) -> None:
        """What an order tells of an account that the account does not; e-mail and phone are the account's own to tell."""
        values = member.values
        told = {name: told for name in _FILLED if not values[name] and (told := getattr(contact, name))}
        if values["country"] not in ("", contact.country):
            told.pop("region", None)
        if told or (contact.birth_month is not None and values["birth_md"] is None):
            member.put(**told)
            self._place(member, contact, only_missing=True)

    def _place(self, member: Member, told: MemberRecord, only_missing: bool = False) -> None:
        """Birthday and zone; `changed_at` moves with either, for triggers depend on both."""
        moved = False
        if told.birth_month is not None and not (only_missing and member.values["birth_md"] is not None):
            born = Birthday(told.birth_month, told.birth_day or 0, told.birth_lunar, told.birth_leap)
            moved = member.put(birth_md=born.number, birth_year=told.birth_year)
        values = member.values
        zone = member_zone(
            values["timezone"], values["phone"], values["country"], values["region"], self._shop.timezone
        )
        moved = member.put(zone=zone) or moved
        if moved:
            member.put(changed_at=self._at)

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


def _place(country: str, state: str) -> str:
    return f"{country}-{state}" if state else country
