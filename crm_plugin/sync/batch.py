"""Several pages written as one: most of what a page costs the database is paid once a transaction and once a statement."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from time import monotonic

from sqlalchemy import Connection

from crm_plugin.records import OrderRecord, Page, Record, RecordProblem, Stream
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import problems
from crm_plugin.sync.odd import is_of_a_record, reason
from crm_plugin.sync.turn import as_it_is_now
from crm_plugin.sync.upsert import write_page
from crm_plugin.sync.written import Written

_log = logging.getLogger(__name__)
# Rows (a record, its lines, a member's addresses) that are written at once. Every transaction writes each page of the database that
# it touches once more: with a fifth of this, behind five million orders of members that buy at random, that is half of all the time.
# Much more than this takes memory.
ROWS = 15_000
# A slow store's pages are not kept waiting for company: a kill costs no more than this, and the progress shown is not far behind.
SECONDS = 2.0


def groups(pages: Iterable[Page], rows: int = ROWS, seconds: float = SECONDS) -> Iterator[list[Page]]:
    """Pages in groups as they come. What came before a storefront's error is handed on before the error is."""
    group: list[Page] = []
    weight, began = 0, 0.0
    try:
        for page in pages:
            began = began if group else monotonic()
            group.append(page)
            weight += _weight(page)
            if weight >= rows or page.last or monotonic() - began >= seconds:
                yield group
                group, weight = [], 0
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group


def _weight(page: Page) -> int:
    count = len(page.records)
    if page.stream is Stream.MEMBERS:
        # With a member come its addresses and consents.
        return 4 * count
    return count + sum([len(record.lines) for record in page.records if isinstance(record, OrderRecord)])


def write_group(connection: Connection, shop: Shop, group: Sequence[Page], now: datetime) -> Written:
    """The records of these pages, their problems, and the end of problems that were read since."""
    shop = as_it_is_now(connection, shop)
    records: dict[Stream, list[Record]] = {}
    for page in group:
        records.setdefault(page.stream, []).extend(page.records)
    written = Written()
    for stream in sorted(records, key=list(Stream).index):
        written.add(write_page(connection, shop, Page(stream, tuple(records[stream]), ""), now))
    _note_problems(connection, shop.shop_id, group, now)
    return written


def keep_group(
    db: Database,
    shop: Shop,
    group: Sequence[Page],
    now: datetime,
    finish: Callable[[Connection, Sequence[Page]], None] | None = None,
) -> tuple[Written, Sequence[Page]]:
    """Write the pages in one transaction, `finish` in the same; answers them as they were kept.

    When they cannot be stored they are written one record at a time: what is still refused becomes a problem, all others are kept.
    """
    try:
        with db.write() as connection:
            written = write_group(connection, shop, group, now)
            if finish is not None:
                finish(connection, group)
            return written, group
    except Exception as error:
        if not is_of_a_record(error):
            raise
        _log.warning("%s: a record cannot be stored (%s); its page is written record by record", shop.name, error)
    written = Written()
    kept = [_keep_page(db, shop, page, now, written) for page in group]
    with db.write() as connection:
        _note_problems(connection, shop.shop_id, kept, now)
        if finish is not None:
            finish(connection, kept)
    return written, kept


def _keep_page(db: Database, shop: Shop, page: Page, now: datetime, written: Written) -> Page:
    """The page without the records that cannot be stored, and with a problem for each of them."""
    if _is_kept(db, shop, page, now, written) is None:
        return page
    records, found = [], list(page.problems)
    for number, record in enumerate(page.records):
        error = _is_kept(db, shop, Page(page.stream, (record,), ""), now, written)
        if error is None:
            records.append(record)
            continue
        raw = page.raw_of(number) if page.raw_of is not None else ""
        found.append(RecordProblem(page.stream, record.external_id, reason(error), raw, "$"))
    return replace(page, records=tuple(records), problems=tuple(found), raw_of=None)


def _is_kept(db: Database, shop: Shop, page: Page, now: datetime, written: Written) -> Exception | None:
    """Write the page; answers why it could not be stored, if so."""
    try:
        with db.write() as connection:
            done = write_page(connection, as_it_is_now(connection, shop), page, now)
    except Exception as error:
        if not is_of_a_record(error):
            raise
        return error
    written.add(done)
    return None


def _note_problems(connection: Connection, shop_id: int, group: Sequence[Page], now: datetime) -> None:
    """Of a record told more than once the last telling holds."""
    found: dict[tuple[Stream, str], RecordProblem] = {}
    for page in group:
        if found:
            for record in page.records:
                found.pop((page.stream, record.external_id), None)
        found |= {(page.stream, problem.external_id): problem for problem in page.problems}
    problems.keep(connection, shop_id, found.values(), now)
    for stream in {page.stream for page in group}:
        told = (record.external_id for page in group if page.stream is stream for record in page.records)
        problems.resolve(connection, shop_id, stream, (name for name in told if (stream, name) not in found))
