"""Records that could not be read: kept with reason and raw text, retried by hand or when the platform tells them anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import CrmError, MalformedResponse, NotFound
from crm_plugin.ids import new_ids
from crm_plugin.phrases import packed, phrase
from crm_plugin.records import Page, Record, RecordProblem, Stream
from crm_plugin.store import bulk, problems
from crm_plugin.store.base import to_micros
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.odd import is_of_a_record, reason
from crm_plugin.sync.turn import as_it_is_now
from crm_plugin.sync.upsert import write_page

_COLUMNS = ("shop_id", "problem_id", "stream", "external_id", "path", "reason", "raw", "state", "first_at", "last_at")
# A raw text longer than this is no order any more; what is cut cannot be read again, the platform is asked instead.
_LONGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class RetryReport:
    """How many problems were read now, and how many are still open."""

    resolved: int
    open: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def keep(connection: Connection, shop_id: int, found: Iterable[RecordProblem], now: datetime) -> None:
    """Set problems aside, each once; the same one told again with the same text changes nothing."""
    told = {(problem.stream.value, problem.external_id): problem for problem in found}
    if not told:
        return
    at = to_micros(now)
    rows = [
        (shop_id, problem_id, *place, one.path, packed(one.reason), one.raw[:_LONGEST], "open", at, at)
        for problem_id, (place, one) in zip(new_ids(len(told)), told.items(), strict=True)
    ]
    bulk.upsert_rows(
        connection,
        problems,
        _COLUMNS,
        ("shop_id", "stream", "external_id"),
        "path = excluded.path, reason = excluded.reason, raw = excluded.raw, state = 'open', last_at = excluded.last_at "
        "WHERE problems.raw <> excluded.raw OR problems.reason <> excluded.reason OR problems.state = 'resolved'",
        rows,
    )


def resolve(connection: Connection, shop_id: int, stream: Stream, external_ids: Iterable[str]) -> None:
    """Close the problems of records that have been read since."""
    still = "SELECT external_id FROM problems WHERE shop_id = ? AND stream = ? AND state = 'open'"
    waiting = {row[0] for row in bulk.execute(connection, still, (shop_id, stream.value))}
    if waiting:
        closed = "UPDATE problems SET state = 'resolved' WHERE shop_id = ? AND stream = ? AND external_id IN ({marks})"
        bulk.execute_in(connection, closed, (shop_id, stream.value), waiting.intersection(external_ids))


def open_problems(connection: Connection, shop_id: int, limit: int = 1000) -> list[Row[Any]]:
    """The open problems of a shop, newest first."""
    query = select(problems).where(problems.c.shop_id == shop_id, problems.c.state == "open")
    return list(connection.execute(query.order_by(problems.c.last_at.desc(), problems.c.problem_id).limit(limit)))


def count_open(connection: Connection, shop_id: int) -> int:
    """How many are open."""
    query = select(func.count()).where(problems.c.shop_id == shop_id, problems.c.state == "open")
    return int(connection.execute(query).scalar_one())


def dismiss(connection: Connection, shop_id: int, problem_id: int) -> None:
    """The merchant lets it be. Raises: NotFound."""
    found = connection.execute(
        update(problems)
        .where(problems.c.shop_id == shop_id, problems.c.problem_id == problem_id, problems.c.state == "open")
        .values(state="dismissed")
    )
    if not found.rowcount:
        raise NotFound(phrase("That problem is no longer open."))


def retry(db: Database, shop: Shop, storefront: StorefrontAdapter | None, now: datetime) -> RetryReport:
    """Read every open problem again: as the platform tells it now, else from the text that was kept."""
    with db.read() as connection:
        waiting = open_problems(connection, shop.shop_id, limit=100_000)
    resolved = 0
    for row in waiting:
        try:
            _write(db, shop, row, _read_again(storefront, row), now)
        except MalformedResponse as error:
            _still(db, row, str(error), error.path)
        except CrmError as error:
            _still(db, row, str(error), "")
        except Exception as error:
            if not is_of_a_record(error):
                raise
            _still(db, row, reason(error), "")
        else:
            resolved += 1
    return RetryReport(resolved, len(waiting) - resolved)


def _write(db: Database, shop: Shop, row: Row[Any], record: Record, now: datetime) -> None:
    with db.write() as connection:
        write_page(connection, as_it_is_now(connection, shop), Page(record.stream, (record,), ""), now)
        connection.execute(
            update(problems)
            .where(problems.c.shop_id == row.shop_id, problems.c.problem_id == row.problem_id)
            .values(state="resolved", last_at=now)
        )


def _read_again(storefront: StorefrontAdapter | None, row: Row[Any]) -> Record:
    stream = Stream(row.stream)
    if storefront is None:
        # A line of a file keeps all that is needed to read it again.
        return storefront_class("csv")({}).parse(stream, row.raw)
    return storefront.reread(stream, row.external_id) or storefront.parse(stream, row.raw)


def _still(db: Database, row: Row[Any], reason: str, path: str) -> None:
    with db.write() as connection:
        connection.execute(
            update(problems)
            .where(problems.c.shop_id == row.shop_id, problems.c.problem_id == row.problem_id)
            .values(reason=reason, path=path or row.path)
        )
