"""Members as lists: who there is, who is meant by a name or an address, how many."""

from __future__ import annotations

import re
import string
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from babel.core import get_global
from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, and_, func, select, union
from sqlalchemy import text as text_

from crm_plugin.analytics.profile import Profile, profile
from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules import matching
from crm_plugin.rules.sql import ACTIVE, PROGRAM_KEY
from crm_plugin.store import identities, member_facts, member_tiers, members, orders, tier_levels
from crm_plugin.store.members import FORMER, full_name
from crm_plugin.store.tenants import Shop

__all__ = ["NO_TIER", "MemberRow", "Profile", "count", "find", "profile", "search"]

# As a tier's key: those who hold none. No level can have this key.
NO_TIER = "-"
_PHONE_MARKS = re.compile(r"[\s().\-/]")
_PHONE = re.compile(r"\+?[0-9]{3,15}")
# As many are named when several members fit.
_NAMED = 5
_LONGEST_NAME = 60
_DIALLED = 5
# No character comes after it.
_LAST = chr(0x10FFFF)


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One member in a list. Money is in the shop's currency; `tier` is empty without a level, `last_order_on` None without an order."""

    member_id: int
    external_id: str
    name: str
    email: str
    phone: str
    country: str
    locale: str
    tier: str
    tier_since: date | None
    orders: int
    spent_minor: int
    last_order_on: date | None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: the id as text, for JavaScript rounds such long numbers."""
        return {**asdict(self), "member_id": str(self.member_id)}


def search(
    connection: Connection,
    shop: Shop,
    *,
    text: str = "",
    rule: str = "",
    tier: str = "",
    as_of: date | None = None,
    after: int = 0,
    limit: int = 50,
) -> list[MemberRow]:
    """Active members by id, from the one after `after` on; each filter that is given narrows.

    `text` is the beginning of a name, an e-mail or a phone (also as it is dialled in the shop's country), a whole id of the platform, or
    the number of an order. A rule needs `as_of`, a day in the shop's zone.
    Raises: RuleError, InvalidInput for a tier that does not exist.
    """
    m, f, t = members.c, member_facts.c, member_tiers.c
    # Beside a text the place is no range of the key: SQLite would walk all keys after it instead of looking up who was found.
    wanted = _wanted(connection, shop, text, rule, tier, as_of)
    who = wanted.selected_columns.member_id
    place = who + 0 if text.strip() else who
    # The page is chosen first, in the order of the key, so that it ends as soon as it is full.
    chosen = wanted.where(place > after).order_by(who).limit(limit).subquery("chosen")
    query = (
        select(
            m.member_id,
            m.external_id,
            m.first_name,
            m.last_name,
            m.email,
            m.phone,
            m.country,
            m.locale,
            func.coalesce(t.level_key, "").label("tier"),
            t.since_on,
            func.coalesce(f.orders_count, 0).label("orders"),
            func.coalesce(f.spent_minor, 0).label("spent_minor"),
            f.last_order_on,
        )
        .select_from(members)
        .join(chosen, m.member_id == chosen.c.member_id)
        .outerjoin(member_facts, and_(f.shop_id == m.shop_id, f.member_id == m.member_id))
        .outerjoin(member_tiers, and_(t.shop_id == m.shop_id, t.program_key == PROGRAM_KEY, t.member_id == m.member_id))
        .where(m.shop_id == shop.shop_id)
        .order_by(m.member_id)
    )
    return [
        MemberRow(
            member_id=row.member_id,
            external_id=row.external_id or "",
            name=full_name(row.first_name, row.last_name),
            email=row.email,
            phone=row.phone,
            country=row.country,
            locale=row.locale,
            tier=row.tier,
            tier_since=row.since_on,
            orders=row.orders,
            spent_minor=row.spent_minor,
            last_order_on=row.last_order_on,
        )
        for row in connection.execute(query)
    ]


def count(
    connection: Connection,
    shop: Shop,
    *,
    text: str = "",
    rule: str = "",
    tier: str = "",
    as_of: date | None = None,
    most: int | None = None,
) -> int:
    """How many active members `search` would give in all; counted no further than one past `most`. Raises: RuleError, InvalidInput."""
    wanted = _wanted(connection, shop, text, rule, tier, as_of)
    if most is not None:
        wanted = wanted.limit(most + 1)
    return int(connection.execute(select(func.count()).select_from(wanted.subquery())).scalar_one())


def find(connection: Connection, shop: Shop, told: str) -> int:
    """The one member meant by our id, the platform's id, an e-mail or a phone; one who was deleted only when no other fits.

    Raises: NotFound, InvalidInput naming those who fit when there are several.
    """
    told = told.strip()
    m = members.c
    meant = [_own_id(shop, told)]
    if told.isascii() and told.isdecimal() and int(told) < 2**63:
        meant.append(select(m.member_id).where(m.shop_id == shop.shop_id, m.member_id == int(told)))
        # A guest may have become an account since somebody noted the id.
        meant.append(_held(shop, FORMER, identities.c.value == told))
    meant += [_held(shop, kind, identities.c.value == value) for kind, value in addresses(shop, told)]
    query = select(m.member_id, m.external_id, m.state, m.first_name, m.last_name, m.email)
    chosen = query.where(m.shop_id == shop.shop_id, m.member_id.in_(union(*meant).scalar_subquery()))
    rows = connection.execute(chosen.order_by(m.member_id).limit(100)).all()
    found = [row for row in rows if row.state == ACTIVE] or list(rows)
    if not found:
        raise NotFound(
            phrase("There is no member %(told)r.", told=told),
            hint=phrase(
                "Give our id, the store's id, a whole e-mail address, or a phone number with its country code, like +44…."
            ),
        )
    if len(found) > 1:
        named = "; ".join(_called(row) for row in found[:_NAMED])
        if len(found) > _NAMED:
            named = phrase("%(named)s; and %(count)s more", named=named, count=len(found) - _NAMED)
        raise InvalidInput(
            phrase(
                "%(told)r fits %(count)s members: %(named)s.",
                told=told,
                count=len(found),
                named=named,
            ),
            field="member",
            hint=phrase("Give the id."),
        )
    return int(found[0].member_id)


def _wanted(connection: Connection, shop: Shop, text: str, rule: str, tier: str, as_of: date | None) -> Select[Any]:
    """One row: an active member that passes every filter, with `member_id`."""
    m = members.c
    if rule.strip():
        if as_of is None:
            raise ValueError("a rule needs the day it is asked for")
        query = matching(connection, shop, rule, as_of)
    else:
        query = select(m.member_id).select_from(members).where(m.shop_id == shop.shop_id, m.state == ACTIVE)
    who = query.selected_columns.member_id
    if text.strip():
        query = query.where(who.in_(_matching(connection, shop, text.strip())))
    if tier:
        query = query.where(_holds_tier(connection, shop, tier, who))
    return query


def _holds_tier(connection: Connection, shop: Shop, tier: str, who: ColumnElement[int]) -> ColumnElement[bool]:
    t, level = member_tiers.c, tier_levels.c
    # A rule may have joined the tiers already: these stand for themselves.
    held = select(t.member_id).where(t.shop_id == shop.shop_id, t.program_key == PROGRAM_KEY).correlate(None)
    if tier == NO_TIER:
        return who.not_in(held)
    keys = connection.execute(
        select(level.level_key)
        .where(level.shop_id == shop.shop_id, level.program_key == PROGRAM_KEY)
        .order_by(level.rank)
    ).scalars()
    known = list(keys)
    if tier not in known:
        hint = (
            phrase("There are: %(names)s; %(none)s is no tier.", names=known, none=NO_TIER)
            if known
            else phrase("Set some under Tiers first.")
        )
        raise InvalidInput(phrase("There is no tier %(tier)r.", tier=tier), field="tier", hint=hint)
    return who.in_(held.where(t.level_key == tier))


def _matching(connection: Connection, shop: Shop, text: str) -> ScalarSelect[Any]:
    """Every way a text can be meant is one look into an index, so that it costs who is found and not who there is."""
    ways = [_own_id(shop, text), *_buyers(shop, text)]
    found = addresses(shop, text)
    for kind, value in found:
        ways.append(_held(shop, kind, _begins(connection, identities.c.value, value)))
    if "@" not in text and all(kind == "email" for kind, _ in found):
        ways += _named(connection, shop, text)
    return union(*ways).scalar_subquery()


def _named(connection: Connection, shop: Shop, text: str) -> list[Select[Any]]:
    """Those whose first or last name begins so, or both in either order."""
    n = members.alias("named")
    first, last = func.lower(n.c.first_name), func.lower(n.c.last_name)
    # The indexes hold only those who have a name, and are used only where that is said in so many words.
    has_first, has_last = text_("named.first_name <> ''"), text_("named.last_name <> ''")
    fits: list[ColumnElement[bool]] = []
    for told in _spellings(text):
        fits += [and_(has_first, _begins(connection, first, told)), and_(has_last, _begins(connection, last, told))]
        for place in (place for place, mark in enumerate(told) if mark == " "):
            one, other = told[:place], told[place + 1 :]
            fits += [
                and_(has_last, _begins(connection, first, one), _begins(connection, last, other)),
                and_(has_last, _begins(connection, last, one), _begins(connection, first, other)),
            ]
        if not told.isascii() and " " not in told:
            # Names that are written without a space between, the family name first.
            cuts = range(1, len(told))
            fits += [and_(has_last, last == told[:cut], _begins(connection, first, told[cut:])) for cut in cuts]
    found = select(n.c.member_id).where(n.c.shop_id == shop.shop_id)
    return [found.where(fit).correlate(None) for fit in fits]


_ASCII_LOWER = {ord(letter): letter.lower() for letter in string.ascii_uppercase}


def _spellings(text: str) -> list[str]:
    """The text as it stands in the index. SQLite folds the case of ASCII alone, so other letters are asked for in each case."""
    told = " ".join(text.split())[:_LONGEST_NAME]
    variants = {told.lower(), *(one.translate(_ASCII_LOWER) for one in (told, told.upper(), told.title()))}
    return sorted(variants)


def _begins(connection: Connection, column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """What begins so. SQLite's index answers a range of code points; PostgreSQL orders by the database's language."""
    if connection.dialect.name == "sqlite":
        return and_(column >= prefix, column < prefix + _LAST)
    return column.startswith(prefix, autoescape=True)


def _own_id(shop: Shop, told: str) -> Select[Any]:
    m = members.c
    return select(m.member_id).where(m.shop_id == shop.shop_id, m.external_id == told)


def _buyers(shop: Shop, text: str) -> list[Select[Any]]:
    """Whose order bears that number, which people write with a # before it, or none."""
    o = orders.c
    numbers = {text, text.removeprefix("#").strip(), f"#{text}"} - {""}
    found = select(o.member_id).where(o.shop_id == shop.shop_id)
    # Said as the index has it, or it would not be used.
    return [
        found.where(o.external_id.in_(numbers)),
        found.where(o.number.in_(numbers), text_("orders.number <> orders.external_id")),
    ]


def _held(shop: Shop, kind: str, value: ColumnElement[bool]) -> Select[Any]:
    return select(identities.c.member_id).where(identities.c.shop_id == shop.shop_id, identities.c.kind == kind, value)


def addresses(shop: Shop, told: str) -> list[tuple[str, str]]:
    """What a text can be the address of, or its beginning: an e-mail always, a phone in E.164 where it is made of digits."""
    found = [("email", told.lower())]
    number = _PHONE_MARKS.sub("", told)
    if _PHONE.fullmatch(number):
        digits = number.removeprefix("+")
        found.append(("phone", f"+{digits.removeprefix('00')}"))
        if digits == number and not digits.startswith("00"):
            found += [("phone", told) for told in _as_called_at_home(shop, digits)]
    return found


def _as_called_at_home(shop: Shop, digits: str) -> list[str]:
    """A number, or its beginning, in E.164 as people of the shop's own country mean it: 07… is +447… in a shop of London."""
    import phonenumbers

    about = phonenumbers.PhoneMetadata.metadata_for_region(home_of(shop), None)
    if about is None:
        return []
    national = digits.removeprefix(about.national_prefix or "")
    # Few digits that nobody dials first are an id or the number of an order.
    return [f"+{about.country_code}{national}"] if national != digits or len(digits) >= _DIALLED else []


def home_of(shop: Shop) -> str:
    """The letters of the country whose clock the shop goes by; empty where a zone is no country's."""
    return str(get_global("zone_territories").get(shop.timezone, ""))


def _called(row: Any) -> str:
    name = full_name(row.first_name, row.last_name)
    return " ".join(part for part in (str(row.member_id), name, f"<{row.email}>" if row.email else "") if part)
