"""The merchant's side of writing levels back: on, off, try again, check all, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import ActionRequired, InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.records import MemberRecord, Stream
from crm_plugin.store import audit, member_tiers, members, tier_writebacks, writebacks
from crm_plugin.store.members import full_name, lock
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.store.writebacks import MarkState
from crm_plugin.sync import drift
from crm_plugin.sync.connect import open_storefront
from crm_plugin.sync.pull import Progress

# What the audit log calls the acts.
ON, OFF = "tiers.writeback.on", "tiers.writeback.off"


@dataclass(frozen=True, slots=True)
class Refused:
    """One mark that the store refused, with the reason."""

    member_id: int
    member_name: str
    program: str
    level: str
    detail: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the levels are in the store. `states` counts marks; `put_back` those that were changed there and written again.

    `stopped` says what the merchant has to do; `resting` why the store is left alone until `resting_until`.
    """

    possible: bool
    enabled: bool
    stopped: str
    resting_until: datetime | None
    resting: str
    states: dict[str, int]
    put_back: int
    refused: list[Refused]

    def as_dict(self) -> dict[str, Any]:
        until = self.resting_until
        return {**asdict(self), "resting_until": until.isoformat() if until else None}


def standing(connection: Connection, shop: Shop, *, most: int = 20) -> Standing:
    """How far it is, with at most so many of the refused marks, the newest first."""
    w = tier_writebacks.c
    switch = writebacks.switch_of(connection, shop.shop_id)
    counted = connection.execute(select(w.state, func.count()).where(w.shop_id == shop.shop_id).group_by(w.state))
    states = {state.value: 0 for state in MarkState} | {row[0]: row[1] for row in counted}
    drifted = select(func.count()).where(w.shop_id == shop.shop_id, w.drifts > 0)
    return Standing(
        storefront_class(shop.platform).holds_tiers(),
        switch.enabled,
        switch.detail if switch.stopped_at else "",
        switch.resting_until,
        "" if switch.stopped_at else switch.detail,
        states,
        connection.execute(drifted).scalar() or 0,
        _refused(connection, shop.shop_id, most) if states[MarkState.FAILED] else [],
    )


def holders(connection: Connection, shop_id: int) -> int:
    """How many accounts hold a level now, in whatever programme: those that would be written if it were switched on."""
    t, m = member_tiers.c, members.c
    query = (
        select(func.count(t.member_id.distinct()))
        .join_from(member_tiers, members, (m.shop_id == t.shop_id) & (m.member_id == t.member_id))
        .where(t.shop_id == shop_id, m.external_id.is_not(None), m.state == "active")
    )
    return connection.execute(query).scalar() or 0


def _refused(connection: Connection, shop_id: int, most: int) -> list[Refused]:
    w, m = tier_writebacks.c, members.c
    query = (
        select(w.member_id, m.first_name, m.last_name, m.email, w.program_key, w.wanted_level, w.detail)
        .join_from(tier_writebacks, members, (m.shop_id == w.shop_id) & (m.member_id == w.member_id))
        .where(w.shop_id == shop_id, w.state == MarkState.FAILED)
        .order_by(w.next_try_at.desc(), w.member_id)
        .limit(most)
    )
    return [
        Refused(row.member_id, full_name(row.first_name, row.last_name) or row.email, *row[4:])
        for row in connection.execute(query)
    ]


def switch_on(db: Database, box: SecretBox, shop: Shop, now: datetime, *, actor: str) -> None:
    """Write levels into the store from now on, those that are held already first.

    Raises: InvalidInput for a store that cannot hold them, ActionRequired when the store does not let us write; nothing is changed then.
    """
    _refuse_impossible(shop)
    storefront = open_storefront(db, box, shop)
    try:
        for problem in storefront.check_tiers():
            if problem.severity is Severity.ERROR:
                raise ActionRequired(problem.message, hint=problem.hint, code=problem.code, adapter=shop.platform)
    finally:
        storefront.close()
    _turn(db, shop, now, actor, on=True)


def switch_off(db: Database, shop: Shop, now: datetime, *, actor: str) -> None:
    """Write nothing more; what stands in the store stays there."""
    _turn(db, shop, now, actor, on=False)


def _turn(db: Database, shop: Shop, now: datetime, actor: str, *, on: bool) -> None:
    with db.write() as connection:
        lock(connection, shop.shop_id)
        before = writebacks.is_on(connection, shop.shop_id)
        writebacks.turn(connection, shop.shop_id, now, on=on)
        if before != on:
            audit.note(connection, shop.shop_id, actor, ON if on else OFF, {}, now)


def try_again(db: Database, shop: Shop, now: datetime) -> int:
    """Let what was refused, and a store that waits for its merchant, be tried again at once; how many marks that is."""
    with db.write() as connection:
        lock(connection, shop.shop_id)
        if writebacks.switch_of(connection, shop.shop_id).enabled:
            writebacks.rest(connection, shop.shop_id, None, now)
        return writebacks.retry_failed(connection, shop.shop_id, now)


def check_all(
    db: Database,
    shop: Shop,
    storefront: StorefrontAdapter,
    now: datetime,
    progress: Callable[[Progress], None] | None = None,
) -> int:
    """Read every account's marks and queue those that are not as written; how many that is. Nothing else of the accounts is taken in."""
    _refuse_impossible(shop)
    with db.read() as connection:
        if not writebacks.is_on(connection, shop.shop_id):
            raise InvalidInput(
                phrase("Levels are not written into this store."), hint=phrase("Switch that on first, then check.")
            )
    found, seen = 0, 0
    for page in storefront.pages(Stream.MEMBERS, ""):
        records = [record for record in page.records if isinstance(record, MemberRecord)]
        with db.write() as connection:
            lock(connection, shop.shop_id)
            found += drift.take(connection, shop.shop_id, records, now)
        seen += len(records)
        if progress is not None:
            progress(Progress("marks", seen, page.total))
    return found


def _refuse_impossible(shop: Shop) -> None:
    storefront = storefront_class(shop.platform)
    if not storefront.holds_tiers():
        raise InvalidInput(
            phrase("%(platform)s cannot hold a member's level.", platform=phrase(storefront.label)),
            hint=phrase("Levels are kept here all the same, for messages, segments and lists."),
        )
