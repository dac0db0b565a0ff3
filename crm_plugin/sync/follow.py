"""Following what stores told: each thing that was named is read again as it is now, and written as a sync would have.

An event is done in the transaction that writes what was read, so a process that dies leaves it to the next; done twice it is as done once.
What passes (the store is away) is tried again ever later, what the merchant must put right stops the store, as in a sync.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    MalformedResponse,
    OutcomeUnknown,
    PermanentError,
    TransientError,
)
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, StoreEvent, StoreEventKind, Stream
from crm_plugin.store import inbox, members
from crm_plugin.store.members import lock
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import SUSPENDED, UNINSTALLED, Shop, shop_or_none
from crm_plugin.sync import heard, lifecycle, privacy
from crm_plugin.sync.batch import keep_group
from crm_plugin.sync.gone import gone
from crm_plugin.sync.heard import DONE, FAILED, News
from crm_plugin.sync.merge import merge
from crm_plugin.sync.reread import reread
from crm_plugin.sync.standing import Standing
from crm_plugin.sync.written import Written

Kind = StoreEventKind
# So many events are followed at a time; a store is asked for many things in few calls.
AT_ONCE = 200
# After the first failure a minute, then four times as long each, at most six hours; after so many it is given up, and told.
_FIRST, _LONGEST, _MOST = timedelta(minutes=1), timedelta(hours=6), 12
_READ = frozenset({Kind.CHANGED, Kind.DELETED})
_LAWFUL = frozenset({Kind.EXPORT, Kind.ERASE})
_ENDS = frozenset({Kind.UNINSTALLED, Kind.SUSPENDED, Kind.ERASE_SHOP})


@dataclass(slots=True)
class FollowReport:
    """What one turn followed: events by kind, records read and written, events put off and given up."""

    kinds: Counter[str] = field(default_factory=Counter)
    read: int = 0
    gone: int = 0
    later: int = 0
    failed: int = 0
    written: Written = field(default_factory=Written)

    def as_dict(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("read", "gone", "later", "failed")}
        return {"events": self.kinds.total(), "kinds": dict(self.kinds), **counts, **self.written.as_dict()}


def follow(
    db: Database,
    shop: Shop,
    storefront: StorefrontAdapter,
    now: datetime,
    *,
    clock: Callable[[], datetime] | None = None,
    progress: Callable[[int], None] | None = None,
    reports: Callable[[StoreEvent, datetime], None] | None = None,
) -> FollowReport:
    """Follow all that is due. `progress` hears how many events are done and may stop it between two batches.

    `reports` takes what the store says of messages that went through it, with the instant at which that came.

    Raises: ActionRequired once the state of the store says so; the events stay.
    """
    report = FollowReport()
    while True:
        at = clock() if clock else now
        with db.read() as connection:
            # Its end may be among what was followed: then the rest waits for its coming back.
            there = shop_or_none(connection, shop.shop_id)
            news = [] if there is None else heard.due(connection, there, at, AT_ONCE)
        if not news:
            return report
        try:
            _follow(db, shop, storefront, news, at, report, reports)
        except (TransientError, OutcomeUnknown) as error:
            # Whatever else waits for this store would meet the same.
            report.later += _put_off(db, shop, news, error, at)
            return report
        except ActionRequired as error:
            _put_off(db, shop, news, error, at)
            lifecycle.refused(db, shop, storefront, error, at)
            raise
        if progress is not None:
            progress(report.kinds.total())


def _follow(
    db: Database,
    shop: Shop,
    storefront: StorefrontAdapter,
    news: Sequence[News],
    now: datetime,
    report: FollowReport,
    reports: Callable[[StoreEvent, datetime], None] | None,
) -> None:
    # A store that lets us in no more refuses to be read; that it took the app away must not be kept waiting by that.
    ends = [one for one in news if one.kind in _ENDS]
    for one in ends:
        _act(db, shop, storefront, one, now, report)
    if ends:
        return
    # What the law asks for needs nothing of the store, and does not wait for it.
    lawful = [one for one in news if one.kind in _LAWFUL]
    for one in lawful:
        _act(db, shop, storefront, one, now, report)
    news = [one for one in news if one.kind not in _LAWFUL]
    for one in news:
        if one.kind is Kind.REPORT and reports is not None:
            reports(one.event, one.received_at)
    for stream in Stream:
        named = [one for one in news if one.kind in _READ and one.stream == stream.value]
        if named:
            _read(db, shop, storefront, stream, named, now, report)
    for one in news:
        if one.kind not in _READ or not one.stream:
            try:
                _act(db, shop, storefront, one, now, report)
            except (MalformedResponse, PermanentError) as error:
                report.later += _put_off(db, shop, [one], error, now)


def _read(
    db: Database,
    shop: Shop,
    storefront: StorefrontAdapter,
    stream: Stream,
    named: Sequence[News],
    now: datetime,
    report: FollowReport,
) -> None:
    """Read what was named as it is now, each once, and write it with the end of its events."""
    found = reread(storefront, stream, (one.external_id for one in named if one.external_id))
    with db.read() as connection:
        records = [*found.records, *gone(connection, shop.shop_id, stream, found.missing, now)]

    def done(connection: Connection, _kept: Sequence[Page]) -> None:
        _end(connection, shop.shop_id, [one.inbox_id for one in named], now)

    written, kept = keep_group(db, shop, [Page(stream, tuple(records), "", tuple(found.problems))], now, done)
    report.written.add(written)
    report.read += len(found.records)
    report.gone += len(found.missing)
    report.failed += sum(len(page.problems) for page in kept)
    report.kinds.update(one.kind.value for one in named)


def _act(
    db: Database, shop: Shop, storefront: StorefrontAdapter, one: News, now: datetime, report: FollowReport
) -> None:
    """What is no record of the store."""
    detail = ""
    if one.kind is Kind.MERGED:
        detail = _merge(db, shop, storefront, one, now)
    elif one.kind in (Kind.SHOP, Kind.SCOPES, Kind.RESUMED):
        lifecycle.look(db, shop, storefront, now)
    elif one.kind is Kind.SUSPENDED:
        detail = _suspend(db, shop, storefront, now)
    elif one.kind is Kind.UNINSTALLED:
        lifecycle.uninstall(db, shop, one.at or one.received_at, now)
    elif one.kind in _LAWFUL:
        with db.write() as connection:
            privacy.ask(connection, shop, one.kind.value, one.external_id, one.body, f"store:{shop.platform}", now)
            _end(connection, shop.shop_id, [one.inbox_id], now)
        report.kinds[one.kind.value] += 1
        return
    elif one.kind is Kind.ERASE_SHOP:
        if lifecycle.erase(db, shop, one.received_at):
            report.kinds[one.kind.value] += 1
            return
        detail = phrase("It was installed again since.")
    # Of a large reading that is ready nothing is to be done here: the sync that waits for it looks by itself.
    with db.write() as connection:
        _end(connection, shop.shop_id, [one.inbox_id], now, detail)
    report.kinds[one.kind.value] += 1


def _suspend(db: Database, shop: Shop, storefront: StorefrontAdapter, now: datetime) -> str:
    """The app was switched off, unless the store lets us in: then it was switched on again since, and the event comes late."""
    if not any(one.severity is Severity.ERROR for one in storefront.check()):
        return phrase("It is switched on again.")
    lifecycle.set_status(db, shop, SUSPENDED, Standing.SWITCHED_OFF, "", now, unless=(UNINSTALLED,))
    return ""


def _merge(db: Database, shop: Shop, storefront: StorefrontAdapter, one: News, now: datetime) -> str:
    """Two accounts have become one in the store: so do their members here."""
    into = str(one.body.get("into", ""))
    record = storefront.reread(Stream.MEMBERS, into) if into else None
    if record is not None:
        keep_group(db, shop, [Page(Stream.MEMBERS, (record,), "")], now)
    with db.write() as connection:
        lock(connection, shop.shop_id)
        kept, lost = (_member(connection, shop.shop_id, name) for name in (into, one.external_id))
        if kept is None or lost is None or kept == lost:
            return phrase("One of the two is not known here.")
        merge(connection, shop, lost, kept, now)
    return ""


def _member(connection: Connection, shop_id: int, external_id: str) -> int | None:
    query = select(members.c.member_id).where(members.c.shop_id == shop_id, members.c.external_id == external_id)
    return connection.execute(query).scalar()


def _end(connection: Connection, shop_id: int, ids: Iterable[int], now: datetime, detail: str = "") -> None:
    """Nothing of what the event carried stays: it may name a person."""
    own = (inbox.c.shop_id == shop_id, inbox.c.inbox_id.in_(list(ids)))
    connection.execute(update(inbox).where(*own).values(state=DONE, handled_at=now, detail=detail, body="{}"))


def _put_off(db: Database, shop: Shop, news: Sequence[News], error: AdapterError, now: datetime) -> int:
    """Let these wait; who has waited too often is given up. Answers how many wait."""
    asked = timedelta(seconds=getattr(error, "retry_after", None) or 0)
    waiting = 0
    with db.write() as connection:
        for one in news:
            is_over = one.tries + 1 >= _MOST and not isinstance(error, ActionRequired)
            pause = max(asked, min(_FIRST * 4 ** min(one.tries, 6), _LONGEST))
            values = {"state": FAILED, "handled_at": now} if is_over else {"next_try_at": now + pause}
            own = (inbox.c.shop_id == shop.shop_id, inbox.c.inbox_id == one.inbox_id, inbox.c.state == heard.NEW)
            put = update(inbox).where(*own).values(tries=one.tries + 1, detail=str(error), **values)
            changed = connection.execute(put).rowcount
            waiting += 0 if is_over else changed
    return waiting
