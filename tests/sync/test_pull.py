"""Pulling: resumed at the last page written, told where it stops, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError

from crm_plugin.adapters.base import Problem
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import ActionRequired, InvalidInput, MalformedResponse, TransientError
from crm_plugin.records import OrderLineRecord, Page, Record, RecordProblem, ShopInfo, Stream
from crm_plugin.store import orders, problems, shops, sync_state
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.sync import facts
from crm_plugin.sync import problems as kept_problems
from crm_plugin.sync.connect import add_shop, open_storefront
from crm_plugin.sync.pull import Progress, sync_shop
from tests.factories import NOON, make_shop, order

BOX = SecretBox("A" * 43 + "=")


class Paged(StorefrontAdapter):
    """Five pages of one order each; breaks with `error` before page `breaks_at`."""

    name = "paged"
    label = "Paged"
    streams: ClassVar[tuple[Stream, ...]] = (Stream.ORDERS,)

    def __init__(self, breaks_at: int = 99, error: BaseException | None = None) -> None:
        super().__init__({})
        self.breaks_at = breaks_at
        self.error = error or TransientError("The store is busy.")
        self.served: list[int] = []
        self.problem: RecordProblem | None = None
        self.again: Record | None = None

    def check(self) -> list[Problem]:
        return []

    def shop_info(self) -> ShopInfo:
        return ShopInfo("Paged", "EUR", "Europe/Berlin")

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        for number in range(int(cursor or 0), 5):
            if number == self.breaks_at:
                raise self.error
            self.served.append(number)
            bad = (self.problem,) if self.problem and number == 0 else ()
            yield Page(
                stream, (order(f"o{number}", member_external_id="1"),), str(number + 1), bad, total=5, last=number == 4
            )

    def parse(self, stream: Stream, raw: str) -> Record:
        if raw == "bad":
            raise MalformedResponse("Still bad.", path="$.total")
        return order(raw)

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        return self.again


class Odd(Paged):
    """The first page also tells three orders that no database takes, past what an adapter lets through."""

    odd = (
        order("total", total=10**20),
        order("pieces", lines=(OrderLineRecord(quantity=1e17),)),
        order("day", placed_at=datetime(9999, 12, 31, 23, 30, tzinfo=UTC)),
    )

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        for page in super().pages(stream, cursor):
            odd = self.odd if page.next_cursor == "1" else ()
            yield replace(page, records=(*odd, *page.records), raw_of=lambda number: f"raw {number}")


class Slow(Paged):
    """Orders in dollars, each page written by itself."""

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        for page in super().pages(stream, cursor):
            dollars = order(f"d{page.next_cursor}", member_external_id="1", currency="USD")
            yield replace(page, records=(dollars,), last=True)


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        return make_shop(connection)


def _orders(db: Database) -> int:
    with db.read() as connection:
        return connection.execute(select(func.count()).select_from(orders)).scalar_one()


def test_broken_sync_goes_on_after_the_last_page(db: Database, shop: Shop) -> None:
    with pytest.raises(TransientError):
        sync_shop(db, shop, Paged(breaks_at=3), now=NOON)
    assert _orders(db) == 3
    with db.read() as connection:
        row = connection.execute(select(sync_state)).one()
    assert (row.cursor, row.phase, row.detail) == ("3", "stopped", "The store is busy.")
    rest = Paged()
    report = sync_shop(db, shop, rest, now=NOON)
    assert (rest.served, report.streams["orders"].written.new, _orders(db)) == ([3, 4], 2, 5)


def test_fault_of_ours_is_told_and_cursor_kept(db: Database, shop: Shop) -> None:
    storefront = Paged(breaks_at=3, error=RuntimeError("the walk fell over"))
    with pytest.raises(RuntimeError):
        sync_shop(db, shop, storefront, now=NOON)
    with db.read() as connection:
        row = connection.execute(select(sync_state)).one()
    assert (row.cursor, row.phase) == ("3", "stopped")
    assert row.detail == "Something went wrong: RuntimeError: the walk fell over"
    assert _orders(db) == 3


def test_interrupted_sync_says_so(db: Database, shop: Shop) -> None:
    with pytest.raises(KeyboardInterrupt):
        sync_shop(db, shop, Paged(breaks_at=1, error=KeyboardInterrupt()), now=NOON)
    with db.read() as connection:
        assert connection.execute(select(sync_state.c.phase)).scalar_one() == "stopped"


def test_record_that_cannot_be_stored_is_set_aside(db: Database, shop: Shop) -> None:
    storefront = Odd()
    report = sync_shop(db, shop, storefront, now=NOON)
    assert (report.problems, report.streams["orders"].records, report.streams["orders"].written.new) == (3, 8, 5)
    with db.read() as connection:
        kept = connection.execute(select(problems).order_by(problems.c.external_id)).all()
        state = connection.execute(select(sync_state)).one()
        assert facts.recount(connection, shop.shop_id) == []
    assert [(row.external_id, row.raw, row.path, row.state) for row in kept] == [
        ("day", "raw 2", "$", "open"),
        ("pieces", "raw 1", "$", "open"),
        ("total", "raw 0", "$", "open"),
    ]
    assert all(row.reason.startswith("It cannot be stored: ") for row in kept)
    assert (state.cursor, state.phase, state.done) == ("5", "idle", 8)
    assert sync_shop(db, shop, Paged(), now=NOON, full=True).streams["orders"].written.same == 5
    storefront.again = storefront.odd[0]
    assert kept_problems.retry(db, shop, storefront, NOON).as_dict() == {"resolved": 0, "open": 3}


def test_rate_set_during_a_sync_counts_from_the_next_page(db: Database, shop: Shop) -> None:
    def set_rate(progress: Progress) -> None:
        if progress.done > 1:
            return
        with db.write() as connection:
            connection.execute(update(shops).values(settings={"rates": {"USD": "0.5"}}))
            facts.rebuild(connection, shop_by_id(connection, shop.shop_id), NOON)

    sync_shop(db, shop, Slow(), now=NOON, progress=set_rate)
    with db.read() as connection:
        assert connection.execute(select(orders.c.base_minor)).scalars().all() == [500] * 5
        assert facts.recount(connection, shop.shop_id) == []


def test_database_that_is_away_sets_nothing_aside(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
        connection.execute(text("ALTER TABLE order_lines RENAME TO elsewhere"))
    with pytest.raises(OperationalError):
        sync_shop(sqlite_db, shop, Paged(), now=NOON)
    with sqlite_db.read() as connection:
        assert connection.execute(select(problems)).all() == []
        assert connection.execute(select(sync_state.c.phase)).scalar_one() == "stopped"


def test_full_sync_again_changes_nothing(db: Database, shop: Shop) -> None:
    seen: list[Progress] = []
    assert sync_shop(db, shop, Paged(), now=NOON, progress=seen.append).rows == 10
    assert seen[-1] == Progress("orders", 5, 5)
    again = sync_shop(db, shop, Paged(), now=NOON, full=True)
    assert (again.rows, again.streams["orders"].written.same) == (0, 5)


def test_rows_say_when_they_were_written(db: Database, shop: Shop) -> None:
    late = NOON + timedelta(hours=7)
    sync_shop(db, shop, Paged(), now=NOON, clock=lambda: late)
    with db.read() as connection:
        assert set(connection.execute(select(orders.c.first_seen_at)).scalars()) == {late}
        assert connection.execute(select(sync_state.c.started_at)).scalar_one() == NOON


def test_what_is_known_stays_known_while_the_next_reading_runs(db: Database, shop: Shop) -> None:
    def whole_since() -> datetime | None:
        with db.read() as connection:
            return connection.execute(select(sync_state.c.whole_since)).scalar_one()

    later = NOON + timedelta(hours=1)
    with pytest.raises(TransientError):
        sync_shop(db, shop, Paged(breaks_at=3), now=NOON)
    assert whole_since() is None
    sync_shop(db, shop, Paged(), now=NOON)
    seen: list[datetime | None] = []
    sync_shop(db, shop, Paged(), now=later, full=True, progress=lambda _: seen.append(whole_since()))
    assert (set(seen), whole_since()) == ({NOON}, later)
    with pytest.raises(TransientError):
        sync_shop(db, shop, Paged(breaks_at=3), now=later + timedelta(hours=1), full=True)
    assert whole_since() == later


def test_refused_key_marks_the_shop(db: Database, shop: Shop) -> None:
    with pytest.raises(ActionRequired):
        sync_shop(db, shop, Paged(0, ActionRequired("The key is gone.", hint="Make a new one.")), now=NOON)
    with db.read() as connection:
        stopped = shop_by_id(connection, shop.shop_id)
    assert (stopped.status, stopped.status_detail) == ("action_required", "The key is gone. Make a new one.")
    sync_shop(db, stopped, Paged(), now=NOON)
    with db.read() as connection:
        assert shop_by_id(connection, shop.shop_id).status == "connected"


def test_problem_is_kept_once_and_retried(db: Database, shop: Shop) -> None:
    storefront = Paged()
    storefront.problem = RecordProblem(Stream.ORDERS, "77", "No total.", "bad", "$.total")
    sync_shop(db, shop, storefront, now=NOON)
    sync_shop(db, shop, storefront, now=NOON, full=True)
    with db.read() as connection:
        row = connection.execute(select(problems)).one()
    assert (row.external_id, row.reason, row.raw, row.state) == ("77", "No total.", "bad", "open")
    assert kept_problems.retry(db, shop, storefront, NOON).as_dict() == {"resolved": 0, "open": 1}
    with db.read() as connection:
        assert connection.execute(select(problems.c.reason)).scalar_one() == "Still bad."
    storefront.again = order("77")
    assert kept_problems.retry(db, shop, storefront, NOON).as_dict() == {"resolved": 1, "open": 0}
    assert _orders(db) == 6


def test_record_read_later_closes_its_problem(db: Database, shop: Shop) -> None:
    broken = Paged(breaks_at=3)
    broken.problem = RecordProblem(Stream.ORDERS, "o4", "No total.", "bad")
    with pytest.raises(TransientError):
        sync_shop(db, shop, broken, now=NOON)
    sync_shop(db, shop, Paged(), now=NOON)
    with db.read() as connection:
        assert connection.execute(select(problems.c.state)).scalar_one() == "resolved"


@pytest.mark.parametrize(("state", "then"), [("resolved", "open"), ("dismissed", "dismissed")])
def test_same_problem_again_is_open_again(db: Database, shop: Shop, state: str, then: str) -> None:
    storefront = Paged()
    storefront.problem = RecordProblem(Stream.ORDERS, "77", "No total.", "bad", "$.total")
    sync_shop(db, shop, storefront, now=NOON)
    with db.write() as connection:
        connection.execute(update(problems).values(state=state))
    later = NOON + timedelta(days=1)
    sync_shop(db, shop, storefront, now=later, full=True)
    with db.read() as connection:
        row = connection.execute(select(problems)).one()
    # What the merchant let be stays so until the store tells something new of it.
    assert (row.state, row.first_at, row.last_at) == (then, NOON, later if then == "open" else NOON)


def test_last_telling_of_a_group_decides(db: Database, shop: Shop) -> None:
    storefront = Paged()
    storefront.problem = RecordProblem(Stream.ORDERS, "o4", "No total.", "bad")
    assert sync_shop(db, shop, storefront, now=NOON).problems == 1
    with db.read() as connection:
        assert connection.execute(select(problems)).all() == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "No Good"}, "'No Good' cannot be a shop's name."),
        ({"currency": "pounds"}, "'pounds' is not a currency."),
        ({"timezone": "Mars/Base"}, "'Mars/Base' is not a time zone."),
        ({"timezone": ""}, "The time zone is missing."),
    ],
)
def test_unusable_shop_is_not_written(db: Database, values: dict[str, Any], message: str) -> None:
    given = {
        "name": "a",
        "platform": "csv",
        "currency": "GBP",
        "timezone": "Europe/London",
        "credentials": {},
        **values,
    }
    with pytest.raises(InvalidInput) as caught:
        add_shop(db, BOX, now=NOON, **given)
    assert message in str(caught.value)
    with db.read() as connection:
        assert connection.execute(select(shops)).all() == []


def test_second_shop_of_a_name_is_refused(db: Database) -> None:
    given: dict[str, Any] = {
        "platform": "csv",
        "currency": "GBP",
        "timezone": "Europe/London",
        "credentials": {"k": "v"},
    }
    shop = add_shop(db, BOX, name="a", now=NOON, **given)
    with pytest.raises(InvalidInput, match="already"):
        add_shop(db, BOX, name="a", now=NOON, **given)
    with db.read() as connection:
        sealed = connection.execute(select(shops.c.credentials)).scalar_one()
    assert BOX.open(sealed) == {"k": "v"}
    assert b'"v"' not in sealed
    assert open_storefront(db, BOX, shop).name == "csv"
