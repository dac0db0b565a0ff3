"""What a rehearsal of the past cannot take back, for it was overwritten: told with the result, with how much of it there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from crm_plugin.phrases import phrase
from crm_plugin.store.members import FORMER
from crm_plugin.touchpoints.dial import TURNED

_CHANGED = "SELECT COUNT(*) FROM members WHERE shop_id = :shop AND touched_at > :since AND first_seen_at <= :since"
_MERGED = f"SELECT COUNT(*) FROM identities WHERE shop_id = :shop AND kind = '{FORMER}' AND :since > 0"  # noqa: S608
_EDITED = "SELECT COUNT(*) FROM orders WHERE shop_id = :shop AND updated_at > :since AND placed_at <= :since"
_GONE = "SELECT COUNT(*) FROM orders WHERE shop_id = :shop AND NOT counts AND updated_at > :since"
_CHECKOUTS = (
    "SELECT COUNT(*) FROM checkouts WHERE shop_id = :shop AND seen_at > :since "
    "AND (completed_at <= touched_at OR touched_at > started_at)"
)
_DIALS = (
    "SELECT COUNT(*) FROM member_dials AS d WHERE d.shop_id = :shop AND d.updated_at > :since AND NOT EXISTS "  # noqa: S608
    f"(SELECT 1 FROM member_events AS e WHERE e.shop_id = d.shop_id AND e.member_id = d.member_id AND e.kind = '{TURNED}')"
)
_INVITED = "SELECT COUNT(*) FROM tier_invitations WHERE shop_id = :shop AND answered_at > :since"
_CODES = "SELECT COUNT(*) FROM coupon_codes WHERE shop_id = :shop AND :since > 0"
_TOLD = (
    (
        _CHANGED,
        phrase(
            "Members changed since: name, address, birthday, zone, language and the store's own tags are as they are now."
        ),
    ),
    (_MERGED, phrase("Members who have become one: they are one from the beginning.")),
    (
        _EDITED,
        phrase(
            "Older orders changed since, if only in their state: lines, sums and whose they are stand as they do now."
        ),
    ),
    (_GONE, phrase("Orders that were cancelled or put aside since: they never were.")),
    (_CHECKOUTS, phrase("Checkouts that were taken up again or finished: they are as they were seen last.")),
    (_DIALS, phrase("Members who turned their dial before such turns were written down: it stands as it does now.")),
    (_INVITED, phrase("Invitations to a level that were answered since: the answer is there with the invitation.")),
    (_CODES, phrase("Coupon codes, whenever they were loaded: all are there from the beginning.")),
)

# Counted where they are read.
UNREAD = phrase(
    "Published versions of journeys that cannot be read: tags that their steps gave and took stand as they do now."
)


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that is as it is now, and how many there are of it."""

    what: str
    count: int


def unrewound(connection: Connection, shop_id: int, since: int) -> Iterator[Unknown]:
    """What there is of it; asked before anything of the copy is taken back."""
    for sql, what in _TOLD:
        if count := int(connection.execute(text(sql), {"shop": shop_id, "since": since}).scalar_one()):
            yield Unknown(what, count)
