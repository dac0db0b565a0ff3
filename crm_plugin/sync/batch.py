"""Several pages written as one: most of what a page costs the database is paid once a transaction and once a statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from time import monotonic

from sqlalchemy import Connection

from crm_plugin.errors import CrmError
from crm_plugin.records import OrderRecord, Page, Record, RecordProblem, Stream
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import problems
from crm_plugin.sync.upsert import write_page
from crm_plugin.sync.written import Written

# Rows (a record and each of its lines) that are written at once: ten pages of a store's orders, or one page of orders of many lines.
ROWS = 3_000
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
            weight += sum(1 + len(record.lines) if isinstance(record, OrderRecord) else 1 for record in page.records)
            if weight >= rows or page.last or monotonic() - began >= seconds:
                yield group
                group, weight = [], 0
    except CrmError:
        if group:
            yield group
        raise
    if group:
        yield group


def write_group(connection: Connection, shop: Shop, group: Sequence[Page], now: datetime) -> Written:
    """The records of these pages, their problems, and the end of problems that were read since."""
    records: dict[Stream, list[Record]] = {}
    for page in group:
        records.setdefault(page.stream, []).extend(page.records)
    written = Written()
    for stream in sorted(records, key=list(Stream).index):
        written.add(write_page(connection, shop, Page(stream, tuple(records[stream]), ""), now))
    _note_problems(connection, shop.shop_id, group, now)
    return written


def _note_problems(connection: Connection, shop_id: int, group: Sequence[Page], now: datetime) -> None:
    last_told: dict[tuple[Stream, str], RecordProblem | None] = {}
    for page in group:
        last_told |= {(page.stream, record.external_id): None for record in page.records}
        last_told |= {(page.stream, problem.external_id): problem for problem in page.problems}
    problems.keep(connection, shop_id, filter(None, last_told.values()), now)
    for stream in {page.stream for page in group}:
        read = (name for (of, name), problem in last_told.items() if of is stream and problem is None)
        problems.resolve(connection, shop_id, stream, read)
