"""Whether a store at another address is the one whose members are kept: ids and consents mean other people in any other store."""

from __future__ import annotations

from urllib.parse import urlsplit

from sqlalchemy import select

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import InvalidInput, MalformedResponse
from crm_plugin.phrases import phrase
from crm_plugin.records import MemberRecord, ShopInfo, Stream
from crm_plugin.store import members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.addresses import email_key

SAMPLE = 20
_HINT = phrase("Orders and consents stay with the store that they were given to: add this one as a shop of its own.")


def has_moved(before: str, after: str) -> bool:
    """Whether this is another address; http or https, and a leading www, make no other."""
    return _place(before) != _place(after)


def require_same(db: Database, shop: Shop, storefront: StorefrontAdapter, info: ShopInfo) -> None:
    """Compare currency and accounts. Raises: InvalidInput unless more than half of those asked for are known there under their e-mail."""
    if info.currency and info.currency != shop.currency:
        raise InvalidInput(
            phrase(
                "That is another store: it counts in %(theirs)s, %(name)s in %(ours)s.",
                theirs=info.currency,
                name=shop.name,
                ours=shop.currency,
            ),
            field="url",
            hint=_HINT,
        )
    known = _sample(db, shop)
    same = sum(_email_there(storefront, external_id) == email for external_id, email in known)
    if known and same * 2 <= len(known):
        raise InvalidInput(
            phrase(
                "That is another store: of %(known)s accounts of %(name)s that were looked for, %(same)s there with the same e-mail.",
                known=len(known),
                name=shop.name,
                same=phrase("%(count)s are", count=same) if same > 1 else phrase("1 is") if same else phrase("none is"),
            ),
            field="url",
            hint=_HINT,
        )


def _place(address: str) -> tuple[str, str]:
    parts = urlsplit(address.strip())
    return parts.netloc.lower().removeprefix("www."), parts.path.rstrip("/").lower()


def _sample(db: Database, shop: Shop) -> list[tuple[str, str]]:
    """The newest accounts: those that a copy of an example store does not have."""
    columns = members.c
    query = select(columns.external_id, columns.email).where(
        columns.shop_id == shop.shop_id,
        columns.external_id.is_not(None),
        columns.email != "",
        columns.state == "active",
    )
    with db.read() as connection:
        found = connection.execute(query.order_by(columns.member_id.desc()).limit(SAMPLE))
        return [(row.external_id, row.email) for row in found]


def _email_there(storefront: StorefrontAdapter, external_id: str) -> str:
    try:
        record = storefront.reread(Stream.MEMBERS, external_id)
    except MalformedResponse:
        return ""
    return email_key(record.email) if isinstance(record, MemberRecord) else ""
