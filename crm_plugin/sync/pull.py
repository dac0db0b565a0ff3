"""Pulling a storefront: pages are written with the cursor after them, in one transaction, so a kill costs at most two seconds of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import SQLAlchemyError

from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import ActionRequired, CrmError
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, Stream
from crm_plugin.store import bulk, sync_state
from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import lifecycle
from crm_plugin.sync.batch import groups, keep_group
from crm_plugin.sync.turn import lock
from crm_plugin.sync.written import Written

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one stream is; `total` is None while unknown."""

    stream: str
    done: int
    total: int | None


@dataclass(slots=True)
class StreamReport:
    """One stream of one sync."""

    pages: int = 0
    records: int = 0
    problems: int = 0
    written: Written = field(default_factory=Written)

    def as_dict(self) -> dict[str, Any]:
        return {"pages": self.pages, "records": self.records, "problems": self.problems, **self.written.as_dict()}


@dataclass(slots=True)
class SyncReport:
    """What one sync did, stream by stream."""

    streams: dict[str, StreamReport] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of members, orders, lines, refunds and products that were written; 0 when nothing was new."""
        return sum(report.written.rows for report in self.streams.values())

    @property
    def problems(self) -> int:
        return sum(report.problems for report in self.streams.values())

    def as_dict(self) -> dict[str, Any]:
        streams = {name: report.as_dict() for name, report in self.streams.items()}
        return {"rows": self.rows, "problems": self.problems, "streams": streams}


def sync_shop(
    db: Database,
    shop: Shop,
    storefront: StorefrontAdapter,
    *,
    now: datetime,
    clock: Callable[[], datetime] | None = None,
    full: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> SyncReport:
    """Bring the shop in step with its storefront, from where the last sync stopped; `full` begins anew and changes nothing twice.

    Rows say when they were written by `clock`, so that planning finds what came late also after a reading of many hours; without one
    they say `now`.

    Raises: what the storefront raises, after keeping it as the state of the stream (and of the shop, when the merchant must act).
    """
    report = SyncReport()
    for stream in storefront.streams:
        report.streams[stream.value] = done = StreamReport()
        cursor = _begin(db, shop, stream, now, full=full)
        try:
            for group in groups(storefront.pages(stream, cursor)):
                _keep(db, shop, group, done, clock() if clock else now)
                if progress is not None:
                    progress(Progress(stream.value, done.records, group[-1].total))
        except BaseException as error:
            _stopped(db, shop, storefront, stream, error, now)
            raise
        _ended(db, shop, stream, now)
    lifecycle.well(db, shop, now)
    return report


def _keep(db: Database, shop: Shop, group: list[Page], done: StreamReport, now: datetime) -> None:
    last, told = group[-1], sum(len(page.records) + len(page.problems) for page in group)
    place = (last.next_cursor, done.records + told, last.total, to_micros(now), shop.shop_id, last.stream.value)

    def move_on(connection: Connection, _kept: Sequence[Page]) -> None:
        sql = "UPDATE sync_state SET cursor = ?, done = ?, total = ?, updated_at = ? WHERE shop_id = ? AND stream = ?"
        bulk.execute(connection, sql, place)

    written, kept = keep_group(db, shop, group, now, move_on)
    done.pages += len(group)
    done.problems += sum(len(page.problems) for page in kept)
    done.records += told
    done.written.add(written)


def _begin(db: Database, shop: Shop, stream: Stream, now: datetime, *, full: bool) -> str:
    """Mark the stream as running; answers the cursor to go on from."""
    with db.write() as connection:
        lock(connection, shop.shop_id)
        row = connection.execute(
            select(sync_state.c.cursor).where(sync_state.c.shop_id == shop.shop_id, sync_state.c.stream == stream.value)
        ).first()
        cursor = "" if row is None or full else str(row.cursor)
        columns = ("shop_id", "stream", "cursor", "phase", "done", "started_at", "updated_at", "detail")
        at = to_micros(now)
        bulk.upsert_rows(
            connection,
            sync_state,
            columns,
            ("shop_id", "stream"),
            "cursor = excluded.cursor, phase = excluded.phase, done = 0, total = NULL, started_at = excluded.started_at, "
            "updated_at = excluded.updated_at, detail = excluded.detail",
            [(shop.shop_id, stream.value, cursor, "running" if cursor else "backfill", 0, at, at, "")],
        )
    return cursor


def _ended(db: Database, shop: Shop, stream: Stream, now: datetime) -> None:
    _set_phase(db, shop, stream, "idle", "", now, whole_since=now)


def _stopped(
    db: Database, shop: Shop, storefront: StorefrontAdapter, stream: Stream, error: BaseException, now: datetime
) -> None:
    try:
        _set_phase(db, shop, stream, "stopped", _why(error), now)
        if isinstance(error, ActionRequired):
            lifecycle.refused(db, shop, storefront, error, now)
    except SQLAlchemyError:
        # The database went away: what is to be told is the error that came first.
        _log.warning("%s: the state of %s could not be kept", shop.name, stream.value, exc_info=True)


def _why(error: BaseException) -> str:
    if isinstance(error, CrmError):
        return str(error)
    if isinstance(error, Exception):
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return phrase("Something went wrong: %(what)s", what=what)
    return phrase("It was broken off. The next sync goes on from here.")


def _set_phase(
    db: Database, shop: Shop, stream: Stream, phase: str, detail: str, now: datetime, **more: datetime
) -> None:
    with db.write() as connection:
        connection.execute(
            update(sync_state)
            .where(sync_state.c.shop_id == shop.shop_id, sync_state.c.stream == stream.value)
            .values(phase=phase, detail=detail, updated_at=now, **more)
        )
