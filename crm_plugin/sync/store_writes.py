"""What else a store is to hold of its members: tags that journeys gave, and what members said here about being written to.

Off until the merchant asks for it (setting `write_back`). What has changed is gathered by when it changed, so nothing is looked at twice
and nothing else has to know of the store; only the newest word of each thing is written. Killed at any instant the next run writes it
again, which changes nothing there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, func, literal_column, select, text, update

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import ActionRequired, AdapterError, OutcomeUnknown, TransientError
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.store import members, store_writes
from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import lifecycle
from crm_plugin.sync.standing import OF_ALL, of_error

TAGS, CONSENT = "tags", "consent"
# What a shop may switch on, and what its storefront must be able to do for it.
KINDS = {TAGS: Capability.WRITE_TAGS, CONSENT: Capability.WRITE_CONSENT}
WAITING, WRITTEN, FAILED, IMPOSSIBLE = "waiting", "written", "failed", "impossible"
_AT_ONCE = 200
_FIRST, _LONGEST = timedelta(minutes=1), timedelta(hours=6)
# So many tries take a store that is away for a while, and no more.
_FEW = 3
_AGAIN = (
    "ON CONFLICT (shop_id, kind, member_id, what) DO UPDATE SET wanted = excluded.wanted, at = excluded.at, state = 'waiting', "
    "tries = 0, next_try_at = excluded.next_try_at, detail = '' WHERE store_writes.wanted <> excluded.wanted"
)
# A word said again later: the store may have been told otherwise in between, by itself.
_SAID_LATER = f"{_AGAIN} OR store_writes.at < excluded.at"
_COLUMNS = "(shop_id, kind, member_id, what, wanted, at, state, tries, next_try_at, detail)"
_OF = "FROM members AS m WHERE m.shop_id = :shop_id AND m.touched_at > :since AND m.touched_at <= :now AND m.external_id IS NOT NULL"
_VALUES = "CAST(:now AS BIGINT), 'waiting', 0, CAST(:now AS BIGINT), ''"
# Tags of ours that members have now, and those that were written and are no longer ours.
_GIVEN = text(
    f"INSERT INTO store_writes {_COLUMNS} SELECT t.shop_id, 'tag', t.member_id, t.tag, TRUE, {_VALUES} "  # noqa: S608
    f"FROM member_tags AS t WHERE t.shop_id = :shop_id AND t.own AND t.member_id IN (SELECT m.member_id {_OF}) {_AGAIN}"
)
_TAKEN = text(
    f"INSERT INTO store_writes {_COLUMNS} SELECT w.shop_id, 'tag', w.member_id, w.what, FALSE, {_VALUES} "  # noqa: S608
    f"FROM store_writes AS w WHERE w.shop_id = :shop_id AND w.kind = 'tag' AND w.wanted AND w.member_id IN (SELECT m.member_id {_OF}) "
    "AND NOT EXISTS (SELECT 1 FROM member_tags AS t "
    "WHERE t.shop_id = w.shop_id AND t.member_id = w.member_id AND t.tag = w.what AND t.own) "
    f"{_AGAIN}"
)
# What was said elsewhere than in the store.
_SAID = text(
    f"INSERT INTO store_writes {_COLUMNS} SELECT c.shop_id, 'consent', c.member_id, c.channel, c.state = 'granted', c.at, 'waiting', 0, "  # noqa: S608
    "CAST(:now AS BIGINT), '' FROM member_consents AS c JOIN members AS m ON m.shop_id = c.shop_id AND m.member_id = c.member_id "
    "WHERE c.shop_id = :shop_id AND c.changed_at > :since AND c.changed_at <= :now AND c.topic = 'marketing' "
    "AND c.source <> :platform AND substr(c.source, 1, :length) <> :prefix AND m.external_id IS NOT NULL "
    f"{_SAID_LATER}"
)


@dataclass(slots=True)
class WrittenReport:
    """What one run gathered and what became of what was due, by state."""

    gathered: int = 0
    states: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        return {"gathered": self.gathered, "states": dict(self.states)}


def takes(shop: Shop) -> frozenset[str]:
    """What the store can hold of it."""
    able = storefront_class(shop.platform).capabilities
    return frozenset(kind for kind, needs in KINDS.items() if needs in able)


def wanted(shop: Shop) -> frozenset[str]:
    """What the merchant has switched on and the store can take."""
    return takes(shop).intersection(shop.settings.get("write_back") or ())


def gather(connection: Connection, shop: Shop, since: datetime, now: datetime) -> int:
    """Note what has changed after `since`, up to `now`; how many are to be written anew."""
    kinds, told = wanted(shop), {"shop_id": shop.shop_id, "since": to_micros(since), "now": to_micros(now)}
    found = 0
    if TAGS in kinds:
        found += sum(connection.execute(statement, told).rowcount for statement in (_GIVEN, _TAKEN))
    if CONSENT in kinds:
        prefix = f"{shop.platform}:"
        own = {"platform": shop.platform, "prefix": prefix, "length": len(prefix)}
        found += connection.execute(_SAID, {**told, **own}).rowcount
    return found


def is_due(connection: Connection, shop_id: int, now: datetime) -> bool:
    """Whether anything waits to be written now."""
    w = store_writes.c
    query = select(w.what).where(w.shop_id == shop_id, w.state == WAITING, w.next_try_at <= now).limit(1)
    return connection.execute(query).first() is not None


def write(
    db: Database,
    shop: Shop,
    storefront: StorefrontAdapter,
    now: datetime,
    report: WrittenReport,
    *,
    progress: Callable[[int], None] | None = None,
) -> WrittenReport:
    """Write what is due, until nothing is or the store fails. Raises: ActionRequired for what the merchant must put right.

    Where the store lets nobody in at all, the shop's state says so; where it only refuses to be written into, it is read on.
    """
    while rows := _due(db, shop.shop_id, now):
        for _, group in groupby(rows, key=lambda row: (row.member_id, row.kind)):
            some = list(group)
            try:
                _write_one(storefront, some)
            except (TransientError, OutcomeUnknown) as error:
                _put_off(db, shop.shop_id, rows, error, now)
                return report
            except ActionRequired as error:
                _put_off(db, shop.shop_id, rows, error, now)
                if of_error(error) in OF_ALL:
                    lifecycle.refused(db, shop, storefront, error, now)
                raise
            except AdapterError as error:
                _settle(db, shop.shop_id, some, IMPOSSIBLE if error.code == "gone" else FAILED, str(error), report)
            else:
                _settle(db, shop.shop_id, some, WRITTEN, "", report)
        if progress is not None:
            progress(report.states.total())
    return report


def stuck(connection: Connection, shop_id: int) -> tuple[int, str]:
    """How much has waited for more than a few tries, and why the first of it does."""
    w = store_writes.c
    own = (w.shop_id == shop_id, w.state == literal_column(f"'{WAITING}'"), w.tries >= _FEW)
    count = connection.execute(select(func.count()).select_from(store_writes).where(*own)).scalar() or 0
    why = connection.execute(select(w.detail).where(*own).order_by(w.next_try_at).limit(1)).scalar()
    return count, why or ""


def _due(db: Database, shop_id: int, now: datetime) -> Sequence[Row[Any]]:
    w, m = store_writes.c, members.c
    query = (
        select(store_writes, m.external_id)
        .join(members, (m.shop_id == w.shop_id) & (m.member_id == w.member_id))
        .where(w.shop_id == shop_id, w.state == WAITING, w.next_try_at <= now)
        .order_by(w.next_try_at, w.member_id, w.kind, w.what)
        .limit(_AT_ONCE)
    )
    with db.read() as connection:
        return connection.execute(query).all()


def _write_one(storefront: StorefrontAdapter, rows: Sequence[Row[Any]]) -> None:
    reference = rows[0].external_id
    if not reference:
        raise AdapterError("", adapter=storefront.name, operation="write_back", code="gone")
    if rows[0].kind == "tag":
        storefront.write_tags(
            reference, [row.what for row in rows if row.wanted], [row.what for row in rows if not row.wanted]
        )
        return
    for row in rows:
        state = ConsentState.GRANTED if row.wanted else ConsentState.WITHDRAWN
        storefront.write_consent(
            reference, ConsentRecord(channel=row.what, state=state, at=row.at, source="crm-plugin")
        )


def _settle(
    db: Database, shop_id: int, rows: Iterable[Row[Any]], state: str, detail: str, report: WrittenReport
) -> None:
    """What was wanted otherwise meanwhile goes on waiting."""
    with db.write() as connection:
        for row in rows:
            same = (*_own(shop_id, row), store_writes.c.wanted == row.wanted, store_writes.c.at == row.at)
            connection.execute(update(store_writes).where(*same).values(state=state, detail=detail))
            report.states[state] += 1


def _put_off(db: Database, shop_id: int, rows: Iterable[Row[Any]], error: AdapterError, now: datetime) -> None:
    asked = timedelta(seconds=getattr(error, "retry_after", None) or 0)
    with db.write() as connection:
        for row in rows:
            pause = max(asked, min(_FIRST * 4 ** min(row.tries, 6), _LONGEST))
            own = (*_own(shop_id, row), store_writes.c.state == WAITING)
            values = {"tries": row.tries + 1, "next_try_at": now + pause, "detail": str(error)}
            connection.execute(update(store_writes).where(*own).values(**values))


def _own(shop_id: int, row: Row[Any]) -> tuple[Any, ...]:
    w = store_writes.c
    return w.shop_id == shop_id, w.kind == row.kind, w.member_id == row.member_id, w.what == row.what
